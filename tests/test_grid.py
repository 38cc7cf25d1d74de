"""Windows and grids: rectangles that intersect, slices that keep their place on Earth."""

from __future__ import annotations

import pytest
import rasterio.windows
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from geoseg.errors import GridMismatch, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint, Window, require_same_shape

UTM = CRS.from_epsg(32631)
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
ROTATED = Affine.translation(441_754.5, 5_417_386.25) @ Affine.rotation(30) @ Affine.scale(0.5, -0.75)
GRID = Grid(UTM, OFF_ORIGIN, (37, 53))

windows = st.builds(Window, st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40))


def pixels_of(window: Window | None) -> set[tuple[int, int]]:
    if window is None:
        return set()
    return {(r, c) for r in range(window.row, window.row_stop) for c in range(window.col, window.col_stop)}


@given(windows, windows)
def test_intersection_is_the_common_pixels(first: Window, second: Window) -> None:
    assert pixels_of(first.intersect(second)) == pixels_of(first) & pixels_of(second)
    assert first.intersect(second) == second.intersect(first)


def test_windows_that_only_touch_do_not_intersect() -> None:
    assert Window(0, 0, 4, 5).intersect(Window(4, 0, 4, 5)) is None
    assert Window(0, 0, 4, 5).intersect(Window(0, 5, 4, 5)) is None
    assert Window(0, 0, 4, 5).intersect(Window(3, 4, 4, 5)) == Window(3, 4, 1, 1)


@given(windows)
def test_a_window_survives_the_way_through_rasterio(window: Window) -> None:
    assert Window.of(window.to_rasterio()) == window
    assert window.to_rasterio().toslices() == window.slices


def test_row_and_height_come_before_col_and_width() -> None:
    window = Window.of(rasterio.windows.Window(col_off=3, row_off=5, width=7, height=11))
    assert window == Window(row=5, col=3, height=11, width=7)
    assert (window.shape, window.row_stop, window.col_stop) == ((11, 7), 16, 10)
    assert window.slices == (slice(5, 16), slice(3, 10))


@given(windows, windows)
def test_relative_to_undoes_an_offset(outer: Window, inner: Window) -> None:
    placed = Window(outer.row + inner.row, outer.col + inner.col, inner.height, inner.width)
    assert placed.relative_to(outer) == inner


@pytest.mark.parametrize(
    "values", [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0), (0.5, 0, 1, 1), (0, 0, 1, 1.25)]
)
def test_windows_are_whole_and_not_empty(values: tuple[float, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        Window(*values)
    assert caught.value.exit_code == 2


def test_a_rasterio_window_with_fractions_is_refused() -> None:
    with pytest.raises(UsageError, match="whole pixels"):
        Window.of(rasterio.windows.Window(0.5, 0, 3, 3))


def test_whole_floats_become_integers() -> None:
    window = Window(1.0, 2.0, 3.0, 4.0)
    assert window == Window(1, 2, 3, 4) and type(window.row) is int and type(window.width) is int


@pytest.mark.parametrize("transform", [OFF_ORIGIN, ROTATED])
def test_a_slice_lies_where_rasterio_puts_it(transform: Affine) -> None:
    window = Window(5, 11, 20, 30)
    piece = Grid(UTM, transform, (37, 53))[window]
    assert piece.transform.almost_equals(rasterio.windows.transform(window.to_rasterio(), transform))
    assert (piece.shape, piece.crs) == ((20, 30), UTM)


@given(windows, windows, st.sampled_from([OFF_ORIGIN, ROTATED, IDENTITY]))
def test_slicing_twice_is_slicing_once(outer: Window, inner: Window, transform: Affine) -> None:
    point = GroundControlPoint(10.5, 20.25, 2.0, 48.0, 0.0)
    grid = Grid(UTM, transform, (99, 99), (point,), (("LINE_OFF", "40.5"), ("SAMP_OFF", "7.25")))
    once = grid[Window(outer.row + inner.row, outer.col + inner.col, inner.height, inner.width)]
    twice = grid[outer][inner]
    assert twice.transform.almost_equals(once.transform, 1e-6)
    assert (twice.shape, twice.gcps, twice.rpcs) == (once.shape, once.gcps, once.rpcs)


def test_points_and_coefficients_move_with_a_slice() -> None:
    point = GroundControlPoint(10.5, 20.25, 2.0, 48.0, 7.0)
    rpcs = (("LINE_OFF", "100"), ("LINE_SCALE", "55"), ("SAMP_OFF", "200.5"))
    piece = Grid(UTM, IDENTITY, (37, 53), (point,), rpcs)[Window(4, 9, 10, 10)]
    assert piece.gcps == (GroundControlPoint(6.5, 11.25, 2.0, 48.0, 7.0),)
    assert piece.rpcs == (("LINE_OFF", "96.0"), ("LINE_SCALE", "55"), ("SAMP_OFF", "191.5"))


def test_a_slice_of_a_grid_without_georeference_has_none() -> None:
    piece = Grid(UTM, IDENTITY, (37, 53))[Window(4, 9, 10, 10)]
    assert not piece.georeferenced and piece.transform == IDENTITY


def test_the_whole_window_slices_to_the_grid_itself() -> None:
    assert GRID.window == Window(0, 0, 37, 53) and GRID[GRID.window] == GRID


@pytest.mark.parametrize("transform", [OFF_ORIGIN, ROTATED])
def test_resolution_is_the_side_of_a_pixel(transform: Affine) -> None:
    assert Grid(UTM, transform, (3, 4)).resolution == pytest.approx((0.75, 0.5))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (3, 5, 5)])
