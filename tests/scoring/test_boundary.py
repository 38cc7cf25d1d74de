"""Boundary IoU: by hand, against distances measured pair by pair, and window by window."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from scipy.ndimage import distance_transform_edt

from geoseg.errors import InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import NO_CLASS
from geoseg.scoring.boundary import BoundaryCounts, PixelSize, count_boundary, halo
from geoseg.tiling import blocks


def whole(
    truth: np.ndarray, prediction: np.ndarray, size: PixelSize, distance: float, classes: int, ignored=()
) -> BoundaryCounts:
    return count_boundary(truth, prediction, Window(0, 0, *truth.shape), size, distance, classes, ignored)


def windowed(
    truth: np.ndarray, prediction: np.ndarray, size: PixelSize, distance: float, classes: int, ignored, side: int
) -> BoundaryCounts:
    """As the scoring loop does it: windows grown by the halo, added up."""
    total = BoundaryCounts.empty(distance, size, classes)
    for window in blocks(truth.shape, side):
        outer = window.grown(*halo(distance, size), truth.shape)
        pair = truth[outer.slices], prediction[outer.slices]
        total += count_boundary(*pair, window.relative_to(outer), size, distance, classes, ignored)
    return total


def band_by_hand(index: np.ndarray, size: tuple[float, float], distance: float, of_class: int) -> set[tuple[int, int]]:
    """Pixels of a class within a distance of a pixel of another class that shares a side with the class: all pairs."""
    pixels = {place: int(value) for place, value in np.ndenumerate(index) if value != NO_CLASS}
    across = {
        (row, col)
        for (row, col), value in pixels.items()
        if value != of_class
        and of_class in (pixels.get((row + down, col + right)) for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    }
    return {
        (row, col)
        for (row, col), value in pixels.items()
        if value == of_class
        and any(np.hypot((row - r) * size[0], (col - c) * size[1]) <= distance + 1e-6 for r, c in across)
    }


def counts_by_hand(
    truth: np.ndarray, prediction: np.ndarray, size: tuple[float, float], distance: float, classes: int, ignored=()
) -> tuple[list[int], list[int]]:
    scored = ~np.isin(truth, (NO_CLASS, *ignored))
    intersection, union = [], []
    for c in range(classes):
        mine, theirs = (
            band_by_hand(np.where(scored, index, NO_CLASS), size, distance, c) for index in (truth, prediction)
        )
        intersection.append(0 if c in ignored else len(mine & theirs))
        union.append(0 if c in ignored else len(mine | theirs))
    return intersection, union


def patches(seed: int, shape: tuple[int, int] = (17, 23), classes: int = 4, side: int = 5) -> np.ndarray:
    """Patches of classes, with pixels of another, and some without any."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-shape[0] // side), -(-shape[1] // side)))
    index = np.kron(coarse, np.ones((side, side), int))[: shape[0], : shape[1]].astype(np.uint8)
    odd = rng.random(shape)
    index[odd < 0.05] = rng.integers(0, classes)
    index[odd > 0.95] = NO_CLASS
    return index


# By hand


def square(row: int, col: int, side: int = 4, shape: tuple[int, int] = (12, 13)) -> np.ndarray:
    index = np.zeros(shape, np.uint8)
    index[row : row + side, col : col + side] = 1
    return index


def test_a_square_shifted_by_a_pixel() -> None:
    counts = whole(square(4, 4), square(4, 5), None, 1, 2)
    # Rings of 12 pixels share three of the four pixels of the upper and of the lower row, no more: their columns
    # stand at 4, 7 and at 5, 8.
    assert (counts.intersection[1], counts.union[1]) == (6, 12 + 12 - 6)
    # Around a 4 x 4 square lie 16 pixels; those above and below are shared in 3 columns.
    assert (counts.intersection[0], counts.union[0]) == (6, 16 + 16 - 6)
    assert counts.iou() == pytest.approx([6 / 26, 6 / 18]) and counts.mean_iou() == pytest.approx((6 / 26 + 6 / 18) / 2)


