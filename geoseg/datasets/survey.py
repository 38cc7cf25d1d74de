"""What a look through the training scenes tells before training: class counts, band means, resolution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geoseg.datasets.samples import LabelledScene
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend
from geoseg.tiling import blocks

WINDOW = 4096
"""Side of the windows in which scenes are looked through, in pixels."""


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
    gsd: float | None
    """Median ground sampling distance in metres per pixel, None where no scene has one."""

    @property
    def counts(self) -> np.ndarray:
        """(K,) int64 valid pixels of each class."""
        return self.scene_counts.sum(0)

    @property
    def shares(self) -> np.ndarray:
        """(K,) float64 share of each class in the pixels that have one."""
        return self.counts / max(self.counts.sum(), 1)


def survey(scenes: Iterable[LabelledScene], legend: Legend) -> Survey:
    """Look through scenes once. Raises InputError where they differ in bands or no pixel has a class to learn."""
    scene_counts: list[np.ndarray] = []
    undefined, pixels_seen, sums, distances = 0, 0, [], []
    for scene in scenes:
        distances.append(scene.grid.gsd)
        scene_counts.append(np.zeros(256, np.int64))
        for window in blocks(scene.grid.shape, WINDOW):
            sample, odd = scene.read(window)
            scene_counts[-1] += np.bincount(sample.index[sample.valid], minlength=256)
            undefined += odd
            pixels_seen += int(sample.valid.sum())
            sums.append(sample.pixels.sum((1, 2), where=sample.valid, dtype=np.float64))
    if len({len(s) for s in sums}) > 1:
        raise InputError("the training scenes differ in their number of bands; choose common ones with --bands")
    counts = np.stack(scene_counts)
    if not counts[:, list(legend.scored)].any():
        raise InputError("no pixel of the training scenes has a class to learn; is it the right legend?")
    known = [distance for distance in distances if distance is not None]
    return Survey(
        counts[:, : len(legend)],
        int(counts[:, NO_CLASS].sum()),
        undefined,
        tuple(float(value) for value in np.sum(sums, 0) / max(pixels_seen, 1)),
        float(np.median(known)) if known else None,
    )
