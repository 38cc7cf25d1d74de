"""Tiles of a part of a scene, from rows that are read ahead, each block once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from geoseg.ahead import read_ahead
from geoseg.grid import Window
from geoseg.prediction.plan import Plan
from geoseg.raster.resample import area
from geoseg.raster.scene import SceneLike, in_rows
from geoseg.tiling import Lattice

CHUNK = 512, 2048
"""(height, width) in pixels, about, of what one call reads; whole blocks, or whole rows of a file of strips."""
CHUNKS_AHEAD = 8


class Tile(NamedTuple):
    """A window as it was read."""

    window: Window
    pixels: np.ndarray
    """(C, h, w) as the network sees it: resampled where the plan says so."""
    seen: np.ndarray
    """(h, w) bool, valid of ``pixels``."""
    valid: np.ndarray
    """(height, width) bool at the scene's own resolution, True where there is data and a class is wanted."""


class Chunk(NamedTuple):
    """What one call reads."""

    window: Window
    pixels: np.ndarray | None
    """(C, height, width); None where no pixel is valid."""
    valid: np.ndarray | None


def read_tiles(plan: Plan, part: Window, scene: SceneLike, readers: ThreadPoolExecutor) -> Iterator[Tile]:
    """The tiles of all windows that meet ``part`` and have a wanted pixel with data, row by row of the lattice."""
    lattice = plan.lattice
    rows = Rows(part_read(plan, part), lattice, scene, readers)
    windows = (window for row in lattice.rows_meeting(part) for window in lattice.windows_of_row(row, part))
    cut = ((window, *rows.cut(window)) for window in windows)
    masked = ((*piece, piece[2] & scene.wanted(piece[0])) for piece in cut if piece[2].any())
    calls = (partial(_prepare, plan, *piece) for piece in masked if piece[3].any())
    with closing(rows):
        if plan.window_shape == plan.tile_shape:
            yield from (call() for call in calls)
        else:
            with closing(read_ahead(readers, calls)) as tiles:
                yield from tiles


def part_read(plan: Plan, part: Window) -> Window:
    """The rectangle that all windows meeting ``part`` cover together."""
    rows, cols = plan.lattice.rows_meeting(part), plan.lattice.cols_meeting(part)
    height, width = plan.window_shape
    return Window(rows[0], cols[0], rows[-1] + height - rows[0], cols[-1] + width - cols[0])


def _prepare(plan: Plan, window: Window, pixels: np.ndarray, valid: np.ndarray, wanted: np.ndarray) -> Tile:
    return Tile(window, *area(pixels, valid, plan.tile_shape), wanted)


class Rows:
    """The rows of a rectangle that the next windows need, rolling down; windows are cut in row-major order."""

    def __init__(self, span: Window, lattice: Lattice, scene: SceneLike, readers: ThreadPoolExecutor) -> None:
        chunks = chunk_windows(span, scene)
        self._span, self._first, self._stop = span, span.row, span.row
        room = min(lattice.window_shape[0] + max(window.height for window in chunks), span.height)
        self._pixels = np.zeros((len(scene.bands), room, span.width), scene.dtype)
        self._valid = np.zeros((room, span.width), bool)
        calls = (partial(_read_chunk, scene, lattice, window) for window in chunks)
        self._chunks = read_ahead(readers, calls, CHUNKS_AHEAD)

    def cut(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(C, h, w) pixels and (h, w) valid of a window, copied."""
        while self._stop < window.row_stop:
            self._add(next(self._chunks), window.row)
        where = Window(window.row - self._first, window.col - self._span.col, *window.shape).slices
        return self._pixels[:, *where].copy(), self._valid[where].copy()

    def close(self) -> None:
        """Drop what was to be read."""
        self._chunks.close()

    def _add(self, chunk: Chunk, needed_from: int) -> None:
        window = chunk.window
        if window.row_stop - self._first > self._valid.shape[0]:
            self._forget(needed_from)
        rows = slice(window.row - self._first, window.row_stop - self._first)
        cols = slice(window.col - self._span.col, window.col_stop - self._span.col)
        if chunk.pixels is None:
            self._valid[rows, cols] = False
        else:
            self._pixels[:, rows, cols], self._valid[rows, cols] = chunk.pixels, chunk.valid
        if window.col_stop == self._span.col_stop:
            self._stop = window.row_stop

    def _forget(self, row: int) -> None:
        drop = row - self._first
        kept = self._stop - row
        for rows in (*self._pixels, self._valid):
            rows[:kept] = rows[drop : drop + kept].copy()
        self._first = row


def chunk_windows(span: Window, scene: SceneLike) -> list[Window]:
    """``span`` in windows that begin and end on block borders of the scene, row-major; no block in two where blocks are
    not larger than a chunk."""
    block_height, block_width = scene.block_shape
    height, width = _multiple(block_height, CHUNK[0]), _multiple(block_width, CHUNK[1])
    cols = [span.col_stop, *range((span.col_stop - 1) // width * width, span.col, -width), span.col][::-1]
    if in_rows(scene):
        cols = [span.col, span.col_stop]
    rows = [span.row, *range((span.row // height + 1) * height, span.row_stop, height), span.row_stop]
    return [
        Window(row, col, row_stop - row, col_stop - col)
        for row, row_stop in itertools.pairwise(rows)
        for col, col_stop in itertools.pairwise(cols)
    ]


def _multiple(block: int, wanted: int) -> int:
    return block * max(wanted // block, 1) if block <= wanted else wanted


def _read_chunk(scene: SceneLike, lattice: Lattice, chunk: Window) -> Chunk:
    windows = (window for row in lattice.rows_meeting(chunk) for window in lattice.windows_of_row(row, chunk))
    # Around what is wanted a network sees all that its tiles reach.
    if not scene.has_data(chunk) or not any(scene.wants(window) for window in windows):
        return Chunk(chunk, None, None)
    return Chunk(chunk, *scene.read(chunk))
