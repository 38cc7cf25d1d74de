"""Maps on other grids: each truth pixel meets the prediction's pixel under its centre, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

from geoseg.grid import Grid, Window
from geoseg.legend import NO_CLASS, Legend, LegendClass
from geoseg.raster.labels import Labels
from geoseg.scoring import alignment as alignment_module
from geoseg.scoring.alignment import align
from geoseg.tiling import blocks

UTM, NEXT_ZONE, DEGREES = (CRS.from_epsg(code) for code in (32631, 32632, 4326))
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
TRUTH = Grid(UTM, PLACE, (37, 53))
GREYS = Legend("greys", tuple(LegendClass(code, f"class {code}", (code, 0, 0)) for code in range(255)))


def unique(shape: tuple[int, int]) -> np.ndarray:
    return (np.arange(shape[0] * shape[1]) % 251).reshape(shape).astype(np.uint8)


def by_hand(index: np.ndarray, prediction: Grid, truth: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel: where does its centre lie?"""
    laid = np.full(truth.shape, NO_CLASS, np.uint8)
    inside = np.zeros(truth.shape, bool)
    for row in range(truth.shape[0]):
        for col in range(truth.shape[1]):
            x, y = truth.transform @ (col + 0.5, row + 0.5)
            if truth.crs != prediction.crs:
                try:
                    (x,), (y,) = transform_points(truth.crs, prediction.crs, [x], [y])
                except CPLE_BaseError:
                    # The place has no coordinates there.
                    continue
            if not np.isfinite((x, y)).all():
                continue
            there_col, there_row = (int(np.floor(v + 1e-6)) for v in ~prediction.transform @ (x, y))
            if 0 <= there_row < index.shape[0] and 0 <= there_col < index.shape[1]:
                laid[row, col], inside[row, col] = index[there_row, there_col], True
    return laid, inside


def in_degrees(shape: tuple[int, int]) -> Grid:
    """A grid in degrees that lies about over the truth."""
    (west,), (north,) = transform_points(UTM, DEGREES, [441_750.0], [5_417_388.0])
    return Grid(DEGREES, Affine(4e-4 / shape[1], 0, west, 0, -3e-4 / shape[0], north), shape)


OTHERS = {
    "shifted": Grid(UTM, PLACE @ Affine.translation(3, -2), (37, 53)),
    "half a pixel off": Grid(UTM, PLACE @ Affine.translation(0.5, 0.25), (40, 60)),
    "a window": TRUTH[Window(5, 7, 20, 30)],
    "coarser": Grid(UTM, PLACE @ Affine.translation(-2, 3) @ Affine.scale(2.7, 3.1), (12, 20)),
    "finer": Grid(UTM, PLACE @ Affine.scale(1 / 3, 1 / 5), (100, 90)),
    "south-up": Grid(UTM, PLACE @ Affine.translation(0, 37) @ Affine.scale(1, -1), (37, 53)),
    "turned": Grid(UTM, PLACE @ Affine.translation(20, -10) @ Affine.rotation(33), (40, 40)),
    "degrees": in_degrees((41, 59)),
    "no CRS": Grid(None, PLACE, (37, 52)),
}


@pytest.mark.parametrize("side", [8, 19, 100])
@pytest.mark.parametrize("name", OTHERS)
def test_each_pixel_meets_the_one_under_its_centre(make_raster: Callable[..., Path], name: str, side: int) -> None:
    grid = OTHERS[name]
    truth = Grid(grid.crs and UTM, PLACE, (37, 53))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, crs=grid.crs, transform=grid.transform), GREYS)
    alignment = align(labels.grid, truth, "map.tif", "truth.tif")
    assert alignment.kind == "warped"
    laid, inside = np.zeros(truth.shape, np.uint8), np.zeros(truth.shape, bool)
    for window in blocks(truth.shape, side):
        laid[window.slices], inside[window.slices] = alignment.read(labels, window)
    expected, expected_inside = by_hand(index, grid, truth)
    assert expected_inside.mean() > 0 and np.array_equal(inside, expected_inside)
    assert np.array_equal(laid, expected)


