"""Checkpoint: where a run stands, kept so that going on ends as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

from geoseg.errors import UsageError
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import WEIGHTS_PREFIX, read_model_file, save_segmenter
from geoseg.training.optimiser import MovingAverage, load_optimiser, optimiser_tensors
from geoseg.training.run import Run
from geoseg.training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimiser steps done; they tell the epoch, and the place in it."""
    history: tuple[dict[str, Any], ...] = ()
    """One row an epoch, and one for an epoch that --steps cut short."""
    totals: tuple[float, float] = (0.0, 0.0)
    """Loss and weights, summed over the steps that have no row yet."""

    @property
    def reported(self) -> int:
        """Steps up to the last row of the history."""
        return self.history[-1]["step"] if self.history else 0

    @property
    def best(self) -> dict[str, Any]:
        """The row of the model that is kept: the first with the highest validation mean IoU, without any the last."""
        scored = [row for row in self.history if row.get("val_mean_iou") is not None]
        return max(scored, key=lambda row: row["val_mean_iou"], default=self.history[-1])

    @property
    def is_best(self) -> bool:
        """True after an epoch whose model is to be kept; False amid an epoch."""
        return bool(self.history) and self.step == self.reported and self.best is self.history[-1]

    @property
    def epochs_without_gain(self) -> int:
        """Epochs since the best one."""
        return self.history[-1]["epoch"] - self.best["epoch"] if self.history else 0

    def with_row(self, row: dict[str, Any]) -> Progress:
        """The progress after an epoch whose figures are ``row``."""
        return Progress(row["step"], (*self.history, row))


def save_checkpoint(
    run: Run,
    segmenter: Segmenter,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    state: Progress,
) -> None:
    """Write last.safetensors: all that decides the steps to come."""
    tensors = optimiser_tensors(optimiser) | (average.tensors() if average else {})
    save_segmenter(segmenter, run.last, tensors, asdict(state))


def load_checkpoint(
    run: Run,
    segmenter: Segmenter,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    steps: int,
) -> Progress:
    """Go back to where a run stopped; ``steps`` are those it is to make in all.

    Raises UsageError where its data or settings were others, or it has made more steps already.
    """
    record, tensors = read_model_file(run.last)
    # By way of the config: one that an older geoseg wrote is brought up to date.
    _require_same(run, SegmenterConfig.from_dict(record["config"]).to_dict(), segmenter.config.to_dict())
    if record["step"] > steps:
        raise UsageError(f"{run.folder}: has made {record['step']} steps already, more than {steps}")
    segmenter.load_state_dict({n: t for n, t in tensors.items() if n.startswith(WEIGHTS_PREFIX)})
    load_optimiser(optimiser, tensors)
    if average:
        average.load(tensors)
    return Progress(record["step"], tuple(record["history"]), tuple(record.get("totals", (0.0, 0.0))))


def _require_same(run: Run, begun: dict[str, Any], now: dict[str, Any]) -> None:
    begun, now = _what_must_not_change(begun), _what_must_not_change(now)
    for key, value in now.items():
        if begun.get(key) != value:
            raise UsageError(
                f"{run.folder}: was begun with another {key} ({str(begun.get(key))[:80]}, not {str(value)[:80]}); "
                "resume with the same data and options, or begin another run"
            )


def _what_must_not_change(config: dict[str, Any]) -> dict[str, Any]:
    """Of a model's config what a resumed run shares with its beginning: all but how long it runs.

    The length stays, too, where the learning rates depend on it. Patience may differ: it decides no step.
    """
    trained = config["provenance"]
    free = {"setting", "patience"}
    asked = TrainingSettings(**trained["settings"])
    if not asked.bound_to_length:
        free |= {"epochs", "steps"}
    settings = {key: value for key, value in asked.to_dict().items() if key not in free}
    same = {key: value for key, value in config.items() if key != "provenance"}
    data = {"split": trained["data"]["split_sha256"], "labels": trained["data"].get("labels")}
    kept = same | settings | data | {"precision": trained.get("precision")}
    return json.loads(json.dumps(kept))
