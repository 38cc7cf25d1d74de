"""geoseg.train: from a data folder to a run folder."""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import geoseg
from geoseg.datasets.augmentation import Augmentation, SampleBatch
from geoseg.datasets.cache import open_cache
from geoseg.datasets.dataset import Dataset, open_dataset
from geoseg.datasets.feed import Feed
from geoseg.datasets.oversampling import find_rule, resolve_rare_set
from geoseg.datasets.resolve import resolve_data
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.datasets.splits import Split, resolve_split
from geoseg.datasets.survey import Survey, survey
from geoseg.errors import ModelError, ResourceError, UsageError
from geoseg.legend import NO_CLASS, Legend
from geoseg.models.device import autocast, resolve_device, resolve_precision
from geoseg.models.inference import has_compiler
from geoseg.models.normalisation import TileBatch
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load, save_segmenter
from geoseg.prediction.plan import resolve_window
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.source import OpeningPolicy, Source
from geoseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from geoseg.training.class_weights import class_weights
from geoseg.training.interruption import Interruption
from geoseg.training.losses import LossSum, Objective
from geoseg.training.optimiser import MovingAverage, build_optimiser, set_rate
from geoseg.training.processes import ALONE, Processes, joined, require_even_batches
from geoseg.training.record import (
    say_of_features,
    say_what_was_found,
    training_record,
    warn_of_overlaps,
    warn_of_resolutions,
)
from geoseg.training.run import Run
from geoseg.training.scaling import choose_scaling, fill_of, scaling_of, stretches_of
from geoseg.training.scenes import common_names, open_scenes
from geoseg.training.settings import PRESETS, SETTINGS, TrainingSettings, resolve_settings
from geoseg.training.start import like_the_model, start
from geoseg.training.validation import Validation, validate

log = logging.getLogger("geoseg")

PAPER_SIZE = 1024
"""Side that the paper resizes whole scenes to."""
SAMPLE_EPOCHS = 10
"""Epochs on the embedded sample where none are asked for: minutes on a CPU."""


def train(
    data: str | Path | Source | None = None,
    output: str | Path | None = None,
    *,
    setting: str | None = None,
    preset: str | None = None,
    legend: Legend | str | Path | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    bands: Sequence[Band] | None = None,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = False,
    cache: str | Path | None = None,
    progress: bool = False,
    **options: Any,
) -> Segmenter:
    """Train a segmenter and leave a run folder.

    Args:
        data: a data folder; None: $GEOSEG_DATA, ./data, or the embedded synthetic sample.
        output: the run folder; None: a new one under ./runs.
        setting: a row of the paper's ablation, "baseline" by default; ``options`` are the fields of TrainingSettings
            and override it.
        preset: "recommended" in place of a setting (docs/training.md).
        label_field: of labels in vector files, the field with the classes; None: the only one, or "reference".
        label_layer: the layer; None: the only one.
        bands: of the images, numbers from 1 or names; None takes all but alpha.
        resume: go on with the run in ``output`` where it stopped, with the options it began with; only the patience,
            and where the schedule does not depend on them the epochs or steps, may be given anew.
        cache: the folder of decoded scenes; None: geoseg's own ($GEOSEG_CACHE, or the user's); "none": none is kept.
        progress: show bars on stderr.

    Under torchrun the processes share each batch and the validation; the first one writes.

    Returns the model of the epoch with the best pooled validation mean IoU, or of the last epoch where the split has no
    validation scenes. On the CPU equal arguments give equal weights.
    Raises InputError, ModelError, OutputError (before any work), ResourceError, UsageError; KeyboardInterrupt after
    SIGINT or SIGTERM, when the step in progress is made and kept.
    """
    field = LabelField.asked(label_field, label_layer)
    resumption = resume_command(data, legend, bands, device, precision, cache, field)
    asked = asked_beside(data, legend, bands, device, precision, cache, field)
    with joined(device) as (processes, device):
        root, said = resolve_data(data) if processes.first else (Source.of(data or "."), "")
        root = root.at(processes.agree(os.fspath(root)))
        log.info(said)
        dataset = open_dataset(root, legend, field)
        length_given = resume or options.get("epochs") or options.get("steps")
        if data is None and dataset.synthetic and not length_given:
            options["epochs"] = SAMPLE_EPOCHS
            log.info("%d epochs, as this is the embedded sample; --epochs sets others", SAMPLE_EPOCHS)
        run = Run.reopen(output) if resume else None
        begun = SegmenterConfig.from_dict(record) if run and (record := run.begun()) else None
        if options.get("init") and not begun:
            options = like_the_model(options)
        settings = resolve_settings(
            setting, begun and TrainingSettings(**begun.provenance["settings"]), preset, **options
        )
        require_even_batches(settings.batch_size, processes)
        run = run or create_run(output, settings.setting, processes)
        if begun and bands is None:
            bands = begun.band_names or begun.band_numbers
        split = resolve_split(dataset, settings.split, settings.seed)
        trainer = Trainer.prepare(dataset, split, settings, bands, device, precision, progress, cache, processes, begun)
        state = trainer.restore(run) if run.last.is_file() else Progress()
        if processes.first:
            run.write_config(asked | settings_asked(trainer.settings), trainer.decided())
        trainer.fit(run, state, progress and processes.first, f"{resumption} -o {shlex.quote(str(run.folder))}")
        processes.wait()
        return load(run.model, resolve_device(device))


