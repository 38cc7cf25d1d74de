"""Polygons made tile by tile are those of the whole raster; simplified ones leave no gap."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio.features import shapes

from geoseg.raster.regions import find_parts
from geoseg.tiling import blocks
from geoseg.vectorizing.outlines import Patches, outlines


def polygons_of(
    codes: np.ndarray, side: int, connectivity: int = 4, tolerance: float | None = None, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """(m,) codes and (m,) polygons of an array read in tiles."""

    def read(window):
        return codes[window.slices]

    tiles, diagonal = blocks(codes.shape, side), connectivity == 8
    patches = Patches(find_parts(read, codes.shape, tiles, diagonal), diagonal)
    everything = np.ones(len(patches), bool)
    found = list(outlines(read, codes.shape, tiles, patches, everything, tolerance, **options))
    numbers = np.concatenate([some.numbers for some in found])
    assert sorted(numbers.tolist()) == list(range(len(patches)))
    return patches.joined.codes[numbers], np.concatenate([some.shapes for some in found])


def by_rasterio(codes: np.ndarray, connectivity: int) -> list[tuple[str, int]]:
    found = []
    for shape, code in shapes(codes, connectivity=connectivity):
        # Of pixels that meet in corners alone rasterio makes one ring that touches itself.
        polygon = shapely.geometry.shape(shape)
        found.append((polygon if connectivity == 4 else shapely.make_valid(polygon), int(code)))
    return sorted((shapely.normalize(polygon).wkt, code) for polygon, code in found)


def random_codes(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 1 + seed % 5, random.integers(1, 30, 2)).astype(np.uint8)
    return codes if seed % 3 else np.kron(codes, np.ones((2, 3), np.uint8))


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("seed", range(12))
def test_tiles_give_the_polygons_of_the_whole(seed: int, connectivity: int) -> None:
    codes = random_codes(seed)
    whole = by_rasterio(codes, connectivity)
    for side in (1 if codes.size < 150 else 5, 8, 100):
        of_codes, polygons = polygons_of(codes, side, connectivity)
        assert shapely.is_valid(polygons).all()
        found = sorted(zip(shapely.to_wkt(shapely.normalize(polygons)), of_codes.tolist(), strict=True))
        assert found == whole if connectivity == 4 else _same_ground(found, whole), side


def _same_ground(found: list[tuple[str, int]], whole: list[tuple[str, int]]) -> bool:
    """Rings that touch may be written in several valid ways."""
    left = [(shapely.from_wkt(text), code) for text, code in whole]
    for text, code in found:
        shape = shapely.from_wkt(text)
        (place,) = [i for i, (other, value) in enumerate(left) if value == code and other.equals(shape)]
        left.pop(place)
    return not left


def test_a_region_that_meets_itself_in_a_corner_and_hangs_together_in_another_tile() -> None:
    codes = np.zeros((6, 6), np.uint8)
    codes[0:3, 2] = codes[3, 3:6] = codes[0, 2:6] = codes[0:4, 5] = 1
    _, polygons = polygons_of(codes, 4)
    assert shapely.is_valid(polygons).all()
    assert sorted(shapely.get_num_interior_rings(polygons).tolist()) == [0, 0, 1]


@pytest.mark.parametrize("tolerance", [0.8, 1.5, 4.0])
@pytest.mark.parametrize("seed", range(8))
def test_simplified_polygons_have_neither_gaps_nor_overlaps(seed: int, tolerance: float) -> None:
    codes = random_codes(seed)
    for side in (2 if codes.size < 150 else 6, 11, 100):
        _, polygons = polygons_of(codes, side, tolerance=tolerance)
        assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
        assert shapely.area(polygons).sum() == pytest.approx(codes.size)
        assert shapely.union_all(polygons).equals(shapely.box(0, 0, *codes.shape[::-1]))
        assert len(polygons) == len(by_rasterio(codes, 4))


def test_many_small_patches_and_pixels_of_odd_sides_are_simplified_without_flaw() -> None:
    """Points that are moved by rounding would make a ring touch itself here."""
    random = np.random.default_rng(2)
    field = np.kron(random.random((24, 24)), np.ones((6, 6)))
    codes = (np.roll(field, 2, 1) + random.random(field.shape) > 1).astype(np.uint8) + (field > 0.8)
    _, polygons = polygons_of(codes.astype(np.uint8), 64, tolerance=4.0, pixel=(1.9997, 1.3))
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == pytest.approx(codes.size)


def test_simplifying_straightens_stairs_across_tiles() -> None:
    rows, cols = np.mgrid[:60, :60]
    codes = (cols > rows).astype(np.uint8)
    _, stairs = polygons_of(codes, 16)
    _, straight = polygons_of(codes, 16, tolerance=1.5)
    corners = shapely.get_num_coordinates
    assert corners(stairs).min() > 110 and corners(straight).max() < 20
    assert abs(shapely.area(straight)[0] - shapely.area(stairs)[0]) < 60


def test_pixels_that_are_no_squares_are_simplified_by_their_size_on_the_ground() -> None:
    rows, cols = np.mgrid[:40, :40]
    codes = (cols > rows).astype(np.uint8)
    square = polygons_of(codes, 100, tolerance=1.2)[1]
    # The same area of a triangle in units, but ten times as wide and a tenth as high.
    flat = polygons_of(codes, 100, tolerance=1.2, pixel=(0.1, 10.0))[1]
    large = polygons_of(codes, 100, tolerance=1.2, pixel=(10.0, 10.0))[1]
    assert shapely.get_num_coordinates(square).tolist() == shapely.get_num_coordinates(flat).tolist()
    assert shapely.get_num_coordinates(large).min() > shapely.get_num_coordinates(square).max()
