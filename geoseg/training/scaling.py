"""Which scaling a run learns with, and what follows from it: the scenes' own bounds, what stands in for no data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import partial

import numpy as np

from geoseg.ahead import read_ahead, reader_threads
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.survey import THREADS, Survey
from geoseg.errors import UsageError
from geoseg.raster.scene import Scene
from geoseg.raster.stretch import percentile_bounds
from geoseg.scaling import EIGHT_BITS, PERCENTILES, ROUNDING, Bounds, Scaling, of_statistics
from geoseg.training.settings import TrainingSettings

log = logging.getLogger("geoseg")


def choose_scaling(settings: TrainingSettings, image: Scene) -> Scaling | None:
    """The scaling that was asked for, else the range 0 to 255 for uint8; None for the statistics of a survey.

    Raises UsageError for a range without bounds, or with bounds of other than the scene's bands.
    """
    dtype = image.dtype
    kind = settings.scaling_kind or ("range" if dtype == "uint8" else "statistics")
    if kind == "statistics":
        return None
    if kind == "percentile":
        log.info("scenes are scaled by their own percentiles: train on whole scenes, as those to predict, not on chips")
        return Scaling(kind, percentiles=settings.percentiles or PERCENTILES)
    if settings.scale is None:
        if dtype == "uint8":
            return EIGHT_BITS
        raise UsageError(f"--scaling range needs the range of {dtype} pixels: --scale LOW,HIGH, such as 0,10000")
    scaling = Scaling(kind, settings.scale)
    scaling.of_bands(len(image.bands))
    return scaling


def scaling_of(found: Survey, settings: TrainingSettings, image: Scene) -> Scaling:
    """The scaling by the statistics of the training pixels; said where nobody asked for it."""
    scaling = of_statistics(found.band_means, found.band_deviations)
    for number, mean, deviation in zip(image.bands, found.band_means, found.band_deviations, strict=True):
        if deviation <= ROUNDING * abs(mean):
            log.warning("band %d is the same in all training pixels: nothing can be learned from it", number)
    if settings.scaling_kind is None:
        other = "--scale LOW,HIGH or --scaling percentile choose otherwise"
        log.info("pixels are %s: scaled by %s; %s", image.dtype, scaling, other)
    return scaling


def stretches_of(scenes: Sequence[LabelledScene], scaling: Scaling) -> list[Bounds]:
    """The bounds of each scene where each is scaled by itself, else none."""
    if not scaling.per_raster:
        return [()] * len(scenes)

    def look(scene: LabelledScene) -> Bounds:
        found = percentile_bounds(scene.image, scaling.percentiles)
        scene.close()
        return found

    calls = (partial(look, scene) for scene in scenes)
    with reader_threads(THREADS) as readers, closing(read_ahead(readers, calls, depth=THREADS)) as found:
        return list(found)


def fill_of(found: Survey, scaling: Scaling, stretches: Sequence[Bounds]) -> tuple[float, ...]:
    """Band means of the training pixels, raw digital numbers; on the scaled range where each scene has its own."""
    if not scaling.per_raster:
        return found.band_means
    low, high = np.array(stretches).transpose(2, 0, 1)
    pixels = np.array([[scene.pixels] for scene in found.scenes])
    means = np.stack([scene.sums for scene in found.scenes]) / np.maximum(pixels, 1)
    scaled = np.clip((means - low) / (high - low), 0, 1)
    return tuple(((scaled * pixels).sum(0) / max(pixels.sum(), 1)).tolist())