def test_one_pixel_of_distance_is_a_band_of_one_pixel() -> None:
    halves = np.repeat(np.array([[0] * 5 + [1] * 6], np.uint8), 7, 0)
    for distance, columns in ((1, 1), (1.99, 1), (2, 2), (3.5, 3), (99, 5)):
        union = whole(halves, halves, None, distance, 2).union
        assert union.tolist() == [7 * columns, 7 * (columns if distance < 99 else 6)]


def test_metres_are_measured_across_unequal_pixels() -> None:
    index = np.zeros((11, 15), np.uint8)
    index[5, 7] = 1
    union = whole(index, index, (0.5, 0.75), 1.5, 2).union
    # Of the four pixels that surround the one, to the pixel itself: 3 rows down, 2 columns across, and between.
    inside = [(r, c) for r in range(-5, 6) for c in range(-7, 8) if 0 < np.hypot(r * 0.5, c * 0.75) <= 1.5]
    assert union.tolist() == [len(inside), 1]


@pytest.mark.parametrize("distance", [0.3, 0.6, 0.7])
def test_a_multiple_of_the_pixel_is_within_it_whatever_its_rounding(distance: float) -> None:
    halves = np.repeat(np.array([[0] * 9 + [1] * 9], np.uint8), 3, 0)
    assert whole(halves, halves, (0.1, 0.1), distance, 2).union[0] == 3 * round(distance / 0.1)


def test_the_scene_s_edge_and_what_is_not_scored_are_no_borders() -> None:
    index = np.full((9, 11), 2, np.uint8)
    index[3] = NO_CLASS
    index[5] = 6
    assert whole(index, index, None, 3, 7, ignored=(6,)).union.sum() == 0


def test_a_border_does_not_shine_through_what_is_not_scored() -> None:
    index = np.repeat(np.array([[0, 0, NO_CLASS, 1, 1]], np.uint8), 3, 0)
    assert whole(index, index, None, 4, 2).union.sum() == 0
    # Where the strip has a gap there is a border, and pixels beside the strip are as far from it as from any.
    index[1, 2] = 1
    assert whole(index, index, None, 1.5, 2).union.tolist() == [3, 1 + 0]


def test_missing_predictions_are_missed_where_the_truth_has_a_border_and_make_none() -> None:
    truth = np.repeat(np.array([[0, 0, 0, 1, 1, 1]], np.uint8), 4, 0)
    prediction = truth.copy()
    prediction[:2] = NO_CLASS
    counts = whole(truth, prediction, None, 1, 2)
    assert counts.intersection.tolist() == [2, 2] and counts.union.tolist() == [4, 4]
    prediction[:] = 0
    prediction[:2] = NO_CLASS
    assert whole(truth, prediction, None, 1, 2).union.tolist() == [4, 4]


def test_predictions_of_an_ignored_class_are_wrong_and_have_no_figure() -> None:
    truth = np.zeros((5, 8), np.uint8)
    prediction = truth.copy()
    prediction[2, 3] = 1
    counts = whole(truth, prediction, None, 1, 2, ignored=(1,))
    assert counts.union.tolist() == [4, 0] and counts.intersection.tolist() == [0, 0]
    assert counts.iou()[0] == 0 and np.isnan(counts.iou()[1])


def test_no_border_anywhere_is_no_figure() -> None:
    index = np.zeros((4, 5), np.uint8)
    counts = whole(index, index, None, 1, 3)
    assert np.isnan(counts.iou()).all() and np.isnan(counts.mean_iou())


# Oracles


@pytest.mark.parametrize(("size", "distance"), [((0.5, 0.75), 1.6), ((1.25, 0.4), 2.0), ((1, 1), 1), ((2, 3), 40)])
@pytest.mark.parametrize("seed", range(4))
def test_against_all_pairs_of_pixels(seed: int, size: tuple[float, float], distance: float) -> None:
    truth, prediction = patches(seed), patches(seed + 50, side=4)
    counts = whole(truth, prediction, size, distance, 4, ignored=(3,))
    expected = counts_by_hand(truth, prediction, size, distance, 4, ignored=(3,))
    assert (counts.intersection.tolist(), counts.union.tolist()) == expected and sum(expected[0]) > 10


