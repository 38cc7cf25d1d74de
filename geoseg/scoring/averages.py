"""Averages of IoU over scenes, each by its name, and every figure of weighted scenes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError, UsageError

AVERAGES = ("pooled", "image", "image-present", "image-absent0", "image-absent1")
"""pooled: one matrix of all pixels (the paper's Eq. 1). The others are means of the scenes' own IoUs, per class:
image over scenes whose truth or prediction has the class, image-present over those whose truth has it, image-absent0
and image-absent1 over all, where absence from both counts 0 or 1."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """The matrices of scenes in one array."""

    counts: np.ndarray
    """(n, K, K + 1) int64, rows of ignored classes 0."""
    ignored: tuple[int, ...] = ()
    """Class indices that are not scored."""

    @classmethod
    def of(cls, matrices: Iterable[ConfusionMatrix]) -> Scenes:
        """The scenes of a report's matrices; raises InputError where there is none or legends differ."""
        matrices = list(matrices)
        if not matrices:
            raise InputError("nothing was scored: no scene or block has truth of a class that counts")
        if len({(matrix.classes, matrix.ignored) for matrix in matrices}) != 1:
            raise InputError("scenes of one legend are needed, and these are of several")
        return cls(np.stack([matrix.scored for matrix in matrices]), matrices[0].ignored)

    def __len__(self) -> int:
        return len(self.counts)

    def with_truth(self) -> Scenes:
        """Only those with scored truth, as the others are a sample of nothing; all, where none has any."""
        there = metrics.total(self.counts) > 0
        return Scenes(self.counts[there], self.ignored) if there.any() else self

    @cached_property
    def _flat(self) -> np.ndarray:
        """(n, K * (K + 1)) float64 of the counts: converted once, multiplied with many weights."""
        return self.counts.reshape(len(self), -1).astype(np.float64)

    @property
    def once(self) -> np.ndarray:
        """(n,) float64 weights that take each scene once."""
        return np.ones(len(self))

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        """(..., K, K + 1) float64: the sum of the matrices under (..., n) weights; exact below 2**53 pixels."""
        return (weights @ self._flat).reshape(*weights.shape[:-1], *self.counts.shape[1:])


@dataclass(frozen=True, eq=False)
class AverageIoU:
    """IoU of each class under one average, and the mean over the classes."""

    average: str
    """One of AVERAGES."""
    iou: np.ndarray
    """(..., K) float64; NaN where no scene behind the average has the class, and for ignored classes."""
    images: np.ndarray
    """(..., K) float64: (weights of) scenes behind each class; pooled: those with the class in truth or prediction."""

    @property
    def mean(self) -> np.ndarray:
        """(...) mean over the classes that are not NaN."""
        return metrics.mean_over_classes(self.iou)


def average_iou(
    scenes: Scenes | Iterable[ConfusionMatrix], average: str = "pooled", weights: np.ndarray | None = None
) -> AverageIoU:
    """IoU per class under one of AVERAGES.

    Args:
        scenes: one matrix a scene.
        average: pooled, image, image-present, image-absent0 or image-absent1 (docs/metrics.md).
        weights: (..., n) how often each scene is taken, as in a resample; default once.

    A scene without scored truth counts in no average. A class that no scene's truth or prediction has is NaN also
    under image-absent0 and image-absent1. Raises UsageError for an unknown average.
    """
    if average not in AVERAGES:
        raise UsageError(f"no average {average!r}; there are {', '.join(AVERAGES)}")
    scenes = scenes if isinstance(scenes, Scenes) else Scenes.of(scenes)
    weights = scenes.once if weights is None else np.asarray(weights, np.float64)
    held = metrics.union(scenes.counts) > 0
    if average == "pooled":
        return AverageIoU(average, metrics.iou(scenes.pooled(weights), scenes.ignored), weights @ held)
    counted = _counted(scenes.counts, average)
    iou = np.where(held, metrics.iou(scenes.counts), 1.0 if average == "image-absent1" else 0.0)
    images = weights @ counted
    known = (images > 0) & (weights @ held > 0)
    values = np.divide(weights @ (iou * counted), images, out=np.full(images.shape, np.nan), where=known)
    values[..., list(scenes.ignored)] = np.nan
    return AverageIoU(average, values, images)


@dataclass(frozen=True, eq=False)
class Figures:
    """Every figure of agreement by name, of one weighting of the scenes or of many."""

    overall: Mapping[str, np.ndarray]
    """(...) each: metrics.overall of the pooled counts; mean_iou_image and so on for the averages over scenes."""
    per_class: Mapping[str, np.ndarray]
    """(..., K) each: metrics.per_class of the pooled counts; iou_image and so on."""

    @classmethod
    def of(cls, scenes: Scenes, weights: np.ndarray, averages: tuple[str, ...] = AVERAGES) -> Figures:
        """The figures under (..., n) weights."""
        counts = scenes.pooled(weights)
        overall, per_class = metrics.overall(counts, scenes.ignored), metrics.per_class(counts, scenes.ignored)
        for average in averages:
            if average != "pooled":
                found, name = average_iou(scenes, average, weights), iou_name(average)
                overall[f"mean_{name}"], per_class[name] = found.mean, found.iou
        return cls(overall, per_class)

    @classmethod
    def joined(cls, parts: Sequence[Figures]) -> Figures:
        """The figures of several runs of weightings, one after the other."""
        return cls(
            {name: np.concatenate([part.overall[name] for part in parts]) for name in parts[0].overall},
            {name: np.concatenate([part.per_class[name] for part in parts]) for name in parts[0].per_class},
        )

    def __sub__(self, other: Figures) -> Figures:
        return Figures(
            {name: values - other.overall[name] for name, values in self.overall.items()},
            {name: values - other.per_class[name] for name, values in self.per_class.items()},
        )


def iou_name(average: str) -> str:
    """The name among the figures of IoU under an average; mean_ before it names the mean over classes."""
    return "iou" if average == "pooled" else f"iou_{average.replace('-', '_')}"


def _counted(counts: np.ndarray, average: str) -> np.ndarray:
    """(n, K) whether a scene counts for a class."""
    if average == "image-present":
        return metrics.support(counts) > 0
    if average == "image":
        return metrics.union(counts) > 0
    return np.broadcast_to(metrics.total(counts)[:, None] > 0, counts.shape[:2])
