"""StackScene: files of one band each, read as the bands of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.raster.bands import Band, resolve_bands
from geoseg.raster.nodata import NodataRule
from geoseg.raster.resample import area
from geoseg.raster.scene import AnyRule, Scene, SceneLike
from geoseg.source import Source

MISPLACED = 0.1
"""Pixels by which corners of the files may be apart."""


class StackScene(SceneLike):
    """Raster files of one band each on one grid, as a scene of that many bands. Picklable, as a Scene.

    A pixel is valid where it is in every file that is used.

    Args:
        files: paths, URLs or Sources, in the order of the bands.
        bands: which files, in which order: numbers from 1, or names: a band's description, else the file's name
            without its ending; None takes all.
        nodata_rule: as a Scene has it; of what the files declare themselves, one is enough under either rule.

    Raises InputError where a file is missing or no raster, has several bands or another dtype, GridMismatch where it
    lies on another grid.
    """

    def __init__(
        self, files: Sequence[str | Path | Source], bands: Sequence[Band] | None = None, nodata_rule: AnyRule = "all"
    ) -> None:
        if not files:
            raise UsageError("a stack needs files, one a band")
        self.nodata_rule = NodataRule.of(nodata_rule)
        opened = [_open(Source.of(file)) for file in files]
        called = [file.band_names[0] or file.source.stem for file in opened]
        chosen = resolve_bands(bands, called, ["undefined"] * len(opened), "the stack")
        self._files = [opened[number - 1] for number in chosen]
        first, *others = self._files
        for other in others:
            _require_alike(first, other)
        self.sources = tuple(file.source for file in self._files)
        self.bands = tuple(range(1, len(self.sources) + 1))
        """Numbers of the files in ``sources``, which are those that are used."""
        self.band_names = tuple(file.band_names[0] for file in self._files)
        """What the files call their bands, None where they do not."""
        self.colours = tuple(file.colours[0] for file in self._files)
        self.name = " + ".join(source.filename for source in self.sources)
        self.grid, self.dtype = first.grid, first.dtype
        self.block_shape = tuple(max(sides) for sides in zip(*(file.block_shape for file in self._files), strict=True))
        self.sequential = any(file.sequential for file in self._files)
        self.remote = any(file.remote for file in self._files)

    def __reduce__(self) -> tuple[Any, ...]:
        return StackScene, (self.sources, None, self.nodata_rule)

    def __enter__(self) -> StackScene:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StackScene({[str(source) for source in self.sources]}, {self.dtype}, {self.grid})"

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As Scene.read."""
        parts = [file.read(window) for file in self._files]
        pixels = np.concatenate([pixels for pixels, _ in parts])
        valid = np.logical_and.reduce([valid for _, valid in parts])
        if self.nodata_rule.value is not None:
            valid &= self.nodata_rule.holds(pixels)
        return (pixels, valid) if shape is None else area(pixels, valid, shape)

    def read_overview(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As SceneLike says."""
        pixels, valid = zip(*(file.read_overview(shape) for file in self._files), strict=True)
        return np.concatenate(pixels), np.logical_and.reduce(valid)

    def overview_cost(self, shape: tuple[int, int]) -> int:
        """Of all files together."""
        return sum(file.overview_cost(shape) for file in self._files)

    def read_valid(self, window: Window) -> np.ndarray:
        """As Scene.read_valid."""
        if self.nodata_rule.value is not None:
            return self.read(window)[1]
        return np.logical_and.reduce([file.read_valid(window) for file in self._files])

    def has_data(self, window: Window) -> bool:
        """False where it is known without reading that a file has no data there."""
        return all(file.has_data(window) for file in self._files)

    def describe(self) -> dict[str, Any]:
        """The files in the order of the bands, each as it is described."""
        files = [file.describe() for file in self._files]
        what = {"kind": "stack", "name": self.name, "bands": list(self.bands), "nodata_rule": str(self.nodata_rule)}
        return what | {"files": files}

    def close(self) -> None:
        """Close the handles of every thread. Reading again opens them again."""
        for file in self._files:
            file.close()


def _open(source: Source) -> Scene:
    scene = Scene(source)
    if len(scene.bands) > 1:
        raise InputError(
            f"{source}: has {len(scene.bands)} bands; a stack takes one band a file, others are predicted as they are"
        )
    return scene


def _require_alike(first: Scene, other: Scene) -> None:
    if difference := _difference(first.grid, other.grid):
        raise GridMismatch(
            f"{other.name} ({other.grid}) has another {difference} than {first.name} ({first.grid}); "
            "bring it onto the same grid first, for example with gdalwarp"
        )
    if first.dtype != other.dtype:
        raise InputError(f"{other.name}: pixels are {other.dtype}, those of {first.name} {first.dtype}; convert one")


def _difference(first: Grid, other: Grid) -> str | None:
    """In what two grids differ, None where they are one."""
    if first.shape != other.shape:
        return "size"
    if first.crs != other.crs:
        return "CRS"
    if (first.gcps, first.rpcs) != (other.gcps, other.rpcs):
        return "set of control points"
    if first.georeferenced != other.georeferenced or not first.corners_agree(other, MISPLACED):
        return "place"
    return None
