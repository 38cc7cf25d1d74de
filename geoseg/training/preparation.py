"""From a data set and settings to a Trainer: scenes opened and looked through, the segmenter built."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoseg.datasets.cache import SceneCache, open_cache
from geoseg.datasets.dataset import Dataset
from geoseg.datasets.oversampling import find_rule, resolve_rare_set
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.datasets.splits import Split
from geoseg.datasets.survey import Survey, survey
from geoseg.legend import Legend
from geoseg.models.device import resolve_device, resolve_precision
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.prediction.plan import resolve_window
from geoseg.raster.bands import Band
from geoseg.training.class_weights import class_weights
from geoseg.training.processes import ALONE, Processes
from geoseg.training.record import (
    say_of_features,
    say_what_was_found,
    training_record,
    warn_of_overlaps,
    warn_of_resolutions,
)
from geoseg.training.scaling import choose_scaling, fill_of, scaling_of, stretches_of
from geoseg.training.scenes import common_names, open_scenes
from geoseg.training.settings import TrainingSettings
from geoseg.training.start import start
from geoseg.training.trainer import Trainer

log = logging.getLogger("geoseg")

PAPER_SIZE = 1024
"""Side that the paper resizes whole scenes to."""


def prepare(
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
    """Open the scenes, look through the training part, build the segmenter.

    Args:
        begun: the config of the run that is gone on with.

    Raises InputError, ModelError, UsageError.
    """
    torch_device = resolve_device(device)
    scenes = open_scenes(split, dataset.legend, bands, settings.nodata)
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
    found = look_through(scenes["train"], decoded, dataset, split, settings, progress)
    weights = class_weights(settings.class_weights, found.counts, dataset.legend.ignored)
    scaling = scaling or scaling_of(found, settings, image)
    stretches = {part: stretches_of(scenes[part], scaling) for part in scenes}
    record = training_record(dataset, split, settings, found, weights)
    config = SegmenterConfig(
        dataset.legend,
        encoder=settings.encoder,
        width=settings.width,
        norm=settings.norm,
        decoder=settings.decoder,
        bands=len(image.bands),
        band_numbers=image.bands,
        band_names=names,
        dtype=image.dtype,
        scaling=scaling,
        mean=begin.mean,
        std=begin.std,
        fill=fill_of(found, scaling, stretches["train"]),
        window=framing.side,
        size=framing.size,
        gsd=found.gsd,
        provenance=record | {"precision": resolve_precision(precision, torch_device)} | begin.provenance,
    )
    segmenter = Segmenter(config, begin.network).to(torch_device)
    copies = oversampled_copies(settings, found, dataset.legend)
    counts = found.scene_counts * (weights > 0) if settings.balance_crops else None
    train_samples = Samples(scenes["train"], framing, settings.seed, copies, decoded.sample, stretches["train"], counts)
    val_samples = Samples(scenes["val"], framing, settings.seed, None, decoded.sample, stretches["val"])
    return Trainer(segmenter, settings, train_samples, val_samples, weights, precision, processes)


def look_through(
    scenes: Sequence[LabelledScene],
    decoded: SceneCache,
    dataset: Dataset,
    split: Split,
    settings: TrainingSettings,
    progress: bool,
) -> Survey:
    """Count and measure the training scenes, and say what was found."""
    found = survey(
        tqdm(scenes, "looking through", unit="scene", leave=False, disable=not progress),
        dataset.legend,
        decoded.tally,
        settings.gsd,
    )
    say_what_was_found(found, dataset, split)
    warn_of_resolutions(found, settings.gsd)
    warn_of_overlaps(split)
    return found


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
