"""Labels: a raster of classes, read as class indices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import Legend
from geoseg.raster.resample import nearest
from geoseg.raster.scene import Scene

LEGEND_TAG = "GEOSEG_LEGEND"
"""The tag in which a class raster carries its legend, as JSON."""


def own_legend(scene: Scene) -> Legend | None:
    """The legend that a class raster carries in its tags; None where it carries none. Raises InputError."""
    if LEGEND_TAG not in scene.tags:
        return None
    try:
        return Legend.from_dict(json.loads(scene.tags[LEGEND_TAG]), source=scene.name)
    except ValueError as error:
        raise InputError(f"{scene.name}: its tag {LEGEND_TAG} is damaged ({error})") from error


class Labels:
    """A class raster (one band of codes, or of palette entries) or a colour mask (three bands), with its legend.

    Picklable, one handle per thread, as a Scene. Raises InputError where the file cannot hold labels.
    """

    def __init__(self, path: str | Path, legend: Legend) -> None:
        self.legend = legend
        self.scene = Scene(path)
        self.grid = self.scene.grid
        self.name = self.scene.name
        if len(self.scene.bands) not in (1, 3):
            raise InputError(f"{path}: labels have one band of codes or three of colours, not {len(self.scene.bands)}")
        if not np.issubdtype(self.scene.dtype, np.integer):
            raise InputError(f"{path}: labels are whole numbers, not {self.scene.dtype}")
        self._by_colour = LEGEND_TAG not in self.scene.tags and self._palette_speaks_the_legend()

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> np.ndarray:
        """(H, W) uint8 class indices of a window (default: all), NO_CLASS where there is none.

        Decoded first, then brought to ``shape`` by nearest, so that no class is invented at the borders of others.
        Raises InputError where codes or colours are not the legend's.
        """
        index, _ = self.read_counted(window)
        return index if shape is None else nearest(index, shape)

    def read_counted(self, window: Window | None = None) -> tuple[np.ndarray, int]:
        """As ``read`` at the raster's own resolution, with the number of pixels of an undefined colour."""
        pixels, valid = self.scene.read(window)
        if len(pixels) == 3:
            if pixels.dtype != np.uint8:
                raise InputError(f"{self.name}: a colour mask is uint8, not {pixels.dtype}")
            return self.legend.decode_rgb(pixels, valid, self.name)
        if self._by_colour:
            return self.legend.decode_rgb(self._to_colours(pixels[0]), valid, self.name)
        return self.legend.decode(pixels[0], valid, self.name), 0

    def close(self) -> None:
        self.scene.close()

    def _palette_speaks_the_legend(self) -> bool:
        """True where the file has a colour table of the legend's colours: then colours, not numbers, name the classes.

        Black fills up unused entries in many files and says nothing.
        """
        colours = set((self.scene.colour_table or {}).values()) - {(0, 0, 0)}
        return bool(colours) and colours <= {c.colour for c in self.legend.classes}

    def _to_colours(self, values: np.ndarray) -> np.ndarray:
        table = np.zeros((max(self.scene.colour_table) + 1, 3), np.uint8)
        for value, colour in self.scene.colour_table.items():
            table[value] = colour
        return np.moveaxis(table[values], -1, 0)
