"""Traced outlines against rasterio's, and worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio.features import shapes

from geoseg.raster.regions import label
from geoseg.vectorizing.tracing import trace


def by_rasterio(codes: np.ndarray) -> list[str]:
    polygons = [shapely.geometry.shape(shape) for shape, _ in shapes(codes, connectivity=4)]
    return sorted(shapely.to_wkt(shapely.normalize(polygons)))


@pytest.mark.parametrize("seed", range(20))
def test_polygons_are_rasterio_s(seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 1 + seed % 5, random.integers(1, 54, 2)).astype(np.uint8)
    rings = trace(label(codes)[0])
    polygons, labels = rings.polygons()
    assert shapely.is_valid(polygons).all() and not rings.on_lines().any()
    assert sorted(shapely.to_wkt(shapely.normalize(polygons))) == by_rasterio(codes)
    assert np.array_equal(shapely.area(polygons), np.bincount(label(codes)[0].ravel())[labels])


def test_a_ring_that_closes_in_a_corner_is_a_shell_and_a_hole() -> None:
    codes = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    labels, count, _ = label(codes)
    rings = trace(labels).where(trace(labels).labels == labels[0, 0])
    assert sorted(rings.doubled_areas.tolist()) == [-6, 28]
    assert shapely.is_valid(rings.polygons()[0]).all() and count == 3


def test_in_steps_every_corner_of_a_pixel_is_a_point() -> None:
    rings = trace(np.zeros((3, 5), np.int32))
    assert len(rings.points) == 4 and len(rings.in_steps().points) == 16
    assert np.array_equal(rings.in_steps().without(rings.in_steps().on_lines()).points, rings.points)


def test_breaks_add_points_where_a_side_changes() -> None:
    labels = np.zeros((2, 4), np.int32)
    rings = trace(labels, {"top": np.array([True, True, False, False])})
    assert sorted(map(tuple, rings.points.tolist())) == [(0, 0), (0, 2), (2, 0), (4, 0), (4, 2)]
