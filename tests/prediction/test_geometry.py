"""Geometry: pixels decide classes, wherever they lie; the map keeps whatever places the scene, plain or as a COG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.rpc import RPC

import geoseg

LOCAL = {"device": "cpu", "precision": "fp32"}
NORTH_UP = Affine(1 / 3, 0.0, 441_754.1, 0.0, -1 / 7, 5_417_386.7)
TRANSFORMS = {
    "north-up": NORTH_UP,
    "south-up": Affine(1 / 3, 0.0, 441_754.1, 0.0, 1 / 7, 5_417_386.7),
    "east-west": Affine(-1 / 3, 0.0, 441_754.1, 0.0, -1 / 7, 5_417_386.7),
    "turned": NORTH_UP @ Affine.rotation(33.3),
    "upright": NORTH_UP @ Affine.rotation(90),
    "sheared": Affine(0.4, 0.3, 441_754.1, 0.2, -0.6, 5_417_386.7),
}


def by_neighbours(image: torch.Tensor) -> torch.Tensor:
    """Logits that depend on what lies above a pixel: a scene that was turned would show."""
    above = torch.nn.functional.pad(image, (0, 0, 2, 0))[..., :-2, :] - image
    return torch.cat([torch.sin(above[:, :1] / 30 * (k + 1)) for k in range(7)], 1)


@pytest.fixture
def pixels() -> np.ndarray:
    random = np.random.default_rng(5)
    found = random.integers(1, 256, (3, 37, 53)).astype(np.uint8)
    found[:, :9, 40:] = 0
    return found


@pytest.fixture
def expected(make_segmenter, pixels) -> np.ndarray:
    codes = geoseg.predict(pixels, make_segmenter(by_neighbours), window=16, **LOCAL).codes
    return np.where((pixels == 0).all(0), 255, codes)


def map_of(scene: Path, segmenter, cog: bool) -> Path:
    """The map, and beside it the scores, of which every property is checked as well."""
    target = scene.parent / "map.tif"
    written = {"scores": "top", "scores_output": scene.parent / "scores.tif"}
    geoseg.predict(scene, segmenter, target, window=16, cog=cog, **written, **LOCAL)
    return target


@pytest.mark.parametrize("cog", [False, True], ids=["plain", "COG"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_pixels_decide_and_the_transform_is_copied_exactly(
    make_segmenter, make_raster, pixels, expected, transform, cog
) -> None:
    scene = make_raster(pixels, transform=transform, nodata=0)
    target = map_of(scene, make_segmenter(by_neighbours), cog)
    for path in (target, target.with_name("scores.tif")):
        with rasterio.open(path) as made, rasterio.open(scene) as source:
            assert made.transform == source.transform and (made.crs, made.shape) == (source.crs, source.shape)
            assert made.transform == transform or transform == TRANSFORMS["upright"]
    with rasterio.open(target) as made:
        assert np.array_equal(made.read(1), expected)


@pytest.mark.parametrize("cog", [False, True], ids=["plain", "COG"])
def test_control_points_stay_with_their_crs(make_segmenter, make_raster, pixels, expected, cog) -> None:
    points = [
        RasterioPoint(r, c, 2 + c / 900, 48 - r / 900, 10.5) for r, c in ((0, 0), (0, 53), (37, 53), (18.5, 7.25))
    ]
    scene = make_raster(pixels, crs="EPSG:4326", transform=None, gcps=points, nodata=0)
    target = map_of(scene, make_segmenter(by_neighbours), cog)
    for path in (target, target.with_name("scores.tif")):
        with rasterio.open(path) as made:
            found, crs = made.gcps
            assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in points]
            assert crs == rasterio.CRS.from_epsg(4326) and made.transform == Affine.identity()
    with rasterio.open(target) as made:
        assert np.array_equal(made.read(1), expected)


@pytest.mark.parametrize("cog", [False, True], ids=["plain", "COG"])
@pytest.mark.parametrize("transform", [None, NORTH_UP], ids=["alone", "beside a transform"])
def test_rational_polynomials_stay(make_segmenter, make_raster, pixels, expected, transform, cog) -> None:
    terms = [1 / 8] + [i / 1000 for i in range(19)]
    rpcs = RPC(5, 1, 48, 1, terms, terms[::-1], 18.5, 20, 2, 1, terms, terms, 26.5, 30, 0.5, 0.25)
    scene = make_raster(pixels, crs="EPSG:32631" if transform else None, transform=transform, nodata=0)
    with rasterio.open(scene, "r+") as dataset:
        dataset.rpcs = rpcs
    target = map_of(scene, make_segmenter(by_neighbours), cog)
    for path in (target, target.with_name("scores.tif")):
        with rasterio.open(path) as made, rasterio.open(scene) as source:
            assert made.rpcs == source.rpcs == rpcs
            assert made.transform == source.transform and made.crs == source.crs
    with rasterio.open(target) as made:
        assert np.array_equal(made.read(1), expected)


@pytest.mark.parametrize("transform", [None, NORTH_UP], ids=["no transform", "a transform"])
def test_no_crs_is_invented(make_segmenter, make_raster, pixels, transform) -> None:
    scene = make_raster(pixels, crs=None, transform=transform, nodata=0)
    target = map_of(scene, make_segmenter(by_neighbours), cog=False)
    with rasterio.open(target) as made, rasterio.open(scene) as source:
        assert made.crs is None and made.transform == source.transform
