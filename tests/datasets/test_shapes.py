"""Noise, distances, numbers and moved maps of the synthetic landscape."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets.shapes import (
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
