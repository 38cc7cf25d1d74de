"""Counting which values of two rasters meet: the inner loop of scoring."""

from __future__ import annotations

import numpy as np

from geoseg.confusion import ConfusionMatrix
from geoseg.legend import NO_CLASS

PIECE = 1 << 20
"""Pixels counted at once, so that what is made of them stays in the processor's cache."""
WORD = 8
"""Pixels of one byte that are looked at together."""


def count_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(256, 256) int64: how often each value of ``first`` meets each of ``second``, two (H, W) uint8 arrays.

    Maps are smooth: most words of eight pixels hold one value in either raster and are counted as one.
    """
    first, second = (np.ascontiguousarray(values).ravel() for values in (first, second))
    joint = np.zeros(1 << 16, np.int64)
    whole = len(first) // WORD * WORD
    for start in range(0, whole, PIECE):
        piece = slice(start, min(start + PIECE, whole))
        joint += _count_words(first[piece], second[piece])
    joint += _count(first[whole:], second[whole:])
    return joint.reshape(256, 256)


def _count_words(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    words, others = first.view(np.uint64), second.view(np.uint64)
    # Seven bytes against their neighbours; the eighth has none, on either kind of machine.
    steps = ((words ^ (words >> np.uint64(8))) | (others ^ (others >> np.uint64(8)))) & np.uint64(0x00FFFFFFFFFFFFFF)
    mixed = np.flatnonzero(steps)
    heads = _joined(first[::WORD], second[::WORD])
    uniform = np.bincount(heads, minlength=1 << 16) - np.bincount(heads[mixed], minlength=1 << 16)
    return WORD * uniform + _count(words[mixed].view(np.uint8), others[mixed].view(np.uint8))


def _count(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bincount(_joined(first, second), minlength=1 << 16)


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first.astype(np.uint16) << np.uint16(8)) | second


def fold(
    joint: np.ndarray, truth_classes: np.ndarray, prediction_classes: np.ndarray, classes: int, ignored: tuple[int, ...]
) -> ConfusionMatrix:
    """The confusion matrix of (256, 256) counts of truth's values against the prediction's.

    Args:
        truth_classes, prediction_classes: (256,) class index of each value; NO_CLASS in the truth is left out, in the
            prediction missing.
    """
    # The prediction's last column is for NO_CLASS; the truth has none.
    rows = truth_classes[:, None] == np.arange(classes)
    cols = prediction_classes[:, None] == np.append(np.arange(classes), NO_CLASS)
    return ConfusionMatrix(rows.T.astype(np.int64) @ joint @ cols.astype(np.int64), ignored)
