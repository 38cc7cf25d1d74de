"""Trainer: the loop over epochs and steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import geoseg
from geoseg.datasets.augmentation import Augmentation, SampleBatch
from geoseg.datasets.feed import Feed
from geoseg.datasets.samples import Samples
from geoseg.errors import ModelError, ResourceError, UsageError
from geoseg.legend import NO_CLASS
from geoseg.models.device import autocast, resolve_precision
from geoseg.models.inference import has_compiler
from geoseg.models.normalisation import TileBatch
from geoseg.models.segmenter import Segmenter
from geoseg.models.storage import save_segmenter
from geoseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from geoseg.training.history import epoch_line, history_row, run_report
from geoseg.training.interruption import Interruption
from geoseg.training.losses import LossSum, Objective
from geoseg.training.optimiser import MovingAverage, build_optimiser, set_rate
from geoseg.training.processes import ALONE, Processes
from geoseg.training.run import Run
from geoseg.training.settings import TrainingSettings
from geoseg.training.validation import Validation, validate

log = logging.getLogger("geoseg")


class Trainer:
    """A segmenter in training: the only thing beside its optimiser that changes. ``prepare`` makes one from data."""

    def __init__(
        self,
        segmenter: Segmenter,
        settings: TrainingSettings,
        train_samples: Samples,
        val_samples: Samples,
        weights: np.ndarray,
        precision: str,
        processes: Processes = ALONE,
    ) -> None:
        self.segmenter, self.settings = segmenter, settings
        self.train_samples, self.val_samples = train_samples, val_samples
        self.weights = torch.tensor(weights, dtype=torch.float32, device=segmenter.device)
        self.precision = resolve_precision(precision, segmenter.device)
        self.processes = processes
        self.optimiser = build_optimiser(segmenter, settings)
        self.forward = compiled(segmenter) if settings.compile else segmenter
        self.average = MovingAverage(segmenter, settings.ema) if settings.ema else None
        if settings.patience and not val_samples.scenes:
            raise UsageError("--patience waits for a better validation, and the split has no validation scenes")

    @property
    def objective(self) -> Objective:
        """What each step makes smaller."""
        return Objective(self.weights, self.settings.focusing, self.settings.region_loss)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train_samples) / self.settings.samples_per_step)

    @property
    def steps(self) -> int:
        """Steps to make in all."""
        return self.settings.steps or self.settings.epochs * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs that the steps take, the last one perhaps in part."""
        return math.ceil(self.steps / self.steps_per_epoch)

    @property
    def kept(self) -> Segmenter:
        """What is validated and saved as the model: the segmenter, or the moving average of its weights."""
        return self.average.segmenter if self.average else self.segmenter

    def fit(self, run: Run, state: Progress, progress: bool = False, resumption: str = "--resume") -> Progress:
        """Run the epochs that are left; after each write the best model, where it is the best, and the last.

        SIGINT and SIGTERM end the run after the step in progress, or in a validation at once: last.safetensors then
        goes on from there, and KeyboardInterrupt names ``resumption``.
        """
        interruption = Interruption()
        with interruption.heeded():
            while state.reported < self.steps and not self._is_out_of_patience(state):
                state = self._train_epoch(state, interruption, progress)
                try:
                    with interruption.at_once():
                        found = self._validate()
                except KeyboardInterrupt as error:
                    self._save(run, state)
                    said = (
                        f"interrupted after step {state.step} of {self.steps}, which is kept; go on with: {resumption}"
                    )
                    raise KeyboardInterrupt(said) from error
                state = state.with_row(history_row(state, found, self.segmenter.legend, self.steps_per_epoch))
                self._save(run, state)
                log.info(epoch_line(state, self.epochs))
        if self.processes.first:
            run.write_curves(state.history, self.segmenter.legend)
            run.write_report(run_report(state, self.segmenter.config.provenance))
        return state

    def restore(self, run: Run) -> Progress:
        """Go back to where a run stopped; raises UsageError where its data or settings were others, or fewer steps."""
        state = load_checkpoint(run, self.segmenter, self.optimiser, self.average, self.steps)
        if state.history:
            self._remember_tau(state.best.get("prior_tau"))
        return state

    def decided(self) -> dict[str, Any]:
        """What became of it here, for config.toml."""
        config = self.segmenter.config
        decided = {"setting": self.settings.setting, "window": config.window, "size": config.size}
        decided |= {"band_numbers": list(config.band_numbers), "band_names": list(config.band_names)}
        where = {"precision": self.precision, "device": str(self.segmenter.device), "geoseg": geoseg.__version__}
        return decided | where | {"data": config.provenance["data"]["folder"]}

    def _is_out_of_patience(self, state: Progress) -> bool:
        patience = self.settings.patience
        return patience is not None and state.epochs_without_gain >= patience

    def _train_epoch(self, state: Progress, interruption: Interruption, progress: bool) -> Progress:
        """The steps up to the next row of the history, or to an interruption."""
        self.segmenter.train()
        epoch = state.reported // self.steps_per_epoch
        begun = state.step - epoch * self.steps_per_epoch
        stop = min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)
        # The totals that a run goes on with are those of all processes.
        totals = np.array(state.totals) * self.processes.first
        title = f"epoch {epoch + 1}/{self.epochs}"
        with (
            tqdm(total=stop - begun, desc=title, unit="step", disable=not progress, leave=False) as bar,
            closing(self._batches(epoch, begun)) as drawn,
        ):
            for number in range(begun, stop):
                step = epoch * self.steps_per_epoch + number
                # Layers that draw (drop path in some encoders) draw the same in a step, resumed or not.
                torch.manual_seed(self.settings.seed * 1_000_003 + step + self.processes.rank * 1_000_000_007)
                totals += self._step(tuple(islice(drawn, self.settings.accumulate)), step)
                state = replace(state, step=step + 1)
                bar.set_postfix(loss=f"{totals[0] / max(totals[1], 1e-9):.4f}", refresh=False)
                bar.update()
                interruption.asked = self.processes.any(interruption.asked)
                if interruption.asked:
                    break
        summed = self.processes.add(torch.tensor(totals, device=self.segmenter.device))
        return replace(state, totals=tuple(summed.tolist()))

    @cached_property
    def feed(self) -> Feed:
        """Where batches come from."""
        augmentation = Augmentation() if self.settings.augment else None
        return Feed(self.train_samples, self.segmenter.device, augmentation, self.segmenter.config.scaling)

    def _batches(self, epoch: int, begun: int) -> Iterator[SampleBatch]:
        places = self.train_samples.order(epoch)[begun * self.settings.samples_per_step :]
        return self.feed.batches(epoch, self.processes.share(places), self.settings.batch_size // self.processes.count)

    def _step(self, batches: Sequence[SampleBatch], step: int) -> np.ndarray:
        """One step of the optimiser on the batches of all processes.

        Returns the pixels' loss and their weights of this process's. Each term of the loss is divided once, by what all
        of them weigh, so that it is that of one large batch.
        """
        divisors = sum(self.objective.divisors(batch.index) for batch in batches) if batches else self._nothing()
        own = divisors[0].item()
        divisors = self.processes.add(divisors)
        self.optimiser.zero_grad(set_to_none=True)
        total = sum(self._add_gradients(batch, divisors, step) for batch in batches)
        self.processes.add_gradients(self.segmenter)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.segmenter.parameters(), self.settings.clip)
        set_rate(self.optimiser, self.settings, step, self.steps)
        self.optimiser.step()
        self.processes.average_buffers(self.segmenter.network)
        if self.average:
            self.average.update(self.segmenter, step)
        return np.array((total, own))

    def _nothing(self) -> Tensor:
        """The divisors of no batch: the last step of an epoch may have too few samples for all processes."""
        return self.objective.divisors(torch.full((1, 1, 1), NO_CLASS, device=self.segmenter.device))

    def _add_gradients(self, batch: SampleBatch, divisors: Tensor, step: int) -> float:
        """Add the gradients of a batch's part of the loss; returns the sum of its pixels' loss before division."""
        device = self.segmenter.device
        try:
            with autocast(device, self.precision):
                logits = self.forward(TileBatch(batch.pixels, batch.valid, batch.stretch))
        except ValueError as error:
            # Batch norm of one sample whose deepest features are 1 x 1.
            remedy = "take a larger --size, another --batch-size or --norm"
            raise UsageError(f"{self._where(step)}: {error}; {remedy}") from error
        sums = self.objective.sums(logits, batch.index)
        loss = LossSum(sums, divisors).mean().sum()
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} at {self._where(step)}; lower --lr, or use --precision fp32")
        loss.backward()
        return sums[0].item()

    def _where(self, step: int) -> str:
        """Which step it is, and what it learns from."""
        epoch, number = divmod(step, self.steps_per_epoch)
        size = self.settings.samples_per_step
        places = self.processes.share(self.train_samples.order(epoch)[number * size : (number + 1) * size])
        named = ", ".join(self.train_samples.describe(epoch, int(place)) for place in places)
        return f"epoch {epoch + 1}/{self.epochs}, batch {number + 1} ({named})"

    def _validate(self) -> Validation | None:
        if not self.val_samples.scenes:
            return None
        focusing = self.settings.focusing
        return validate(self.kept, self.val_samples, self.weights, focusing, self.precision, self.processes)

    def _save(self, run: Run, state: Progress) -> None:
        """Write the best model, where the last epoch is the best and has its row, and the last."""
        if not self.processes.first:
            return
        # The best first: a run stopped between the two makes this epoch, and so this model, again.
        if state.is_best:
            row = state.history[-1]
            self._remember_tau(row.get("prior_tau"))
            save_segmenter(self.kept, run.model, note={"epoch": row["epoch"], "step": row["step"]})
        save_checkpoint(run, self.segmenter, self.optimiser, self.average, state)
        if state.history:
            run.write_history(state.history)

    def _remember_tau(self, tau: float | None) -> None:
        config = self.segmenter.config
        if tau is not None:
            self.segmenter.config = replace(config, provenance={**config.provenance, "prior_tau": tau})
            self.kept.config = self.segmenter.config


def compiled(segmenter: Segmenter) -> Callable[[TileBatch], Tensor]:
    """The forward pass as one compiled graph; the weights stay the segmenter's. Raises ResourceError."""
    if segmenter.device.type == "cpu" and not has_compiler():
        raise ResourceError("--compile needs a C++ compiler on the CPU (g++, or one named by CXX); leave it out")
    return torch.compile(segmenter, dynamic=False)
