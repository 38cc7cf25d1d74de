"""Figures of agreement as functions of counts; docs/metrics.md has every formula and its source.

``counts`` is (..., K, K + 1), whole numbers as integers or floats: rows truth, columns prediction, last column truth
without a prediction, rows of ignored classes set to 0 (``ConfusionMatrix.scored``). Leading axes are kept, so that
thousands of resampled matrices are one call. What is undefined is NaN, never 0 or 1.

Two columns have no truth: the last, and that of an ignored class. Both are categories that the truth never has: what
stands there is an error of the row's class.
"""

from __future__ import annotations

import math

import numpy as np

Ignored = tuple[int, ...]
"""Class indices without figures of their own: NaN in (..., K), left out of means."""


def support(counts: np.ndarray) -> np.ndarray:
    """(..., K) truth pixels of each class."""
    return counts.sum(-1)


def predicted(counts: np.ndarray) -> np.ndarray:
    """(..., K) pixels predicted as each class, where the truth is scored."""
    return counts[..., :-1].sum(-2)


def hits(counts: np.ndarray) -> np.ndarray:
    """(..., K) pixels of each class predicted right."""
    return np.diagonal(counts, axis1=-2, axis2=-1)


def total(counts: np.ndarray) -> np.ndarray:
    """(...) scored truth pixels."""
    return counts.sum((-2, -1))


def union(counts: np.ndarray) -> np.ndarray:
    """(..., K) pixels that are of a class in the truth, in the prediction or in both."""
    return support(counts) + predicted(counts) - hits(counts)


def iou(counts: np.ndarray, ignored: Ignored = ()) -> np.ndarray:
    """(..., K) intersection over union (the paper's Eq. 1); NaN where neither truth nor prediction has the class."""
    return _without(_ratio(hits(counts), union(counts)), ignored)


def precision(counts: np.ndarray, ignored: Ignored = ()) -> np.ndarray:
    """(..., K) share right of what was predicted as a class (user's accuracy); NaN where nothing was."""
    return _without(_ratio(hits(counts), predicted(counts)), ignored)


def recall(counts: np.ndarray, ignored: Ignored = ()) -> np.ndarray:
    """(..., K) share found of a class's truth (producer's accuracy); NaN where there is none."""
    return _without(_ratio(hits(counts), support(counts)), ignored)


def f1(counts: np.ndarray, ignored: Ignored = ()) -> np.ndarray:
    """(..., K) harmonic mean of precision and recall (Dice); NaN where IoU is."""
    return _without(_ratio(2 * hits(counts), support(counts) + predicted(counts)), ignored)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """(...) mean of the (..., K) values that are not NaN (the paper's Eq. 2 for IoU); NaN where all are."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(-1), there.sum(-1))


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """(...) share of the scored truth predicted right (overall accuracy)."""
    return _ratio(hits(counts).sum(-1), total(counts))


def kappa(counts: np.ndarray) -> np.ndarray:
    """(...) Cohen's kappa (Cohen 1960): accuracy above that of chance with the same margins; NaN where chance is 1."""
    pixels = total(counts)[..., None]
    chance = (_ratio(support(counts), pixels) * _ratio(predicted(counts), pixels)).sum(-1)
    return _ratio(pixel_accuracy(counts) - chance, 1 - chance)


def frequency_weighted_iou(counts: np.ndarray) -> np.ndarray:
    """(...) IoU weighted by each class's share of the truth (Long et al. 2015)."""
    weighted = support(counts) * np.nan_to_num(iou(counts))
    return _ratio(weighted.sum(-1), total(counts))


def quantity_disagreement(counts: np.ndarray) -> np.ndarray:
    """(...) share of pixels wrong because classes take too much or too little area (Pontius and Millones 2011).

    Half the sum of |predicted - truth| over all categories, "no prediction" and ignored classes among them.
    """
    excess = np.abs(predicted(counts) - support(counts)).sum(-1) + counts[..., -1].sum(-1)
    return _ratio(excess, 2 * total(counts))


def allocation_disagreement(counts: np.ndarray) -> np.ndarray:
    """(...) share of pixels wrong though the areas would match: swapped places (Pontius and Millones 2011).

    With quantity disagreement it adds up to 1 - accuracy. Categories without truth have nothing to swap.
    """
    right = hits(counts)
    swapped = np.minimum(support(counts) - right, predicted(counts) - right).sum(-1)
    return _ratio(swapped, total(counts))


def row_percent(counts: np.ndarray) -> np.ndarray:
    """(..., K, K + 1) where each class's truth went, in percent: rows sum to 100, NaN without truth."""
    return 100 * _ratio(counts, counts.sum(-1, keepdims=True))


def column_percent(counts: np.ndarray) -> np.ndarray:
    """(..., K, K + 1) what each predicted class is in truth, in percent: columns sum to 100, NaN where empty."""
    return 100 * _ratio(counts, counts.sum(-2, keepdims=True))


def per_class(counts: np.ndarray, ignored: Ignored = ()) -> dict[str, np.ndarray]:
    """Every figure of a class by name, (..., K) each."""
    return {figure.__name__: figure(counts, ignored) for figure in (iou, precision, recall, f1)}


def overall(counts: np.ndarray, ignored: Ignored = ()) -> dict[str, np.ndarray]:
    """Every figure of a matrix by name, (...) each."""
    means = {f"mean_{name}": mean_over_classes(values) for name, values in per_class(counts, ignored).items()}
    plain = (pixel_accuracy, kappa, frequency_weighted_iou, quantity_disagreement, allocation_disagreement)
    return means | {figure.__name__: figure(counts) for figure in plain}


def or_none(value: float) -> float | None:
    """A figure as JSON holds it: NaN becomes null."""
    return None if math.isnan(value) else float(value)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def _without(values: np.ndarray, ignored: Ignored) -> np.ndarray:
    values[..., list(ignored)] = np.nan
    return values
