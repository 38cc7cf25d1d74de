"""Blending the scores of overlapping tiles, keeping only what later tiles still touch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geoseg.grid import Window
from geoseg.tiling import Lattice

SHARPNESS = 8
"""Power of the share of the overlap that lies between a pixel and its tile's border."""
LEAST_WEIGHT = 1e-6


class ScoredBlock(NamedTuple):
    """A rectangle of the scene whose scores no later tile changes."""

    window: Window
    """Where it is in the scene."""
    scores: Tensor
    """(S, height, width) float32 sums of weighted scores; only their order and ratio matter, not their sum."""
    valid: Tensor
    """(height, width) bool, True where there is data."""


def taper(length: int, overlap: int, device: torch.device | None = None) -> Tensor:
    """(length,) float32 blend weights: 1 inside, falling over ``overlap`` pixels to either border, steepest midway.

    Near its border a tile sees padding in place of land, so the neighbour that sees land should decide: of the blends
    that were measured (docs/performance.md), those that all but take the nearer tile leave the fewest seams. Strictly
    positive, so that a pixel that only one tile covers has that tile's scores.
    """
    steps = torch.arange(length, dtype=torch.float64)
    to_border = torch.minimum(steps, length - 1 - steps)
    share = ((to_border + 1) / (overlap + 1)).clamp(max=1)
    return share.pow(SHARPNESS).clamp(min=LEAST_WEIGHT).to(device, torch.float32)


class Stitcher:
    """Adds up the tiles of a part of a scene, in row-major order of the lattice.

    It holds the sums of the strips that the tile to the right and the row of tiles below will touch. Every pixel sums
    its tiles in the same order in any part. A window without data may be left out: no pixel of it is anyone's.
    """

    def __init__(self, part: Window, lattice: Lattice, classes: int, device: torch.device) -> None:
        self.part, self._device, self._classes = part, device, classes
        height, width = lattice.window_shape
        self._weights = taper(height, lattice.overlap, device)[:, None] * taper(width, lattice.overlap, device)
        rows, cols = lattice.rows_meeting(part), lattice.cols_meeting(part)
        self._next_row = dict(zip(rows, (*rows[1:], part.row_stop), strict=True))
        self._next_col = dict(zip(cols, (*cols[1:], part.col_stop), strict=True))
        self._row = self._left_col = -1
        self._above = self._below = self._left = self._strip(0)

    @torch.inference_mode()
    def add(self, window: Window, scores: Tensor, valid: Tensor) -> ScoredBlock | None:
        """Add the scores (S, h, w), which are changed in place, and valid (h, w) of one window.

        Gives what is final of it now, None where that is nothing.
        """
        inside = window.intersect(self.part)
        if window.row != self._row:
            self._begin_row(window, inside)
        source = inside.relative_to(window).slices
        total = scores.mul_(self._weights)[:, *source]
        col = inside.col - self.part.col
        known = 0
        if self._left_col == inside.col:
            # The strip has what is above it in it.
            known = self._left.shape[2]
            total[:, :, :known] += self._left
        total[:, : self._above.shape[1], known:] += self._above[:, :, col + known : col + inside.width]
        down = max(self._next_row[window.row] - inside.row, 0)
        across = max(self._next_col[window.col] - inside.col, 0)
        self._below[:, :, col : col + across] = total[:, down:, :across]
        self._left, self._left_col = total[:, :, across:].clone(), inside.col + across
        if not down or not across:
            return None
        final = Window(inside.row, inside.col, down, across)
        return ScoredBlock(final, total[:, :down, :across], valid[source][:down, :across])

    def _begin_row(self, window: Window, inside: Window) -> None:
        # Rows of windows without data give no tile; what they left for the row below is nobody's.
        follows = self._next_row.get(self._row) == window.row
        self._above = self._below if follows else self._strip(0)
        self._below = self._strip(max(inside.row_stop - max(self._next_row[window.row], inside.row), 0))
        self._left_col, self._row = -1, window.row

    def _strip(self, height: int) -> Tensor:
        return torch.zeros(self._classes, height, self.part.width, device=self._device)


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
