"""The lattice of tiles and the shards of a scene: integer arithmetic only.

The lattice belongs to the scene: it starts at the scene's first pixel and depends on nothing but the scene's shape, so
that any shard, on any machine, cuts the very same tiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from geoseg.errors import UsageError
from geoseg.grid import Window

BLOCK = 512
"""Side of the blocks of a class raster in pixels; shards begin and end on block borders."""

ALIGNMENT = 32
"""Pixels that a deepest feature of the networks stands for: windows that lie multiples of it apart agree best."""


@dataclass(frozen=True)
class Lattice:
    """Overlapping square windows that cover a scene, in row-major order."""

    shape: tuple[int, int]
    """(height, width) of the scene in pixels."""
    side: int
    """Side of a window in pixels of the scene. Where the scene is smaller, the window ends with it."""
    overlap: int
    """Pixels that neighbouring windows share, 0 <= overlap < side."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or self.side < 1:
            raise UsageError(f"a lattice needs a shape and a side >= 1, got {self.shape} and {self.side}")
        if not 0 <= self.overlap < self.side:
            raise UsageError(f"the overlap ({self.overlap} px) is not in 0 to {self.side - 1}, below the window's side")

    @cached_property
    def rows(self) -> list[int]:
        """First pixel rows of the lattice's rows of windows."""
        return starts(self.shape[0], self.side, self.overlap)

    @cached_property
    def cols(self) -> list[int]:
        """First pixel columns of the lattice's columns of windows."""
        return starts(self.shape[1], self.side, self.overlap)

    @property
    def window_shape(self) -> tuple[int, int]:
        """(height, width) of every window in scene pixels: the side, or the scene where that is smaller."""
        return min(self.side, self.shape[0]), min(self.side, self.shape[1])

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[Window]:
        for row in self.rows:
            yield from self.windows_of_row(row)

    def windows_of_row(self, row: int, area: Window | None = None) -> Iterator[Window]:
        """The windows that start at pixel row ``row``, left to right; with ``area`` those that meet it."""
        height, width = self.window_shape
        if area is not None and (row >= area.row_stop or row + height <= area.row):
            return
        for col in self.cols if area is None else self.cols_meeting(area):
            yield Window(row, col, height, width)

    def rows_meeting(self, area: Window) -> list[int]:
        """Those of ``rows`` whose windows meet ``area``."""
        return _meeting(self.rows, min(self.side, self.shape[0]), area.row, area.row_stop)

    def cols_meeting(self, area: Window) -> list[int]:
        """Those of ``cols`` whose windows meet ``area``."""
        return _meeting(self.cols, min(self.side, self.shape[1]), area.col, area.col_stop)

    def shards(self, shape: tuple[int, int]) -> list[Window]:
        """Rectangles of at most ``shape`` (height, width) that cover the scene without overlap, column of shards by
        column of shards, each from the top down.

        Both are multiples of BLOCK, so no block of the output belongs to two shards. Columns are about equally wide and
        cut where the fewest windows lie on both sides, because those are forwarded for each.
        """
        if min(shape) < BLOCK or shape[0] % BLOCK or shape[1] % BLOCK:
            raise UsageError(f"the sides of a shard are multiples of {BLOCK} px, got {shape[0]} x {shape[1]}")
        height, width = self.shape
        edges = [*self._column_cuts(shape[1]), width]
        return [
            Window(row, col, min(shape[0], height - row), stop - col)
            for col, stop in zip([0, *edges], edges, strict=False)
            for row in range(0, height, shape[0])
        ]

    def _column_cuts(self, widest: int) -> list[int]:
        cuts: list[int] = []
        for left in range(math.ceil(self.shape[1] / widest), 1, -1):
            begin = cuts[-1] if cuts else 0
            even = begin + math.ceil((self.shape[1] - begin) / left / BLOCK) * BLOCK
            # What is right of the cut must still fit into the columns that are left.
            least = max(begin + BLOCK, self.shape[1] - (left - 1) * widest)
            near = [
                c for c in (even, even - BLOCK, even + BLOCK) if least <= c <= min(begin + widest, self.shape[1] - 1)
            ]
            cuts.append(min(near, key=self._windows_across, default=min(even, begin + widest)))
        return cuts

    def _windows_across(self, col: int) -> int:
        width = min(self.side, self.shape[1])
        return sum(first < col < first + width for first in self.cols)


def _meeting(firsts: list[int], length: int, start: int, stop: int) -> list[int]:
    """Of intervals of one length, by their sorted first pixels, those that meet ``start`` to ``stop``."""
    return firsts[bisect_right(firsts, start - length) : bisect_left(firsts, stop)]


def blocks(shape: tuple[int, int], side: int) -> list[Window]:
    """Windows of at most ``side`` x ``side`` pixels that cover ``shape`` without overlap, row-major."""
    height, width = shape
    return [
        Window(row, col, min(side, height - row), min(side, width - col))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]


def starts(length: int, side: int, overlap: int) -> list[int]:
    """First pixels along one axis of the fewest windows that share at least ``overlap`` pixels.

    What they share more is spread over all of them, in steps of ALIGNMENT where ``side - overlap`` is a multiple of it;
    the last window ends with the axis.
    """
    if length <= side:
        return [0]
    step, last = side - overlap, length - side
    gaps = math.ceil(last / step)
    unit = math.gcd(step, ALIGNMENT)
    units = math.ceil(last / unit)
    return [*(units * number // gaps * unit for number in range(gaps)), last]


def fitting(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """A shape of the same ratio, at most ``side`` long; never larger than it was."""
    scale = min(1.0, side / max(shape))
    height, width = (max(1, round(length * scale)) for length in shape)
    return height, width


def strips(window: Window, shape: tuple[int, int], most: int, least: int = 1) -> Iterator[tuple[Window, slice]]:
    """Whole rows of a window from top to bottom, and the rows of a picture of ``shape`` that each of them becomes.

    The picture is no larger than the window. Strips have about ``most`` pixels, but not fewer than ``least`` rows, nor
    than the picture's next row takes.
    """
    edges = [window.height * row // shape[0] for row in range(shape[0] + 1)]
    height, first = max(most // window.width, least), 0
    while first < shape[0]:
        last = max(bisect_right(edges, edges[first] + height) - 1, first + 1)
        rows = edges[last] - edges[first]
        yield Window(window.row + edges[first], window.col, rows, window.width), slice(first, last)
        first = last
