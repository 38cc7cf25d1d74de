"""Labels: a raster of classes, read as class indices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, Colour, Legend
from geoseg.raster.resample import nearest
from geoseg.raster.scene import Scene
from geoseg.source import Source

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


MOST_HALF_TONES = 0.25
"""Share of pixels with a channel between 64 and 192 above which an image is no mask; resized masks have a few."""
COLOUR_TOLERANCE = 8
"""Levels by which a palette's colour may be off a class's in each channel."""


class Flaws(NamedTuple):
    """Pixels of labels that are not as they should be."""

    undefined: int = 0
    """Of a colour that is no class's; they have no class."""
    contested: int = 0
    """In shapes of several classes; they have that of the last one."""


class Labels:
    """A class raster (one band of codes, or of palette entries) or a colour mask (three bands), with its legend.

    Picklable, one handle per thread, as a Scene. Raises InputError where the file cannot hold labels.
    """

    def __init__(self, source: str | Path | Source, legend: Legend) -> None:
        self.legend = legend
        self.scene = Scene(source)
        self.grid = self.scene.grid
        self.name = self.scene.name
        self.block_shape, self.sequential = self.scene.block_shape, self.scene.sequential
        self.remote = self.scene.remote
        if len(self.scene.bands) not in (1, 3):
            number = len(self.scene.bands)
            raise InputError(f"{self.name}: labels have one band of codes or three of colours, not {number}")
        if not np.issubdtype(self.scene.dtype, np.integer):
            raise InputError(f"{self.name}: labels are whole numbers, not {self.scene.dtype}")
        colours = {} if LEGEND_TAG in self.scene.tags else self.scene.colour_table or {}
        self._palette = palette_classes(colours, legend)
        self._values_are_read = (
            len(self.scene.bands) == 1 and self.scene.dtype == "uint8" and self.scene.masked_by_nodata_alone
        )
        self.value_classes = self._classes_of_values()
        """(256,) int16 class index of each value that ``read_values`` gives; NO_CLASS for none, -1 where unknown."""

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> np.ndarray:
        """(H, W) uint8 class indices of a window (default: all), NO_CLASS where there is none.

        Decoded first, then brought to ``shape`` by nearest, so that no class is invented at the borders of others.
        Raises InputError where codes or colours are not the legend's.
        """
        index, _ = self.read_counted(window)
        return index if shape is None else nearest(index, shape)

    def read_values(self, window: Window | None = None) -> tuple[np.ndarray, Flaws]:
        """(H, W) uint8 values of a window (default: all), and the number of pixels with a flaw.

        ``value_classes`` tells their classes: of a raster of uint8 codes without a mask these are the codes themselves,
        so that counting need not decode each pixel. Raises InputError.
        """
        if self._values_are_read:
            return self.scene.read_values(window)[0], Flaws()
        return self.read_counted(window)

    def require_known(self, counts: np.ndarray) -> None:
        """Raise InputError where any of (256,) ``counts`` of values is of one that is no class."""
        unknown = np.where(self.value_classes < 0, counts, 0)
        if unknown.any():
            # Decoding says it; only those of one window are written out.
            values = np.repeat(np.arange(256, dtype=np.uint8), unknown)
            if self._palette is None:
                self.legend.decode(values, source=self.name)
            else:
                self._decode_palette(values, np.ones(len(values), bool))

    def read_counted(self, window: Window | None = None) -> tuple[np.ndarray, Flaws]:
        """As ``read`` at the raster's own resolution, with the number of pixels with a flaw."""
        pixels, valid = self.scene.read(window)
        if len(pixels) == 3:
            if pixels.dtype != np.uint8:
                raise InputError(f"{self.name}: a colour mask is uint8, not {pixels.dtype}")
            if self.legend.rgb_threshold is not None:
                _require_mask(pixels, self.name)
            index, undefined = self.legend.decode_rgb(pixels, valid, self.name)
            return index, Flaws(undefined)
        if self._palette is not None:
            return self._decode_palette(pixels[0], valid), Flaws()
        return self.legend.decode(pixels[0], valid, self.name), Flaws()

    def _classes_of_values(self) -> np.ndarray:
        if not self._values_are_read:
            return np.arange(256, dtype=np.int16)
        table = self.legend.code_classes() if self._palette is None else self._palette[:256].copy()
        if self.scene.nodata is not None and 0 <= self.scene.nodata < 256 and self.scene.nodata % 1 == 0:
            table[int(self.scene.nodata)] = NO_CLASS
        return table

    def _decode_palette(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        index = self._palette[np.minimum(values, len(self._palette) - 1)]
        unknown = valid & (index < 0)
        if unknown.any():
            listed = ", ".join(str(value) for value in np.unique(values[unknown])[:8])
            raise InputError(
                f"{self.name}: {int(unknown.sum())} pixels have palette values ({listed}) whose colours the legend "
                f"{self.legend.name!r} does not know; name the right legend with --legend"
            )
        return np.where(valid, index, NO_CLASS).astype(np.uint8)

    def close(self) -> None:
        """Close the file's handles; reading again opens them again."""
        self.scene.close()


def _require_mask(rgb: np.ndarray, source: str) -> None:
    """A threshold makes a class of every colour, also of a photograph's."""
    share = float(((rgb > 64) & (rgb < 192)).any(0).mean())
    if share > MOST_HALF_TONES:
        raise InputError(
            f"{source}: {share:.0%} of the pixels are half-tones: it looks like a picture, not a mask of pure colours"
        )


def palette_classes(colours: dict[int, Colour], legend: Legend) -> np.ndarray | None:
    """The class index that each value of a palette has by its colour, -1 for none; None where numbers name the classes.

    Colours decide where at least two of the legend's stand at other values than their codes: a picture program numbers
    palettes as it likes. Black says nothing, as it fills unused entries.
    """
    table = np.full(max(256, max(colours, default=0) + 1), -1, np.int16)
    for value, colour in colours.items():
        for index, entry in enumerate(legend.classes):
            if max(abs(a - b) for a, b in zip(colour, entry.colour, strict=True)) <= COLOUR_TOLERANCE:
                table[value] = index
    moved = {
        legend.classes[index].colour
        for value, index in enumerate(table)
        if index >= 0 and legend.classes[index].code != value
    }
    return table if len(moved - {(0, 0, 0)}) >= 2 else None
