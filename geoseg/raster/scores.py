"""ScoresRaster: the scores that ``geoseg predict --scores`` writes, read back beside their map."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from geoseg.errors import GridMismatch, InputError
from geoseg.grid import Window
from geoseg.legend import NODATA, Legend
from geoseg.raster.opening import open_raster
from geoseg.raster.scene import Scene
from geoseg.source import Source

SCORE_STEPS = 254
"""Written scores are whole numbers of this part; NODATA (255) where there is no data."""
ScoresKind = Literal["top", "margin", "all"]
"""The score of the map's class, its lead over the second class, or the scores of every scored class."""
MADE_FROM = ("GEOSEG_INPUT", "GEOSEG_MODEL_SHA256", "GEOSEG_SETTINGS")
"""Tags that a map and the scores of the same prediction share."""
BAND_NAMES = {"top": "score of the class", "margin": "lead over the second class"}


def score_band_names(kind: ScoresKind, legend: Legend) -> list[str]:
    """What the bands of a file of scores are called; of every scored class in the legend's order for "all"."""
    return [legend.names[index] for index in legend.scored] if kind == "all" else [BAND_NAMES[kind]]


class ScoresRaster:
    """A file of scores, as ``geoseg predict --scores`` writes it.

    Picklable, one handle per thread, as a Scene. Raises InputError for any other raster: the bands' names say what they
    hold, and steps of 1/254 with 255 for nodata are what they hold it in.
    """

    def __init__(self, source: str | Path | Source, legend: Legend) -> None:
        with open_raster(source) as dataset:
            # All of them, also where another program took the fourth for alpha.
            bands = dataset.indexes
        self.scene = Scene(source, bands)
        self.grid = self.scene.grid
        self.name = self.scene.name
        self.kind = _resolve_kind(self.scene, legend)
        if self.scene.dtype != "uint8" or not np.allclose(self.scene.scales, 1 / SCORE_STEPS, rtol=1e-6):
            raise InputError(
                f"{self.name}: its bands ({self.scene.dtype}, scale {self.scene.scales[0]:g}) are not in steps of "
                f"1/{SCORE_STEPS} as geoseg predict --scores writes them; take its file as it was written"
            )

    def require_of(self, scene: Scene) -> None:
        """Raise GridMismatch unless the scores lie on a map's grid, InputError where their tags tell of another map.

        ``scene`` is the map's file. Without a georeference on both sides, the same shape is enough.
        """
        placed = self.grid.georeferenced and scene.grid.georeferenced
        if not (self.grid.same_as(scene.grid) if placed else self.grid.shape == scene.grid.shape):
            raise GridMismatch(
                f"{self.name} ({self.grid}) is not on the grid of {scene.name} ({scene.grid}); take the scores of the "
                "same prediction"
            )
        for tag in MADE_FROM:
            if tag in self.scene.tags and self.scene.tags[tag] != scene.tags.get(tag, self.scene.tags[tag]):
                raise InputError(f"{self.name}: was not made with {scene.name} (their tags {tag} differ)")

    def read(self, window: Window | None = None) -> np.ndarray:
        """(bands, H, W) uint8 scores of a window (default: all) in steps of 1/254, NODATA (255) where there is none."""
        steps, valid = self.scene.read(window)
        return np.where(valid, steps, np.uint8(NODATA))

    def close(self) -> None:
        """Close the file's handles; reading again opens them again."""
        self.scene.close()


def _resolve_kind(scene: Scene, legend: Legend) -> ScoresKind:
    for kind in ("top", "margin", "all"):
        if list(scene.band_names) == score_band_names(kind, legend):
            return kind
    raise InputError(
        f"{scene.name}: its bands ({', '.join(name or 'unnamed' for name in scene.band_names[:4])}) are neither scores "
        f"that geoseg predict --scores writes nor the classes of the legend {legend.name!r}, one each"
    )
