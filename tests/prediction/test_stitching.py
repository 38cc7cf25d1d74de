"""Blend weights, the rolling buffer against a whole-scene sum, and the running maximum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.prediction.stitching import Stitcher, rank, taper
from geoseg.tiling import Lattice

CLASSES = 3


@pytest.mark.parametrize(("length", "overlap"), [(1, 0), (1, 7), (2, 1), (8, 0), (8, 3), (9, 4), (9, 8), (33, 12)])
def test_taper_is_positive_symmetric_and_at_most_one(length, overlap):
    weights = taper(length, overlap)
    assert weights.shape == (length,)
    assert (weights > 0).all() and (weights <= 1).all()
    assert torch.equal(weights, weights.flip(0))


def test_taper_falls_linearly_over_the_overlap():
    expected = torch.tensor([0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25])
    assert torch.allclose(taper(9, 3), expected, atol=1e-7)


@pytest.mark.parametrize("overlap", [0, 1, 5, 8])
def test_weights_of_two_neighbours_are_the_same_everywhere_in_their_overlap(overlap):
    left, right = taper(20, overlap)[20 - overlap :], taper(20, overlap)[:overlap]
    assert torch.allclose(left + right, torch.ones(overlap), atol=1e-6)


def tile_scores(window: Window, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and valid of one window, different in every window."""
    random = np.random.default_rng(number)
    scores = torch.from_numpy(random.random((CLASSES, *window.shape), np.float32))
    return scores, torch.from_numpy(random.random(window.shape) < 0.4)


def whole_scene_sum(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The same as the stitcher, in float64 and without a rolling buffer."""
    scores, valid = np.zeros((CLASSES, *lattice.shape)), np.zeros(lattice.shape, bool)
    for number, window in enumerate(lattice):
        tile, tile_valid = tile_scores(window, number)
        for row in range(window.height):
            for col in range(window.width):
                down = min(1, (min(row, window.height - 1 - row) + 1) / (lattice.overlap + 1))
                across = min(1, (min(col, window.width - 1 - col) + 1) / (lattice.overlap + 1))
                place = window.row + row, window.col + col
                scores[:, *place] += tile[:, row, col].double().numpy() * down * across
                valid[place] |= bool(tile_valid[row, col])
    return scores, valid


def stitch(lattice: Lattice, shard: Window):
    """Feed the windows that meet the shard as run_shard does; yield what comes out."""
    height, width = (min(lattice.side, length) for length in lattice.shape)
    stitcher = Stitcher(shard, (height, width), lattice.overlap, CLASSES, torch.device("cpu"))
    rows = lattice.rows_meeting(shard)
    for row, following in zip(rows, [*rows[1:], shard.row_stop], strict=True):
        for number, window in enumerate(lattice):
            if window.row == row and window.intersect(shard):
                stitcher.add(window, *tile_scores(window, number))
        yield from stitcher.rows_until(following, 1_000_000)


@st.composite
def lattices(draw):
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    side = draw(st.integers(2, 12))
    return Lattice(shape, side, draw(st.integers(0, side - 1)))


@settings(max_examples=25, deadline=None)
@given(lattices(), st.data())
def test_rolling_buffer_equals_a_whole_scene_sum(lattice, data):
    row, col = (data.draw(st.integers(0, length - 1)) for length in lattice.shape)
    height = data.draw(st.integers(1, lattice.shape[0] - row))
    width = data.draw(st.integers(1, lattice.shape[1] - col))
    shard = Window(row, col, height, width)
    scores, valid = whole_scene_sum(lattice)
    written = np.zeros(lattice.shape, int)
    for rows in stitch(lattice, shard):
        assert np.allclose(rows.scores, scores[:, *rows.window.slices], atol=1e-5)
        assert np.array_equal(rows.valid, valid[rows.window.slices])
        written[rows.window.slices] += 1
    assert (written[shard.slices] == 1).all() and written.sum() == height * width


def test_buffer_never_holds_more_rows_than_one_window():
    lattice = Lattice((200, 30), 16, 5)
    for rows in stitch(lattice, Window(0, 3, 200, 20)):
        assert rows.scores.untyped_storage().nbytes() == 4 * CLASSES * 16 * 20
        assert rows.window.height <= 16


def test_rows_come_as_soon_as_no_later_window_touches_them():
    heights = [rows.window.height for rows in stitch(Lattice((30, 8), 8, 3), Window(0, 0, 30, 8))]
    assert heights == [5, 5, 5, 5, 2, 8]


@pytest.mark.parametrize("levels", [2, 3, 1000])
@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4, 5), (1, 2, 4, 5, 6, 200)])
def test_rank_is_argmax_with_the_first_of_equals(levels, indices):
    scores = torch.randint(0, levels, (6, 37, 53), generator=torch.Generator().manual_seed(levels)).float()
    assert np.array_equal(rank(scores, indices).index, np.array(indices)[scores.numpy().argmax(0)])


def test_rank_shows_a_score_that_is_not_a_number():
    scores = torch.rand(3, 4, 5)
    scores[1, 2, 3] = torch.nan
    assert rank(scores, (0, 1, 2)).best.isnan().sum() == 1


def test_rank_leaves_the_scores_as_they_are():
    scores = torch.rand(4, 5, 6)
    before = scores.clone()
    rank(scores, range(4))
    assert torch.equal(scores, before)
