"""Report: what a comparison of maps and truths found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend
from geoseg.scoring.pair import Pair


@dataclass(frozen=True)
class Report:
    """Scores of one or more pairs of map and truth, from one confusion matrix a pair."""

    legend: Legend
    pairs: Mapping[str, Pair]
    """What was counted of each scene, by the truth's name."""
    notes: tuple[str, ...] = ()
    """What was said about the pairs: alignment, files left out, undefined colours."""

    @property
    def matrices(self) -> dict[str, ConfusionMatrix]:
        """One matrix a scene, by the truth's name."""
        return {truth: pair.matrix for truth, pair in self.pairs.items()}

    @cached_property
    def matrix(self) -> ConfusionMatrix:
        """The sum over the scenes: every scored pixel of every scene once."""
        empty = ConfusionMatrix.empty(len(self.legend), self.legend.ignored)
        return sum(self.matrices.values(), start=empty)

    @property
    def iou(self) -> dict[str, float]:
        """Pooled IoU of each scored class by name (the paper's Eq. 1); NaN where it is absent everywhere."""
        return self._by_name(self.matrix.iou())

    @property
    def mean_iou(self) -> float:
        """Mean of the pooled IoUs that are not NaN (the paper's Eq. 2)."""
        return self.matrix.mean_iou()

    @property
    def pixel_accuracy(self) -> float:
        """Share of the scored pixels predicted right."""
        return self.matrix.pixel_accuracy()

    @property
    def images(self) -> dict[str, int]:
        """Number of scenes whose scored truth holds each class."""
        present = sum((matrix.support > 0).astype(int) for matrix in self.matrices.values())
        return {self.legend.names[i]: int(present[i]) for i in self.legend.scored}

    @property
    def absent(self) -> list[str]:
        """Scored classes that neither a truth nor a map holds: left out of the mean."""
        return [name for name, value in self.iou.items() if math.isnan(value)]

    @property
    def majority_baseline(self) -> tuple[str, float]:
        """The most frequent class of the truth, and the mean IoU of a map of nothing else."""
        index, value = self.matrix.majority_baseline()
        return self.legend.names[index], value

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN becomes null; the matrix has rows of truth and a last column of missing predictions."""
        majority, baseline = self.majority_baseline
        matrix = self.matrix
        return {
            "average": "pooled",
            "mean_iou": _null(self.mean_iou),
            "pixel_accuracy": _null(self.pixel_accuracy),
            "majority_class": majority,
            "majority_baseline_mean_iou": _null(baseline),
            "scored_pixels": matrix.total,
            "missing_predictions": matrix.missing,
            "absent_classes": self.absent,
            "scenes": list(self.matrices),
            "classes": {row["class"]: row for row in self.rows()},
            "confusion": {"classes": list(self.legend.names), "counts": matrix.counts.tolist()},
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One record a scored class."""
        matrix = self.matrix
        figures = {
            "iou": matrix.iou(),
            "precision": matrix.precision(),
            "recall": matrix.recall(),
            "f1": matrix.f1(),
        }
        names, images = self.legend.names, self.images
        return [
            {"class": names[i]}
            | {figure: _null(values[i]) for figure, values in figures.items()}
            | {"truth_pixels": int(matrix.support[i]), "predicted_pixels": int(matrix.predicted[i])}
            | {"images": images[names[i]]}
            for i in self.legend.scored
        ]

    def to_text(self) -> str:
        """A table for the terminal."""
        width = max(len(name) for name in (*self.iou, "class"))
        lines = [f"{'class':{width}}     IoU  precision  recall      F1    truth px  images"]
        for row in self.rows():
            figures = "  ".join(
                f"{_figure(row[k]):>{n}}" for k, n in (("iou", 6), ("precision", 9), ("recall", 6), ("f1", 6))
            )
            lines.append(f"{row['class']:{width}}  {figures}  {row['truth_pixels']:>10}  {row['images']:>6}")
        majority, baseline = self.majority_baseline
        classes = len(self.iou) - len(self.absent)
        lines += [
            f"mean IoU {_figure(self.mean_iou)} (pooled over {len(self.matrices)} scene(s), {classes} classes), "
            f"pixel accuracy {_figure(self.pixel_accuracy)}",
            f"majority baseline (all {majority}): mean IoU {_figure(baseline)}",
        ]
        if self.absent:
            lines.append(f"absent from truth and map, left out of the mean: {', '.join(self.absent)}")
        if self.matrix.missing:
            lines.append(f"{self.matrix.missing} truth pixels have no prediction and count as missed")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(row['class'])}</td><td>{_figure(row['iou'])}</td><td>{row['truth_pixels']}</td></tr>"
            for row in self.rows()
        )
        head = f"mean IoU {_figure(self.mean_iou)} (pooled), pixel accuracy {_figure(self.pixel_accuracy)}"
        return f"<table><caption>{head}</caption><tr><th>class</th><th>IoU</th><th>truth px</th></tr>{rows}</table>"

    def _by_name(self, values: np.ndarray) -> dict[str, float]:
        return {self.legend.names[i]: float(values[i]) for i in self.legend.scored}


def _null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _figure(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.4f}"
