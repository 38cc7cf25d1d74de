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

from geoseg.ablation.evaluate import NATIVE, RESOLUTIONS, Matrices, Tested, added
from geoseg.ablation.notes import notes
from geoseg.ablation.paper import printed
from geoseg.ablation.plan import BASELINE, AblationPlan, RunPlan
from geoseg.ablation.verdicts import Verdict, judge
from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.stats import ClassStats
from geoseg.legend import Legend
from geoseg.metrics import or_none
from geoseg.scoring.averages import AVERAGES, Scenes, average_iou, iou_name
from geoseg.scoring.compare import Comparison, compare_matrices
from geoseg.scoring.permutation import holm
from geoseg.training.run import HISTORY_FILE, REPORT_FILE
from geoseg.training.settings import SETTINGS, TrainingSettings

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

    @property
    def settings(self) -> TrainingSettings:
        """What it was trained with."""
        return TrainingSettings(**self.training["settings"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "setting": self.plan.row,
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
    """Its row."""
    seed: int
    error: str


@dataclass(frozen=True, eq=False)
class Ablation:
    """Every row and seed that was trained, scored on the same test scenes."""

    plan: AblationPlan
    """Rows, seeds and shared options."""
    legend: Legend
    """The classes of the data."""
    data: Mapping[str, Any]
    """folder, synthetic, split, split_sha256, scenes (of each part), and paper: whether it is the paper's own split."""
    shares: ClassStats
    """Class shares of the training scenes, before and after oversampling."""
    runs: tuple[Finished, ...]
    """One a row and seed, with a confusion matrix of every test scene."""
    failed: tuple[Failed, ...] = ()
    """Rows and seeds that could not be trained, and why."""
    sweep: tuple[Mapping[str, Any], ...] = ()
    """Learning rate and epochs against validation, where it was asked for."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions, and the command."""

    @property
    def rows(self) -> tuple[str, ...]:
        """Those with a finished run, in the order of the plan."""
        return tuple(name for name in self.plan.rows if any(run.plan.row == name for run in self.runs))

    @property
    def papers_rows(self) -> tuple[str, ...]:
        """Those of the paper; its claims are about them alone."""
        return tuple(name for name in self.rows if name in SETTINGS)

    @property
    def resolutions(self) -> tuple[str, ...]:
        """What all runs were counted at, of RESOLUTIONS; the first is that of tables and claims."""
        return tuple(name for name in RESOLUTIONS if all(name in run.tested.matrices for run in self.runs))

    @property
    def common_seeds(self) -> tuple[int, ...]:
        """Seeds that every row finished: rows are compared on these alone."""
        return self._seeds_of(self.rows)

    @property
    def claim_seeds(self) -> tuple[int, ...]:
        """Seeds that all of the paper's rows finished: its claims are judged on these alone."""
        return self._seeds_of(self.papers_rows)

    def matrices(self, row: str, resolution: str, seeds: Sequence[int] | None = None) -> list[Matrices]:
        """Of each of the row's seeds (default: all that finished), one matrix a scene."""
        return [
            run.tested.matrices[resolution]
            for run in self.runs
            if run.plan.row == row and (seeds is None or run.plan.seed in seeds)
        ]

    def _seeds_of(self, rows: Sequence[str]) -> tuple[int, ...]:
        of = [{run.plan.seed for run in self.runs if run.plan.row == row} for row in rows]
        return tuple(sorted(set.intersection(*of))) if of else ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; docs/ablation.md has every key."""
        return deepcopy(self._record)

    @cached_property
    def _record(self) -> dict[str, Any]:
        """Worked out once, as it takes resamples."""
        record = self._figures()
        return record | {"notes": notes(record), "provenance": dict(self.provenance)}

    def _figures(self) -> dict[str, Any]:
        shown = self.resolutions[0]
        first = next(iter(self.runs))
        support, test = (first_matrix(first, name).support for name in (shown, NATIVE))
        present = [i for i in self.legend.scored if support[i]]
        return {
            "schema": SCHEMA,
            "data": dict(self.data) | {"legend": self.legend.to_dict(), "classes": self._names()},
            "plan": {
                "settings": list(self.plan.rows),
                "seeds": self.plan.seeds,
                "options": {key: value if _plain(value) else str(value) for key, value in self.plan.options.items()},
                "fixed_steps": self.plan.fixed_steps,
            },
            "resolutions": list(self.resolutions),
            "shown": shown,
            "common_seeds": list(self.common_seeds),
            "claim_seeds": list(self.claim_seeds),
            "dominant": self.legend.names[max(present, key=lambda i: support[i])],
            "rarest": self.legend.names[min(present, key=lambda i: support[i])],
            "class_shares": {
                "train": self._of_training(self.shares.found.shares),
                "oversampled": self._of_training(self.shares.augmented_shares) if self.shares.rule else None,
                "test": self._by_name(test / test.sum()),
            },
            "oversampling": self._oversampling(),
            "rows": {row: self._row(row) for row in self.rows},
            "differences": {resolution: self._differences(resolution) for resolution in self.resolutions},
            "claims": [verdict.to_dict() for verdict in self._verdicts(shown)],
            "sweep": [dict(row) for row in self.sweep],
            "runs": [run.to_dict() for run in self.runs],
            "failed": [asdict(failure) for failure in self.failed],
            "paper": printed() if self.data["paper"] else None,
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
        return {self.legend.names[i]: or_none(values[i]) for i in self.legend.scored}

    def _of_training(self, values: np.ndarray) -> dict[str, float]:
        """Of every class, as pixels of ignored ones are seen, too."""
        return dict(zip(self.legend.names, values.tolist(), strict=True))

    def _oversampling(self) -> dict[str, Any] | None:
        """What it makes of the training part, on average over seeds; None where no class is rarer than another."""
        found = self.shares.to_dict()
        keys = ("rare_set", "rule", "expected_items", "expected_ignored_share", "scenes_by_copies")
        return {key: found[key] for key in keys} if self.shares.rule else None

    def _row(self, row: str) -> dict[str, Any]:
        runs = [run for run in self.runs if run.plan.row == row]
        return {
            "seeds": [run.plan.seed for run in runs],
            "steps": [run.training["last"]["step"] for run in runs],
            "samples_per_step": runs[0].settings.samples_per_step,
            "class_weights": dict(runs[0].training["class_weights"]),
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
        percent = [[or_none(value) for value in line] for line in matrix.row_percent()]
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
            row: _difference(one) | {"p_holm": or_none(p)}
            for (row, one), p in zip(compared.items(), adjusted, strict=True)
        }

    def _verdicts(self, resolution: str) -> list[Verdict]:
        rows = self.papers_rows if self.claim_seeds else ()
        return judge({row: self.matrices(row, resolution, self.claim_seeds) for row in rows}, self.legend)


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
    return {"mean": mean, "sd": deviation, "seeds": [or_none(value) for value in values]}


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
