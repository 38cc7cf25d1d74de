"""CoarseScene: a scene seen with larger pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from geoseg.errors import UsageError
from geoseg.grid import Window
from geoseg.raster.resample import area, block_any, block_means
from geoseg.raster.scene import SceneLike, in_rows, window_in

MOST_READ = 1 << 20
"""Pixels of the source that are read at once, about: all that a factor costs in memory."""
PIECE = 2048
"""Columns of the source that are read at once, about, where its blocks are no whole rows."""


class CoarseScene(SceneLike):
    """A scene each pixel of which stands for ``factor`` x ``factor`` of another's: the mean of those with data.

    A pixel is valid where any of them is. It comes out the same, bit for bit, in whatever window it is read.

    Args:
        source: the scene as it is.
        factor: pixels of the source along a side of one of these, >= 2.

    Raises UsageError.
    """

    def __init__(self, source: SceneLike, factor: int) -> None:
        if factor < 2:
            raise UsageError(f"a coarse scene takes 2 x 2 pixels for one at least, got a factor of {factor}")
        self.source, self.factor = source, factor
        self.name, self.bands, self.dtype, self.sequential = source.name, source.bands, source.dtype, source.sequential
        self.remote = source.remote
        self.grid = source.grid.coarsened(factor)
        height, width = source.block_shape
        self.block_shape = math.ceil(height / factor), math.ceil(width / factor)

    def __enter__(self) -> CoarseScene:
        self.source.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.source.__exit__(*exc_info)

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As Scene.read."""
        window = window_in(window, self)
        pixels = np.zeros((len(self.bands), *window.shape), self.dtype)
        valid = np.zeros(window.shape, bool)
        for piece in self._pieces(window):
            if self.has_data(piece):
                where = piece.relative_to(window).slices
                pixels[:, *where], valid[where] = block_means(*self.source.read(self.under(piece)), self.factor)
        return (pixels, valid) if shape is None else area(pixels, valid, shape)

    def has_data(self, window: Window) -> bool:
        """As Scene.has_data."""
        return self.source.has_data(self.under(window))

    def wants(self, window: Window) -> bool:
        """True where the source wants any of its pixels there."""
        return self.source.wants(self.under(window))

    def wanted(self, window: Window) -> np.ndarray:
        """(H, W) bool, True where the source wants any of a pixel's."""
        found = np.zeros(window.shape, bool)
        for piece in self._pieces(window):
            wanted = self.source.wanted(self.under(piece))
            found[piece.relative_to(window).slices] = wanted.all() or block_any(wanted, self.factor)
        return found

    def describe(self) -> dict[str, Any]:
        """The source, and the factor."""
        source = self.source.describe()
        what = {"kind": "coarse", "name": source["name"], "bands": source["bands"]}
        return what | {"factor": self.factor, "source": source}

    def under(self, window: Window) -> Window:
        """The pixels of the source that a window stands for."""
        (row, col), (height, width) = (window.row * self.factor, window.col * self.factor), self.source.grid.shape
        row_stop, col_stop = min(window.row_stop * self.factor, height), min(window.col_stop * self.factor, width)
        return Window(row, col, row_stop - row, col_stop - col)

    def _pieces(self, window: Window) -> Iterator[Window]:
        """Parts of a window, those below each other in turn: blocks of the source that two share are still decoded."""
        width = window.width if in_rows(self.source) else max(PIECE // self.factor, 1)
        height = max(MOST_READ // (width * self.factor**2), 1)
        for col in range(window.col, window.col_stop, width):
            for row in range(window.row, window.row_stop, height):
                yield Window(row, col, min(height, window.row_stop - row), min(width, window.col_stop - col))


def source_of(scene: SceneLike) -> SceneLike:
    """The scene on whose pixels a map of ``scene`` lies: itself, or what it is a coarse view of."""
    return scene.source if isinstance(scene, CoarseScene) else scene
