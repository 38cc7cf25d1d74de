"""Counting pairs of values: against one look-up per pixel, for smooth and for rough rasters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg import counting
from geoseg.counting import count_pairs, fold
from geoseg.legend import NO_CLASS


def one_by_one(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    counts = np.zeros((256, 256), np.int64)
    np.add.at(counts, (first.ravel(), second.ravel()), 1)
    return counts


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60), st.integers(1, 30), st.sampled_from([2, 6, 256])
)
def test_as_one_by_one(seed: int, height: int, width: int, smooth: int, values: int) -> None:
    draw = np.random.default_rng(seed)
    pair = [
        np.repeat(draw.integers(0, values, (height, -(-width // smooth)), np.uint8), smooth, axis=1)[:, :width]
        for _ in range(2)
    ]
    assert np.array_equal(count_pairs(*pair), one_by_one(*pair))


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("which", [0, 1])
def test_one_odd_pixel_in_a_word_is_seen(place: int, which: int) -> None:
    pair = np.zeros((2, 1, 24), np.uint8)
    pair[which, 0, 8 + place] = 7
    assert np.array_equal(count_pairs(*pair), one_by_one(*pair))


def test_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 3, (2, 37, 53), np.uint8)
    monkeypatch.setattr(counting, "PIECE", 64)
    assert np.array_equal(count_pairs(first, second[:, ::1]), one_by_one(first, second))
    assert np.array_equal(count_pairs(first.T, second.T), one_by_one(first, second))


def test_folding_by_hand() -> None:
    truth = np.array([[10, 10, 20, 99, 30]], np.uint8)
    prediction = np.array([[10, 20, 255, 10, 30]], np.uint8)
    table = np.full(256, -1, np.int16)
    table[[10, 20, 30, 99, 255]] = [1, 0, 2, NO_CLASS, NO_CLASS]
    # Rows 20, 10, 30; the pixel of 99 has no truth.
    expected = np.array([[0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0]])
    joint = count_pairs(truth, prediction)
    assert np.array_equal(fold(joint, table, table, 3), expected)
    assert np.array_equal(fold(joint * 0.25, table, table, 3), expected * 0.25)
