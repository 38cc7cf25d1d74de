"""Regions: pixels of one class that hang together, found tile by tile in a raster of any size.

A tile is labelled alone into parts; parts that meet across the borders of tiles are then joined. What is kept are a few
numbers for each part, never labels of the whole raster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.errors import ResourceError
from geoseg.grid import Window
from geoseg.raster.areas import AreaTally

SIDE = 1024
"""Side of a tile in pixels: labelling takes some 60 bytes a pixel of it."""
MOST_PARTS = 100_000_000
"""Parts of a raster, at most: each takes some 50 bytes."""

Read = Callable[[Window], np.ndarray]
"""Reads (H, W) uint8 codes of a window."""
Pairs = tuple[np.ndarray, np.ndarray]
"""Two arrays of one length: parts that belong together."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of every tile: pixels of one code that hang together by their edges within the tile."""

    tiles: Sequence[Window]
    """Row-major."""
    firsts: np.ndarray
    """(T + 1,) int64: the parts of tile t are firsts[t] to firsts[t + 1] - 1, in the order of their first pixels."""
    codes: np.ndarray
    """(P,) uint8."""
    pixels: np.ndarray
    """(P,) int64."""
    hectares: np.ndarray | None
    """(P,) float64 true area, None where the raster has no place on Earth."""
    joins: Pairs
    """Parts of one code that share an edge between two tiles."""
    diagonals: Pairs
    """Parts of one code that meet in a corner; empty where these were not asked for."""

    def __len__(self) -> int:
        return len(self.codes)


class Regions:
    """The regions of a raster: parts that are joined.

    Args:
        diagonal: also join what meets in corners, of parts that were found so.
    """

    def __init__(self, parts: Parts, diagonal: bool = False) -> None:
        pairs = zip(parts.joins, parts.diagonals, strict=True) if diagonal else ((side,) for side in parts.joins)
        roots = components(len(parts), *map(np.concatenate, pairs))
        is_root = roots == np.arange(len(parts))
        self._parts = parts
        self.of_parts = (np.cumsum(is_root, dtype=np.int32) - 1)[roots]
        """(P,) int32 region of each part."""
        self.codes = parts.codes[is_root]
        """(R,) uint8."""
        self.pixels = np.bincount(self.of_parts, parts.pixels).astype(np.int64)
        """(R,) int64."""
        self.hectares = None if parts.hectares is None else np.bincount(self.of_parts, parts.hectares)
        """(R,) float64 true area, None where the raster has no place on Earth."""
        tile_of_part = np.repeat(np.arange(len(parts.tiles), dtype=np.int32), np.diff(parts.firsts))
        self.first_tile = tile_of_part[is_root]
        """(R,) int32 number of the tile that holds a region's first part."""
        self.last_tile = np.zeros(len(self), np.int32)
        """(R,) int32 number of the tile that holds its last one."""
        np.maximum.at(self.last_tile, self.of_parts, tile_of_part)

    def __len__(self) -> int:
        return len(self.codes)

    def of_tile(self, number: int) -> np.ndarray:
        """(n,) int32 regions of the parts of a tile, as ``label`` numbers these."""
        return self.of_parts[self._parts.firsts[number] : self._parts.firsts[number + 1]]


def find_parts(
    read: Read, shape: tuple[int, int], tiles: Sequence[Window], diagonal: bool = False, tally: AreaTally | None = None
) -> Parts:
    """Label every tile of a raster of ``shape``, and find what meets across their borders.

    Memory: some 60 bytes a pixel of a tile, 12 a pixel of a row of the raster, 50 a part.

    Args:
        tiles: as tiling.blocks gives them.
        diagonal: also find what meets in corners.
        tally: knows the pixels' true areas.

    Raises ResourceError for over MOST_PARTS parts.
    """
    has_place = tally is not None and tally.hectares is not None
    firsts, codes_of, pixels, hectares = [0], [], [], []
    joins, diagonals = [], []
    seams = _Seams(shape[1])
    for window in tiles:
        codes = read(window)
        labels, count, touching = label(codes, diagonal)
        first = firsts[-1]
        if first + count > MOST_PARTS:
            raise ResourceError(
                f"the map has over {MOST_PARTS:,} patches of one class; the numbers of so many are not held in memory: "
                "take a part of it, or smooth it first (gdal_sieve)"
            )
        firsts.append(first + count)
        codes_of.append(_first_codes(codes, labels, count))
        pixels.append(np.bincount(labels.ravel(), minlength=count))
        if has_place:
            weights = tally.pixel_hectares(window)
            hectares.append(np.bincount(labels.ravel(), weights.ravel(), minlength=count))
        across, corners = seams.pass_over(window, codes, labels + np.int32(first), diagonal)
        joins.append(across)
        diagonals += [corners, tuple(side + np.int32(first) for side in touching)]
    return Parts(
        tiles,
        np.array(firsts),
        np.concatenate(codes_of),
        np.concatenate(pixels),
        np.concatenate(hectares) if has_place else None,
        _concatenated(joins),
        _concatenated(diagonals),
    )


