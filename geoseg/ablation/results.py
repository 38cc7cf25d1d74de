"""Ablation: what the runs found, and the record that every report is made of."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.ablation.claims import judge
from geoseg.ablation.evaluate import NATIVE, RESOLUTIONS, Matrices, Tested, added
from geoseg.ablation.paper import printed
from geoseg.ablation.plan import BASELINE, AblationPlan, RunPlan
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend
from geoseg.scoring.averages import AVERAGES, Scenes, average_iou, iou_name
from geoseg.scoring.compare import Comparison, compare_matrices
from geoseg.scoring.permutation import holm
from geoseg.training.run import HISTORY_FILE, REPORT_FILE

SCHEMA = "geoseg.ablation/1"
"""Name and version of what ``Ablation.to_dict`` gives; docs/ablation.md has every key."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that was trained and tested."""

    plan: RunPlan
    folder: Path
    tested: Tested
    training: Mapping[str, Any]
    """The run's report.json."""
    history: tuple[Mapping[str, float], ...]
    """The rows of its history.csv; what is empty is left out."""

    @classmethod
    def read(cls, plan: RunPlan, folder: Path, tested: Tested) -> Finished:
        """From the run's own files."""
        return cls(plan, folder, tested, json.loads((folder / REPORT_FILE).read_text()), read_history(folder))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "setting": self.plan.setting,
            "seed": self.plan.seed,
            "folder": self.folder.name,
            "steps": self.training["last"]["step"],
            "epochs": self.training["last"]["epoch"],
            "model": dict(self.training["model"]),
            "chosen_by": self.training["chosen_by"],
            # The split is a file of the folder; the data record says which one.
            "settings": {key: value for key, value in self.training["settings"].items() if key != "split"},
            "history": [dict(row) for row in self.history],
        }


@dataclass(frozen=True)
class Failed:
    """A run that could not be made."""

    setting: str
    seed: int
    error: str


