"""Alignment: how a prediction lies over its truth, and when it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from geoseg.errors import GridMismatch
from geoseg.grid import IDENTITY, Grid, GroundControlPoint, Window
from geoseg.legend import Legend, LegendClass
from geoseg.raster.labels import Labels
from geoseg.raster.resample import nearest
from geoseg.scoring.alignment import align
from geoseg.tiling import blocks

UTM = CRS.from_epsg(32631)
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
TRUTH = Grid(UTM, PLACE, (37, 53))
GREYS = Legend("greys", tuple(LegendClass(code, f"class {code}", (code, 0, 0)) for code in range(255)))


def plain(*shape: int) -> Grid:
    return Grid(None, IDENTITY, shape)


def over_the_truth(*shape: int) -> Grid:
    """A grid of another size with the extent of TRUTH."""
    return Grid(UTM, PLACE @ Affine.scale(53 / shape[1], 37 / shape[0]), shape)


@pytest.mark.parametrize(
    ("prediction", "truth", "kind"),
    [
        (TRUTH, TRUTH, "same grid"),
        (Grid(UTM, PLACE @ Affine.translation(5e-4, 0), (37, 53)), TRUTH, "same grid"),
        (plain(37, 53), plain(37, 53), "same size"),
        (TRUTH, plain(37, 53), "same size"),
        (plain(37, 53), TRUTH, "same size"),
        (Grid(UTM, IDENTITY, (37, 53)), TRUTH, "same size"),
        (over_the_truth(20, 30), TRUTH, "nearest"),
        (over_the_truth(74, 106), TRUTH, "nearest"),
        (plain(1024, 1024), plain(2448, 2448), "nearest"),
        (plain(74, 106), TRUTH, "nearest"),
        (TRUTH, plain(18, 26), "nearest"),
        (plain(1, 1), plain(5, 5), "nearest"),
    ],
)
def test_the_kind_of_an_alignment(prediction: Grid, truth: Grid, kind: str) -> None:
    assert align(prediction, truth, "map.tif", "truth.tif").kind == kind


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        (Grid(None, PLACE @ Affine.translation(1, 0), (37, 53)), TRUTH),
        (Grid(None, PLACE, (37, 52)), TRUTH),
        (plain(37, 53), plain(53, 37)),
        (plain(37, 53), plain(74, 108)),
        (plain(37, 53), plain(76, 106)),
        (plain(1, 5000), plain(1, 2500)),
        (plain(40, 53), TRUTH),
    ],
)
def test_what_does_not_lie_over_each_other_is_refused_with_both_grids(prediction: Grid, truth: Grid) -> None:
    for first, second in ((prediction, truth), (truth, prediction)):
        with pytest.raises(GridMismatch) as caught:
            align(first, second, "map.tif", "truth.tif")
        message = str(caught.value)
        assert f"map.tif ({first})" in message and f"truth.tif ({second})" in message
        assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("prediction", "note"),
    [
        (Grid(CRS.from_epsg(32632), PLACE, (37, 53)), ""),
        (
            Grid(UTM, PLACE @ Affine.translation(1, 0), (37, 53)),
            "+0.00 px down and +1.00 px right of the truth's (+0.00 m and +0.50 m)",
        ),
        (
            Grid(UTM, PLACE @ Affine.translation(0, -0.6), (37, 53)),
            "-0.60 px down and +0.00 px right of the truth's (-0.45 m and +0.00 m)",
        ),
        (Grid(UTM, PLACE @ Affine.translation(0.5, 0.5), (30, 60)), "+0.50 px down and +0.50 px right"),
        (Grid(UTM, PLACE @ Affine.translation(0, 37) @ Affine.scale(1, -1), (37, 53)), ""),
        (Grid(UTM, PLACE, (37, 52)), ""),
        (Grid(UTM, PLACE, (74, 106)), ""),
        (TRUTH[Window(0, 0, 20, 53)], ""),
        (TRUTH[Window(5, 7, 20, 30)], ""),
    ],
)
def test_other_grids_of_a_place_are_warped_and_a_shift_is_told(prediction: Grid, note: str) -> None:
    alignment = align(prediction, TRUTH, "map.tif", "truth.tif")
    assert alignment.kind == "warped" and str(prediction) in alignment.message and str(TRUTH) in alignment.message
    assert note in alignment.note and bool(note) == bool(alignment.note)


def test_a_missing_crs_is_told_where_the_corners_agree() -> None:
    alignment = align(Grid(None, PLACE, (37, 53)), TRUTH, "map.tif", "truth.tif")
    assert alignment.kind == "same grid" and alignment.note == "map.tif names no CRS, but its corners are the same"


def test_the_message_says_what_was_done() -> None:
    assert align(TRUTH, TRUTH, "a", "b").message == "same grid, pixel by pixel"
    assert "same size" in align(TRUTH, plain(37, 53), "a", "b").message
    message = align(over_the_truth(20, 30), TRUTH, "a", "b").message
    assert message == "nearest from 20 x 30 px onto the truth's 37 x 53 px (rows x columns)"


@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.integers(2, 5))
def test_a_whole_multiple_of_a_shape_lies_over_it(shape: tuple[int, int], factor: int) -> None:
    large = plain(shape[0] * factor, shape[1] * factor)
    assert align(plain(*shape), large, "a", "b").kind == align(large, plain(*shape), "a", "b").kind == "nearest"


@pytest.mark.parametrize("shape", [(10, 14), (37, 53), (36, 52), (80, 115)])
@pytest.mark.parametrize("side", [7, 19, 100])
def test_windows_read_as_the_whole_prediction_brought_to_the_truth(
    make_raster: Callable[..., Path], shape: tuple[int, int], side: int
) -> None:
    index = (np.arange(shape[0] * shape[1]) % 251).reshape(shape).astype(np.uint8)
    grid = over_the_truth(*shape)
    labels = Labels(make_raster(index, transform=grid.transform), GREYS)
    alignment = align(labels.grid, TRUTH, "map.tif", "truth.tif")
    laid = np.zeros(TRUTH.shape, np.uint8)
    for window in blocks(TRUTH.shape, side):
        laid[window.slices], inside = alignment.read(labels, window)
        assert inside.all()
    assert np.array_equal(laid, nearest(index, TRUTH.shape))


def test_a_half_size_prediction_by_hand(make_raster: Callable[..., Path]) -> None:
    labels = Labels(make_raster(np.array([[1, 2, 3]], np.uint8), crs=None, transform=None), GREYS)
    alignment = align(labels.grid, plain(2, 6), "map.tif", "truth.tif")
    assert alignment.read(labels, Window(1, 1, 1, 4))[0].tolist() == [[1, 2, 2, 3]]


def test_control_points_are_the_same_or_refused() -> None:
    points = tuple(
        GroundControlPoint(row, col, 500_000 + col, 5_000_000 - row, 0) for row, col in ((0, 0), (9, 0), (0, 9))
    )
    moved = tuple(point._replace(x=point.x + 500) for point in points)
    placed, elsewhere = (Grid(UTM, IDENTITY, (37, 53), gcps) for gcps in (points, moved))
    assert align(placed, placed, "a", "b").kind == "same size"
    assert align(placed, plain(37, 53), "a", "b").kind == "same size"
    for other in (elsewhere, TRUTH):
        with pytest.raises(GridMismatch, match="control points, which are not the same"):
            align(placed, other, "a", "b")
