"""Bringing windows to another size: area means for images, nearest or the most frequent class for labels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

BEYOND_IS_NO_DATA = np.errstate(over="ignore", invalid="ignore")
"""Sums beyond all numbers are no reason to warn: their pixels become invalid."""


def nearest(index: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(..., H, W) of any dtype to (..., *shape): each pixel takes the value at its centre; no value is invented."""
    rows = nearest_positions(index.shape[-2], shape[0])
    cols = nearest_positions(index.shape[-1], shape[1])
    return index[..., rows[:, None], cols]


def nearest_positions(length: int, new_length: int) -> np.ndarray:
    """(new_length,) int64: the pixel of an axis of ``length`` that lies under the centre of each new pixel."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)


def majority(index: np.ndarray, shape: tuple[int, int], none: int) -> np.ndarray:
    """(H, W) uint8 to ``shape``, which is no larger: the most frequent value of the pixels that each new one stands
    for.

    Of values that are equally frequent the lowest; ``none`` where more than half of the pixels are ``none``.
    """
    if index.shape == shape:
        return index
    rows, cols = (
        [old * number // new for number in range(new + 1)] for old, new in zip(index.shape, shape, strict=True)
    )
    found, most = np.full(shape, none, np.uint8), np.zeros(shape, np.int64)
    # The narrowest numbers that hold a count are added fastest.
    down = np.zeros((shape[0], index.shape[1]), np.min_scalar_type(index.shape[0]))

    def counted(mask: np.ndarray) -> np.ndarray:
        for row, (first, stop) in enumerate(pairwise(rows)):
            mask[first:stop].sum(0, dtype=down.dtype, out=down[row])
        return np.add.reduceat(down, cols[:-1], axis=1, dtype=np.int64)

    for value in np.unique(index):
        if value != none:
            count = counted(index == value)
            np.copyto(found, value, where=count > most)
            np.maximum(most, count, out=most)
    empty = counted(index == none)
    found[2 * empty > np.outer(np.diff(rows), np.diff(cols))] = none
    return found


@BEYOND_IS_NO_DATA
def area(pixels: np.ndarray, valid: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(C, H, W) pixels and (H, W) valid to ``shape``, in the dtype of ``pixels``.

    Shrinking takes the mean over the area of each new pixel, of its valid part only; growing interpolates linearly.
    A new pixel is valid where at least half of its area is.
    """
    if shape == valid.shape:
        return pixels, valid
    # float32 holds every value of 8 and 16 bits.
    exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    weight = _resize(valid.astype(exact), shape)
    filled = np.where(valid, pixels, 0).astype(exact)
    mean = _resize(filled, shape) / np.maximum(weight, 1e-6)
    if np.issubdtype(pixels.dtype, np.integer):
        mean = np.floor(mean + 0.5)
    return mean.astype(pixels.dtype), (weight >= 0.5) & _is_finite(mean)


@BEYOND_IS_NO_DATA
def block_means(pixels: np.ndarray, valid: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, H, W) pixels and (H, W) valid to one pixel for each ``factor`` x ``factor``, in the dtype of ``pixels``.

    The mean of those that are valid; valid where any of them is. The last row and column are of what there is. A pixel
    comes out the same whatever else is in the array.
    """
    count = _block_sums(valid, factor, np.dtype(np.uint32))
    total = _block_sums(pixels if valid.all() else np.where(valid, pixels, 0), factor, _exact(pixels.dtype, factor))
    mean = total / np.maximum(count, 1)
    if np.issubdtype(pixels.dtype, np.integer):
        mean = np.floor(mean + 0.5)
    return mean.astype(pixels.dtype), (count > 0) & _is_finite(mean)


def block_any(mask: np.ndarray, factor: int) -> np.ndarray:
    """(H, W) bool to one pixel for each ``factor`` x ``factor``, True where any of them is."""
    return _block_sums(mask, factor, np.dtype(np.uint32)) > 0


def _is_finite(mean: np.ndarray) -> np.ndarray | bool:
    """(H, W) bool: False where sums of float64's largest numbers went beyond it."""
    return True if mean.dtype == np.float32 else np.isfinite(mean).all(0)


def _exact(dtype: np.dtype, factor: int) -> np.dtype:
    """What holds sums of ``factor`` ** 2 values: uint32, which is added fastest, where it does."""
    small = np.issubdtype(dtype, np.unsignedinteger) and np.iinfo(dtype).max * factor**2 < 2**32
    return np.dtype(np.uint32 if small else np.float64)


def _block_sums(values: np.ndarray, factor: int, dtype: np.dtype) -> np.ndarray:
    for axis in (-2, -1):
        values = np.swapaxes(values, axis, -2)
        sums = np.zeros((*values.shape[:-2], -(-values.shape[-2] // factor), values.shape[-1]), dtype)
        for first in range(min(factor, values.shape[-2])):
            part = values[..., first::factor, :]
            sums[..., : part.shape[-2], :] += part
        values = np.swapaxes(sums, axis, -2)
    return values


def _resize(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    for axis, length in ((-2, shape[0]), (-1, shape[1])):
        if length != values.shape[axis]:
            values = np.swapaxes(_resize_last(np.swapaxes(values, axis, -1), length), axis, -1)
    return values


def _resize_last(values: np.ndarray, length: int) -> np.ndarray:
    return _mean_over_area(values, length) if length < values.shape[-1] else _interpolate(values, length)


def _mean_over_area(values: np.ndarray, length: int) -> np.ndarray:
    """Exact means over fractional intervals: sums of whole pixels, and shares of those that two intervals divide.

    Each interval is summed by itself: a running sum would carry one huge value into all that follow.
    """
    old = values.shape[-1]
    edges = np.arange(length) * (old / length)
    left = edges.astype(np.int64)
    sums = np.add.reduceat(values, left, axis=-1, dtype=np.float64)
    before = (edges - left) * values[..., left]
    sums -= before
    sums[..., :-1] += before[..., 1:]
    return (sums * (length / old)).astype(values.dtype)


def _interpolate(values: np.ndarray, length: int) -> np.ndarray:
    old = values.shape[-1]
    centres = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
    left = np.minimum(centres.astype(np.int64), max(old - 2, 0))
    right = np.minimum(left + 1, old - 1)
    share = (centres - left).astype(values.dtype)
    return values[..., left] * (1 - share) + values[..., right] * share
