"""Counts of truth against prediction, and the scores that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg import metrics
from geoseg.counting import count_pairs, fold
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Pixel counts: rows truth, columns prediction, and a last column for truth without a prediction.

    Matrices of the parts of a scene, and of scenes, add up to the matrix of the whole.
    """

    counts: np.ndarray
    """(K, K + 1) int64. A (K, K) matrix is taken as one without missing predictions."""
    ignored: tuple[int, ...] = ()
    """Class indices whose truth pixels count nowhere (DeepGlobe's unknown); they have no IoU."""

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts)
        if counts.ndim != 2 or counts.shape[1] - counts.shape[0] not in (0, 1):
            raise InputError(f"a confusion matrix is (K, K) or (K, K + 1), got {counts.shape}")
        if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
            raise InputError("a confusion matrix holds whole pixel counts >= 0")
        if counts.shape[0] == counts.shape[1]:
            counts = np.pad(counts, ((0, 0), (0, 1)))
        counts = counts.astype(np.int64)
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "ignored", tuple(sorted(self.ignored)))

    @classmethod
    def empty(cls, classes: int, ignored: tuple[int, ...] = ()) -> ConfusionMatrix:
        """A matrix of zeros for ``classes`` classes."""
        return cls(np.zeros((classes, classes + 1), np.int64), ignored)

    @classmethod
    def from_pair(
        cls, truth: np.ndarray, prediction: np.ndarray, classes: int, ignored: tuple[int, ...] = ()
    ) -> ConfusionMatrix:
        """Count two index arrays of one shape, uint8; NO_CLASS in the truth is left out, in the prediction missing."""
        if truth.shape != prediction.shape:
            raise InputError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
        joint, own = count_pairs(truth, prediction), np.arange(256)
        counts = fold(joint, own, own, classes)
        if counts.sum() != joint[:NO_CLASS].sum():
            raise InputError(f"class indices beyond the legend's {classes} classes")
        return cls(counts, ignored)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if self.counts.shape != other.counts.shape or self.ignored != other.ignored:
            raise InputError("confusion matrices of different legends do not add")
        return ConfusionMatrix(self.counts + other.counts, self.ignored)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ConfusionMatrix)
            and self.ignored == other.ignored
            and np.array_equal(self.counts, other.counts)
        )

    def without_missing(self) -> ConfusionMatrix:
        """The same counts with the truth that has no prediction left out."""
        return ConfusionMatrix(self.counts[:, :-1], self.ignored)

    @property
    def classes(self) -> int:
        """Number of classes K, the ignored ones included."""
        return self.counts.shape[0]

    @property
    def scored(self) -> np.ndarray:
        """(K, K + 1) int64: the counts with the rows of the ignored classes set to 0."""
        counts = self.counts.copy()
        counts[list(self.ignored)] = 0
        return counts

    @property
    def support(self) -> np.ndarray:
        """(K,) int64: scored truth pixels of each class."""
        return metrics.support(self.scored)

    @property
    def predicted(self) -> np.ndarray:
        """(K,) int64: pixels predicted as each class where the truth is scored."""
        return metrics.predicted(self.scored)

    @property
    def missing(self) -> int:
        """Scored truth pixels without a prediction."""
        return int(self.scored[:, -1].sum())

    @property
    def total(self) -> int:
        """Scored truth pixels."""
        return int(metrics.total(self.scored))

    @property
    def hits(self) -> np.ndarray:
        """(K,) int64: pixels of each class predicted right."""
        return metrics.hits(self.scored).copy()

    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union, pooled over all counted pixels (the paper's Eq. 1).

        NaN for ignored classes and for classes that neither the truth nor the prediction holds.
        """
        return metrics.iou(self.scored, self.ignored)

    def mean_iou(self) -> float:
        """Mean of the IoUs that are not NaN (the paper's Eq. 2); NaN where there is none."""
        return float(metrics.mean_over_classes(self.iou()))

    def precision(self) -> np.ndarray:
        """(K,) float64 share of the pixels predicted as a class that are of it (user's accuracy)."""
        return metrics.precision(self.scored, self.ignored)

    def recall(self) -> np.ndarray:
        """(K,) float64 share of a class's truth that was found (producer's accuracy)."""
        return metrics.recall(self.scored, self.ignored)

    def f1(self) -> np.ndarray:
        """(K,) float64 harmonic mean of precision and recall."""
        return metrics.f1(self.scored, self.ignored)

    def pixel_accuracy(self) -> float:
        """Share of the scored truth pixels predicted right; NaN where there are none."""
        return float(metrics.pixel_accuracy(self.scored))

    def kappa(self) -> float:
        """Cohen's kappa; NaN without scored pixels, and where truth and prediction are one and the same class."""
        return float(metrics.kappa(self.scored))

    def frequency_weighted_iou(self) -> float:
        """Mean IoU weighted by each class's share of the scored truth."""
        return float(metrics.frequency_weighted_iou(self.scored))

    def quantity_disagreement(self) -> float:
        """Share of the scored truth wrong because the classes' areas differ (Pontius and Millones 2011)."""
        return float(metrics.quantity_disagreement(self.scored))

    def allocation_disagreement(self) -> float:
        """Share wrong because classes swapped places; with the quantity disagreement it makes 1 - accuracy."""
        return float(metrics.allocation_disagreement(self.scored))

    def row_percent(self) -> np.ndarray:
        """(K, K + 1) float64: where each class's scored truth went, in percent; NaN without scored truth."""
        return metrics.row_percent(self.scored)

    def column_percent(self) -> np.ndarray:
        """(K, K + 1) float64: what each predicted class is in truth, in percent; NaN where it was not predicted."""
        return metrics.column_percent(self.scored)

    def majority_baseline(self) -> tuple[int, float]:
        """The most frequent scored class and the mean IoU of predicting nothing else; NaN without scored truth."""
        support = self.support
        support[list(self.ignored)] = -1
        majority = int(support.argmax())
        counts = np.zeros_like(self.counts)
        counts[:, majority] = self.counts.sum(1)
        return majority, ConfusionMatrix(counts, self.ignored).mean_iou()
