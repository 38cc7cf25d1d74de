"""AblationPlan: which runs there are, on which split, with which options; a folder keeps to one of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.datasets.dataset import Dataset, Pair
from geoseg.datasets.splits import Split, resolve_split
from geoseg.errors import InputError, UsageError
from geoseg.files import replace_file
from geoseg.training.preparation import PAPER_SIZE
from geoseg.training.settings import PRESETS, SETTINGS, TrainingSettings, resolve_settings

ROWS: dict[str, TrainingSettings] = SETTINGS | PRESETS
"""What there is to compare: the paper's rows, then our own recipe."""
BASELINE = "baseline"
PLAN_FILE, SPLIT_FILE, RUNS_FOLDER = "plan.json", "split.json", "runs"
OF_READING = ("precision", "bands")
"""Options that are no settings of training, and must be the same in all runs of a folder, too."""
OF_THE_PLAIN_UNET, OF_ENCODERS, OF_OVERSAMPLING = "width", "encoder_weights", "rare_set"
"""Options that the other rows have no use for, and are not given to them."""
OF_EVERY_ROW = ("epochs", "steps", "window", "size", "scaling", "scale", "percentiles", "compile", OF_ENCODERS)
"""Options of training that a preset takes, too; it keeps its own values of all others, which are the paper's rows'."""
SWEPT_RATES = (1e-3, 1e-4)
"""Learning rates that the paper tried on its baseline."""


@dataclass(frozen=True)
class RunPlan:
    """One training run."""

    row: str
    """Its name among ROWS."""
    seed: int
    options: Mapping[str, Any]
    """Fields of TrainingSettings that are not the row's own."""
    note: str = ""
    """What tells it from the row's runs, as its folder's name has it."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.row}{self.note}-seed{self.seed}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of geoseg.train, and of resolve_settings, that make it what it is."""
        return {"preset" if self.row in PRESETS else "setting": self.row, "seed": self.seed} | dict(self.options)

    @property
    def settings(self) -> TrainingSettings:
        """All that it is trained with; raises UsageError."""
        return resolve_settings(**self.arguments)


@dataclass(frozen=True)
class AblationPlan:
    """What is trained and how."""

    rows: tuple[str, ...]
    """Names among ROWS, the baseline's among them."""
    seeds: int
    """Every row is trained with the seeds 0 to ``seeds`` - 1, all on one split."""
    options: Mapping[str, Any]
    """Options that rows share, as far as they have a use for them: fields of TrainingSettings, bands, precision."""
    sweep: bool = False
    """Train the baseline with the paper's learning rates, too."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UsageError(f"--seeds is at least 1, got {self.seeds}")
        if unknown := [name for name in self.rows if name not in ROWS]:
            raise UsageError(f"setting {unknown[0]!r}: there are {', '.join(ROWS)}")
        if BASELINE not in self.rows:
            raise UsageError(f"every row is compared with the {BASELINE}: add it to --settings")
        if fixed := sorted(self.options.keys() & (rows_differ_in() - {OF_ENCODERS} | {"seed"})):
            raise UsageError(f"{fixed[0]!r} is what the rows differ in; train such a model with geoseg train")
        for run in self.runs:
            resolve_settings(**run.arguments)

    @property
    def baseline(self) -> TrainingSettings:
        """What the baseline is trained with: all of the paper's rows see scenes as it does."""
        return resolve_settings(BASELINE, **self._options_of(BASELINE))

    @property
    def fixed_steps(self) -> int | None:
        """Optimiser steps of every row, None where rows have epochs."""
        return self.options.get("steps")

    @property
    def runs(self) -> list[RunPlan]:
        """Seed by seed, so that a stopped ablation has whole rows."""
        return [RunPlan(name, seed, self._options_of(name)) for seed in range(self.seeds) for name in self.rows]

    @property
    def swept(self) -> list[RunPlan]:
        """The baseline with each learning rate of the paper; the row's own run where it has that rate."""
        if not self.sweep:
            return []
        options = self._options_of(BASELINE)
        own = options.get("lr", ROWS[BASELINE].lr)
        return [
            RunPlan(BASELINE, 0, options | {"lr": rate}, "" if rate == own else f"-lr{rate:g}") for rate in SWEPT_RATES
        ]

    def _options_of(self, row: str) -> dict[str, Any]:
        own = ROWS[row]
        useless = {*OF_READING, OF_ENCODERS if own.encoder == "plain" else OF_THE_PLAIN_UNET}
        useless |= set() if own.oversample else {OF_OVERSAMPLING}
        options = {key: value for key, value in self.options.items() if key not in useless}
        return options if row in SETTINGS else preset_options(own, options)


