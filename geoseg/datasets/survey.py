"""What a look through the training scenes tells before training: class counts, band means, resolution."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial, reduce

import numpy as np

from geoseg.ahead import read_ahead, reader_threads
from geoseg.datasets.samples import LabelledScene, Sample
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend
from geoseg.raster.labels import Flaws
from geoseg.tiling import blocks

THREADS = min(4, os.cpu_count() or 1)
"""Threads that look through scenes; each holds one, decoded."""
WINDOW = 4096
"""Side of the windows in which scenes are looked through, in pixels."""


@dataclass(frozen=True)
class SceneTally:
    """What one scene holds, counted at its own resolution; those of its windows add up."""

    counts: np.ndarray
    """(256,) int64 valid pixels of each class index, NO_CLASS among them."""
    undefined: int
    """Pixels of a colour that is no class's."""
    contested: int
    """Pixels in shapes of several classes; they count to that of the last one."""
    pixels: int
    """Valid pixels."""
    sums: np.ndarray
    """(C,) float64 sums of each band's valid pixels, raw digital numbers."""
    squares: np.ndarray
    """(C,) float64 sums of the squared distances of those to their mean."""

    @classmethod
    def of(cls, sample: Sample, flaws: Flaws) -> SceneTally:
        """The tally of a window, and of its labels with a flaw."""
        counts = np.bincount(sample.index[sample.valid], minlength=256)
        pixels = int(sample.valid.sum())
        moments = np.array([_moments(band[sample.valid].astype(np.float64)) for band in sample.pixels])
        return cls(counts, flaws.undefined, flaws.contested, pixels, *moments.T)

    def __add__(self, other: SceneTally) -> SceneTally:
        pixels = self.pixels + other.pixels
        # Chan, Golub and LeVeque 1983: exact where plain sums of squares cancel, as far from 0 they do.
        apart = self.sums / max(self.pixels, 1) - other.sums / max(other.pixels, 1)
        between = apart**2 * self.pixels * other.pixels / max(pixels, 1)
        return SceneTally(
            self.counts + other.counts,
            self.undefined + other.undefined,
            self.contested + other.contested,
            pixels,
            self.sums + other.sums,
            self.squares + other.squares + between,
        )


@dataclass(frozen=True)
class Survey:
    """Totals over scenes, each pixel counted once at the scenes' own resolution."""

    scene_counts: np.ndarray
    """(S, K) int64 valid pixels of each class in each scene."""
    without_class: int
    """Valid pixels without a class, those of an undefined colour included."""
    undefined: int
    """Pixels of a colour that is no class's."""
    band_means: tuple[float, ...]
    """Mean of the valid pixels of each band, raw digital numbers."""
    gsds: tuple[float, ...]
    """Ground sampling distances in metres per pixel, of the scenes that have one."""
    band_deviations: tuple[float, ...] = ()
    """Standard deviation of the valid pixels of each band, raw digital numbers."""
    scenes: tuple[SceneTally, ...] = ()
    """What each scene holds."""
    contested: int = 0
    """Pixels in shapes of several classes; they count to that of the last one."""

    @property
    def gsd(self) -> float | None:
        """The median of ``gsds``, None where no scene has one."""
        return float(np.median(self.gsds)) if self.gsds else None

    @property
    def counts(self) -> np.ndarray:
        """(K,) int64 valid pixels of each class."""
        return self.scene_counts.sum(0)

    @property
    def shares(self) -> np.ndarray:
        """(K,) float64 share of each class in the pixels that have one."""
        return self.counts / max(self.counts.sum(), 1)


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Sum of some values, and sum of their squared distances to their mean."""
    total = values.sum()
    values -= total / max(values.size, 1)
    return total, values @ values


def tally(scene: LabelledScene) -> SceneTally:
    """Look through a scene window by window."""
    windows = blocks(scene.grid.shape, WINDOW)
    return reduce(operator.add, (SceneTally.of(*scene.read(window)) for window in windows))


def tally_sample(sample: Sample, flaws: Flaws) -> SceneTally:
    """The same of a whole scene that is read already: by the same windows, so that sums of floats are the same too."""
    windows = blocks(sample.valid.shape, WINDOW)
    parts = (Sample(*(part[..., *window.slices] for part in sample)) for window in windows)
    whole = reduce(operator.add, (SceneTally.of(part, Flaws()) for part in parts))
    return replace(whole, undefined=flaws.undefined, contested=flaws.contested)


def survey(
    scenes: Iterable[LabelledScene],
    legend: Legend,
    tally: Callable[[LabelledScene], SceneTally] = tally,
    gsd: float | None = None,
) -> Survey:
    """Look through scenes once. Raises InputError where they differ in bands or no pixel has a class to learn.

    Args:
        tally: what looks through one scene.
        gsd: metres per pixel of scenes whose files tell none.
    """

    def look(scene: LabelledScene) -> tuple[float | None, SceneTally]:
        return scene.grid.gsd or gsd, tally(scene)

    with reader_threads(THREADS) as readers:
        looked = list(read_ahead(readers, (partial(look, scene) for scene in scenes), depth=THREADS))
    distances, found = zip(*looked, strict=True)
    if len({len(one.sums) for one in found}) > 1:
        raise InputError("the training scenes differ in their number of bands; choose common ones with --bands")
    counts = np.stack([one.counts for one in found])
    if not counts[:, list(legend.scored)].any():
        raise InputError(
            "no pixel of the training scenes has a class to learn; is it the right legend, and do the labels lie on "
            "the scenes?"
        )
    whole = reduce(operator.add, found)
    return Survey(
        counts[:, : len(legend)],
        int(whole.counts[NO_CLASS]),
        whole.undefined,
        tuple(float(value) for value in whole.sums / max(whole.pixels, 1)),
        tuple(distance for distance in distances if distance is not None),
        tuple(float(value) for value in np.sqrt(whole.squares / max(whole.pixels, 1))),
        found,
        whole.contested,
    )
