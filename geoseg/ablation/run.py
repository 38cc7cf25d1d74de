"""geoseg.ablate: every row and seed trained, tested and reported; what is finished is not done again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from geoseg.ablation.evaluate import Tester
from geoseg.ablation.plan import OF_OVERSAMPLING, RUNS_FOLDER, AblationPlan, RunPlan, begin, resolve_rows, split_once
from geoseg.ablation.report import write_reports
from geoseg.ablation.results import Ablation, Failed, Finished, read_history
from geoseg.datasets.cache import open_cache
from geoseg.datasets.dataset import Dataset, open_dataset
from geoseg.datasets.oversampling import resolve_rare_set
from geoseg.datasets.resolve import resolve_data
from geoseg.datasets.samples import Framing, LabelledScene
from geoseg.datasets.splits import Split, glnet_stems, resolve_split
from geoseg.datasets.stats import ClassStats
from geoseg.datasets.survey import survey
from geoseg.errors import GeosegError, UsageError
from geoseg.files import locked
from geoseg.legend import DEEPGLOBE, Legend
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.scoring.score import versions
from geoseg.source import Source
from geoseg.training.preparation import resolve_framing
from geoseg.training.run import CONFIG_FILE, REPORT_FILE, require_makeable
from geoseg.training.scenes import open_scenes
from geoseg.training.settings import TrainingSettings
from geoseg.training.train import SAMPLE_EPOCHS, train

log = logging.getLogger("geoseg")

SHOWN_SCENES = 3
"""Test scenes, the first of the split, whose maps are always kept and shown in pictures."""
CUTS = (1 / 3, 2 / 3, 1)
"""Parts of the epochs after which the sweep looks; of the paper's 30 they are 10, 20 and 30."""


def ablate(
    data: str | Path | Source | None = None,
    output: str | Path = "ablation",
    *,
    settings: Sequence[str] | None = None,
    seeds: int = 3,
    fixed_steps: int | None = None,
    split: str | None = None,
    legend: Legend | str | Path | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    bands: Sequence[Band] | None = None,
    rare_set: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    keep_maps: bool = False,
    sweep: bool = False,
    command: str | None = None,
    progress: bool = False,
    **options: Any,
) -> Ablation:
    """Train and test every row of the paper's ablation and our own recipe, on one split, and write the reports.

    Args:
        data: a data folder; None: as geoseg.train takes it.
        output: the folder of the runs and reports. One that was begun goes on: finished runs are not made again.
        settings: the paper's rows and the recipe by name, all by default; the baseline among them.
        seeds: each row is trained with the seeds 0 to seeds - 1.
        fixed_steps: optimiser steps of every row, so that rows with more samples do not train longer.
        split, legend, label_field, label_layer, bands, device, precision: as geoseg.train takes them; ratios are drawn
            once, with seed 0.
        rare_set: what oversampling goes by; None: the paper's text where the legend has its classes, else the shares.
        keep_maps: keep the map of every test scene, not just of those that the report shows.
        sweep: train the baseline with the paper's learning rates, and say what validation had after a third, two
            thirds and all of the epochs.
        command: how the report says it was made.
        progress: show bars on stderr.
        options: fields of TrainingSettings that rows share, such as epochs, size, window, lr, batch_size. The recipe
            takes lengths, size, window, scaling and encoder weights, and keeps to its own values of all others. With a
            size and no window the paper's rows see whole scenes of that size, and the recipe windows of as many pixels.

    A run that fails is named in the result's ``failed``, and the others go on. Raises the first failure where no run
    finished; InputError, OutputError, and UsageError where the folder was begun with other data or options.
    """
    root, said = resolve_data(data)
    log.info(said)
    dataset = open_dataset(root, legend, LabelField.asked(label_field, label_layer))
    options = {key: value for key, value in options.items() if value is not None}
    if fixed_steps is not None:
        if options.get("epochs") or options.get("steps"):
            raise UsageError("--fixed-steps takes the place of --epochs")
        options["steps"] = fixed_steps
    if data is None and dataset.synthetic and not options.keys() & {"epochs", "steps"}:
        options["epochs"] = SAMPLE_EPOCHS
    rare_set = resolve_rare_set(rare_set, dataset.legend)
    if rare_set != TrainingSettings.rare_set:
        options[OF_OVERSAMPLING] = rare_set
    plan = AblationPlan(resolve_rows(settings), seeds, options | {"precision": precision} | _given(bands), sweep)
    parts, folder = split_once(dataset, split), Path(output)
    require_makeable(folder)
    scenes = open_scenes(parts, dataset.legend, bands, plan.baseline.nodata)["train"]
    framing = resolve_framing(plan.baseline, scenes)[1]
    keep = frozenset(pair.stem for pair in (parts.test if keep_maps else parts.test[:SHOWN_SCENES]))
    tester = Tester(parts.test, dataset.legend, framing, keep, device, precision)
    common = {"legend": legend, "label_field": label_field, "label_layer": label_layer, "bands": bands}
    common |= {"device": device, "precision": precision, "progress": progress}
    failures = Failures()
    with locked(folder):
        split_file = begin(folder, plan, dataset, parts)
        shares = _class_stats(dataset, parts, scenes, framing, rare_set, progress)
        maker = Maker(root, folder / RUNS_FOLDER, common | {"split": str(split_file)})
        runs = tuple(_make_all(plan, maker, tester, failures, progress))
        swept = tuple(_sweep(plan, maker, failures))
        made = versions() | ({"command": command} if command else {})
        record = _data_record(dataset, parts)
        result = Ablation(plan, dataset.legend, record, shares, runs, tuple(failures.failed), swept, made)
        write_reports(result, folder, {pair.stem: pair for pair in parts.test[:SHOWN_SCENES]})
    return result