def preset_options(own: TrainingSettings, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset takes of the shared options: windows of as many pixels as the paper's rows see of whole scenes.

    An encoder of random weights learns at the rate of the rest of its network.
    """
    taken = {key: options[key] for key in OF_EVERY_ROW if key in options}
    if "window" not in taken:
        taken["window"] = taken.pop("size", PAPER_SIZE)
    if taken.get(OF_ENCODERS) == "none" and own.encoder_lr is not None:
        taken["encoder_lr"] = own.lr
    return taken


def not_of_presets(options: Iterable[str]) -> list[str]:
    """Those that were given and that presets do not take."""
    return [name for name in options if name not in (*OF_EVERY_ROW, *OF_READING, OF_OVERSAMPLING)]


def rows_differ_in() -> set[str]:
    """Fields of TrainingSettings in which some row of the paper is not as the baseline."""
    rows = [row.to_dict() for row in SETTINGS.values()]
    base = SETTINGS[BASELINE].to_dict()
    return {key for row in rows for key, value in row.items() if value != base[key]} - {"setting"}


def resolve_rows(asked: Sequence[str] | None) -> tuple[str, ...]:
    """The rows asked for, in the order of ROWS; None takes all."""
    if asked is None:
        return tuple(ROWS)
    unknown = [name for name in asked if name not in ROWS]
    return tuple(name for name in ROWS if name in asked) + tuple(unknown)


def split_once(dataset: Dataset, rule: str | None) -> Split:
    """The one split of all runs; ratios are drawn with seed 0, whatever the runs' seeds.

    Raises InputError where it has no test scenes.
    """
    split = resolve_split(dataset, rule, 0)
    if not split.test:
        raise InputError(f"{dataset.root}: the split {split.rule} has no test scenes, and an ablation is about them")
    return split


def begin(folder: Path, plan: AblationPlan, dataset: Dataset, split: Split) -> Path:
    """Write down what the folder's runs are made of, and give the split's file; a folder that has begun must agree.

    Rows, seeds and the sweep may be others each time. Raises UsageError where data or options are others.
    """
    now = json.loads(json.dumps({"options": _said(plan.options), "data": _describe(dataset, split)}))
    before, path = _read(folder / PLAN_FILE), folder / SPLIT_FILE
    if before is None:
        stems = {part: [pair.stem for pair in getattr(split, part)] for part in ("train", "val", "test")}
        replace_file(path, json.dumps(stems).encode())
        replace_file(folder / PLAN_FILE, (json.dumps(now, indent=1) + "\n").encode())
        return path
    if changed := _changed(before["data"], now["data"]):
        raise UsageError(
            f"{folder}: was begun with other data (another {' and '.join(changed)}); give the same data, or name "
            "another folder"
        )
    for key in _changed(before["options"], now["options"]):
        old, new = (record["options"].get(key, "not given") for record in (before, now))
        raise UsageError(
            f"{folder}: was begun with another {key.replace('_', ' ')} ({old}, now {new}); give the same options, or "
            "name another folder"
        )
    return path


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); name another folder") from error


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, (int, float, list)) else str(value) for key, value in options.items()}


def _describe(dataset: Dataset, split: Split) -> dict[str, Any]:
    found = {"legend": dataset.legend.to_dict(), "split": split.digest, "set of files": _sizes(dataset.pairs)}
    return found | ({"field of labels": asdict(dataset.field)} if dataset.field else {})


def _sizes(pairs: Sequence[Pair]) -> str:
    """sha256 of the names and sizes of all images and labels: enough to notice other data, at no cost."""
    found = [(pair.stem, os.stat(pair.image).st_size, os.stat(pair.labels).st_size) for pair in pairs]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
