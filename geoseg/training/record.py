"""What is recorded and said of the data that a run learns from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import rasterio
import timm
import torch

import geoseg
from geoseg.datasets.dataset import Dataset, Pair
from geoseg.datasets.overlap import overlapping
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.splits import Split
from geoseg.datasets.survey import Survey
from geoseg.grid import Grid
from geoseg.prediction.ground import unlike
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels, remarks
from geoseg.training.settings import TrainingSettings

log = logging.getLogger("geoseg")

SPARSE = 0.05
"""Share of pixels with a class below which most windows at random places show few or none."""


def training_record(
    dataset: Dataset, split: Split, settings: TrainingSettings, found: Survey, weights: np.ndarray
) -> dict[str, Any]:
    """What the model's record says of its training: no clock, no absolute path."""
    names = dataset.legend.names
    scenes = {part: len(getattr(split, part)) for part in ("train", "val", "test")}
    return {
        "setting": settings.setting,
        "settings": settings.to_dict(),
        "data": {
            "folder": dataset.root.name,
            "synthetic": dataset.synthetic,
            "split": split.rule,
            "scenes": scenes,
            "split_sha256": split.digest,
        }
        | ({"labels": asdict(dataset.field)} if dataset.field else {}),
        "class_shares": dict(zip(names, found.shares.round(6).tolist(), strict=True)),
        "class_weights": dict(zip(names, weights.round(6).tolist(), strict=True)),
        "versions": {"geoseg": geoseg.__version__, "torch": torch.__version__, "timm": timm.__version__}
        | {"rasterio": rasterio.__version__},
    }


def say_of_features(dataset: Dataset, scenes: Sequence[LabelledScene]) -> None:
    """Log what of the scenes' own vector files was mended, left out or lies outside; of a file of all it was said."""
    if not dataset.shares_labels:
        for remark in remarks(scene.labels for scene in scenes if isinstance(scene.labels, VectorLabels)):
            log.warning(remark)
        for scene in scenes:
            if isinstance(scene.labels, VectorLabels) and scene.labels.is_empty:
                log.warning("%s: nothing of it lies on %s; is its CRS right?", scene.labels.name, scene.image.name)


def say_what_was_found(found: Survey, dataset: Dataset, split: Split) -> None:
    """Log the split, the classes' shares, and what in them makes learning hard."""
    log.info(
        "split %s: %d train, %d val, %d test scenes", split.rule, len(split.train), len(split.val), len(split.test)
    )
    shares = ", ".join(f"{n} {s:.1%}" for n, s in zip(dataset.legend.names, found.shares, strict=True))
    log.info("classes in the training scenes: %s", shares)
    never = [dataset.legend.names[i] for i in dataset.legend.scored if not found.counts[i]]
    if never:
        log.warning("no training pixel is %s: the model cannot learn it", ", ".join(never))
    if found.undefined:
        log.warning("%d training pixels have a colour that is no class; they are ignored", found.undefined)
    if found.contested:
        log.warning("%d training pixels lie in shapes of several classes; the last one counts", found.contested)
    if empty := int((found.scene_counts.sum(1) == 0).sum()):
        log.warning("%d of %d training scenes hold no label", empty, len(found.scene_counts))
    if (share := found.counts.sum() / (found.counts.sum() + found.without_class)) < SPARSE:
        log.info("%.2g %% of the training pixels have a class; --window with --balance-crops looks there", 100 * share)
    if not split.val:
        log.warning("the split has no validation scenes: the model is that of the last epoch")


def warn_of_resolutions(found: Survey, given: float | None) -> None:
    """Log where scenes differ in ground resolution from each other, or from what was given for those that tell none."""
    if not found.gsds:
        return
    finest, coarsest = min(found.gsds), max(found.gsds)
    if unlike(finest, coarsest):
        log.warning(
            "the training scenes have %.3g to %.3g m per pixel; the model's record takes their median, %.3g m",
            finest,
            coarsest,
            found.gsd,
        )
    elif given and unlike(given, found.gsd):
        log.warning("the training scenes' files tell %.3g m per pixel, which counts, not %.3g m", found.gsd, given)


def warn_of_overlaps(split: Split) -> None:
    """Log which validation and test scenes show ground that is trained on."""
    grids = {part: {pair.stem: _grid(pair) for pair in getattr(split, part)} for part in ("train", "val", "test")}
    for part in ("val", "test"):
        shared = overlapping(grids["train"], grids[part])
        if shared:
            listed = ", ".join(shared[:6])
            log.warning(
                "%d %s scene(s) show ground that is trained on (%s): their figures flatter", len(shared), part, listed
            )


def _grid(pair: Pair) -> Grid:
    with Scene(pair.image) as scene:
        return scene.grid
