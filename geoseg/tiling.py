"""The lattice of tiles and the shards of a scene: integer arithmetic only.

The lattice belongs to the scene: it starts at the scene's first pixel and depends on nothing but the scene's shape, so
that any shard, on any machine, cuts the very same tiles.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from geoseg.errors import UsageError
from geoseg.grid import Window

BLOCK = 512
"""Side of the blocks of a class raster in pixels; shards begin and end on block borders."""


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

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[Window]:
        for row in self.rows:
            yield from self.windows_of_row(row)

    def windows_of_row(self, row: int, area: Window | None = None) -> Iterator[Window]:
        """The windows that start at pixel row ``row``, left to right; with ``area`` those that meet it."""
        height, width = (min(self.side, length) for length in self.shape)
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
    """First pixels along one axis: every ``side - overlap``, the last pulled back so that it ends with the axis."""
    if length <= side:
        return [0]
    step = side - overlap
    return [*range(0, length - side, step), length - side]


def shards(shape: tuple[int, int], side: int) -> list[Window]:
    """Rectangles of at most ``side`` x ``side`` pixels that cover ``shape`` without overlap, row-major.

    ``side`` is a multiple of BLOCK, so no block of the output belongs to two shards.
    """
    if side < BLOCK or side % BLOCK:
        raise UsageError(f"the side of a shard is a multiple of {BLOCK} px, got {side}")
    return blocks(shape, side)