def test_against_scipy_s_distances_with_twenty_classes() -> None:
    rng = np.random.default_rng(5)
    truth, prediction = (np.kron(rng.integers(0, 20, (9, 11)), np.ones((13, 11), int)).astype(np.uint8) for _ in "12")
    size, distance = (0.6, 1.1), 3.7
    counts = whole(truth, prediction, size, distance, 20)
    for c in range(20):
        mine, theirs = (
            (index == c) & (distance_transform_edt(index == c, sampling=size) <= distance)
            for index in (truth, prediction)
        )
        assert (counts.intersection[c], counts.union[c]) == ((mine & theirs).sum(), (mine | theirs).sum())


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 45),
    st.floats(1, 9),
    st.sampled_from([None, (0.5, 0.75), (1.0, 0.3)]),
)
def test_windows_add_up_to_the_whole_scene(
    seed: int, shape: tuple[int, int], side: int, distance: float, size: PixelSize
) -> None:
    truth, prediction = patches(seed, shape, 12), patches(seed + 1, shape, 12, 3)
    expected = whole(truth, prediction, size, distance, 12, (4,))
    assert windowed(truth, prediction, size, distance, 12, (4,), side) == expected


def test_a_halo_less_by_a_pixel_is_seen() -> None:
    """The windows' halo is as large as it must be: on a diagonal raster a smaller one changes the sum."""
    found = set()
    for seed, less in itertools.product(range(20), (0, 1)):
        truth, prediction = patches(seed, (30, 31), 3), patches(seed + 1, (30, 31), 3)
        total = BoundaryCounts.empty(3, None, 3)
        for window in blocks(truth.shape, 7):
            rows, cols = halo(3, None)
            outer = window.grown(rows - less, cols - less, truth.shape)
            inner = window.relative_to(outer)
            total += count_boundary(truth[outer.slices], prediction[outer.slices], inner, None, 3, 3)
        found.add((less, total == whole(truth, prediction, None, 3, 3)))
    assert (0, False) not in found and (1, False) in found


# The door


@pytest.mark.parametrize("distance", [0, -1, 0.6, float("nan"), float("inf")])
def test_a_distance_below_a_pixel_is_refused(distance: float) -> None:
    with pytest.raises(UsageError, match=r"not at least one pixel, which is 0.5 x 0.75 m"):
        halo(distance, (0.5, 0.75))


def test_the_halo_in_pixels() -> None:
    assert halo(3, None) == (4, 4) and halo(1.5, (0.5, 0.75)) == (4, 3)


def test_counts_of_other_distances_units_and_legends_do_not_add() -> None:
    first = BoundaryCounts.empty(5, None, 3)
    for other in (
        BoundaryCounts.empty(6, None, 3),
        BoundaryCounts.empty(5, (1, 1), 3),
        BoundaryCounts.empty(5, None, 4),
    ):
        with pytest.raises(InputError, match="do not add"):
            _ = first + other


def test_indices_beyond_the_legend_are_refused() -> None:
    index = np.zeros((3, 4), np.uint8)
    with pytest.raises(InputError, match="beyond the legend's 2 classes"):
        whole(index, index + np.uint8(2), None, 1, 2)


def test_pixel_sizes_in_metres() -> None:
    def grid(epsg: int | None, transform: Affine) -> Grid:
        return Grid(CRS.from_epsg(epsg) if epsg else None, transform, (10, 10))

    assert grid(32631, Affine(0.5, 0, 4e5, 0, -0.75, 5e6)).pixel_metres == (0.75, 0.5)
    assert grid(2263, Affine(10.0, 0, 1e6, 0, -20.0, 2e5)).pixel_metres == pytest.approx((6.096012, 3.048006))
    assert grid(None, Affine(0.5, 0, 4e5, 0, -0.75, 5e6)).pixel_metres is None
    # A degree at 60 degrees north is 111412 m along the meridian and 55800 m along the parallel.
    degrees = grid(4326, Affine(1e-5, 0, 2.0, 0, -1e-5, 60.0)).pixel_metres
    assert degrees == pytest.approx((1.11412, 0.55800), rel=1e-5)
