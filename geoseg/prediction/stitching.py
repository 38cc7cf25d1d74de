"""Blending the scores of overlapping tiles, row by row, in a buffer that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    @torch.inference_mode()
    def add(self, window: Window, scores: Tensor, valid: Tensor) -> None:
        """Add the scores (S, h, w), which are weighted in place, and valid (h, w) of one window.

        What lies outside the shard is left out.
        """
        inside = window.intersect(self.shard)
        source = inside.relative_to(window).slices
        rows, cols = slice(inside.row - self._first, inside.row_stop - self._first), self._columns(inside)
        self._scores[:, rows, cols] += scores[:, *source].mul_(self._weights[source])
        self._valid[rows, cols] |= valid[source]

    def rows_until(self, stop: int, part_height: int) -> Iterator[ScoredRows]:
        """Give the rows before scene row ``stop``, which no later window touches, and forget them.

        They are parted at multiples of ``part_height`` scene rows.
        """
        stop = min(stop, self.shard.row_stop)
        while self._first < stop:
            next_part = (self._first // part_height + 1) * part_height
            # Where rows of windows without data were left out, the buffer is emptied several times.
            count = min(stop, next_part, self._first + len(self._valid)) - self._first
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


class Ranking(NamedTuple):
    """The classes of some pixels by their scores."""

    index: Tensor
    """(H, W) uint8 class index of the highest score; the first of equals."""
    best: Tensor
    """(H, W) float32 highest score; not finite where any score is not."""
    second: Tensor | None
    """(H, W) float32 second highest score, where asked for."""


def rank(scores: Tensor, indices: Sequence[int], second: bool = False) -> Ranking:
    """The highest of (S, H, W) scores and which of the S class ``indices`` has it; with ``second`` the next one too.

    The indices ascend. A running maximum over planes: several times faster than argmax over a strided axis.
    """
    best = scores[0].clone()
    index = torch.full_like(best, indices[0], dtype=torch.uint8)
    runner_up = torch.full_like(best, -torch.inf) if second else None
    for plane, number in zip(scores[1:], indices[1:], strict=True):
        # Indices ascend, so the last plane that was higher has the largest; a masked fill takes four times as long.
        torch.maximum(index, (plane > best).view(torch.uint8).mul_(number), out=index)
        if runner_up is not None:
            torch.maximum(runner_up, torch.minimum(best, plane), out=runner_up)
        torch.maximum(best, plane, out=best)
    return Ranking(index, best, runner_up)
