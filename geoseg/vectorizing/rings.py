"""Rings: outlines of pixels as closed rings, and the polygons that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely


@dataclass(frozen=True, eq=False)
class Rings:
    """Closed rings of (x, y) = (col, row) corners of pixels. With axes x and y what is inside lies to the left, so that
    shells have positive areas and holes negative ones."""

    points: np.ndarray
    """(n, 2) integers: the rings one after the other, each without its first point repeated."""
    firsts: np.ndarray
    """(k + 1,) int64: ring i has the points firsts[i] to firsts[i + 1] - 1."""
    labels: np.ndarray
    """(k,) int32 whose outline each ring is."""

    @classmethod
    def of(cls, points: np.ndarray, sizes: np.ndarray, labels: np.ndarray) -> Rings:
        """From the (k,) numbers of points of the rings."""
        return cls(points, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), labels)

    @classmethod
    def of_polygons(cls, polygons: np.ndarray, labels: np.ndarray) -> Rings:
        """Of (m,) polygons with integer corners, and the (m,) label of each."""
        polygons = shapely.orient_polygons(polygons)
        rings, owners = shapely.get_rings(polygons, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        closing = np.append(np.diff(ring) > 0, True)
        sizes = np.bincount(ring, minlength=len(rings)) - 1
        return cls.of(np.rint(points[~closing]).astype(np.int64), sizes, labels[owners])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> np.ndarray:
        """(k,) number of points of each ring."""
        return np.diff(self.firsts)

    @property
    def ring_of_point(self) -> np.ndarray:
        """(n,) int64 number of each point's ring."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def following(self) -> np.ndarray:
        """(n,) int64 number of the next point of the ring."""
        found = np.arange(1, len(self.points) + 1)
        found[self.firsts[1:] - 1] = self.firsts[:-1]
        return found

    @property
    def preceding(self) -> np.ndarray:
        """(n,) int64 number of the ring's point before."""
        found = np.arange(-1, len(self.points) - 1)
        found[self.firsts[:-1]] = self.firsts[1:] - 1
        return found

    @property
    def doubled_areas(self) -> np.ndarray:
        """(k,) int64 twice the area in pixels: positive for shells, negative for holes."""
        here, there = self.points.astype(np.int64), self.points[self.following].astype(np.int64)
        return self._sums(here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1])

    def where(self, chosen: np.ndarray) -> Rings:
        """The rings for which ``chosen`` (k,) is True."""
        return Rings.of(self.points[np.repeat(chosen, self.sizes)], self.sizes[chosen], self.labels[chosen])

    def by_label(self) -> Iterator[tuple[int, Rings]]:
        """Each label with its rings."""
        order = np.argsort(self.labels, kind="stable")
        labels, first = np.unique(self.labels[order], return_index=True)
        for label, start, stop in zip(labels.tolist(), first, np.append(first[1:], len(order)), strict=False):
            chosen = order[start:stop]
            points = np.concatenate([self.points[self.firsts[i] : self.firsts[i + 1]] for i in chosen])
            yield label, Rings.of(points, self.sizes[chosen], self.labels[chosen])

    def without(self, dropped: np.ndarray) -> Rings:
        """The rings without the points for which ``dropped`` (n,) is True."""
        return Rings.of(self.points[~dropped], self._sums(~dropped), self.labels)

    def in_steps(self) -> Rings:
        """The same rings, of edges along rows and columns, with a point at every corner of a pixel on their way."""
        edges = self.points[self.following].astype(np.int64) - self.points
        lengths = np.abs(edges).sum(1)
        edge = np.repeat(np.arange(len(lengths)), lengths)
        along = np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        points = self.points[edge] + np.sign(edges)[edge] * along[:, None]
        return Rings.of(points, self._sums(lengths), self.labels)

    def on_lines(self) -> np.ndarray:
        """(n,) bool, True for points on a straight line between the one before and the next."""
        points = self.points.astype(np.int64)
        (x, y), (u, v) = (points - points[self.preceding]).T, (points[self.following] - points).T
        return (x * v == y * u) & (x * u + y * v > 0)

    def polygons(self) -> tuple[np.ndarray, np.ndarray]:
        """(m,) polygons and (m,) their labels, in order; each label has one shell, and its other rings are holes."""
        rings = shapely.linearrings(self.points.astype(float), indices=self.ring_of_point)
        order = np.lexsort((self.doubled_areas < 0, self.labels))
        labels, owners = np.unique(self.labels[order], return_inverse=True)
        return shapely.polygons(rings[order], indices=owners), labels

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """(k,) int64 sums of (n,) values over the points of each ring, none of which is empty."""
        return np.add.reduceat(values, self.firsts[:-1], dtype=np.int64) if len(self) else np.empty(0, np.int64)