def test_a_grid_has_two_sides(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        Grid(None, IDENTITY, shape)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.09, True), (0.11, False), (1.0, False)])
@pytest.mark.parametrize("axis", ["col", "row"])
def test_same_grid_to_a_tenth_of_a_pixel(shift: float, same: bool, axis: str) -> None:
    move = Affine.translation(shift, 0) if axis == "col" else Affine.translation(0, shift * 0.5 / 0.75)
    assert GRID.same_as(Grid(UTM, OFF_ORIGIN @ move, (37, 53))) is same


@pytest.mark.parametrize(
    "other",
    [
        Grid(CRS.from_epsg(32632), OFF_ORIGIN, (37, 53)),
        Grid(None, OFF_ORIGIN, (37, 53)),
        Grid(UTM, OFF_ORIGIN, (37, 54)),
        Grid(UTM, OFF_ORIGIN @ Affine.scale(1.01, 1), (37, 53)),
        Grid(UTM, OFF_ORIGIN @ Affine.translation(0, 37) @ Affine.scale(1, -1), (37, 53)),
    ],
    ids=["zone", "no crs", "wider", "coarser", "south up"],
)
def test_grids_that_differ_are_not_the_same(other: Grid) -> None:
    assert not GRID.same_as(other) and not other.same_as(GRID)


def test_same_extent_whatever_the_size() -> None:
    coarse = Grid(UTM, OFF_ORIGIN @ Affine.scale(53 / 20, 37 / 10), (10, 20))
    assert GRID.same_extent_as(coarse) and coarse.same_extent_as(GRID) and not GRID.same_as(coarse)


@pytest.mark.parametrize(("pixels", "same"), [(0.49, True), (0.51, False)])
def test_the_extent_may_be_off_by_half_a_pixel_of_the_finer_grid(pixels: float, same: bool) -> None:
    fine = Grid(UTM, OFF_ORIGIN @ Affine.scale(0.5, 0.5) @ Affine.translation(pixels, 0), (74, 106))
    assert GRID.same_extent_as(fine) is same and fine.same_extent_as(GRID) is same


def test_bounds_hold_all_corners() -> None:
    turned = Grid(None, Affine.translation(10, 20) @ Affine.rotation(30), (4, 8))
    assert turned.bounds == pytest.approx((10 - 4 * 0.5, 20, 10 + 8 * 0.75**0.5, 20 + 8 * 0.5 + 4 * 0.75**0.5))
    assert Grid(None, Affine(0.5, 0, 10, 0, 0.25, 20), (4, 8)).bounds == (10, 20, 14, 21)


def test_a_grid_introduces_itself() -> None:
    assert str(GRID) == "37 x 53 px (rows x columns), EPSG:32631, pixel 0.75 x 0.5, origin (441754.5, 5417386.25)"
    assert str(Grid(None, IDENTITY, (37, 53))) == "37 x 53 px (rows x columns), no georeference"


def test_another_shape_is_refused_with_both_grids() -> None:
    other = Grid(None, IDENTITY, (53, 37))
    require_same_shape(GRID, Grid(None, IDENTITY, (37, 53)), "image.tif", "labels.tif")
    with pytest.raises(GridMismatch) as caught:
        require_same_shape(GRID, other, "image.tif", "labels.tif")
    assert f"labels.tif ({other})" in str(caught.value) and f"image.tif ({GRID})" in str(caught.value)
    assert caught.value.exit_code == 3