def test_gdal_warps_the_same(make_raster: Callable[..., Path]) -> None:
    truth = Grid(NEXT_ZONE, Affine(3, 0, 4_500, 0, -2, 5_444_000), (300, 400))
    (x,), (y,) = transform_points(NEXT_ZONE, UTM, [4_400.0], [5_444_100.0])
    grid = Grid(UTM, Affine(2.5, 0, x, 0, -2.5, y + 100), (400, 700))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, crs=grid.crs, transform=grid.transform), GREYS)
    laid, inside = align(labels.grid, truth, "map.tif", "truth.tif").read(labels, truth.window)
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", count=1, height=400, width=700, dtype="uint8", crs=UTM, transform=grid.transform
        ) as f:
            f.write(index, 1)
        place = {"crs": truth.crs, "transform": truth.transform, "width": 400, "height": 300}
        with (
            file.open() as f,
            WarpedVRT(f, resampling=Resampling.nearest, add_alpha=True, tolerance=0.01, **place) as warped,
        ):
            theirs, seen = warped.read(1), warped.dataset_mask() > 0
    assert inside.mean() > 0.5 and (inside == seen).mean() > 0.999
    assert (laid == theirs)[inside & seen].mean() > 0.999


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 150), st.integers(1, 150))
def test_planes_between_knots_stay_within_the_deviation(row: int, col: int, height: int, width: int) -> None:
    truth = Grid(UTM, Affine(300, 0, 200_000, 0, -300, 6_000_000), (400, 400))
    prediction = Grid(DEGREES, Affine(3e-3, 0, -2, 0, -3e-3, 56), (3000, 3000))
    alignment, window = align(prediction, truth, "a", "b"), Window(row, col, height, width)
    planes = np.stack(alignment._warped(window))
    exact = alignment._exact(window, np.arange(height), np.arange(width))
    assert np.abs(planes - exact).max() <= 2 * alignment_module.DEVIATION


def test_large_reads_are_halved(make_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    grid = OTHERS["finer"]
    labels = Labels(make_raster(unique(grid.shape), transform=grid.transform), GREYS)
    alignment = align(labels.grid, TRUTH, "map.tif", "truth.tif")
    whole = alignment.read(labels, TRUTH.window)
    monkeypatch.setattr(alignment_module, "MOST_READ", 40)
    for part, expected in zip(alignment.read(labels, TRUTH.window), whole, strict=True):
        assert np.array_equal(part, expected)


def test_a_truth_of_the_whole_earth_meets_a_map_of_one_zone(make_raster: Callable[..., Path]) -> None:
    truth = Grid(DEGREES, Affine(2, 0, -180, 0, -2, 90), (90, 180))
    grid = Grid(UTM, Affine(50_000, 0, 100_000, 0, -50_000, 6_000_000), (40, 16))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, transform=grid.transform), GREYS)
    laid, inside = align(labels.grid, truth, "map.tif", "truth.tif").read(labels, truth.window)
    expected, expected_inside = by_hand(index, grid, truth)
    assert inside.sum() > 20 and np.array_equal(inside, expected_inside) and np.array_equal(laid, expected)


MOLLWEIDE = CRS.from_string("ESRI:54009")


def test_places_beyond_a_projection_have_no_map(make_raster: Callable[..., Path]) -> None:
    truth = Grid(MOLLWEIDE, Affine(180_000, 0, -18_040_096, 0, -180_000, 9_020_048), (100, 200))
    grid = Grid(DEGREES, Affine(3, 0, -180, 0, -3, 90), (60, 120))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, crs=DEGREES, transform=grid.transform), GREYS)
    laid, inside = align(labels.grid, truth, "map.tif", "truth.tif").read(labels, truth.window)
    # The Earth is an ellipse of pi / 4 of its rectangle.
    assert inside.mean() == pytest.approx(np.pi / 4, abs=0.01) and not inside[0, 0]
    (longitude,), (latitude,) = transform_points(
        MOLLWEIDE, DEGREES, [-18_040_096 + 90.5 * 180_000], [9_020_048 - 30.5 * 180_000]
    )
    assert laid[30, 90] == index[int((90 - latitude) / 3), int((longitude + 180) / 3)]


@pytest.mark.parametrize("west", [0.0, -180.0, 170.0, -190.0])
def test_a_turn_of_the_earth_is_no_distance(make_raster: Callable[..., Path], west: float) -> None:
    grid = Grid(DEGREES, Affine(1, 0, west, 0, -1, 10), (20, 360 if west in (0, -180) else 30))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, crs=DEGREES, transform=grid.transform), GREYS)
    for first in (175.0, -185.0):
        truth = Grid(DEGREES, Affine(0.5, 0, first, 0, -0.5, 5), (10, 20))
        alignment = align(labels.grid, truth, "map.tif", "truth.tif")
        laid, inside = alignment.read(labels, truth.window)
        assert inside.all() and not alignment.note
        cols = ((175 + (np.arange(20) + 0.5) / 2 - west) % 360).astype(int)
        assert np.array_equal(laid[0], index[5, cols])


def test_across_the_date_line_in_another_crs(make_raster: Callable[..., Path]) -> None:
    truth = Grid(CRS.from_epsg(32660), Affine(1000, 0, 600_000, 0, -1000, 5_000_000), (300, 400))
    grid = Grid(DEGREES, Affine(0.1, 0, 170, 0, -0.1, 60), (300, 200))
    index = unique(grid.shape)
    labels = Labels(make_raster(index, crs=DEGREES, transform=grid.transform), GREYS)
    laid, inside = align(labels.grid, truth, "map.tif", "truth.tif").read(labels, truth.window)
    longitude, latitude = transform_points(truth.crs, DEGREES, [999_500.0], [4_999_500.0])
    assert inside.all() and longitude[0] < 0
    assert laid[0, 399] == index[int((60 - latitude[0]) * 10), int((longitude[0] + 360 - 170) * 10)]
