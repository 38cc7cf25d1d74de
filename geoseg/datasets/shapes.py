"""Noise, scattered points and winding lines: the shapes that a synthetic landscape is made of.

All maps are (H, W) arrays at 2 m per pixel and all lengths are metres.
"""

from __future__ import annotations

import numpy as np

GSD = 2.0  # metres per pixel


def smooth_noise(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth random field (H, W), float32, unit variance, with features of about `size` metres."""
    step = max(1, round(size / GSD))
    t = (np.arange(step, dtype=np.float32)[:, None] + 0.5) / step
    spline = np.hstack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3]) / 6
    lattice = rng.standard_normal([-(-n // step) + 3 for n in shape], dtype=np.float32)
    field = stretch(stretch(lattice, spline).T, spline).T
    return field[: shape[0], : shape[1]] / np.square(spline).sum(axis=1).mean()


def stretch(lattice: np.ndarray, spline: np.ndarray) -> np.ndarray:
    """Interpolate the rows of (N + 3, M) to (N * steps, M) with the (steps, 4) weights."""
    windows = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(lattice), 4, axis=0)
    return (spline @ windows.transpose(0, 2, 1)).reshape(-1, lattice.shape[1])


def rough_noise(shape: tuple[int, int], size: float, rng: np.random.Generator, octaves: int = 4) -> np.ndarray:
    """Fractal random field (H, W), float32: smooth noise with finer and weaker noise on top."""
    field = smooth_noise(shape, size, rng)
    for octave in range(1, octaves):
        field += 0.45**octave * smooth_noise(shape, size / 2**octave, rng)
    return field


def nearest_points(
    x: np.ndarray, y: np.ndarray, spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scatter points about `spacing` metres apart; find the two nearest to each place.

    Returns the points (N, 2) and, like x, the numbers of the nearest and the second.
    """
    points, home, cols = scatter_points(x, y, spacing, rng)
    best, next_best = np.full((2, *x.shape), np.inf, dtype=np.float32)
    nearest, second = home.copy(), home.copy()
    for shift in (i * cols + j for i in (-1, 0, 1) for j in (-1, 0, 1)):
        number = home + shift
        distance = (x - points[number, 0]) ** 2 + (y - points[number, 1]) ** 2
        closer, next_closer = distance < best, distance < next_best
        second = np.where(closer, nearest, np.where(next_closer, number, second))
        next_best = np.where(closer, best, np.where(next_closer, distance, next_best))
        nearest, best = np.where(closer, number, nearest), np.minimum(distance, best)
    return points, nearest, second


def scatter_points(
    x: np.ndarray, y: np.ndarray, spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """One random point in each square of a grid that reaches one square beyond all places.

    Returns the points (N, 2), for each place the number of the point in its own
    square, and the number of points in a row of squares.
    """
    col = np.floor(x / spacing).astype(np.int32)
    row = np.floor(y / spacing).astype(np.int32)
    left, top = col.min() - 1, row.min() - 1
    rows, cols = row.max() - top + 2, col.max() - left + 2
    corners = np.stack(np.meshgrid(np.arange(cols) + left, np.arange(rows) + top), axis=-1)
    points = (corners + rng.uniform(0.1, 0.9, corners.shape)) * spacing
    return points.astype(np.float32).reshape(-1, 2), (row - top) * cols + (col - left), int(cols)


def uneven_slots(
    position: np.ndarray, row: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut lines into slots of uneven length, anew for each `row` number.

    `position` is in mean slot lengths. Returns the number of the slot (unique over the
    rows) and the distances to its start and to its end, in mean slot lengths.
    """
    slot = np.floor(position).astype(np.int32)
    first = slot.min() - 1
    slot -= first
    delay = rng.uniform(0.0, 0.6, (row.max() + 1, slot.max() + 2)).astype(np.float32)
    slot -= position - first < slot + delay[row, slot]
    begin = position - first - slot - delay[row, slot]
    end = slot + 1 + delay[row, slot + 1] - position + first
    return renumber(row * delay.shape[1] + slot), begin, end


def renumber(numbers: np.ndarray) -> np.ndarray:
    """The same labels, int32, without gaps."""
    used = np.bincount(numbers.ravel()) > 0
    return (np.cumsum(used, dtype=np.int32) - 1)[numbers]


def mean_by(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Give every pixel the mean of `values` over the pixels with its number."""
    totals = np.bincount(numbers.ravel(), weights=values.ravel())
    return (totals / np.maximum(np.bincount(numbers.ravel()), 1)).astype(np.float32)[numbers]


def winding_line(x: np.ndarray, y: np.ndarray, spacing: float, swing: float, rng: np.random.Generator) -> np.ndarray:
    """Metres to the nearest of some winding lines, `spacing` apart; one passes mid-scene."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25)
    along, across = turn(x - x.mean(), y - y.mean(), angle)
    across = across + offset * min(spacing, np.ptp(x), np.ptp(y))
    line = np.round(across / spacing)
    sway, slope = np.zeros_like(along), np.zeros_like(along)
    for length, part in ((900.0, 1.0), (430.0, 0.55), (190.0, 0.15)):
        length = length * rng.uniform(0.8, 1.2)
        phase = 2 * np.pi * along / length + rng.uniform(0, 2 * np.pi) + 2.4 * line
        sway += swing * part * np.sin(phase)
        slope += swing * part * np.cos(phase) * np.float32(2 * np.pi / length)
    return np.abs(across - line * spacing - sway) / np.sqrt(1 + slope**2)


def turn(x: np.ndarray, y: np.ndarray, angle: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across the direction `angle` (radians), one or like x."""
    cos, sin = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    return x * cos + y * sin, y * cos - x * sin


def shifted(field: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The map moved by (rows, columns); what moves in is 0."""
    out = np.zeros_like(field)
    down, right = int(step[0]), int(step[1])
    height, width = field.shape
    if abs(down) >= height or abs(right) >= width:
        return out
    target = out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    target[...] = field[max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    return out