def create_run(folder: str | Path | None, name: str, processes: Processes) -> Run:
    """A run to begin, in the folder that the first process finds."""
    found = str(Run.create(folder, name).folder) if processes.first else ""
    return Run(Path(processes.agree(found)))


def resume_command(
    data: str | Path | Source | None,
    legend: Any,
    bands: Sequence[Band] | None,
    device: str,
    precision: str,
    cache: str | Path | None = None,
    field: LabelField | None = None,
) -> str:
    """The command that goes on with a run, less its folder; what the run's own record tells is left out."""
    given = {"--legend": legend if isinstance(legend, str | Path) else None}
    given |= {"--label-field": field.name, "--label-layer": field.layer} if field else {}
    given |= {"--bands": ",".join(map(str, bands)) if bands else None}
    given |= {"--device": device, "--precision": precision, "--cache": cache}
    words = [] if data is None else [str(data), *Source.of(data).policy.options]
    for option, value in given.items():
        words += [option, str(value)] if value not in (None, "auto") else []
    return shlex.join(["geoseg", "train", *words, "--resume"])


def asked_beside(
    data: str | Path | Source | None,
    legend: Any,
    bands: Sequence[Band] | None,
    device: str,
    precision: str,
    cache: str | Path | None,
    field: LabelField | None,
) -> dict[str, Any]:
    """The options of the command, beside its settings, as a run's config.toml has them."""
    policy = OpeningPolicy() if data is None else Source.of(data).policy
    return {
        "data": None if data is None else str(data),
        "allow_external": policy.external or None,
        "allow_archives": policy.archives or None,
        "allow_large": policy.large or None,
        "allow_driver": list(policy.drivers) or None,
        "legend": str(legend) if isinstance(legend, str | Path) else None,
        "label_field": field and field.name,
        "label_layer": field and field.layer,
        "bands": None if bands is None else list(bands),
        "device": device,
        "precision": precision,
        "cache": None if cache is None else str(cache),
    }


def settings_asked(settings: TrainingSettings) -> dict[str, Any]:
    """All settings as options: the name as that of a setting or of a preset, where it is one."""
    name = settings.setting
    named = {"preset": name} if name in PRESETS else {"setting": name} if name in SETTINGS else {}
    return named | {key: value for key, value in settings.to_dict().items() if key != "setting"}


