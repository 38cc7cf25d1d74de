"""geoseg.train: from a data folder to a run folder."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.resolve import resolve_data
from geoseg.datasets.splits import resolve_split
from geoseg.errors import UsageError
from geoseg.legend import Legend
from geoseg.models.device import resolve_device
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.source import OpeningPolicy, Source
from geoseg.training.checkpoint import Progress
from geoseg.training.preparation import prepare
from geoseg.training.processes import Processes, joined, require_even_batches, restarts
from geoseg.training.run import Run, has_begun
from geoseg.training.settings import PRESETS, SETTINGS, TrainingSettings, resolve_settings
from geoseg.training.start import like_the_model

log = logging.getLogger("geoseg")

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
        setting: a row of the paper's ablation, "baseline" by default.
        preset: "recommended" in place of a setting (docs/training.md).
        legend: the classes, their name or their file; None: the data folder's own.
        label_field: of labels in vector files, the field with the classes; None: the only one, or "reference".
        label_layer: the layer; None: the only one.
        bands: of the images, numbers from 1 or names; None takes all but alpha.
        device, precision: as ``geoseg train --help`` explains them.
        resume: go on with the run in ``output`` where it stopped, with the options it began with; only the patience,
            and where the schedule does not depend on them the epochs or steps, may be given anew.
        cache: the folder of decoded scenes; None: geoseg's own ($GEOSEG_CACHE, or the user's); "none": none is kept.
        progress: show bars on stderr.
        options: fields of geoseg.training.settings.TrainingSettings, which override the setting or preset. They are
            called as the options of the command: epochs, steps, window, size, batch_size, lr, loss, encoder, ...

    Under torchrun the processes share each batch and the validation; the first one writes. Where torchrun starts them
    again (--max-restarts), the run in ``output`` goes on from its last epoch.

    Returns the model of the epoch with the best pooled validation mean IoU, or of the last epoch where the split has no
    validation scenes. On the CPU equal arguments give equal weights.
    Raises InputError, ModelError, OutputError (before any work), ResourceError, UsageError; KeyboardInterrupt after
    SIGINT or SIGTERM, when the step in progress is made and kept.
    """
    field = LabelField.asked(label_field, label_layer)
    asked = asked_beside(data, legend, bands, device, precision, cache, field)
    resumption = resume_command(data, legend, bands, device, precision, cache, field)
    with joined(device) as (processes, device):
        root, said = resolve_data(data) if processes.first else (Source.of(data or "."), "")
        root = root.at(processes.agree(os.fspath(root)))
        log.info(said)
        dataset = open_dataset(root, legend, field)
        run = Run.reopen(output) if resume or goes_on(output, processes) else None
        begun = SegmenterConfig.from_dict(record) if run and (record := run.begun()) else None
        length_given = begun or options.get("epochs") or options.get("steps")
        if data is None and dataset.synthetic and not length_given:
            options["epochs"] = SAMPLE_EPOCHS
            log.info("%d epochs, as this is the embedded sample; --epochs sets others", SAMPLE_EPOCHS)
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
        trainer = prepare(dataset, split, settings, bands, device, precision, progress, cache, processes, begun)
        state = trainer.restore(run) if run.last.is_file() else Progress()
        if processes.first:
            run.write_config(asked | settings_asked(trainer.settings), trainer.decided())
        trainer.fit(run, state, progress and processes.first, f"{resumption} -o {shlex.quote(str(run.folder))}")
        processes.wait()
        return load(run.model, resolve_device(device))


def goes_on(output: str | Path | None, processes: Processes) -> bool:
    """True where torchrun started this run's processes again and it had begun: then it is resumed unasked.

    Raises UsageError where torchrun may do so and the run has no folder to be found in.
    """
    begun_again, at_most = restarts()
    if at_most and output is None:
        raise UsageError("with torchrun's --max-restarts a run needs a folder that is found again: name it with -o RUN")
    # A node counts those restarts only that its own processes caused, and may see the folder later than another.
    if not processes.any(begun_again > 0) or not processes.any(processes.first and has_begun(output)):
        return False
    log.warning("%s: goes on after a restart", output)
    return True


def create_run(folder: str | Path | None, name: str, processes: Processes) -> Run:
    """A run to begin, in the folder that the first process finds."""
    found = str(Run.create(folder, name).folder) if processes.first else ""
    return Run(Path(processes.agree(found)))


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
