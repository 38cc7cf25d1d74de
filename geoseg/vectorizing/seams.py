"""Seams: outlines that are traced tile by tile are cut where tiles meet, and put together again."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from geoseg.grid import Window
from geoseg.vectorizing.rings import Rings

OUTSIDE = -1
"""Code of what lies beyond the raster."""


@dataclass(frozen=True, eq=False)
class Arc:
    """A part of an outline from one seam to another."""

    points: np.ndarray
    """(n, 2) int32 (x, y) = (col, row) of the raster, both ends included."""
    idle: np.ndarray
    """(n,) bool, True for points that may be left out where the outline goes straight on."""

    @classmethod
    def between(cls, points: np.ndarray, idle: np.ndarray, start: int, stop: int) -> Arc:
        """Of a ring's (n, 2) points those from one to another, which may have come round to the first."""
        along = np.arange(start, stop + 1) % len(points)
        return cls(points[along], idle[along])


@dataclass(frozen=True, eq=False)
class Outline:
    """What is known of a region's outline until its last tile was seen."""

    rings: list[Rings] = field(default_factory=list)
    """Those that touch no seam."""
    arcs: list[Arc] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of a raster and what meets it."""

    window: Window
    shape: tuple[int, int]
    """(height, width) of the raster."""
    around: np.ndarray
    """(height + 2, width + 2) int16 codes of the tile and of the pixels around it; OUTSIDE beyond the raster."""

    @property
    def codes(self) -> np.ndarray:
        """(height, width) int16 codes of the tile itself."""
        return self.around[1:-1, 1:-1]

    @cached_property
    def same_across(self) -> dict[str, np.ndarray]:
        """For each side, and each pixel along it: True where the pixel beyond has its code, and so is of its region."""
        around, codes = self.around, self.codes
        return {
            "top": codes[0] == around[0, 1:-1],
            "bottom": codes[-1] == around[-1, 1:-1],
            "left": codes[:, 0] == around[1:-1, 0],
            "right": codes[:, -1] == around[1:-1, -1],
        }

    def sides_of(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """For each side (n,) bool: True for (n, 2) points of the tile that lie on it."""
        x, y = points.T
        height, width = self.window.shape
        return {"top": y == 0, "bottom": y == height, "left": x == 0, "right": x == width}

    def on_seams(self, points: np.ndarray) -> np.ndarray:
        """(n,) bool, True for points where the tile meets others."""
        window, (height, width) = self.window, self.shape
        inner = {"top": window.row, "bottom": window.row_stop < height, "left": window.col}
        inner["right"] = window.col_stop < width
        sides = self.sides_of(points)
        return np.any([sides[side] for side, is_inner in inner.items() if is_inner] or [sides["top"] & False], axis=0)

    def inside_regions(self, rings: Rings) -> np.ndarray:
        """(n,) bool, True for edges, by their first points, that run along a side with the same region beyond it."""
        points, following = rings.points, rings.points[rings.following]
        here, there, least = self.sides_of(points), self.sides_of(following), np.minimum(points, following)
        found = np.zeros(len(points), bool)
        for side, along in (("top", 0), ("bottom", 0), ("left", 1), ("right", 1)):
            on_side = here[side] & there[side]
            found[on_side] |= self.same_across[side][least[on_side, along]]
        return found

    def between_two(self, points: np.ndarray) -> np.ndarray:
        """(n,) bool, True for points on the tile's sides where the borders of no more than two regions meet."""
        on_side = np.any(list(self.sides_of(points).values()), axis=0)
        x, y = points[on_side].T
        corners = [self.around[y + row, x + col] for row, col in ((0, 0), (0, 1), (1, 1), (1, 0))]
        borders = sum((corners[i] != corners[i - 1]).astype(int) for i in range(4))
        found = np.zeros(len(points), bool)
        found[on_side] = borders == 2
        return found


