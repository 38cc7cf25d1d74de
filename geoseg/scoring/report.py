"""Report: what a comparison of maps and truths found."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend
from geoseg.metrics import or_none
from geoseg.reporting.tables import class_table, figure
from geoseg.reporting.text import to_text
from geoseg.scoring.averages import AVERAGES, AverageIoU, Scenes, average_iou
from geoseg.scoring.boundary import BoundaryCounts
from geoseg.scoring.calibration import Reliability
from geoseg.scoring.intervals import Intervals
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.pair import Pair

SCHEMA = "geoseg.report/1"
"""Name and version of what ``Report.to_dict`` gives; docs/report.md has every key."""


@dataclass(frozen=True)
class Report:
    """Scores of one or more pairs of map and truth, from one confusion matrix a pair."""

    legend: Legend
    """The scored classes."""
    pairs: Mapping[str, Pair]
    """What was counted of each scene, by the truth's name."""
    notes: tuple[str, ...] = ()
    """What was said about the pairs: alignment, files left out, undefined colours."""
    average: str = "pooled"
    """Which of AVERAGES ``iou`` and ``mean_iou`` are."""
    intervals: Intervals | None = None
    """Of every figure, where they were asked for."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How the report was made: version, command, files."""
    joined: JoinedLegends | None = None
    """What the rasters' own classes are scored as; None where they have the legend's."""

    @property
    def matrices(self) -> dict[str, ConfusionMatrix]:
        """One matrix a scene, by the truth's name."""
        return {truth: pair.matrix for truth, pair in self.pairs.items()}

    @cached_property
    def matrix(self) -> ConfusionMatrix:
        """The sum over the scenes: every scored pixel of every scene once."""
        empty = ConfusionMatrix.empty(len(self.legend), self.legend.ignored)
        return sum(self.matrices.values(), start=empty)

    @cached_property
    def averages(self) -> dict[str, AverageIoU]:
        """IoU of each class under each of AVERAGES, and its mean, by the average's name."""
        scenes = Scenes.of(self.matrices.values())
        return {name: average_iou(scenes, name) for name in AVERAGES}

    @property
    def iou(self) -> dict[str, float]:
        """IoU of each scored class by name, under the report's average; NaN where it is absent everywhere.

        Pooled, the default, is the paper's Eq. 1.
        """
        return self._by_name(self.averages[self.average].iou)

    @property
    def mean_iou(self) -> float:
        """Mean of the IoUs that are not NaN (the paper's Eq. 2)."""
        return float(self.averages[self.average].mean)

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
        return [name for name, value in self._by_name(self.matrix.iou()).items() if math.isnan(value)]

    @property
    def majority_baseline(self) -> tuple[str, float]:
        """The most frequent class of the truth, and the pooled mean IoU of a map of nothing else."""
        index, value = self.matrix.majority_baseline()
        return self.legend.names[index], value

    @cached_property
    def hectares(self) -> np.ndarray | None:
        """(K, K + 1) true ground area of the counts in hectares, ignored classes' rows 0; None where a truth has no
        place on Earth."""
        areas = [pair.hectares for pair in self.pairs.values()]
        if any(area is None for area in areas):
            return None
        total = np.sum(areas, axis=0)
        total[list(self.legend.ignored)] = 0
        return total

    @cached_property
    def boundary(self) -> BoundaryCounts | None:
        """Of all scenes together; None where it was not asked for."""
        return _added([pair.boundary for pair in self.pairs.values()])

    @cached_property
    def reliability(self) -> Reliability | None:
        """Calibration of all scenes together; None where no scores were given."""
        return _added([pair.reliability for pair in self.pairs.values()])

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, NaN as null; docs/report.md has every key.

        The matrix has rows of truth, and a last column of missing predictions.
        """
        majority, baseline = self.majority_baseline
        matrix, pairs = self.matrix, self.pairs.values()
        overall = {name: or_none(value) for name, value in metrics.overall(matrix.scored, matrix.ignored).items()}
        means = {name: or_none(float(average.mean)) for name, average in self.averages.items()}
        return {
            "schema": SCHEMA,
            "legend": self.legend.to_dict(),
            "average": self.average,
            **overall,
            "mean_iou": or_none(self.mean_iou),
            "mean_iou_by_average": means,
            "majority_class": majority,
            "majority_baseline_mean_iou": or_none(baseline),
            "scored_pixels": matrix.total,
            "missing_predictions": matrix.missing,
            "left_out": {
                "unlabelled_or_ignored": sum(pair.unlabelled for pair in pairs),
                "of_undefined_colours": sum(pair.undefined for pair in pairs),
                "outside_of_the_map": sum(pair.outside for pair in pairs),
                "without_prediction": sum(pair.unpredicted for pair in pairs),
            },
            "absent_classes": self.absent,
            "classes": {row["class"]: row for row in self.rows()},
            "confusion": self._confusion(),
            "scenes": {truth: self._scene(pair) for truth, pair in self.pairs.items()},
            "intervals": None if self.intervals is None else self.intervals.to_dict(self.legend),
            "boundary": self._boundary_record(),
            "calibration": self._calibration_record(),
            "provenance": dict(self.provenance),
            "notes": list(self.notes),
        }

    def _boundary_record(self) -> dict[str, Any] | None:
        found = self.boundary
        return found and {
            "distance": found.distance,
            "unit": found.unit,
            "mean_iou": or_none(found.mean_iou()),
            "classes": {name: or_none(value) for name, value in self._by_name(found.iou()).items()},
        }

    def _calibration_record(self) -> dict[str, Any] | None:
        if self.reliability is None:
            return None
        record = self.reliability.to_dict()
        each = record.pop("class_ece")
        return record | {"class_ece": each and {self.legend.names[i]: each[i] for i in self.legend.scored}}

    def rows(self) -> list[dict[str, Any]]:
        """One record a scored class; IoU under the report's average, the rest pooled."""
        matrix, area = self.matrix, self.hectares
        figures = metrics.per_class(matrix.scored, matrix.ignored) | {"iou": self.averages[self.average].iou}
        names, images = self.legend.names, self.images
        return [
            {"class": names[i], "code": self.legend.classes[i].code}
            | {figure: or_none(values[i]) for figure, values in figures.items()}
            | {"iou_by_average": {name: or_none(average.iou[i]) for name, average in self.averages.items()}}
            | {"truth_pixels": int(matrix.support[i]), "predicted_pixels": int(matrix.predicted[i])}
            | {"truth_hectares": None if area is None else float(area[i].sum())}
            | {"predicted_hectares": None if area is None else float(area[:, i].sum())}
            | {"images": images[names[i]]}
            for i in self.legend.scored
        ]

    def _confusion(self) -> dict[str, Any]:
        matrix = self.matrix
        percent = {"row_percent": matrix.row_percent(), "column_percent": matrix.column_percent()}
        counts = {"classes": list(self.legend.names), "ignored": [self.legend.names[i] for i in self.legend.ignored]}
        return (
            counts
            | {"counts": matrix.counts.tolist()}
            | {name: [[or_none(value) for value in row] for row in values] for name, values in percent.items()}
        )

    def _scene(self, pair: Pair) -> dict[str, Any]:
        matrix = pair.matrix
        return {
            "prediction": pair.prediction,
            "alignment": pair.alignment,
            "note": pair.note,
            "overlap": pair.overlap,
            "mean_iou": or_none(matrix.mean_iou()),
            "pixel_accuracy": or_none(matrix.pixel_accuracy()),
            "iou": {name: or_none(value) for name, value in self._by_name(matrix.iou()).items()},
            "scored_pixels": matrix.total,
            "missing_predictions": matrix.missing,
            "unlabelled_or_ignored": pair.unlabelled,
            "of_undefined_colours": pair.undefined,
            "outside_of_the_map": pair.outside,
            "counts": matrix.counts.tolist(),
            "provenance": dict(pair.provenance),
        }

    def to_text(self) -> str:
        """A table for the terminal, and what must be known of it."""
        return to_text(self.to_dict())

    def _repr_html_(self) -> str:
        from html import escape

        table = class_table(self.to_dict(), short=True).without("precision", "recall", "F1", "images")
        head, *rows = ("".join(f"<td>{escape(cell)}</td>" for cell in line) for line in (table.head, *table.rows))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        said = f"mean IoU {figure(or_none(self.mean_iou))} ({self.average})"
        said += f", pixel accuracy {figure(or_none(self.pixel_accuracy))}"
        return f"<table><caption>{said}</caption><tr>{head.replace('td>', 'th>')}</tr>{body}</table>"

    def _by_name(self, values: np.ndarray) -> dict[str, float]:
        return {self.legend.names[i]: float(values[i]) for i in self.legend.scored}


def _added(parts: list[Any]) -> Any:
    """The sum of counts; None where one has none."""
    return None if any(part is None for part in parts) else reduce(operator.add, parts)
