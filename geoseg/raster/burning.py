"""Burning shapes onto pixels: which pixel's centre lies in a polygon, and in which pixel a point lies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely

from geoseg.grid import Window
from geoseg.legend import NO_CLASS

MOST_CROSSINGS = 1 << 20
"""Of edges and lines of pixel centres that are held at once, some 100 bytes each; a window with more is halved."""
MOST_PAINTED = 1 << 22
"""Pixels that are painted at once, some 20 bytes each: shapes may lie over each other many times."""


class Edges(NamedTuple):
    """Edges of polygons; all arrays (n,), coordinates float64 in pixels: x the column, y the row of pixel corners."""

    shape: np.ndarray
    """int64 number of the shape that each is part of, ascending."""
    x1: np.ndarray
    y1: np.ndarray
    """The upper end: y1 < y2."""
    x2: np.ndarray
    y2: np.ndarray


class Points(NamedTuple):
    """Points in pixels, as Edges are."""

    shape: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Spans(NamedTuple):
    """Runs of pixels of one row; all arrays (n,) int64."""

    shape: np.ndarray
    row: np.ndarray
    start: np.ndarray
    """First column."""
    stop: np.ndarray
    """Column after the last."""


@dataclass(frozen=True, eq=False)
class PixelShapes:
    """Polygons and points on the pixels of a grid; later ones lie over earlier ones.

    A pixel is a polygon's where its centre lies in it. A centre on an edge belongs to one side, so that polygons that
    share an edge share no pixel: to the one that begins there going down, or ends there going right, as GDAL has it.
    A point's pixel is the one that it lies in.
    """

    classes: np.ndarray
    """(n,) uint8 class index of each shape; each has an edge or is a point."""
    edges: Edges
    """Of the polygons: whole rings, so that every row is crossed an even number of times."""
    points: Points
    number: np.ndarray
    """(n,) what each shape's number was among those that were laid over the grid."""
    lost: int = 0
    """Shapes near the grid that are left out, as a corner of theirs has no place in its CRS."""

    def __len__(self) -> int:
        return len(self.classes)

    def burn(self, window: Window) -> tuple[np.ndarray, int]:
        """(H, W) uint8 class indices of a window, NO_CLASS where no shape is, and the number of its pixels in shapes of
        several classes. What a pixel gets does not depend on the window."""
        return self._burn(self._near(window), window)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides what is burnt."""
        digest = hashlib.sha256(self.classes)
        for values in (*self.edges, *self.points):
            digest.update(len(values).to_bytes(8, "little"))
            digest.update(values)
        return digest.hexdigest()

    @cached_property
    def _boxes(self) -> shapely.STRtree:
        """The rectangle around each shape, in pixels."""
        low, high = (np.full((len(self), 2), infinity) for infinity in (np.inf, -np.inf))
        for x, y in ((self.edges.x1, self.edges.y1), (self.edges.x2, self.edges.y2)):
            for axis, values in enumerate((x, y)):
                np.minimum.at(low[:, axis], self.edges.shape, values)
                np.maximum.at(high[:, axis], self.edges.shape, values)
        low[self.points.shape] = high[self.points.shape] = np.column_stack(self.points[1:])
        return shapely.STRtree(shapely.box(*low.T, *high.T))

    def _near(self, window: Window) -> Edges:
        """The edges that reach into the rows of a window, of the shapes that may meet it."""
        near = np.sort(self._boxes.query(shapely.box(window.col, window.row, window.col_stop, window.row_stop)))
        first, stop = (np.searchsorted(self.edges.shape, near, side) for side in ("left", "right"))
        chosen = _runs(first, stop - first)
        chosen = chosen[(self.edges.y2[chosen] > window.row) & (self.edges.y1[chosen] < window.row_stop)]
        return Edges(*(values[chosen] for values in self.edges))

    def _burn(self, edges: Edges, window: Window) -> tuple[np.ndarray, int]:
        first, count = _crossed_rows(edges, window)
        if count.sum() > MOST_CROSSINGS and window.height > 1:
            parts = [self._burn(edges, half) for half in _halves(window)]
            return np.concatenate([index for index, _ in parts]), sum(contested for _, contested in parts)
        spans = _in_order(_spans_of_polygons(edges, first, count, window), _spans_of_points(self.points, window))
        return _painted(spans, self.classes, window), _contested(spans, self.classes, window)


def _crossed_rows(edges: Edges, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 first row of the window whose centres each edge crosses, and how many. A centre at the upper end is
    crossed, one at the lower end is not, so that each corner counts once."""
    first, stop = (
        np.clip(np.ceil(y - 0.5), window.row, window.row_stop).astype(np.int64) for y in (edges.y1, edges.y2)
    )
    return first, stop - first


def _spans_of_polygons(edges: Edges, first: np.ndarray, count: np.ndarray, window: Window) -> Spans:
    """From the first crossing of a row to the second, from the third to the fourth, ...: so holes stay open."""
    number, row = np.repeat(np.arange(len(count)), count), _runs(first, count)
    shape, x1, y1, x2, y2 = (values[number] for values in edges)
    x = (row + 0.5 - y1) * (x2 - x1) / (y2 - y1) + x1
    col = np.clip(np.floor(x + 0.5), window.col, window.col_stop).astype(np.int64)
    order = np.lexsort((col, row, shape))
    shape, row, col = shape[order], row[order], col[order]
    return Spans(shape[::2], row[::2], col[::2], col[1::2])


def _spans_of_points(points: Points, window: Window) -> Spans:
    shape, x, y = points
    here = (x >= window.col) & (x < window.col_stop) & (y >= window.row) & (y < window.row_stop)
    row, col = (np.floor(axis[here]).astype(np.int64) for axis in (y, x))
    return Spans(shape[here], row, col, col + 1)


def _in_order(*parts: Spans) -> Spans:
    """The spans that hold a pixel, in the order of their shapes."""
    spans = Spans(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    order = np.argsort(spans.shape, kind="stable")
    order = order[spans.stop[order] > spans.start[order]]
    return Spans(*(values[order] for values in spans))


def _contested(spans: Spans, classes: np.ndarray, window: Window) -> int:
    """Pixels in spans of several classes: the lowest class of theirs is not the highest."""
    ascending = np.argsort(classes[spans.shape], kind="stable")
    highest, lowest = (
        _painted(Spans(*(values[order] for values in spans)), classes, window) for order in (ascending, ascending[::-1])
    )
    return int((lowest != highest).sum())


def _painted(spans: Spans, classes: np.ndarray, window: Window) -> np.ndarray:
    """(H, W) uint8 class indices of a window, later spans over earlier ones."""
    length = spans.stop - spans.start
    index = np.full(window.area, NO_CLASS, np.uint8)
    for part in np.split(np.arange(len(length)), np.flatnonzero(np.diff(np.cumsum(length) // MOST_PAINTED)) + 1):
        begin = (spans.row[part] - window.row) * window.width + spans.start[part] - window.col
        # Of several values for one place the last one stays.
        index[_runs(begin, length[part])] = np.repeat(classes[spans.shape[part]], length[part])
    return index.reshape(window.shape)


def _runs(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """first, first + 1, ... of each run, ``count`` numbers a run, one run after the other."""
    begun = np.cumsum(count) - count
    return np.arange(count.sum()) + np.repeat(first - begun, count)


def _halves(window: Window) -> tuple[Window, Window]:
    row, col, height, width = window.row, window.col, window.height, window.width
    return Window(row, col, height // 2, width), Window(row + height // 2, col, height - height // 2, width)
