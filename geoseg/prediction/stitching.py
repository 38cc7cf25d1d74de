"""Blending the scores of overlapping tiles, row by row, in a buffer that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from geoseg.grid import Window


class ScoredRows(NamedTuple):
    """Finished rows of a shard."""

    window: Window
    """Where they are in the scene."""
    scores: Tensor
    """(S, height, width) float32 sums of weighted scores; only their order and ratio matter, not their sum."""
    valid: Tensor
    """(height, width) bool, True where there is data."""


def taper(length: int, overlap: int, device: torch.device | None = None) -> Tensor:
    """(length,) float32 blend weights: 1 inside, falling linearly over ``overlap`` pixels to either border.

    Strictly positive, so that a pixel that only one tile covers has that tile's scores.
    """
    steps = torch.arange(length, device=device)
    to_border = torch.minimum(steps, length - 1 - steps)
    return ((to_border + 1) / (overlap + 1)).clamp(max=1)


class Stitcher:
    """The rolling buffer of one shard: as wide as the shard, as high as one window.

    Windows are added in row-major order of the lattice, so every pixel sums its tiles in the same order in any shard.
    """

    def __init__(self, shard: Window, window_shape: tuple[int, int], overlap: int, classes: int, device: torch.device):
        self.shard = shard
        self._first = shard.row
        height, width = window_shape
        self._weights = taper(height, overlap, device)[:, None] * taper(width, overlap, device)
        self._scores = torch.zeros(classes, height, shard.width, device=device)
        self._valid = torch.zeros(height, shard.width, dtype=torch.bool, device=device)

    def add(self, window: Window, scores: Tensor, valid: Tensor) -> None:
        """Add the scores (S, h, w) and valid (h, w) of one window; what lies outside the shard is left out."""
        inside = window.intersect(self.shard)
        source = inside.relative_to(window).slices
        rows, cols = slice(inside.row - self._first, inside.row_stop - self._first), self._columns(inside)
        self._scores[:, rows, cols] += scores[:, *source] * self._weights[source]
        self._valid[rows, cols] |= valid[source]

    def rows_until(self, stop: int) -> Iterator[ScoredRows]:
        """Give the rows before scene row ``stop``, which no later window touches, and forget them."""
        count = min(stop, self.shard.row_stop) - self._first
        if count > 0:
            window = Window(self._first, self.shard.col, count, self.shard.width)
            yield ScoredRows(window, self._scores[:, :count], self._valid[:count])
            self._roll(count)

    def _columns(self, inside: Window) -> slice:
        return slice(inside.col - self.shard.col, inside.col_stop - self.shard.col)

    def _roll(self, count: int) -> None:
        kept = self._scores.shape[1] - count
        for buffer in (self._scores, self._valid[None]):
            buffer[:, :kept] = buffer[:, count:].clone()
            buffer[:, kept:] = 0
        self._first += count


def most_likely(scores: Tensor) -> Tensor:
    """(S, H, W) scores to (H, W) uint8 places of the largest; the first of equals.

    A running maximum over planes: several times faster than argmax over a strided axis.
    """
    best = scores[0].clone()
    place = torch.zeros_like(best, dtype=torch.uint8)
    for number, plane in enumerate(scores[1:], start=1):
        place.masked_fill_(plane > best, number)
        torch.maximum(best, plane, out=best)
    return place
