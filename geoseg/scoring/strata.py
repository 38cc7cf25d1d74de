"""ClassMap: a class raster whose classes are strata, read window by window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, Legend
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import Labels
from geoseg.scoring.inputs import require_own_legend, resolve_legend
from geoseg.source import Source
from geoseg.tiling import blocks

WINDOW = 1024
"""Side of the windows that are read at a time: some 30 MB of work arrays, whatever the map's size."""


class ClassMap:
    """A map with a place on Earth. Its strata are the legend's classes that are not ignored, in their order.

    Raises InputError: unreadable, of another legend, without a place on Earth.
    """

    def __init__(
        self, source: str | Path | Source, legend: Legend | str | Path | None = None, progress: bool = False
    ) -> None:
        source, self.notes = Source.of(source), []
        if not isinstance(legend, Legend):
            legend, self.notes = resolve_legend((source,), legend)
        self.labels = Labels(source, legend)
        require_own_legend(self.labels)
        self.name, self.grid, self.legend, self.progress = self.labels.name, self.labels.grid, legend, progress
        scored = [legend.classes[index] for index in legend.scored]
        self.classes = tuple(c.name for c in scored)
        self.codes = tuple(c.code for c in scored)
        self.numbers = np.full(256, NO_CLASS, np.uint8)
        """(256,) the stratum number of each class index, NO_CLASS for ignored classes and for none."""
        self.numbers[list(legend.scored)] = range(len(self.classes))
        if self.tally().hectares is None:
            raise InputError(
                f"{self.name}: {self.grid} has no place on Earth, hence no areas: give it a CRS and a transform "
                "(gdalwarp, where it has control points), or estimate from counts with geoseg area --counts"
            )

    def __enter__(self) -> ClassMap:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.labels.close()

    def tally(self) -> AreaTally:
        """An empty tally of the pixels and true areas of the strata, by their numbers."""
        return AreaTally(self.grid)

    def windows(self, doing: str) -> Iterator[tuple[Window, np.ndarray]]:
        """Windows that may hold data, row-major, with (H, W) uint8 stratum numbers; NO_CLASS where there is none."""
        every = blocks(self.grid.shape, WINDOW)
        for window in tqdm(every, desc=doing, unit="window", disable=not self.progress, leave=False):
            if self.labels.scene.has_data(window):
                yield window, self.numbers[self.labels.read(window)]