class Trainer:
    """A segmenter in training: the only thing beside its optimiser that changes."""

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

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        split: Split,
        settings: TrainingSettings,
        bands: Sequence[Band] | None,
        device: str,
        precision: str,
        progress: bool = False,
        cache: str | Path | None = None,
        processes: Processes = ALONE,
        begun: SegmenterConfig | None = None,
    ) -> Trainer:
        """Open the scenes, look through the training part, build the segmenter."""
        torch_device = resolve_device(device)
        scenes = open_scenes(split, dataset.legend, bands)
        say_of_features(dataset, [*scenes["train"], *scenes["val"]])
        settings, framing = resolve_framing(settings, scenes["train"])
        # Before the long look through the scenes: these fail where weights or classes are missing or a name is wrong.
        if settings.oversample:
            resolve_rare_set(settings.rare_set, dataset.legend)
        image = scenes["train"][0].image
        begin = start(settings, len(image.bands), dataset.legend, begun, image.dtype)
        scaling = begin.scaling or choose_scaling(settings, image)
        names = begun.band_names if begun else common_names(scenes["train"], bands is not None)
        decoded = open_cache(cache, framing, [*scenes["train"], *scenes["val"]])
        looked_through = tqdm(scenes["train"], "looking through", unit="scene", leave=False, disable=not progress)
        found = survey(looked_through, dataset.legend, decoded.tally, settings.gsd)
        say_what_was_found(found, dataset, split)
        warn_of_resolutions(found, settings.gsd)
        warn_of_overlaps(split)
        weights = class_weights(settings.class_weights, found.counts, dataset.legend.ignored)
        scaling = scaling or scaling_of(found, settings, image)
        stretches = {part: stretches_of(scenes[part], scaling) for part in scenes}
        config = SegmenterConfig(
            dataset.legend,
            encoder=settings.encoder,
            bands=len(image.bands),
            band_numbers=image.bands,
            band_names=names,
            dtype=image.dtype,
            scaling=scaling,
            mean=begin.mean,
            std=begin.std,
            fill=fill_of(found, scaling, stretches["train"]),
            width=settings.width,
            norm=settings.norm,
            decoder=settings.decoder,
            window=framing.side,
            size=framing.size,
            gsd=found.gsd,
            provenance=training_record(dataset, split, settings, found, weights)
            | {"precision": resolve_precision(precision, torch_device)}
            | begin.provenance,
        )
        segmenter = Segmenter(config, begin.network).to(torch_device)
        copies = oversampled_copies(settings, found, dataset.legend)
        counts = found.scene_counts * (weights > 0) if settings.balance_crops else None
        train_samples = Samples(
            scenes["train"], framing, settings.seed, copies, decoded.sample, stretches["train"], counts
        )
        val_samples = Samples(scenes["val"], framing, settings.seed, None, decoded.sample, stretches["val"])
        return cls(segmenter, settings, train_samples, val_samples, weights, precision, processes)

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
                state = state.with_row(self._history_row(state, found))
                self._save(run, state)
                log.info(_epoch_line(state, self.epochs))
        if self.processes.first:
            run.write_curves(state.history, self.segmenter.legend)
            run.write_report(self._report(state))
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
                interruption.asked = self.processes.any(interruption.asked, self.segmenter.device)
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

    def _history_row(self, state: Progress, found: Validation | None) -> dict[str, Any]:
        epoch = math.ceil(state.step / self.steps_per_epoch)
        loss = state.totals[0] / max(state.totals[1], 1e-9)
        row: dict[str, Any] = {"epoch": epoch, "step": state.step, "train_loss": round(loss, 6)}
        if found is None:
            return row
        matrix, legend = found.matrix, self.segmenter.legend
        iou = matrix.iou()
        figures = {
            "val_loss": found.loss,
            "val_mean_iou": matrix.mean_iou(),
            "val_pixel_accuracy": matrix.pixel_accuracy(),
        }
        figures |= {"prior_tau": found.prior_tau}
        figures |= {f"val_iou_{legend.names[i]}": iou[i] for i in legend.scored}
        return row | {name: None if math.isnan(value) else round(float(value), 6) for name, value in figures.items()}

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

    def _report(self, state: Progress) -> dict[str, Any]:
        scored = state.best.get("val_mean_iou") is not None
        chosen = "best pooled validation mean IoU" if scored else "last epoch (no validation scenes)"
        return {"model": state.best, "chosen_by": chosen, "last": state.history[-1]} | self.segmenter.config.provenance


def compiled(segmenter: Segmenter) -> Callable[[TileBatch], Tensor]:
    """The forward pass as one compiled graph; the weights stay the segmenter's. Raises ResourceError."""
    if segmenter.device.type == "cpu" and not has_compiler():
        raise ResourceError("--compile needs a C++ compiler on the CPU (g++, or one named by CXX); leave it out")
    return torch.compile(segmenter, dynamic=False)


def resolve_framing(settings: TrainingSettings, scenes: Sequence[LabelledScene]) -> tuple[TrainingSettings, Framing]:
    """Settings with their size decided, and how training cuts scenes."""
    longest = max(max(scene.grid.shape) for scene in scenes)
    # At native resolution a window that no scene fills would be learned for its padding.
    window = min(settings.window, longest) if settings.window and not settings.size else settings.window
    size = settings.size or window or min(PAPER_SIZE, longest)
    window, size = resolve_window((longest, longest), window, size, (0, 0), "the largest training scene")
    framing = Framing(window, size, whole=settings.window is None)
    return replace(settings, size=size), framing


def oversampled_copies(settings: TrainingSettings, found: Survey, legend: Legend) -> np.ndarray | None:
    """How often each training scene is repeated; None where scenes are not oversampled."""
    if not settings.oversample:
        return None
    rule = find_rule(settings.rare_set, found.scene_counts, legend)
    copies = rule.copies(found.scene_counts, legend, settings.seed)
    log.info(
        "oversampling (%s): %d copies of %d scenes, %d dropped", rule, copies.sum(), len(copies), (copies == 0).sum()
    )
    return copies


def _epoch_line(state: Progress, epochs: int) -> str:
    row = state.history[-1]
    line = f"epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.4f}"
    if row.get("val_mean_iou") is not None:
        line += f", validation loss {row['val_loss']:.4f}, mean IoU {row['val_mean_iou']:.4f}"
    return line + (" (best)" if state.is_best and "val_mean_iou" in row else "")
