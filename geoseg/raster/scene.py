"""Scene: one raster image, read window by window."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Interleaving, MaskFlags, Resampling

from geoseg.errors import InputError, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint, Window
from geoseg.pictures import thumbnail
from geoseg.raster.bands import ALPHA, Band, resolve_bands
from geoseg.raster.identity import identity
from geoseg.raster.nodata import NodataRule
from geoseg.raster.opening import SEQUENTIAL_DRIVERS, WAITS, files_of, gdal_settings, open_raster, reading
from geoseg.raster.resample import area
from geoseg.raster.vsi import forget
from geoseg.reporting.markup import Markup
from geoseg.reporting.notebook import facts, frame, never_failing
from geoseg.source import IN_MEMORY, OpeningPolicy, Source
from geoseg.tiling import fitting, strips

log = logging.getLogger("geoseg")

Read = TypeVar("Read")

READ_AT_ONCE = 1 << 22
"""Pixels of the strips in which a scene is read that has no overviews."""
THUMBNAIL, MOST_FOR_THUMBNAIL = 160, 1 << 24
"""Side in pixels of the picture that notebooks show, and pixels of a band that are decoded for it at most."""
READERS, REMOTE_READERS = 4, 8
"""Threads that read a scene, at most: of a file of this machine no more than it has CPUs; on the network they wait."""


AnyRule = NodataRule | Literal["all", "any"] | str
"""A rule, or how it is written."""


class SceneLike(Protocol):
    """What prediction and training need of a scene. Its children are asked for in whole unless they say otherwise."""

    name: str
    """How messages call it."""
    grid: Grid
    bands: tuple[int, ...]
    """Numbers, from 1, of the bands that ``read`` returns, in its order."""
    dtype: str
    """numpy name of the pixels' dtype."""
    block_shape: tuple[int, int]
    """(height, width) in pixels of what is decoded at once."""
    sequential: bool
    """True where rows can only be decoded from the first on: read by one thread, in order."""
    remote = False
    """True where reads wait for a network."""

    def has_data(self, window: Window) -> bool:
        """False where it is known without reading that no pixel of the window is valid."""
        return True

    def wants(self, window: Window) -> bool:
        """True where a class is asked for in any pixel of the window."""
        return True

    def wanted(self, window: Window) -> np.ndarray:
        """(H, W) bool, True where a class is asked for if there is data."""
        return np.ones(window.shape, bool)

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(C, H, W) pixels in the scene's dtype and (H, W) valid, True where there is data."""
        ...

    def read_valid(self, window: Window) -> np.ndarray:
        """(H, W) bool: ``valid`` as ``read`` gives it, at less cost where that can be."""
        return self.read(window)[1]

    def read_overview(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As ``read`` of the whole scene at ``shape``, which is no larger, in bounded memory: for the eye alone, as
        files give their overviews where they have some."""
        block = self.block_shape[0]
        parts = [
            self.read(window, (rows.stop - rows.start, shape[1]))
            for window, rows in strips(self.grid.window, shape, READ_AT_ONCE, block)
        ]
        pixels, valid = zip(*parts, strict=True)
        return np.concatenate(pixels, 1), np.concatenate(valid)

    def overview_cost(self, shape: tuple[int, int]) -> int:
        """Pixels of a band that ``read_overview`` has to decode."""
        return math.prod(self.grid.shape)

    def describe(self) -> dict[str, Any]:
        """What identifies the scene in plans and tags, as JSON holds it: its "kind", "name" and "bands" at least."""
        ...

    @never_failing
    def _repr_html_(self) -> str:
        """Size, bands, place and a small picture, for notebooks."""
        return frame(type(self).__name__, self.name, facts(_facts(self)), aside=_thumbnail(self))

    def __enter__(self) -> SceneLike: ...

    def __exit__(self, *exc_info: object) -> None:
        """Close what was opened."""
        ...


class Scene(SceneLike):
    """A raster file, described once and read window by window.

    Picklable: it holds the source and the choice of bands, and opens one handle per thread when it is first read there.

    Args:
        source: a path, a URL, or a Source of either, which has a policy of what may be opened.
        bands: numbers from 1, or names: descriptions, else colours such as red; None takes every band but alpha.
        nodata_rule: "all" makes a pixel invalid where all bands are nodata, "any" where one is; or a NodataRule, which
            may name a value that the file does not declare.

    Raises InputError where the file is missing or no raster, or has not those bands.
    """

    def __init__(
        self, source: str | Path | Source, bands: Sequence[Band] | None = None, nodata_rule: AnyRule = "all"
    ) -> None:
        self.source = Source.of(source)
        self.name, self.remote = str(self.source), self.source.remote
        self._looked_into = False
        self.nodata_rule = NodataRule.of(nodata_rule)
        self._local = threading.local()
        self._handles: list[rasterio.DatasetReader] = []
        self._handles_lock = threading.Lock()
        if self.remote:
            # It may have changed since this process read it last.
            forget(self.source.gdal_name)
        with reading(self.source, "opened"):
            dataset = self._dataset()
            colours = tuple(colour.name for colour in dataset.colorinterp)
            self.bands = resolve_bands(bands, dataset.descriptions, colours, self.name)
            self._count = dataset.count
            self.grid = _grid_of(dataset)
            self.dtype = _resolve_dtype(dataset, self.bands, self.name)
            self.colour_table = _colour_table(dataset)
            self.visible = _visible(dataset, self.bands)
            self.tags: dict[str, str] = dataset.tags()
            self.files = files_of(dataset, self.source)
            self.band_names = tuple(dataset.descriptions[number - 1] for number in self.bands)
            self.colours = tuple(colours[number - 1] for number in self.bands)
            self.scales = tuple(dataset.scales[number - 1] for number in self.bands)
            self._always_valid = all(flags == [MaskFlags.all_valid] for flags in dataset.mask_flag_enums)
            self.block_shape = dataset.block_shapes[self.bands[0] - 1]
            self.sequential = dataset.driver in SEQUENTIAL_DRIVERS
            self.nodata: float | None = dataset.nodatavals[self.bands[0] - 1]
            self.masked_by_nodata_alone = all(
                flags in ([MaskFlags.all_valid], [MaskFlags.nodata]) for flags in dataset.mask_flag_enums
            )
            # Where blocks lie is asked without an answer that something failed: on the network anything may.
            self._may_be_sparse = (
                dataset.driver == "GTiff"
                and self.source.local
                and all(MaskFlags.nodata in flags for flags in dataset.mask_flag_enums)
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Scene, (self.source, self.bands, self.nodata_rule)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Scene({self.name!r}, bands={self.bands}, {self.dtype}, {self.grid})"

    def read(
        self, window: Window | rasterio.windows.Window | None = None, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window (default: the whole scene), resampled to ``shape`` by area means where that is given.

        Returns (C, H, W) pixels in the file's dtype, raw digital numbers, and (H, W) valid: True where there is data,
        that is where the file's mask is not 0 (nodata, alpha, mask band), the nodata rule finds no value of its own and
        every band is finite.
        Raises InputError where the file cannot be read there, UsageError where the window leaves the scene.
        """
        window = window_in(window, self)
        pixels, valid = self._read(window, lambda: (self._read_pixels(window), self._read_mask(window)))
        if self.nodata_rule.value is not None:
            valid &= self.nodata_rule.holds(pixels)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(0)
        return (pixels, valid) if shape is None else area(pixels, valid, shape)

    def read_valid(self, window: Window) -> np.ndarray:
        """(H, W) bool: valid of a window, without its pixels where they do not decide it."""
        if np.issubdtype(np.dtype(self.dtype), np.floating) or self.nodata_rule.value is not None:
            return self.read(window)[1]
        window = window_in(window, self)
        return self._read(window, lambda: self._read_mask(window))

    def read_overview(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As SceneLike says: means of the file's overviews where it has some that are large enough, else of pixels."""
        how, where = {"out_shape": (len(self.bands), *shape)}, self.grid.window
        # Between the numbers of two classes is a third one's.
        how["resampling"] = Resampling.mode if self.colour_table else Resampling.average

        def access() -> tuple[np.ndarray, np.ndarray]:
            dataset = self._dataset()
            return dataset.read(list(self.bands), **how).astype(self.dtype, copy=False), self._small_mask(shape)

        if self.nodata_rule.value is not None:
            # Overviews of the file hold means of its pixels, that value among them.
            return super().read_overview(shape)
        pixels, valid = self._read(where, access)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(0)
        return pixels, valid

    def overview_cost(self, shape: tuple[int, int]) -> int:
        """Pixels of a band in the overview that ``read_overview`` takes, or in all."""
        factor = min(self.grid.shape[0] / shape[0], self.grid.shape[1] / shape[1])
        with reading(self.source, "opened"):
            factors = [1, *(f for f in self._dataset().overviews(self.bands[0]) if f <= factor * 1.2)]
        return math.prod(self.grid.shape) // max(factors) ** 2

    def read_values(self, window: Window | None = None) -> np.ndarray:
        """(C, H, W) pixels of a window (default: the whole scene) in the file's dtype, masked or not."""
        window = window_in(window, self)
        return self._read(window, lambda: self._read_pixels(window))

    def has_data(self, window: Window) -> bool:
        """False where the window's blocks are missing from a sparse GeoTIFF with a nodata value."""
        if not self._may_be_sparse:
            return True
        (height, width), dataset = self.block_shape, self._dataset()
        rows = range(window.row // height, -(-window.row_stop // height))
        cols = range(window.col // width, -(-window.col_stop // width))
        pixel_interleaved = dataset.interleaving == Interleaving.pixel
        bands = dataset.indexes[:1] if pixel_interleaved else dataset.indexes
        return any(
            dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band) is not None
            for band in bands
            for row in rows
            for col in cols
        )

    def describe(self) -> dict[str, Any]:
        """Path and name of the file without credentials, its bands, the nodata rule, what tells it from a later file.

        Raises InputError where it is gone.
        """
        source, chosen = self.source, {"bands": list(self.bands), "nodata_rule": str(self.nodata_rule)}
        if source.location.startswith(IN_MEMORY):
            return {"kind": "memory file", "name": self.name} | chosen
        record = {"kind": "file", "path": self.name, "name": self.name} | chosen
        if source.local:
            record |= {"path": os.path.abspath(source), "name": os.path.basename(source)}
        if source.policy != OpeningPolicy():
            record["policy"] = source.policy.to_dict()
        if source.has_secrets:
            record["secrets_withheld"] = True
        return record | identity(source, self.files)

    def require_spectral(self) -> None:
        """Raise InputError where the bands hold alpha, which tells where there is data, and is none itself."""
        for number, colour in zip(self.bands, self.colours, strict=True):
            if colour == ALPHA and self._count > 1:
                raise InputError(f"{self.name}: band {number} is its alpha, which is a mask and no data; leave it out")

    def close(self) -> None:
        """Close the handles of every thread. Reading again opens them again."""
        with self._handles_lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
            self._local = threading.local()

    def _dataset(self) -> rasterio.DatasetReader:
        # A GDAL dataset belongs to the thread that opened it.
        if not hasattr(self._local, "dataset"):
            self._local.dataset = open_raster(self.source, self._looked_into)
            self._looked_into = True
            with self._handles_lock:
                self._handles.append(self._local.dataset)
        return self._local.dataset

    def _read(self, window: Window, access: Callable[[], Read]) -> Read:
        """What ``access`` reads; on the network it is tried again, from a new connection and with nothing kept."""
        doing = f"read at rows {window.row}-{window.row_stop}, columns {window.col}-{window.col_stop}"
        for wait in WAITS if self.source.remote else ():
            try:
                with reading(self.source, doing):
                    return access()
            except InputError as error:
                log.info("%s; once more", error)
            time.sleep(wait)
            self._start_again()
        with reading(self.source, doing):
            return access()

    def _start_again(self) -> None:
        """Leave this thread's handle."""
        with self._handles_lock:
            if hasattr(self._local, "dataset"):
                self._handles.remove(self._local.dataset)
                self._local.dataset.close()
                del self._local.dataset
        with gdal_settings(self.source):
            forget(self.source.gdal_name)

    def _read_pixels(self, window: Window) -> np.ndarray:
        dataset, where = self._dataset(), window.to_rasterio()
        if len({dataset.dtypes[number - 1] for number in self.bands}) == 1:
            return dataset.read(list(self.bands), window=where)
        return np.stack([dataset.read(number, window=where).astype(self.dtype) for number in self.bands])

    def _small_mask(self, shape: tuple[int, int]) -> np.ndarray:
        if self._always_valid:
            return np.ones(shape, bool)
        if self.nodata_rule.which == "any":
            return (self._dataset().read_masks(list(self.bands), out_shape=(len(self.bands), *shape)) > 0).all(0)
        return self._dataset().dataset_mask(out_shape=shape) > 0

    def _read_mask(self, window: Window) -> np.ndarray:
        if self._always_valid:
            return np.ones(window.shape, bool)
        if self.nodata_rule.which == "any":
            return (self._dataset().read_masks(list(self.bands), window=window.to_rasterio()) > 0).all(0)
        return self._dataset().dataset_mask(window=window.to_rasterio()) > 0


class ArrayScene(SceneLike):
    """An array in memory as a scene.

    Args:
        pixels: (C, H, W) or (H, W), any real dtype.
        valid: (H, W) bool, True where there is data; None takes every finite pixel.
        grid: its georeference; None gives it none.
    """

    def __init__(
        self, pixels: np.ndarray, valid: np.ndarray | None = None, grid: Grid | None = None, name: str = "array"
    ) -> None:
        pixels = np.asarray(pixels)
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or min(pixels.shape) < 1 or not np.isrealobj(pixels):
            raise InputError(f"{name}: an image is (bands, height, width) of real numbers, got {pixels.shape}")
        finite = np.isfinite(pixels).all(0)
        self.pixels = pixels
        self.valid = finite if valid is None else finite & valid.astype(bool)
        self.name = name
        self.grid = Grid(None, IDENTITY, pixels.shape[1:]) if grid is None else grid
        self.bands = tuple(range(1, len(pixels) + 1))
        self.dtype = pixels.dtype.name
        self.block_shape, self.sequential = (1, pixels.shape[2]), False
        if self.grid.shape != pixels.shape[1:] or self.valid.shape != pixels.shape[1:]:
            raise InputError(f"{name}: the pixels {pixels.shape} are not on the grid {self.grid.shape}")

    def __enter__(self) -> ArrayScene:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As Scene.read."""
        slices = window_in(window, self).slices
        pixels, valid = self.pixels[:, *slices], self.valid[slices]
        return (pixels, valid) if shape is None else area(pixels, valid, shape)

    def read_overview(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As SceneLike says."""
        return self.read(None, shape)

    def read_valid(self, window: Window) -> np.ndarray:
        """As Scene.read_valid."""
        return self.valid[window_in(window, self).slices]

    def describe(self) -> dict[str, Any]:
        """The array's shape, dtype and sha256."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels))
        digest.update(np.packbits(self.valid))
        what = {"kind": "array", "name": self.name, "shape": list(self.pixels.shape), "dtype": self.dtype}
        return what | {"bands": list(self.bands), "sha256": digest.hexdigest()}


def reader_count(*scenes: SceneLike) -> int:
    """Threads that may read scenes together: one, where rows of any are decoded from the first on, or all at once."""
    in_order = any(scene.sequential or scene.block_shape[0] >= scene.grid.shape[0] for scene in scenes)
    if in_order:
        return 1
    return REMOTE_READERS if any(scene.remote for scene in scenes) else min(READERS, os.cpu_count() or 1)


def in_rows(scene: SceneLike) -> bool:
    """True where whole rows of a scene are decoded together, and should be read so."""
    return scene.sequential or scene.block_shape[1] >= scene.grid.shape[1]


def window_in(window: Window | rasterio.windows.Window | None, scene: SceneLike) -> Window:
    """A window of a scene, None for all of it; raises UsageError where it leaves the scene."""
    window = scene.grid.window if window is None else Window.of(window)
    if window.row_stop > scene.grid.shape[0] or window.col_stop > scene.grid.shape[1]:
        raise UsageError(f"{scene.name}: {window} leaves the scene of {scene.grid.shape} (rows, columns)")
    return window


def visible_bands(scene: SceneLike) -> tuple[int, ...]:
    """Places, from 0, of the bands of a scene to show as red, green and blue; one for grey."""
    shown = getattr(scene, "visible", scene.bands[:3] if len(scene.bands) >= 3 else scene.bands[:1])
    return tuple(scene.bands.index(number) for number in shown)


def _facts(scene: SceneLike) -> dict[str, object]:
    """What a notebook says of a scene."""
    height, width = scene.grid.shape
    names = [name for name in getattr(scene, "band_names", ()) if name] or list(getattr(scene, "colours", ()))
    metres, nodata = scene.grid.pixel_metres, getattr(scene, "nodata", None)
    named = f": {', '.join(names)}" if names else ""
    found = {"size": f"{height:,} x {width:,} px (rows x columns)", "bands": f"{len(scene.bands)}{named}"}
    found |= {"pixels": scene.dtype + ("" if nodata is None else f", nodata {nodata:g}")}
    found["place"] = place_of(scene.grid)
    if metres:
        found["pixel on the ground"] = f"{metres[0]:.4g} x {metres[1]:.4g} m"
    if files := getattr(scene, "sources", ()):
        found["files"] = len(files)
    return found


def place_of(grid: Grid) -> str:
    """A grid's CRS and extent in words."""
    if not grid.georeferenced:
        return f"{len(grid.gcps)} control points" if grid.gcps else "no georeference"
    left, bottom, right, top = (f"{value:.8g}" for value in grid.bounds)
    crs = "no CRS" if grid.crs is None else grid.crs.to_string() if grid.crs.to_epsg() else "a CRS without a code"
    return f"{crs}, x {left} to {right}, y {bottom} to {top}"


def _thumbnail(scene: SceneLike) -> Markup:
    """A small picture; nothing where it would cost much, or the network."""
    shape = fitting(scene.grid.shape, THUMBNAIL)
    if scene.remote or scene.overview_cost(shape) > MOST_FOR_THUMBNAIL:
        return Markup()
    pixels, valid = scene.read_overview(shape)
    if table := getattr(scene, "colour_table", None):
        pixels = np.stack([_coloured(pixels[0], table, part) for part in range(3)])
        return thumbnail(pixels, valid, f"Overview of {scene.name}")
    return thumbnail(pixels[list(visible_bands(scene))], valid, f"Overview of {scene.name}")


def _coloured(values: np.ndarray, table: dict[int, tuple[int, int, int]], part: int) -> np.ndarray:
    """(H, W) uint8: one part of the colours of a palette's values."""
    parts = np.zeros(max(table) + 1, np.uint8)
    parts[list(table)] = [colour[part] for colour in table.values()]
    return parts[np.minimum(values, max(table))]


def _resolve_dtype(dataset: rasterio.DatasetReader, bands: tuple[int, ...], path: str) -> str:
    dtype = np.result_type(*(dataset.dtypes[number - 1] for number in bands))
    if np.issubdtype(dtype, np.complexfloating):
        raise InputError(f"{path}: bands of complex numbers cannot be used; write their magnitude first")
    return dtype.name


def _grid_of(dataset: rasterio.DatasetReader) -> Grid:
    points, points_crs = dataset.gcps
    # A GeoTIFF holds one or the other; a CRS beside points but without a transform places nothing.
    points = points if dataset.transform == IDENTITY else []
    gcps = tuple(GroundControlPoint(p.row, p.col, p.x, p.y, p.z or 0.0) for p in points)
    return Grid(
        (points_crs if gcps else dataset.crs) or None,
        dataset.transform,
        dataset.shape,
        gcps,
        tuple(sorted(dataset.tags(ns="RPC").items())),
    )


def _visible(dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> tuple[int, ...]:
    """Of the bands those to show as red, green and blue, by the file's colours, else the first three; one if grey."""
    if len(bands) < 3:
        return bands[:1]
    colours = {dataset.colorinterp[number - 1]: number for number in reversed(bands)}
    named = tuple(colours.get(colour) for colour in (ColorInterp.red, ColorInterp.green, ColorInterp.blue))
    return bands[:3] if None in named else named


def _colour_table(dataset: rasterio.DatasetReader) -> dict[int, tuple[int, int, int]] | None:
    if dataset.count != 1 or dataset.colorinterp[0] != ColorInterp.palette:
        return None
    return {value: colour[:3] for value, colour in dataset.colormap(1).items()}