@dataclass(frozen=True)
class Maker:
    """Trains runs, each in its folder; goes on with those that were stopped."""

    data: Source
    folder: Path
    common: dict[str, Any]
    """Arguments of geoseg.train that all runs share."""

    def make(self, run: RunPlan) -> Path:
        """The folder of the finished run. Raises GeosegError."""
        folder = self.folder / run.name
        if (folder / REPORT_FILE).is_file():
            _require_made_so(folder, run)
            log.info("%s: is finished", folder)
        else:
            begun = (folder / CONFIG_FILE).is_file()
            log.info("%s: %s", folder, "goes on" if begun else "begins")
            train(self.data, folder, resume=begun, **self.common, **run.arguments)
        return folder


def _require_made_so(folder: Path, run: RunPlan) -> None:
    """Raise UsageError where a finished run was made with other settings than those of its row now."""
    made = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))["settings"]
    # As JSON has them, with lists for tuples; settings that are younger than the run are as they were.
    before, now = (json.loads(json.dumps(s.to_dict())) for s in (TrainingSettings(), run.settings))
    before |= made
    # Decided by training where it was not given, and by the ablation's folder.
    decided = {"split"} if now["size"] else {"split", "size"}
    for key in sorted(now.keys() - decided):
        if before[key] != now[key]:
            raise UsageError(f"{folder}: was made with another {key} ({before[key]}, now {now[key]}); remove it")


class Failures:
    """Runs that could not be made; the others go on."""

    def __init__(self) -> None:
        self.failed: list[Failed] = []
        self.first: GeosegError | None = None

    @contextmanager
    def noted(self, run: RunPlan) -> Iterator[None]:
        """Say a failure in one line and remember it."""
        try:
            yield
        except GeosegError as error:
            log.error("%s failed: %s", run.name, error)
            self.failed.append(Failed(run.row, run.seed, str(error)))
            self.first = self.first or error


def _make_all(plan: AblationPlan, maker: Maker, tester: Tester, failures: Failures, progress: bool) -> list[Finished]:
    done: list[Finished] = []
    for number, run in enumerate(plan.runs, 1):
        log.info("run %d of %d: %s, seed %d", number, len(plan.runs), run.row, run.seed)
        with failures.noted(run):
            folder = maker.make(run)
            done.append(Finished.read(run, folder, tester.test(folder, progress)))
    if not done:
        raise failures.first
    return done


def _sweep(plan: AblationPlan, maker: Maker, failures: Failures) -> list[dict[str, Any]]:
    """Validation of the baseline after parts of its epochs, with each learning rate.

    Its learning rate is constant, so that the first epochs of a long run are a short one.
    """
    found = []
    for run in plan.swept:
        with failures.noted(run):
            history = read_history(maker.make(run))
            found += [_after(history, round(part * len(history)), run.options.get("lr")) for part in CUTS]
    return found


def _after(history: Sequence[Mapping[str, float]], epochs: int, rate: float) -> dict[str, Any]:
    """Where a run stood after so many epochs."""
    seen = history[: max(1, epochs)]
    scores, losses = ([row[name] for row in seen if name in row] for name in ("val_mean_iou", "val_loss"))
    return {
        "lr": rate,
        "epochs": len(seen),
        "train_loss": seen[-1]["train_loss"],
        "val_loss": seen[-1].get("val_loss"),
        "best_val_mean_iou": max(scores, default=None),
        "val_loss_rises": sum(later > earlier for earlier, later in pairwise(losses)),
    }


def _class_stats(
    dataset: Dataset,
    split: Split,
    scenes: Sequence[LabelledScene],
    framing: Framing,
    rare_set: str,
    progress: bool,
) -> ClassStats:
    """Class shares of the training scenes; their decoded scenes are those that the runs will take."""
    looked_through = tqdm(scenes, "looking through", unit="scene", leave=False, disable=not progress)
    found = survey(looked_through, dataset.legend, open_cache(None, framing, scenes).tally)
    stats = ClassStats(str(dataset.root), split, "train", dataset.legend, found, rare_set)
    if stats.rule:
        log.info("oversampling goes by the rare set %s (%s)", rare_set, stats.rule)
    return stats


def _given(bands: Sequence[Band] | None) -> dict[str, Any]:
    return {} if bands is None else {"bands": list(bands)}


def _data_record(dataset: Dataset, split: Split) -> dict[str, Any]:
    return {
        "folder": dataset.root.absolute().name,
        "synthetic": dataset.synthetic,
        "split": split.rule,
        "split_sha256": split.digest,
        "scenes": {part: len(getattr(split, part)) for part in ("train", "val", "test")},
        "paper": _is_the_papers(dataset, split),
    }


def _is_the_papers(dataset: Dataset, split: Split) -> bool:
    """True for the paper's split of DeepGlobe's 803 labelled scenes; GLNet's lists have all their names."""
    deepglobe = {stem for part in glnet_stems().values() for stem in part}
    if dataset.legend != DEEPGLOBE or {pair.stem for pair in dataset.pairs} != deepglobe:
        return False
    return split.digest == resolve_split(dataset, "paper").digest
