"""Balance: places of training windows drawn by class, so that rare classes are seen as often as frequent ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from geoseg.grid import Window

PLACE_STREAM = 5
"""Keeps the draw of remembered pixels apart from those of the other modules."""
REMEMBERED = 4096
"""Pixels of each class that are remembered of a scene, drawn evenly from all it has."""

ReadIndices = Callable[[int], Iterable[tuple[Window, np.ndarray]]]
"""Gives the class indices of the scene of a number, window by window."""


class Balance:
    """Draws a class evenly, a scene by how many pixels of the class it has, and one of these pixels.

    A pixel of a rare class is thus as likely as its class is rare. Scenes are looked through when they are first drawn.

    Args:
        counts: (S, K) pixels of each class in each scene; a class or scene of zeros is never drawn.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self._classes = np.flatnonzero(counts.any(0))
        self._counts = counts
        self._pixels: dict[int, dict[int, np.ndarray]] = {}

    def draw(self, random: np.random.Generator, read: ReadIndices) -> tuple[int, tuple[int, int]]:
        """The number of a scene, and row and column of a pixel in it."""
        drawn = int(random.choice(self._classes))
        column = self._counts[:, drawn]
        number = int(random.choice(len(column), p=column / column.sum()))
        if number not in self._pixels:
            self._pixels[number] = _remembered(number, read(number))
        row, col = random.choice(self._pixels[number][drawn])
        return number, (int(row), int(col))


def _remembered(number: int, parts: Iterable[tuple[Window, np.ndarray]]) -> dict[int, np.ndarray]:
    """For each class index of a scene (P, 2) int32 rows and columns of at most REMEMBERED of its pixels."""
    random = np.random.default_rng((PLACE_STREAM, number))
    kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for window, index in parts:
        for drawn, pixels in _by_class(window, index):
            # The pixels with the smallest of evenly drawn keys are an even draw, however the scene comes in parts.
            keys = random.random(len(pixels))
            if drawn in kept:
                keys, pixels = (np.concatenate(both) for both in zip(kept[drawn], (keys, pixels), strict=True))
            first = np.argsort(keys)[:REMEMBERED]
            kept[drawn] = keys[first], pixels[first]
    return {drawn: pixels for drawn, (_, pixels) in kept.items()}


def _by_class(window: Window, index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    order = np.argsort(index, axis=None, kind="stable")
    starts = np.searchsorted(index.ravel()[order], np.arange(257))
    for drawn in np.flatnonzero(np.diff(starts)):
        rows, cols = np.divmod(order[starts[drawn] : starts[drawn + 1]], index.shape[1])
        yield int(drawn), np.stack([rows + window.row, cols + window.col], 1).astype(np.int32)