def cut(rings: Rings, idle: np.ndarray, tile: Tile, outlines: Mapping[int, Outline]) -> None:
    """Add a tile's rings to the outlines of the regions that are their labels: cut where they touch a seam, and without
    what lies inside of regions.

    Args:
        rings: in the tile's own pixels.
        idle: (n,) bool as in Arc.
    """
    on_seam, dropped = tile.on_seams(rings.points), tile.inside_regions(rings)
    place = np.array([tile.window.col, tile.window.row])
    moved = Rings((rings.points + place).astype(np.int32), rings.firsts, rings.labels)
    touching = np.zeros(len(rings), bool)
    touching[rings.ring_of_point[on_seam]] = True
    whole = without_idle(moved.where(~touching), idle[np.repeat(~touching, rings.sizes)])
    for label, some in whole.by_label():
        outlines[label].rings.append(some)
    for number in np.flatnonzero(touching):
        ring = slice(rings.firsts[number], rings.firsts[number + 1])
        arcs = _between_cuts(moved.points[ring], idle[ring], np.flatnonzero(on_seam[ring]))
        outlines[int(rings.labels[number])].arcs.extend(arc for start, arc in arcs if not dropped[ring][start])


def put_together(outline: Outline) -> Rings:
    """All rings of a finished region; none touches itself, and none has idle points on straight lines."""
    linked = [part for ring in _linked(outline.arcs) for part in _apart(ring)]
    parts = list(outline.rings)
    if linked:
        points, sizes = np.concatenate([part.points for part in linked]), [len(part.points) for part in linked]
        rings = Rings.of(points, np.array(sizes), np.zeros(len(linked), np.int32))
        parts.append(without_idle(rings, np.concatenate([part.idle for part in linked])))
    sizes = np.concatenate([part.sizes for part in parts])
    return Rings.of(np.concatenate([part.points for part in parts]), sizes, np.zeros(len(sizes), np.int32))


def without_idle(rings: Rings, idle: np.ndarray) -> Rings:
    """The rings without (n,) idle points on straight lines."""
    return rings.without(idle & rings.on_lines())


def _between_cuts(points: np.ndarray, idle: np.ndarray, cuts: np.ndarray) -> Iterator[tuple[int, Arc]]:
    """The arcs of a ring between the points that are ``cuts``, each with the number of its first point."""
    for start, stop in zip(cuts, np.append(cuts[1:], cuts[0] + len(points)), strict=True):
        yield start, Arc.between(points, idle, start, stop)


def _linked(arcs: Sequence[Arc]) -> Iterator[Arc]:
    """Rings from arcs: each goes on with the arc that begins where it ends. A ring is an arc without its last point."""
    beginning = defaultdict(list)
    for number, arc in enumerate(arcs):
        beginning[tuple(arc.points[0].tolist())].append(number)
    done = np.zeros(len(arcs), bool)
    for first in range(len(arcs)):
        chain, number = [], first
        while not done[number]:
            done[number] = True
            chain.append(arcs[number])
            options = beginning[tuple(arcs[number].points[-1].tolist())]
            number = options[0] if len(options) == 1 else min(options, key=lambda n: _turn(chain[-1], arcs[n]))
        if chain:
            points = np.concatenate([arc.points[:-1] for arc in chain])
            yield Arc(points, np.concatenate([arc.idle[:-1] for arc in chain]))


def _turn(arc: Arc, following: Arc) -> float:
    """The angle around where an arc ends, over what is outside, to where another one leaves.

    Where a region meets itself in a corner its outline goes on along the same outside, as ``trace`` does.
    """
    back, on = arc.points[-2] - arc.points[-1], following.points[1] - following.points[0]
    return (math.atan2(on[1], on[0]) - math.atan2(back[1], back[0])) % (2 * math.pi)


def _apart(ring: Arc) -> Iterator[Arc]:
    """A ring that touches itself, as rings that do not: two of the region's parts meet there in a corner, and hang
    together in other tiles."""
    x, y = ring.points.T.astype(np.int64)
    _, place, times = np.unique(y << 32 | x, return_inverse=True, return_counts=True)
    cuts = np.flatnonzero(times[place] > 1)
    if not len(cuts):
        yield ring
        return
    yield from _linked([arc for _, arc in _between_cuts(ring.points, ring.idle, cuts)])
