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


def test_taper_falls_steeply_over_the_overlap_to_the_least_weight():
    shares = torch.tensor([0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25])
    assert torch.allclose(taper(9, 3), shares**8, atol=1e-7)
    assert taper(1000, 400)[0] == taper(1000, 400)[-1] == torch.tensor(1e-6)


@pytest.mark.parametrize("overlap", [1, 5, 8])
def test_of_two_neighbours_the_nearer_one_decides(overlap):
    left, right = taper(20, overlap)[20 - overlap :], taper(20, overlap)[:overlap]
    assert torch.equal(left, right.flip(0)) and (left.diff() <= 0).all()
    assert overlap % 2 == 0 or left[overlap // 2] == right[overlap // 2]


def tile_scores(window: Window, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of one window, different in every window, and valid, which is the scene's."""
    random = np.random.default_rng(number)
    scores = torch.from_numpy(random.random((CLASSES, *window.shape), np.float32))
    rows, cols = np.ogrid[window.slices]
    return scores, torch.from_numpy((7 * rows + 13 * cols) % 5 < 2)


def weight(place: int, length: int, overlap: int) -> float:
    return max(min(1, (min(place, length - 1 - place) + 1) / (overlap + 1)) ** 8, 1e-6)


def whole_scene_sum(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The same as the stitcher, in float64 and in one array."""
    scores, valid = np.zeros((CLASSES, *lattice.shape)), np.zeros(lattice.shape, bool)
    for number, window in enumerate(lattice):
        tile, tile_valid = tile_scores(window, number)
        for row in range(window.height):
            for col in range(window.width):
                down = weight(row, window.height, lattice.overlap)
                across = weight(col, window.width, lattice.overlap)
                place = window.row + row, window.col + col
                scores[:, *place] += tile[:, row, col].double().numpy() * down * across
                valid[place] |= bool(tile_valid[row, col])
    return scores, valid


def stitch(lattice: Lattice, shard: Window):
    """Feed the windows that meet the shard as run_shard does; yield what comes out."""
    stitcher = Stitcher(shard, lattice, CLASSES, torch.device("cpu"))
    blocks = (
        stitcher.add(window, *tile_scores(window, n)) for n, window in enumerate(lattice) if window.intersect(shard)
    )
    yield from filter(None, blocks)


@st.composite
def lattices(draw):
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    side = draw(st.integers(2, 12))
    return Lattice(shape, side, draw(st.integers(0, side - 1)))


@settings(max_examples=25, deadline=None)
@given(lattices(), st.data())
def test_strips_add_up_to_a_whole_scene_sum(lattice, data):
    row, col = (data.draw(st.integers(0, length - 1)) for length in lattice.shape)
    height = data.draw(st.integers(1, lattice.shape[0] - row))
    width = data.draw(st.integers(1, lattice.shape[1] - col))
    shard = Window(row, col, height, width)
    scores, valid = whole_scene_sum(lattice)
    written = np.zeros(lattice.shape, int)
    for block in stitch(lattice, shard):
        assert np.allclose(block.scores, scores[:, *block.window.slices], rtol=1e-5, atol=0)
        assert np.array_equal(block.valid, valid[block.window.slices])
        written[block.window.slices] += 1
    assert (written[shard.slices] == 1).all() and written.sum() == height * width


def test_only_strips_are_kept():
    lattice = Lattice((200, 300), 16, 5)
    stitcher = Stitcher(Window(0, 3, 200, 200), lattice, CLASSES, torch.device("cpu"))
    for number, window in enumerate(lattice):
        if window.intersect(stitcher.part):
            stitcher.add(window, *tile_scores(window, number))
            kept = sum(buffer.numel() for buffer in (stitcher._above, stitcher._below, stitcher._left))
            assert kept <= CLASSES * (2 * 200 * 6 + 16 * 16)


def test_blocks_come_as_soon_as_no_later_window_touches_them():
    heights = [block.window.height for block in stitch(Lattice((30, 8), 8, 3), Window(0, 0, 30, 8))]
    assert heights == [4, 4, 5, 4, 5, 8]


def test_windows_that_hold_no_data_may_be_left_out():
    lattice, random = Lattice((90, 70), 16, 9), np.random.default_rng(2)
    valid = np.kron(random.random((9, 7)) < 0.5, np.ones((10, 10), bool))
    part = Window(7, 5, 80, 60)
    sums = []
    for leave_out in (False, True):
        stitcher = Stitcher(part, lattice, CLASSES, torch.device("cpu"))
        total = np.zeros((CLASSES, *lattice.shape), np.float32)
        for number, window in enumerate(lattice):
            here = valid[window.slices]
            if not window.intersect(part) or (leave_out and not here.any()):
                continue
            block = stitcher.add(window, tile_scores(window, number)[0], torch.from_numpy(here))
            if block:
                assert np.array_equal(block.valid, valid[block.window.slices])
                total[:, *block.window.slices] = block.scores * block.valid
        sums.append(total)
    assert np.array_equal(*sums) and (sums[0][0][part.slices] > 0).sum() == valid[part.slices].sum()


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
