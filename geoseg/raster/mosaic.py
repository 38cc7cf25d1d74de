"""MosaicScene: many raster files of one pixel lattice as one scene."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.windows
from affine import Affine

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.raster.bands import ALPHA, Band, same_name
from geoseg.raster.nodata import NodataRule
from geoseg.raster.resample import area
from geoseg.raster.scene import AnyRule, Scene, SceneLike, window_in
from geoseg.source import Source

COLOURS = {"red", "green", "blue"}
OPEN = 16
"""Files that each reading thread keeps open."""
TOLERANCE = 0.1
"""Pixels by which a file may lie off the lattice of the first, at any of its corners."""


class MosaicScene(SceneLike):
    """Raster files side by side as one scene, which covers them all; between them there is no data.

    Where files overlap, the first one that has data counts. All have one CRS, pixel size, dtype and set of bands, and
    their pixels coincide. Of each file only its place is kept; at most OPEN per thread are open. Picklable.

    Args:
        files: paths, URLs or Sources, in the order in which they count.
        bands: of each file, as Scene takes them.
        nodata_rule: as Scene has it.

    Raises InputError as Scene does; GridMismatch where a file is not on the first one's lattice, with its difference.
    """

    def __init__(
        self, files: Sequence[str | Path | Source], bands: Sequence[Band] | None = None, nodata_rule: AnyRule = "all"
    ) -> None:
        if not files:
            raise UsageError("a mosaic is made of one file at least")
        self.sources, self.nodata_rule = tuple(map(Source.of, files)), NodataRule.of(nodata_rule)
        self._local, self._lock, self._opened = threading.local(), threading.Lock(), set()
        with Scene(self.sources[0], bands, nodata_rule) as first:
            self.bands, self.dtype, self.block_shape = first.bands, first.dtype, first.block_shape
            self.sequential = first.sequential
        self.remote = any(source.remote for source in self.sources)
        _require_place(first)
        corners = [(0, 0)]
        shapes = [first.grid.shape]
        for source in self.sources[1:]:
            with Scene(source, bands, nodata_rule) as scene:
                corners.append(_place(scene, first))
                shapes.append(scene.grid.shape)
                self.sequential |= scene.sequential
        firsts, shapes = np.array(corners), np.array(shapes)
        origin, stop = firsts.min(0), (firsts + shapes).max(0)
        self._firsts, self._stops = firsts - origin, firsts + shapes - origin
        """(files, 2) int64: first (row, col) of each file, and those after its last."""
        row, col = (int(value) for value in origin)
        transform = first.grid.transform @ Affine.translation(col, row) if origin.any() else first.grid.transform
        self.grid = Grid(first.grid.crs, transform, tuple(int(length) for length in stop - origin))
        self.name = _named(first.name, len(self.sources))

    def __reduce__(self) -> tuple[Any, ...]:
        return MosaicScene, (self.sources, self.bands, self.nodata_rule)

    def __enter__(self) -> MosaicScene:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def read(
        self, window: Window | rasterio.windows.Window | None = None, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As Scene.read."""
        window = window_in(window, self)
        pixels = np.zeros((len(self.bands), *window.shape), self.dtype)
        valid = np.zeros(window.shape, bool)
        for number, part in self._files_in(window):
            where = part.relative_to(window).slices
            if valid[where].all():
                continue
            found, has = self._scene(number).read(self._in_file(number, part))
            has &= ~valid[where]
            np.copyto(pixels[:, *where], found, where=has)
            valid[where] |= has
        return (pixels, valid) if shape is None else area(pixels, valid, shape)

    def read_valid(self, window: Window) -> np.ndarray:
        """As Scene.read_valid."""
        window = window_in(window, self)
        valid = np.zeros(window.shape, bool)
        for number, part in self._files_in(window):
            where = part.relative_to(window).slices
            if not valid[where].all():
                valid[where] |= self._scene(number).read_valid(self._in_file(number, part))
        return valid

    def has_data(self, window: Window) -> bool:
        """False where no file lies, and as Scene.has_data says of those that do."""
        return any(self._scene(n).has_data(self._in_file(n, part)) for n, part in self._files_in(window))

    def describe(self) -> dict[str, Any]:
        """What Scene.describe says of each file."""
        files = [self._scene(number).describe() for number in range(len(self.sources))]
        name = _named(files[0]["name"], len(files))
        what = {"kind": "mosaic", "name": name, "bands": list(self.bands), "nodata_rule": str(self.nodata_rule)}
        return what | {"files": files}

    def close(self) -> None:
        """Close the handles of every thread. Reading again opens them again."""
        with self._lock:
            for scene in self._opened:
                scene.close()
            self._opened.clear()
            self._local = threading.local()

    def _files_in(self, window: Window) -> Iterator[tuple[int, Window]]:
        """The files that meet a window, in their order, and their part of it."""
        begin, end = (window.row, window.col), (window.row_stop, window.col_stop)
        for number in np.flatnonzero((self._firsts < end).all(1) & (self._stops > begin).all(1)):
            yield int(number), self._window_of(number).intersect(window)

    def _window_of(self, number: int) -> Window:
        return Window(*self._firsts[number], *(self._stops[number] - self._firsts[number]))

    def _in_file(self, number: int, part: Window) -> Window:
        return part.relative_to(self._window_of(number))

    def _scene(self, number: int) -> Scene:
        """A file, open on the calling thread; the one that was not used for longest is closed for it."""
        scenes = self._local.__dict__.setdefault("scenes", OrderedDict())
        if number not in scenes:
            if len(scenes) >= OPEN:
                self._forget(scenes.popitem(last=False)[1])
            scenes[number] = Scene(self.sources[number], self.bands, self.nodata_rule)
            with self._lock:
                self._opened.add(scenes[number])
        scenes.move_to_end(number)
        return scenes[number]

    def _forget(self, scene: Scene) -> None:
        scene.close()
        with self._lock:
            self._opened.discard(scene)


