"""Counting which values of two arrays meet: the inner loop of scoring."""

from __future__ import annotations

import numpy as np

from geoseg.legend import NO_CLASS

PIECE = 1 << 18
"""Pixels counted at once, so that what is made of them stays in the processor's cache."""
SHORT_RUN = 6
"""Mean length of a run in pixels below which looking for runs costs more than it saves."""


def count_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(256, 256) int64: how often each value of ``first`` meets each of ``second``, two (H, W) uint8 arrays.

    Maps are smooth: pixels are counted run by run, of one pair of values each, where runs are long enough.
    """
    first, second = (np.ascontiguousarray(values).ravel() for values in (first, second))
    # Floats hold whole numbers below 2**53, and lengths of runs are added up as floats.
    joint = np.zeros(1 << 16)
    for start in range(0, len(first), PIECE):
        piece = slice(start, start + PIECE)
        found = _count(first[piece], second[piece])
        joint[: len(found)] += found
    return joint.astype(np.int64).reshape(256, 256)


def _count(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pixels of each pair, 256 x first + second, up to the highest pair that there is."""
    begins = np.ones(len(first), bool)
    np.not_equal(first[1:], first[:-1], out=begins[1:])
    begins[1:] |= second[1:] != second[:-1]
    starts = np.flatnonzero(begins)
    if len(starts) * SHORT_RUN > len(first):
        return np.bincount(_joined(first, second))
    return np.bincount(_joined(first[starts], second[starts]), np.diff(starts, append=len(first)))


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first.astype(np.uint16) << np.uint16(8)) | second


def fold(joint: np.ndarray, first_classes: np.ndarray, second_classes: np.ndarray, classes: int) -> np.ndarray:
    """(K, K + 1) sums of (256, 256) ``joint`` by the classes of the values that meet, the last column for NO_CLASS.

    Args:
        joint: counts, or sums of weights, of each pair of values.
        first_classes, second_classes: (256,) class index of each value; NO_CLASS in the first is left out.
    """
    there = joint.any(1), joint.any(0)
    rows = first_classes[there[0], None] == np.arange(classes)
    cols = second_classes[there[1], None] == np.append(np.arange(classes), NO_CLASS)
    return rows.T.astype(joint.dtype) @ joint[np.ix_(*there)] @ cols.astype(joint.dtype)
