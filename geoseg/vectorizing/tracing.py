"""trace: the outlines of labelled pixels, for all labels at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from geoseg.vectorizing.rings import Rings


class _Pieces(NamedTuple):
    """Straight pieces of outlines that run in one direction."""

    starts: np.ndarray
    """(s,) corner where each begins, as row * (width + 1) + col."""
    stops: np.ndarray
    """(s,) corner where it ends."""
    labels: np.ndarray
    """(s,) whose outline it is."""


EAST, SOUTH, WEST, NORTH = range(4)
TURNS = {EAST: (NORTH, EAST, SOUTH), SOUTH: (EAST, SOUTH, WEST), WEST: (SOUTH, WEST, NORTH), NORTH: (WEST, NORTH, EAST)}
"""Where an outline may go on, best first: as seen on a map with the inside on the right, to the left, on, to the right.

To the left is possible beside the right only where two pixels of a label meet in a corner. The outline then passes from
the one to the other, so that it never touches itself: inside and outside of the loop that closes there are two rings.
"""


def trace(labels: np.ndarray, breaks: dict[str, np.ndarray] | None = None) -> Rings:
    """The outlines of (H, W) int32 labels, whose pixels hang together by their edges, with points where they turn.

    Args:
        breaks: of the sides "top", "bottom", "left" and "right" a bool for each pixel along it: outlines along that
            side also have points where it changes.
    """
    pieces = _straight_pieces(labels, breaks or {})
    starts, _, owners = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    order = _ring_order(_followers(pieces, (labels.shape[0] + 1) * (labels.shape[1] + 1)))
    places = starts[order.pieces]
    points = np.stack([places % (labels.shape[1] + 1), places // (labels.shape[1] + 1)], 1)
    return Rings.of(points, order.sizes, owners[order.pieces[np.cumsum(order.sizes) - order.sizes]])


def _straight_pieces(labels: np.ndarray, breaks: dict[str, np.ndarray]) -> list[_Pieces]:
    """In the order of EAST, SOUTH, WEST, NORTH: along the tops, right sides, bottoms and left sides of pixels."""
    height, width = labels.shape
    padded = np.full((height + 2, width + 2), -1, np.int32)
    padded[1:-1, 1:-1] = labels
    top, bottom = labels != padded[:-2, 1:-1], labels != padded[2:, 1:-1]
    left, right = labels != padded[1:-1, :-2], labels != padded[1:-1, 2:]

    def at(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        return row.astype(np.int64) * (width + 1) + col

    row, col, stop, owner = _runs(top, labels, 0, breaks.get("top"))
    east = _Pieces(at(row, col), at(row, stop), owner)
    row, col, stop, owner = _runs(bottom, labels, height - 1, breaks.get("bottom"))
    west = _Pieces(at(row + 1, stop), at(row + 1, col), owner)
    col, row, stop, owner = _runs(right.T, labels.T, width - 1, breaks.get("right"))
    south = _Pieces(at(row, col + 1), at(stop, col + 1), owner)
    col, row, stop, owner = _runs(left.T, labels.T, 0, breaks.get("left"))
    north = _Pieces(at(stop, col), at(row, col), owner)
    return [east, south, west, north]


def _runs(edges: np.ndarray, labels: np.ndarray, side: int, flags: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Along rows: (row, first, stop, label) of unbroken edges of one label; in the row ``side`` also of one flag."""
    goes_on = edges[:, 1:] & edges[:, :-1] & (labels[:, 1:] == labels[:, :-1])
    if flags is not None:
        goes_on[side] &= flags[1:] == flags[:-1]
    begins, ends = edges.copy(), edges.copy()
    begins[:, 1:] &= ~goes_on
    ends[:, :-1] &= ~goes_on
    row, first = np.nonzero(begins)
    return row, first, np.nonzero(ends)[1] + 1, labels[row, first]


def _followers(pieces: list[_Pieces], corners: int) -> np.ndarray:
    """(s,) number of the piece that goes on where each one ends, all directions counted on."""
    offsets = np.cumsum([0, *(len(part.starts) for part in pieces)])
    labels = np.concatenate([part.labels for part in pieces])
    beginning = []
    for part, offset in zip(pieces, offsets, strict=False):
        # Of one direction no two pieces begin in one corner.
        table = np.full(corners, -1, np.int32)
        table[part.starts] = np.arange(offset, offset + len(part.starts))
        beginning.append(table)
    found = []
    for direction, part in enumerate(pieces):
        following = np.full(len(part.stops), -1, np.int32)
        for turn in TURNS[direction]:
            there = beginning[turn][part.stops]
            fits = (following < 0) & (there >= 0) & (labels[there] == part.labels)
            following[fits] = there[fits]
        found.append(following)
    return np.concatenate(found)


class _Order(NamedTuple):
    pieces: np.ndarray
    """(s,) pieces ring by ring."""
    sizes: np.ndarray
    """(k,) pieces of each ring."""


def _ring_order(following: np.ndarray) -> _Order:
    """The circles of a permutation, each from its least member on, by doubling the steps that are looked ahead."""
    least, ahead = np.arange(len(following), dtype=np.int32), following
    while not np.array_equal(least, least[following]):
        least, ahead = np.minimum(least, least[ahead]), ahead[ahead]
    # Steps from each piece to the last one of its ring, which leads back to the least.
    is_last = following == least
    ahead = np.where(is_last, np.arange(len(following), dtype=np.int32), following)
    left = (~is_last).astype(np.int32)
    while (step := left[ahead]).any():
        left, ahead = left + step, ahead[ahead]
    order = np.lexsort((-left, least))
    return _Order(order, np.unique(least, return_counts=True)[1])