@dataclass(frozen=True, eq=False)
class Ablation:
    """Every row and seed that was trained, scored on the same test scenes."""

    plan: AblationPlan
    legend: Legend
    data: Mapping[str, Any]
    """folder, synthetic, split, split_sha256, scenes (of each part), and paper: whether it is the paper's own split."""
    runs: tuple[Finished, ...]
    failed: tuple[Failed, ...] = ()
    sweep: tuple[Mapping[str, Any], ...] = ()
    """Learning rate and epochs against validation, where it was asked for."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[str, ...]:
        """Settings with a finished run, in the order of the plan."""
        return tuple(name for name in self.plan.settings if any(run.plan.setting == name for run in self.runs))

    @property
    def resolutions(self) -> tuple[str, ...]:
        """What all runs were counted at, of RESOLUTIONS; the first is that of tables and claims."""
        return tuple(name for name in RESOLUTIONS if all(name in run.tested.matrices for run in self.runs))

    @property
    def common_seeds(self) -> tuple[int, ...]:
        """Seeds that every row finished: rows are compared on these alone."""
        of = [{run.plan.seed for run in self.runs if run.plan.setting == row} for row in self.rows]
        return tuple(sorted(set.intersection(*of))) if of else ()

    def matrices(self, row: str, resolution: str, seeds: Sequence[int] | None = None) -> list[Matrices]:
        """Of each of the row's seeds (default: all that finished), one matrix a scene."""
        return [
            run.tested.matrices[resolution]
            for run in self.runs
            if run.plan.setting == row and (seeds is None or run.plan.seed in seeds)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; docs/ablation.md has every key."""
        return deepcopy(self._record)

    @cached_property
    def _record(self) -> dict[str, Any]:
        """Worked out once, as it takes resamples."""
        shown = self.resolutions[0]
        first = next(iter(self.runs))
        support = first_matrix(first, shown).support
        present = [i for i in self.legend.scored if support[i]]
        return {
            "schema": SCHEMA,
            "data": dict(self.data) | {"legend": self.legend.to_dict(), "classes": self._names()},
            "plan": {
                "settings": list(self.plan.settings),
                "seeds": self.plan.seeds,
                "options": {key: value if _plain(value) else str(value) for key, value in self.plan.options.items()},
                "fixed_steps": self.plan.fixed_steps,
            },
            "resolutions": list(self.resolutions),
            "shown": shown,
            "common_seeds": list(self.common_seeds),
            "dominant": self.legend.names[max(present, key=lambda i: support[i])],
            "rarest": self.legend.names[min(present, key=lambda i: support[i])],
            "class_shares": {
                "train": dict(first.training["class_shares"]),
                "test": self._by_name(support / max(support.sum(), 1)),
            },
            "class_weights": dict(first.training["class_weights"]),
            "rows": {row: self._row(row) for row in self.rows},
            "differences": {resolution: self._differences(resolution) for resolution in self.resolutions},
            "claims": [verdict.to_dict() for verdict in self._verdicts(shown)],
            "sweep": [dict(row) for row in self.sweep],
            "runs": [run.to_dict() for run in self.runs],
            "failed": [asdict(failure) for failure in self.failed],
            "paper": printed() if self.data["paper"] else None,
            "notes": self._notes(),
            "provenance": dict(self.provenance),
        }

    def to_text(self) -> str:
        """Tables for the terminal."""
        from geoseg.ablation.tables import to_text

        return to_text(self.to_dict())

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"

    def _names(self) -> list[str]:
        return [self.legend.names[i] for i in self.legend.scored]

    def _by_name(self, values: np.ndarray) -> dict[str, float | None]:
        return {self.legend.names[i]: null(values[i]) for i in self.legend.scored}

    def _row(self, row: str) -> dict[str, Any]:
        runs = [run for run in self.runs if run.plan.setting == row]
        return {
            "seeds": [run.plan.seed for run in runs],
            "steps": [run.training["last"]["step"] for run in runs],
            "scores": {resolution: self._scores(row, resolution) for resolution in self.resolutions},
            "confusion": {resolution: self._confusion(row, resolution) for resolution in self.resolutions},
        }

    def _scores(self, row: str, resolution: str) -> dict[str, Any]:
        """Each figure's mean and spread over the seeds, and each seed's own."""
        runs = self.matrices(row, resolution)
        averages = {name: [average_iou(Scenes.of(run.values()), name) for run in runs] for name in AVERAGES}
        pooled = [pool(run) for run in runs]
        return {
            "mean_iou": {name: spread([float(one.mean) for one in found]) for name, found in averages.items()},
            "pixel_accuracy": spread([matrix.pixel_accuracy() for matrix in pooled]),
            "kappa": spread([matrix.kappa() for matrix in pooled]),
            "classes": {
                self.legend.names[i]: {
                    name: spread([float(one.iou[i]) for one in found]) for name, found in averages.items()
                }
                for i in self.legend.scored
            },
        }

    def _confusion(self, row: str, resolution: str) -> dict[str, Any]:
        """Of all seeds together."""
        matrix = sum((pool(run) for run in self.matrices(row, resolution)), start=self._empty())
        percent = [[null(value) for value in line] for line in matrix.row_percent()]
        errors = {
            "false_positives": matrix.predicted - matrix.hits,
            "false_negatives": matrix.support - matrix.hits,
            "predicted": matrix.predicted,
            "true": matrix.support,
        }
        shares = {name: self._by_name(values / max(matrix.total, 1)) for name, values in errors.items()}
        return {
            "classes": list(self.legend.names),
            "ignored": [self.legend.names[i] for i in self.legend.ignored],
            "counts": matrix.counts.tolist(),
            "row_percent": percent,
            "shares": shares,
        }

    def _empty(self) -> ConfusionMatrix:
        return ConfusionMatrix.empty(len(self.legend), self.legend.ignored)

    def _differences(self, resolution: str) -> dict[str, Any]:
        """Each row less the baseline, over scenes that are drawn again; p-values adjusted for the number of rows."""
        if BASELINE not in self.rows or not self.common_seeds:
            return {}
        scenes = {row: added(self.matrices(row, resolution, self.common_seeds)) for row in self.rows}
        compared = {
            row: compare_matrices(scenes[BASELINE], matrices, self.legend, (BASELINE, row))
            for row, matrices in scenes.items()
            if row != BASELINE
        }
        adjusted = holm(np.array([one.test.mean_iou for one in compared.values()]))
        return {
            row: _difference(one) | {"p_holm": null(p)}
            for (row, one), p in zip(compared.items(), adjusted, strict=True)
        }

    def _verdicts(self, resolution: str) -> list[Any]:
        rows = self.rows if self.common_seeds else ()
        return judge({row: self.matrices(row, resolution, self.common_seeds) for row in rows}, self.legend)

    def _notes(self) -> list[str]:
        """What must be known of the figures."""
        found = [f"{failure.setting}, seed {failure.seed}, is missing: {failure.error}" for failure in self.failed]
        if self.data["synthetic"]:
            found.append("the scenes are invented: figures say that the pipeline runs, not what land cover is like")
        steps = {
            row: {run.training["last"]["step"] for run in self.runs if run.plan.setting == row} for row in self.rows
        }
        if len(set.union(*steps.values())) > 1:
            said = ", ".join(f"{row} {max(made)}" for row, made in steps.items())
            found.append(
                f"rows were trained for different numbers of optimiser steps ({said}): a longer training is part of "
                "their difference; --fixed-steps takes it out"
            )
        elif self.plan.fixed_steps:
            found.append(f"every row made {self.plan.fixed_steps} optimiser steps, whatever the length of its epochs")
        if self.plan.seeds == 1:
            found.append("one seed: how far figures vary from training to training is unknown")
        if self.resolutions == (NATIVE,):
            found.append("the network sees the scenes' own pixels, so there is one resolution")
        scenes = self.data["scenes"]["test"]
        if scenes < 20:
            found.append(f"{scenes} test scene(s) are few: intervals of so few come out too narrow")
        return found


def read_history(folder: Path) -> tuple[dict[str, float], ...]:
    """The epochs of a run: numbers by name, empty cells left out."""
    with open(folder / HISTORY_FILE, newline="", encoding="utf-8") as file:
        return tuple(
            {name: float(value) for name, value in row.items() if _is_number(value)} for row in csv.DictReader(file)
        )


def first_matrix(run: Finished, resolution: str) -> ConfusionMatrix:
    """All test scenes of a run together."""
    return pool(run.tested.matrices[resolution])


def pool(matrices: Matrices) -> ConfusionMatrix:
    """The sum over scenes."""
    first, *rest = matrices.values()
    return sum(rest, start=first)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over seeds; null where undefined, a deviation of one seed among them."""
    there = np.array([value for value in values if not math.isnan(value)])
    mean = float(there.mean()) if len(there) else None
    deviation = float(there.std(ddof=1)) if len(there) > 1 else None
    return {"mean": mean, "sd": deviation, "seeds": [null(value) for value in values]}


def null(value: float) -> float | None:
    """NaN as JSON has it."""
    return None if math.isnan(value) else float(value)


def _difference(comparison: Comparison) -> dict[str, Any]:
    record = comparison.to_dict()
    means = {name: entry for name, entry in record["overall"].items() if name.startswith("mean_iou")}
    by_average = {average: means[f"mean_{iou_name(average)}"] for average in AVERAGES}
    classes = {name: figures["iou"] for name, figures in record["classes"].items()}
    return {
        "mean_iou": by_average,
        "pixel_accuracy": record["overall"]["pixel_accuracy"],
        "classes": classes,
        "p": by_average["pooled"]["p"],
        "test": record["test"],
        "resampling": record["resampling"],
    }


def _is_number(text: str | None) -> bool:
    try:
        return text not in (None, "") and math.isfinite(float(text))
    except ValueError:
        return False


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