def _named(first: str, files: int) -> str:
    return first if files == 1 else f"{first} and {files - 1} other{'s' if files > 2 else ''}"


def _require_place(scene: Scene) -> None:
    if not scene.grid.georeferenced:
        raise InputError(
            f"{scene.name}: has no transform, so it has no place in a mosaic; warp or georeference it first"
        )


def _place(scene: Scene, first: Scene) -> tuple[int, int]:
    """(row, col) of a scene's first pixel on the lattice of the first scene. Raises InputError, GridMismatch."""
    _require_place(scene)
    if scene.bands != first.bands or scene.dtype != first.dtype:
        raise InputError(
            f"{scene.name}: has {len(scene.bands)} band(s) of {scene.dtype}, {first.name} {len(first.bands)} of "
            f"{first.dtype}; a mosaic has one kind: choose common bands with --bands, or convert the file"
        )
    names = zip(scene.band_names, first.band_names, strict=True)
    if differing := [(other, name) for other, name in names if other and name and not same_name(other, name)]:
        other, name = differing[0]
        raise InputError(f"{scene.name}: has a band {other} where {first.name} has {name}; choose with --bands by name")
    for number, *pair in zip(scene.bands, scene.colours, first.colours, strict=True):
        if pair[0] != pair[1] and (ALPHA in pair or COLOURS.issuperset(pair)):
            raise InputError(
                f"{scene.name}: band {number} is {pair[0]}, in {first.name} {pair[1]}; bring the bands into one "
                "order, for example with gdal_translate -b, or mark them alike with gdal_edit.py -colorinterp_N"
            )
    if scene.grid.crs != first.grid.crs:
        theirs, ours = (grid.crs.to_string() if grid.crs else "no CRS" for grid in (scene.grid, first.grid))
        raise GridMismatch(f"{scene.name}: is in {theirs}, {first.name} in {ours}; {_remedy(first)}")
    step = ~first.grid.transform @ scene.grid.transform
    row, col = round(step.f), round(step.c)
    height, width = scene.grid.shape
    off = [
        np.subtract(step @ corner, (corner[0] + col, corner[1] + row))
        for corner in ((0, 0), (width, 0), (0, height), (width, height))
    ]
    right, down = max(off, key=lambda d: np.abs(d).max())
    if max(abs(right), abs(down)) > TOLERANCE:
        raise GridMismatch(f"{scene.name}: {_difference(step, scene, first, right, down)}; {_remedy(first)}")
    return row, col


def _difference(step: Affine, scene: Scene, first: Scene, right: float, down: float) -> str:
    stretch = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d))
    if stretch * max(scene.grid.shape) <= TOLERANCE:
        return f"lies {right:+.2f} px right and {down:+.2f} px down of the pixels of {first.name}"
    ours, theirs = first.grid.resolution, scene.grid.resolution
    if not np.allclose(ours, theirs, rtol=1e-9, atol=0):
        sizes = ("{:.12g} x {:.12g}".format(*resolution) for resolution in (theirs, ours))
        return f"has pixels of {next(sizes)}, {first.name} of {next(sizes)}"
    return f"is turned or mirrored against {first.name}"


def _remedy(first: Scene) -> str:
    return f"bring it onto the pixels of {first.name} by gdalwarp (-t_srs, -tr, -tap)"
