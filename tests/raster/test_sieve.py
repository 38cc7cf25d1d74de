"""The sieve in tiles is GDAL's on the whole raster."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import sieve as gdal_sieve

from geoseg.errors import InputError, UsageError
from geoseg.grid import IDENTITY, Grid
from geoseg.legend import NODATA
from geoseg.raster.areas import AreaTally
from geoseg.raster.sieve import MappingUnit, Sieve


def sieved(codes: np.ndarray, unit: MappingUnit, diagonal: bool, side: int, grid: Grid | None = None) -> np.ndarray:
    grid, found = grid or Grid(None, IDENTITY, codes.shape), np.empty_like(codes)
    for window, some in Sieve(lambda w: codes[w.slices], grid, unit, diagonal, side):
        found[window.slices] = some
    return found


def by_gdal(codes: np.ndarray, pixels: int, diagonal: bool) -> np.ndarray:
    found = gdal_sieve(codes, pixels, mask=codes != NODATA, connectivity=8 if diagonal else 4)
    return np.where(codes == NODATA, NODATA, found)


def patchy(seed: int, holes: float = 0.1) -> np.ndarray:
    """Odd-sized rasters of noise and of small squares, with nodata in holes and in a corner."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2 + seed % 4, random.integers(3, 18, 2)).astype(np.uint8)
    codes = np.kron(codes, np.ones(random.integers(1, 4, 2), np.uint8))
    codes[random.random(codes.shape) < holes] = NODATA
    codes[:2, :1] = NODATA
    return codes


@pytest.mark.parametrize("diagonal", [False, True], ids=["4", "8"])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_gdal_s_sieve_of_the_whole_raster(seed: int, diagonal: bool) -> None:
    codes = patchy(seed)
    for pixels in (2, 5, 23):
        pixels = min(pixels, codes.size - 1)
        whole = by_gdal(codes, pixels, diagonal)
        for side in (1 if codes.size < 100 else 4, 7, 512):
            assert np.array_equal(sieved(codes, MappingUnit(pixels=pixels), diagonal, side), whole), (pixels, side)


def test_hectares_are_true_ones() -> None:
    """At 60 degrees north a pixel of a degree has half the area that it has at the equator."""
    grid = Grid(CRS.from_epsg(4326), Affine(1, 0, 0, 0, -1, 61), (62, 9))
    codes = np.zeros(grid.shape, np.uint8)
    codes[1, 4] = codes[60, 4] = 1
    tally = AreaTally(grid)
    tally.add(grid.window, codes)
    unit = MappingUnit(hectares=float(tally.hectares[1]) / 2)
    assert np.argwhere(sieved(codes, unit, False, 16, grid) == 1).tolist() == [[60, 4]]


def test_on_even_pixels_hectares_are_so_many_pixels() -> None:
    grid = Grid(CRS.from_epsg(6933), Affine(10, 0, 0, 0, -10, 5_000_000), (51, 60))
    codes = np.kron(np.random.default_rng(4).integers(0, 4, (17, 20)), np.ones((3, 3))).astype(np.uint8)
    # Squares of 9 px: 0.09 ha each.
    found = sieved(codes, MappingUnit(hectares=0.185), False, 16, grid)
    assert np.array_equal(found, by_gdal(codes, 19, False)) and (found != codes).any()


def test_what_leads_nowhere_stays_and_is_counted() -> None:
    codes = np.full((9, 9), NODATA, np.uint8)
    codes[1, 1], codes[5, 5], codes[5, 6] = 3, 1, 2
    sieve = Sieve(lambda w: codes[w.slices], Grid(None, IDENTITY, codes.shape), MappingUnit(pixels=4), side=3)
    assert all(np.array_equal(some, codes[window.slices]) for window, some in sieve)
    assert (sieve.merged, sieve.kept) == (0, 3) and "3 patches below 4 px stay" in sieve.notes("map.tif")[1]


def test_no_ground_is_lost() -> None:
    codes = patchy(3)
    found = sieved(codes, MappingUnit(pixels=9), False, 8)
    assert np.array_equal(found == NODATA, codes == NODATA)


@pytest.mark.parametrize("given", [{}, {"hectares": 1.0, "pixels": 3}, {"hectares": 0.0}, {"pixels": -1}])
def test_a_unit_is_one_positive_number(given: dict) -> None:
    with pytest.raises(UsageError, match="least patch"):
        MappingUnit(**given)


def test_hectares_need_a_place_on_earth() -> None:
    with pytest.raises(InputError, match=r"map.tif: .*no place on Earth.*--min-pixels"):
        MappingUnit(hectares=1).require_place(Grid(None, IDENTITY, (3, 4)), "map.tif")
