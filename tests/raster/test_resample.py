"""Resampling: exact area means by hand, linear growth, and labels that are never invented."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.raster.resample import area, block_means, nearest, nearest_positions

sides = st.integers(1, 40)
shapes = st.tuples(sides, sides)


def picture(shape: tuple[int, int], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, *shape)).astype(dtype)


def everywhere(shape: tuple[int, int]) -> np.ndarray:
    return np.ones(shape, bool)


def row(*values: float, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """A raster of one band and one row, valid everywhere."""
    return np.array(values, dtype).reshape(1, 1, -1), everywhere((1, len(values)))


def test_5_pixels_to_2_by_hand() -> None:
    mean, valid = area(*row(10, 20, 30, 40, 55), (1, 2))
    assert mean.ravel() == pytest.approx([(10 + 20 + 15) / 2.5, (15 + 40 + 55) / 2.5])
    assert valid.all() and valid.shape == (1, 2)


def test_3_rows_to_2_leave_the_columns_alone() -> None:
    pixels = np.array([[[0, 3], [6, 9], [12, 30]]], np.float32)
    mean, _ = area(pixels, everywhere((3, 2)), (2, 2))
    assert mean[0] == pytest.approx(np.array([[2, 5], [10, 23]]))


def test_both_sides_at_once_by_hand() -> None:
    pixels = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    weights = np.array([[1, 0.5, 0], [0, 0.5, 1]]) / 1.5
    mean, _ = area(pixels, everywhere((3, 3)), (2, 2))
    assert mean[0] == pytest.approx(weights @ pixels[0] @ weights.T)


@given(shapes, shapes)
def test_shrinking_preserves_the_mean(shape: tuple[int, int], new: tuple[int, int]) -> None:
    new = tuple(map(min, shape, new))
    pixels = picture(shape)
    mean, valid = area(pixels, everywhere(shape), new)
    assert mean.shape == (2, *new) and valid.all()
    assert mean.mean((1, 2)) == pytest.approx(pixels.mean((1, 2)), rel=1e-4)


@given(shapes, shapes, st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]))
def test_a_constant_stays_constant(shape: tuple[int, int], new: tuple[int, int], dtype: str) -> None:
    value = np.iinfo(dtype).max if dtype in ("uint8", "uint16", "int16") else 32_769
    mean, valid = area(np.full((1, *shape), value, dtype), everywhere(shape), new)
    assert mean.dtype == dtype and (mean == value).all() and valid.all()


@pytest.mark.parametrize("value", [2**24 + 1, 2**31 - 1])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "float64"])
def test_wide_numbers_keep_their_digits(value: int, dtype: str) -> None:
    mean, _ = area(np.full((1, 4, 4), value, dtype), everywhere((4, 4)), (2, 2))
    assert (mean == value).all()


def test_only_the_valid_part_of_an_area_counts() -> None:
    pixels, valid = row(10, 250, 30, 250, 50)
    valid[0, [1, 3]] = False
    mean, still = area(pixels, valid, (1, 2))
    assert mean.ravel() == pytest.approx([(10 + 15) / 1.5, (15 + 50) / 1.5]) and still.all()


@pytest.mark.parametrize(("left", "expected"), [(4, True), (2, True), (1, False), (0, False)])
def test_half_of_the_area_must_be_valid(left: int, expected: bool) -> None:
    valid = (np.arange(4) < left).reshape(2, 2)
    assert area(np.ones((1, 2, 2), np.uint8), valid, (1, 1))[1].item() is expected


def test_nan_where_nothing_is_valid_stays_out() -> None:
    pixels, valid = row(np.nan, 2, 4, np.inf)
    valid[:] = np.isfinite(pixels[0])
    mean, still = area(pixels, valid, (1, 2))
    assert mean.ravel() == pytest.approx([2, 4]) and still.all()


@pytest.mark.parametrize(("values", "mean"), [((0, 1), 1), ((1, 2), 2), ((254, 255), 255), ((0, 0, 1), 0)])
def test_whole_numbers_round_half_up(values: tuple[int, ...], mean: int) -> None:
    assert area(*row(*values, dtype="uint8"), (1, 1))[0].item() == mean


def test_negative_whole_numbers_round_half_up_too() -> None:
    assert area(*row(-3, -2, dtype="int16"), (1, 1))[0].item() == -2


def test_growing_interpolates_between_centres() -> None:
    grown, valid = area(*row(0, 4), (1, 4))
    assert grown.ravel() == pytest.approx([0, 1, 3, 4]) and valid.all()


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (3, 7)])
def test_one_pixel_grows_to_its_own_value(shape: tuple[int, int]) -> None:
    assert (area(np.full((1, 1, 1), 7, np.uint8), everywhere((1, 1)), shape)[0] == np.full((1, *shape), 7)).all()


def test_one_side_may_shrink_while_the_other_grows() -> None:
    pixels = np.array([[[1, 3, 5, 7]]], np.float32)
    assert area(pixels, everywhere((1, 4)), (3, 2))[0][0] == pytest.approx(np.tile([2, 6], (3, 1)))


@given(shapes, shapes)
def test_nothing_leaves_the_range_of_the_pixels(shape: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = picture(shape, "uint8", seed=sum(shape))
    resampled, _ = area(pixels, everywhere(shape), new)
    assert resampled.min() >= pixels.min() and resampled.max() <= pixels.max()


def test_the_same_shape_changes_nothing() -> None:
    pixels, valid = picture((37, 53)), np.arange(37 * 53).reshape(37, 53) % 3 > 0
    same, still = area(pixels, valid, (37, 53))
    assert np.array_equal(same, pixels) and np.array_equal(still, valid)


@given(shapes, shapes)
def test_nearest_invents_no_value(shape: tuple[int, int], new: tuple[int, int]) -> None:
    labels = np.random.default_rng(1).choice([3, 90, 255], shape).astype(np.uint8)
    near = nearest(labels, new)
    assert near.shape == new and near.dtype == np.uint8 and set(near.flat) <= set(labels.flat)


@given(sides, sides)
def test_nearest_takes_the_pixel_under_the_centre(length: int, new_length: int) -> None:
    centres = (np.arange(new_length) + 0.5) * length / new_length
    positions = nearest_positions(length, new_length)
    assert (positions <= centres + 1e-9).all() and (centres <= positions + 1 + 1e-9).all()
    assert positions.min() >= 0 and positions.max() < length


@pytest.mark.parametrize(
    ("length", "new_length", "expected"),
    [(5, 2, [1, 3]), (2, 5, [0, 0, 1, 1, 1]), (4, 4, [0, 1, 2, 3]), (6, 3, [1, 3, 5]), (1, 3, [0, 0, 0]), (3, 1, [1])],
)
def test_nearest_positions_by_hand(length: int, new_length: int, expected: list[int]) -> None:
    assert nearest_positions(length, new_length).tolist() == expected


def test_nearest_keeps_rows_and_columns_apart() -> None:
    labels = np.arange(15).reshape(1, 3, 5)
    assert nearest(labels, (2, 4)).tolist() == [[[0, 1, 3, 4], [10, 11, 13, 14]]]


@given(shapes, st.integers(1, 4), st.integers(1, 4))
def test_growing_by_whole_factors_and_back_is_the_identity(shape: tuple[int, int], down: int, across: int) -> None:
    labels = np.arange(shape[0] * shape[1]).reshape(shape)
    grown = nearest(labels, (shape[0] * down, shape[1] * across))
    assert np.array_equal(grown, labels.repeat(down, 0).repeat(across, 1))
    assert np.array_equal(nearest(grown, shape), labels)


@pytest.mark.parametrize("shrink", [lambda pixels, valid: area(pixels, valid, (1, 2)), partial(block_means, factor=3)])
def test_what_goes_beyond_all_numbers_is_no_data(shrink: Callable) -> None:
    pixels = np.full((1, 3, 6), 2.0)
    pixels[0, :, :3] = 1.7e308
    pixels[0, 0, 3] = 1.7e308
    mean, valid = shrink(pixels, np.ones((3, 6), bool))
    assert valid.tolist() == [[False, True]] and mean[0, 0, 1] == pytest.approx(1.7e308 / 9)
