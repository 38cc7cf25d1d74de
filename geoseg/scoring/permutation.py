"""The paired permutation test: which map made which matrix of a scene, drawn by lot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.scoring.averages import Scenes
from geoseg.scoring.intervals import weightings_at_once

MOST_ENUMERATED = 12
"""Up to so many scenes every exchange is worked out (4096 of them); beyond, exchanges are drawn."""
ROUNDING = 1e-12
"""Differences that are equal but for the order of sums."""


@dataclass(frozen=True, eq=False)
class SignFlip:
    """Two-sided p-values of the pooled figures of two maps, were their matrices exchangeable within each scene."""

    mean_iou: float
    """Of the difference in mean IoU; NaN where nothing is scored, as the next."""
    pixel_accuracy: float
    """Of the difference in pixel accuracy."""
    iou: np.ndarray
    """(K,) float64 of the difference in each class's IoU; NaN for classes without scored truth."""
    iou_holm: np.ndarray
    """(K,) float64: the same, adjusted for testing all classes (Holm 1979)."""
    exchanges: int
    """Exchanges worked out."""
    exact: bool
    """True where they are all there are."""
    differing: int
    """Scenes in which the two maps' matrices differ: only these can tell the maps apart."""

    @property
    def smallest(self) -> float:
        """The smallest p-value that so many scenes and exchanges can give."""
        fewest = 2.0 ** (1 - self.differing) if self.differing else 1.0
        return fewest if self.exact else max(fewest, 1 / (self.exchanges + 1))


def sign_flip(
    first: Iterable[ConfusionMatrix], second: Iterable[ConfusionMatrix], draws: int = 10_000, seed: int = 0
) -> SignFlip:
    """Test whether second and first differ, by exchanging the two matrices of scenes.

    Args:
        first, second: one matrix a scene each, of the same truth, in one order.
        draws: exchanges that are drawn where more than 12 scenes differ.
        seed: of numpy's PCG64.

    All exchanges of up to 12 scenes: the share whose difference is at least as large as the one found. Else
    (hits + 1) / (draws + 1), which holds its level for any number of draws (Phipson and Smyth 2010).
    """
    before, after = Scenes.of(first), Scenes.of(second)
    moved = (before.counts != after.counts).any((1, 2))
    differing = int(moved.sum())
    exact, at_once = differing <= MOST_ENUMERATED, weightings_at_once(before)
    exchanges = _all(differing, at_once) if exact else _drawn(differing, draws, seed, at_once)
    hits, count = _as_large(before, after, moved, exchanges)
    p = hits / count if exact else (hits + 1) / (count + 1)
    p[2:][metrics.support(before.counts).sum(0) == 0] = math.nan
    return SignFlip(float(p[0]), float(p[1]), p[2:], holm(p[2:]), count, exact, differing)


def holm(p: np.ndarray) -> np.ndarray:
    """(K,) p-values adjusted for their number (Holm 1979); NaN is no test and stays NaN."""
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _as_large(
    before: Scenes, after: Scenes, moved: np.ndarray, exchanges: Iterator[np.ndarray]
) -> tuple[np.ndarray, int]:
    """(2 + K,) exchanges of the moved scenes whose differences are as large as those found; and of how many.

    NaN where no difference was found, because there is no figure.
    """
    found = np.abs(_differences(before, after, np.zeros((1, len(before)))))
    hits, count = np.where(np.isnan(found[0]), np.nan, 0.0), 0
    for some in exchanges:
        flips = np.zeros((len(some), len(before)))
        flips[:, moved] = some
        hits += (np.abs(_differences(before, after, flips)) >= found - ROUNDING).sum(0)
        count += len(some)
    return hits, count


def _differences(before: Scenes, after: Scenes, flips: np.ndarray) -> np.ndarray:
    """(flips, 2 + K): mean IoU, pixel accuracy and IoUs of after less before, matrices exchanged where flips is 1."""
    kept = 1 - flips
    sums = (after.pooled(kept) + before.pooled(flips), before.pooled(kept) + after.pooled(flips))
    second, first = (
        np.column_stack((metrics.mean_over_classes(iou), metrics.pixel_accuracy(counts), iou))
        for counts, iou in ((counts, metrics.iou(counts, before.ignored)) for counts in sums)
    )
    return second - first


def _all(scenes: int, at_once: int) -> Iterator[np.ndarray]:
    """(<= at_once, scenes) of 0 and 1: every exchange once."""
    for start in range(0, 1 << scenes, at_once):
        numbers = np.arange(start, min(start + at_once, 1 << scenes))
        yield numbers[:, None] >> np.arange(scenes) & 1


def _drawn(scenes: int, draws: int, seed: int, at_once: int) -> Iterator[np.ndarray]:
    """(<= at_once, scenes) of 0 and 1, drawn; the same rows whatever ``at_once`` is."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, draws, at_once):
        # Drawn as floats: small integers are cut from buffered bits, which depend on the size of each draw.
        yield generator.random((min(at_once, draws - start), scenes)) < 0.5