def label(codes: np.ndarray, diagonal: bool = False) -> tuple[np.ndarray, int, Pairs]:
    """Parts of (H, W) codes: (H, W) int32 from 0 in the order of their first pixels, their number, and with
    ``diagonal`` the pairs of parts of one code that meet in corners."""
    begins = np.ones(codes.shape, bool)
    np.not_equal(codes[:, 1:], codes[:, :-1], out=begins[:, 1:])
    runs = np.cumsum(begins.ravel(), dtype=np.int32).reshape(codes.shape) - np.int32(1)
    # Two runs below each other meet first where one of them begins.
    meet = (codes[1:] == codes[:-1]) & (begins[1:] | begins[:-1])
    roots = components(int(runs[-1, -1]) + 1, runs[:-1][meet], runs[1:][meet])
    is_root = roots == np.arange(len(roots))
    parts = (np.cumsum(is_root, dtype=np.int32) - np.int32(1))[roots]
    labels = parts[runs]
    nothing = np.empty(0, np.int32)
    touching = _corner_pairs(codes, labels) if diagonal else (nothing, nothing)
    return labels, int(is_root.sum()), touching


def components(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(count,) int32: the least member of the component that each of ``count`` nodes is in, joined by the pairs."""
    parents = np.arange(count, dtype=np.int32)
    while len(first):
        first, second = parents[first], parents[second]
        apart = first != second
        first, second = first[apart], second[apart]
        np.minimum.at(parents, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(grandparents := parents[parents], parents):
            parents = grandparents
    return parents


class _Seams:
    """The last row and column of labels that were passed over, for the tiles below and to the right of them."""

    def __init__(self, width: int) -> None:
        self._above = np.full(width, -1, np.int32), np.zeros(width, np.uint8)
        self._below = tuple(line.copy() for line in self._above)
        self._left = np.empty(0, np.int32), np.empty(0, np.uint8)

    def pass_over(self, window: Window, codes: np.ndarray, labels: np.ndarray, diagonal: bool) -> tuple[Pairs, Pairs]:
        """The pairs of labels of one code that share an edge with what was passed over before, and those that meet it
        in corners."""
        if window.col == 0:
            self._above, self._below = self._below, self._above
        joins, corners = [], []
        row, cols = (labels[0], codes[0]), slice(window.col, window.col_stop)
        if window.row:
            joins.append(_equal(row, tuple(line[cols] for line in self._above)))
            for shift in (-1, 1) if diagonal else ():
                corners.append(_equal(*_shifted(row, self._above, window, shift)))
        if window.col:
            column, left = (labels[:, 0], codes[:, 0]), self._left
            joins.append(_equal(column, left))
            if diagonal:
                for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
                    corners.append(_equal(tuple(a[here] for a in column), tuple(a[there] for a in left)))
        for line, values in zip(self._below, (labels, codes), strict=True):
            line[cols] = values[-1]
        self._left = labels[:, -1].copy(), codes[:, -1].copy()
        return _concatenated(joins), _concatenated(corners)


Line = tuple[np.ndarray, np.ndarray]
"""Labels and codes along a row or a column."""


def _equal(one: Line, other: Line) -> Pairs:
    """The pairs of labels at places of one code, each once."""
    same = one[1] == other[1]
    pairs = np.unique(np.stack([one[0][same], other[0][same]]), axis=1)
    return pairs[0], pairs[1]


def _shifted(row: Line, above: Line, window: Window, shift: int) -> tuple[Line, Line]:
    """A window's first row, and what is above it and ``shift`` columns on, where both are."""
    start, stop = max(window.col, -shift), min(window.col_stop, len(above[0]) - shift)
    here = slice(start - window.col, stop - window.col)
    there = slice(start + shift, stop + shift)
    return tuple(a[here] for a in row), tuple(a[there] for a in above)


def _corner_pairs(codes: np.ndarray, labels: np.ndarray) -> Pairs:
    found = []
    for upper, lower in ((np.s_[:-1, :-1], np.s_[1:, 1:]), (np.s_[:-1, 1:], np.s_[1:, :-1])):
        meet = (codes[upper] == codes[lower]) & (labels[upper] != labels[lower])
        found.append((labels[upper][meet], labels[lower][meet]))
    return _concatenated(found)


def _first_codes(codes: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    found = np.empty(count, np.uint8)
    found[labels.ravel()] = codes.ravel()
    return found


def _concatenated(pairs: Sequence[Pairs]) -> Pairs:
    nothing = np.empty(0, np.int32)
    firsts, seconds = zip(*pairs, strict=True) if pairs else ((nothing,), (nothing,))
    return np.concatenate(firsts), np.concatenate(seconds)
