"""Parts of the synthetic landscape: shares, noise, distances, moved maps."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets.landscape import (
    BARREN,
    FOREST,
    RANGELAND,
    URBAN,
    WATER,
    claim,
    draw_land,
    mean_by,
    nearest_points,
    renumber,
    rough_noise,
    shifted,
    smooth_noise,
    turn,
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(32, 32), (33, 90), (128, 40)])
def test_land_has_the_shape_and_the_classes_asked_for(rng, shape):
    shares = {URBAN: 0.2, RANGELAND: 0.0, FOREST: 0.3, WATER: 0.1, BARREN: 0.0}
    picture, index, sun = draw_land(shape, shares, rng)
    assert picture.shape == (*shape, 3) and picture.dtype == np.float32 and np.isfinite(picture).all()
    assert index.shape == shape and index.dtype == np.uint8
    assert not np.isin(index, (RANGELAND, BARREN)).any() and (index == FOREST).mean() == pytest.approx(0.3, abs=0.05)
    assert sun.shape == (2,)


def test_claim_takes_the_best_of_what_is_free(rng):
    score, free = rng.random((20, 20)), rng.random((20, 20)) < 0.5
    mask = claim(score, free, 0.1)
    assert mask.sum() == 40 and not (mask & ~free).any()
    assert score[mask].min() > score[free & ~mask].max()
    assert not claim(score, free, 0).any() and np.array_equal(claim(score, free, 0.9), free)


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (37, 53)])
def test_noise_has_the_shape_asked_for(rng, shape):
    for field in (smooth_noise(shape, 12.0, rng), rough_noise(shape, 100.0, rng)):
        assert field.shape == shape and field.dtype == np.float32 and np.isfinite(field).all()


def test_smooth_noise_has_unit_variance_and_no_steps(rng):
    field = smooth_noise((600, 600), 20.0, rng)
    assert field.std() == pytest.approx(1, abs=0.1) and abs(field.mean()) < 0.1
    assert np.abs(np.diff(field, axis=0)).max() < 0.8


def test_nearest_points_are_the_two_nearest(rng):
    x, y = (axis.astype(np.float32) for axis in np.meshgrid(np.arange(0, 300, 7), np.arange(0, 200, 7)))
    points, first, second = nearest_points(x, y, 50.0, rng)
    distance = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1])
    order = np.sort(distance, -1)
    assert np.allclose(np.take_along_axis(distance, first[..., None], -1)[..., 0], order[..., 0], atol=1e-3)
    assert (first != second).all()


@pytest.mark.parametrize("step", [(0, 0), (2, 1), (-1, 3), (-3, -2), (0, 9), (50, 0)])
def test_shifted_moves_and_fills_with_zero(step):
    field = np.arange(1, 36, dtype=float).reshape(5, 7)
    moved = shifted(field, np.array(step))
    for (row, col), value in np.ndenumerate(moved):
        from_row, from_col = row - step[0], col - step[1]
        inside = 0 <= from_row < 5 and 0 <= from_col < 7
        assert value == (field[from_row, from_col] if inside else 0)


def test_renumber_closes_gaps():
    assert renumber(np.array([[7, 3], [3, 90]])).tolist() == [[1, 0], [0, 2]]


def test_mean_by_gives_each_pixel_the_mean_of_its_number():
    assert mean_by(np.array([0, 2, 2, 0]), np.array([1.0, 5.0, 7.0, 2.0])).tolist() == [1.5, 6, 6, 1.5]


def test_turn_keeps_lengths(rng):
    x, y = rng.random((2, 50)).astype(np.float32)
    along, across = turn(x, y, 0.7)
    assert np.allclose(np.hypot(along, across), np.hypot(x, y), atol=1e-6)
    assert np.allclose(turn(np.float32(1), np.float32(0), np.pi / 2), (0, -1), atol=1e-6)
