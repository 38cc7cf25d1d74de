"""ClassRasterWriter and ScoreRasterWriter: the one place that knows how results lie on disk."""

from __future__ import annotations

import glob
import json
import math
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import TracebackType
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.enums import Resampling

import geoseg
from geoseg.ahead import read_ahead, reader_threads
from geoseg.errors import ResourceError, UsageError
from geoseg.files import is_alive, require_place
from geoseg.grid import Grid, Window
from geoseg.legend import NODATA, Legend
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.opening import gdal_settings, writing
from geoseg.raster.scores import SCORE_STEPS
from geoseg.source import Source
from geoseg.tiling import BLOCK

OPTIONS: dict[str, tuple[str, ...] | None] = {
    "COMPRESS": ("NONE", "LZW", "PACKBITS", "DEFLATE", "ZSTD", "LZMA"),
    "NUM_THREADS": None,
    "BIGTIFF": ("YES", "NO", "IF_NEEDED", "IF_SAFER"),
    "GEOTIFF_VERSION": ("AUTO", "1.0", "1.1"),
}
"""Creation options of both drivers that cannot change a pixel, with their values; None for whole numbers."""
GTIFF_OPTIONS = {"PREDICTOR": ("1", "2"), "ZLEVEL": None, "ZSTD_LEVEL": None, "LZMA_PRESET": None}
COG_OPTIONS = {"PREDICTOR": ("NO", "YES", "STANDARD"), "LEVEL": None}


class RasterWriter:
    """Writes uint8 bands on a given grid, beside the target first, then in its place.

    A context manager: leaving it without an error builds overviews, reads everything back, flushes it to the disk and
    renames; leaving it with an error removes the unfinished file. Until then an older output stays as it is. Blocks
    without data take no room.

    Args:
        path: the GeoTIFF to make, ending in .tif or .tiff.
        grid: copied untouched: CRS, transform, size, ground control points, RPCs.
        count: number of bands.
        tags: provenance, name to text.
        overwrite: replace an existing file.
        cog: make it a Cloud Optimised GeoTIFF.
        options: GDAL's creation options, as check_options explains.
        overviews: False leaves them out.

    Raises OutputError, ResourceError (disk), UsageError (another ending, an option that is not the user's to set).
    """

    overview_resampling = Resampling.nearest
    photometric = "MINISBLACK"
    """Otherwise GDAL takes three or four bands for a picture, and the fourth for its alpha."""

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        count: int,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
        *,
        cog: bool = False,
        options: Mapping[str, str] | None = None,
        overviews: bool = True,
    ) -> None:
        self.path = Path(path)
        self.grid, self.count, self.tags, self.overwrite, self.cog = grid, count, dict(tags or {}), overwrite, cog
        self.options = check_options(options or {}, cog)
        self._partial = partial_path(self.path)
        levels = range(1, 32) if overviews else ()
        self._factors = [2**level for level in levels if max(grid.shape) / 2 ** (level - 1) > BLOCK]
        self._written: list[tuple[int, Window, int]] = []
        """Overview level (0 for the raster itself), place and checksum of what was written."""
        self._skipped = 0

    def __enter__(self) -> RasterWriter:
        require_writable(self.path, self.overwrite)
        _sweep(self.path)
        try:
            with writing(str(self.path)):
                self._require_room()
                options = {"ZLEVEL": "1"} if self.cog else self.options
                profile = _profile(self.grid, self.count) | {"PHOTOMETRIC": self.photometric}
                self._dataset = rasterio.open(self._partial, "w", **profile | options)
                self._describe()
                self._add_empty_overviews()
        except BaseException:
            self._remove_partial()
            raise
        return self

    def write(self, window: Window, pixels: np.ndarray) -> None:
        """Write (H, W) or (count, H, W) uint8 pixels.

        Windows begin on block borders, do not overlap, and together with those that are skipped cover the grid.
        """
        if window.row % BLOCK or window.col % BLOCK:
            raise UsageError(f"{window} does not begin on a block border of {BLOCK} px")
        pixels = pixels if pixels.ndim == 3 else pixels[None]
        if pixels.shape != (self.count, *window.shape) or pixels.dtype != np.uint8:
            raise UsageError(
                f"{self.count} band(s) of {window.shape} uint8 belong here, got {pixels.shape} of {pixels.dtype}"
            )
        with writing(str(self.path)):
            self._dataset.write(pixels, window=window.to_rasterio())
        self._written.append((0, window, zlib.crc32(np.ascontiguousarray(pixels))))

    def skip(self, window: Window) -> None:
        """Leave a window without data."""
        self._skipped += window.height * window.width

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(str(self.path)):
                self._dataset.close()
                if error is None:
                    self._finish()
        finally:
            self._remove_partial()

    def _finish(self) -> None:
        written = self._skipped + sum(window.height * window.width for _, window, _ in self._written)
        expected = math.prod(self.grid.shape)
        if written != expected:
            raise UsageError(f"{self.path}: {written} pixels were written of {expected}")
        self._build_overviews()
        if self.cog:
            self._make_cog()
        self._verify()
        require_writable(self.path, self.overwrite)
        put_in_place(self._partial, self._sidecar(), self.path)

    def _describe(self) -> None:
        dataset, grid = self._dataset, self.grid
        if grid.gcps:
            points = [RasterioPoint(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]
            dataset.gcps = (points, grid.crs or rasterio.crs.CRS())
        if grid.rpcs:
            dataset.update_tags(ns="RPC", **dict(grid.rpcs))
        software = f"geoseg {geoseg.__version__}"
        dataset.update_tags(AREA_OR_POINT="Area", TIFFTAG_SOFTWARE=software, **self.tags)

    def _require_room(self) -> None:
        # GDAL 3.12 crashes where not even the list of an empty raster's blocks can be written.
        height, width = self.grid.shape
        blocks = self.count * math.ceil(height / BLOCK) * math.ceil(width / BLOCK)
        self._partial.write_bytes(bytes((1 << 16) + 24 * blocks))

    def _add_empty_overviews(self) -> None:
        # GDAL itself would look at every pixel for each level, the empty ones of a sparse raster too.
        if self._factors:
            with rasterio.Env(SPARSE_OK_OVERVIEW="ON"):
                self._dataset.build_overviews(self._factors, Resampling.nearest)

    def _build_overviews(self) -> None:
        """Fill the overviews, each from the one three before it, only where something was written."""
        filled = {
            (row // BLOCK, col // BLOCK)
            for _, window, _ in self._written
            for row in range(window.row, window.row_stop, BLOCK)
            for col in range(window.col, window.col_stop, BLOCK)
        }
        for level in range(1, len(self._factors) + 1):
            filled = {(row // 2, col // 2) for row, col in filled}
            self._build_level(level, sorted(filled))

    def _build_level(self, level: int, places: Sequence[tuple[int, int]]) -> None:
        source = max(level - 3, 0)
        height, width = self._shape_of(level)
        blocks = [
            Window(row, col, min(BLOCK, height - row), min(BLOCK, width - col))
            for row, col in ((row * BLOCK, col * BLOCK) for row, col in places)
        ]
        with self._open_level(level, "r+") as dataset, reader_threads(os.cpu_count() or 1) as readers:
            calls = (partial(self._summary, source, block, 2 ** (level - source)) for block in blocks)
            for block, pixels in zip(blocks, read_ahead(readers, calls), strict=True):
                dataset.write(pixels, window=block.to_rasterio())
                self._written.append((level, block, zlib.crc32(pixels)))

    def _summary(self, source: int, block: Window, factor: int) -> np.ndarray:
        """(count, h, w) of an overview's block, resampled from the level ``source``, ``factor`` times as fine."""
        height, width = self._shape_of(source)
        row, col = block.row * factor, block.col * factor
        area = Window(row, col, min(block.height * factor, height - row), min(block.width * factor, width - col))
        with gdal_settings(), self._open_level(source, "r") as dataset:
            shape = (self.count, *block.shape)
            return dataset.read(window=area.to_rasterio(), out_shape=shape, resampling=self.overview_resampling)

    def _open_level(self, level: int, mode: str) -> rasterio.DatasetReader:
        """The unfinished file's overview ``level``, 0 for the raster itself, without the levels below."""
        options = {"SPARSE_OK": "TRUE"} if mode == "r+" else {}
        return rasterio.open(self._partial, mode, OVERVIEW_LEVEL=f"{level - 1}only" if level else "NONE", **options)

    def _shape_of(self, level: int) -> tuple[int, int]:
        return tuple(-(-length // 2**level) for length in self.grid.shape)

    def _make_cog(self) -> None:
        """Copy the finished file, block by block, into the order that a COG has."""
        plain = self._partial.with_name(self._partial.name + ".plain")
        os.replace(self._partial, plain)
        layout = {"BLOCKSIZE": str(BLOCK), "COMPRESS": "DEFLATE", "BIGTIFF": "IF_SAFER", "SPARSE_OK": "TRUE"}
        rasterio.shutil.copy(plain, self._partial, driver="COG", **layout | self.options)
        plain.unlink()

    def _verify(self) -> None:
        # GDAL may report a full disk at a write, at the close, or not at all.
        for level, of_level in groupby(self._written, key=lambda written: written[0]):
            with self._open_level(level, "r") as dataset:
                for _, window, checksum in of_level:
                    if zlib.crc32(dataset.read(window=window.to_rasterio())) != checksum:
                        raise ResourceError(
                            f"{self.path}: what was written at {window} does not read back; is the disk full?"
                        )

    def _sidecar(self) -> str:
        """GDAL's PAM document for what a GeoTIFF has no place for; empty where there is nothing."""
        return ""

    def _remove_partial(self) -> None:
        for ending in ("", ".aux.xml", ".plain", ".plain.aux.xml"):
            self._partial.with_name(self._partial.name + ending).unlink(missing_ok=True)


class ClassRasterWriter(RasterWriter):
    """Writes one band of a legend's codes: names, colours and codes of the legend; NODATA (255) is the nodata value."""

    overview_resampling = Resampling.mode
    photometric = "PALETTE"
    """Said from the start, so that the overviews have the colours, too."""

    def __init__(
        self, path: str | Path, grid: Grid, legend: Legend, tags: Mapping[str, str] | None = None, *args, **kwargs
    ) -> None:
        super().__init__(path, grid, 1, {LEGEND_TAG: json.dumps(legend.to_dict()), **(tags or {})}, *args, **kwargs)
        self.legend, self.tally = legend, AreaTally(grid)

    @property
    def counts(self) -> np.ndarray:
        """(256,) int64 pixels written of each code."""
        return self.tally.counts

    def write(self, window: Window, pixels: np.ndarray) -> None:
        """Write (H, W) uint8 codes, as RasterWriter.write explains."""
        super().write(window, pixels)
        self.tally.add(window, pixels)

    def skip(self, window: Window) -> None:
        """Leave a window without data."""
        super().skip(window)
        self.tally.skip(window)

    def _describe(self) -> None:
        super()._describe()
        self._dataset.write_colormap(1, colour_table(self.legend))
        self._dataset.set_band_description(1, "class")

    def _sidecar(self) -> str:
        return class_names(self.legend, self.tally)


class ScoreRasterWriter(RasterWriter):
    """Writes bands of scores between 0 and 1 in steps of 1/254, which GDAL's band scale undoes; NODATA (255) is nodata.

    Args:
        names: of the bands.
    """

    overview_resampling = Resampling.average

    def __init__(self, path: str | Path, grid: Grid, names: Sequence[str], *args, **kwargs) -> None:
        super().__init__(path, grid, len(names), *args, **kwargs)
        self.names = names

    def _describe(self) -> None:
        super()._describe()
        self._dataset.scales = (1 / SCORE_STEPS,) * self.count
        for number, name in enumerate(self.names, start=1):
            self._dataset.set_band_description(number, name)


def check_options(options: Mapping[str, str], cog: bool) -> dict[str, str]:
    """Creation options with upper-case names; raises UsageError for one that is unknown, geoseg's own, or lossy.

    GDAL itself only warns of an unknown option. The layout (tiles, nodata, sparseness) is geoseg's.
    """
    allowed = OPTIONS | (COG_OPTIONS if cog else GTIFF_OPTIONS)
    checked = {}
    for name, value in options.items():
        name, value = name.upper(), str(value)
        if name not in allowed:
            raise UsageError(f"creation option {name}: not one to set here; there are {', '.join(sorted(allowed))}")
        choices = allowed[name]
        if choices is not None and value.upper() not in choices:
            raise UsageError(f"creation option {name}={value}: is one of {', '.join(choices)}")
        if choices is None and not value.isdigit() and (name, value) != ("NUM_THREADS", "ALL_CPUS"):
            raise UsageError(f"creation option {name}={value}: is a whole number")
        checked[name] = value
    return checked


def partial_path(path: Path) -> Path:
    """Where a raster is written until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial.tif")


def put_in_place(partial: Path, sidecar_text: str, path: Path) -> None:
    """Flush a finished raster to the disk and put it in its place, with its sidecar where there is a text for one."""
    sidecar = partial.with_name(partial.name + ".aux.xml")
    sidecar.unlink(missing_ok=True)
    if sidecar_text:
        sidecar.write_text(sidecar_text, encoding="utf-8")
        _flush(sidecar)
    if path.exists():
        shutil.copymode(path, partial)
    _flush(partial)
    remove_sidecars(path)
    os.replace(partial, path)
    if sidecar_text:
        os.replace(sidecar, path.with_name(path.name + ".aux.xml"))
    _flush(path.parent)


def remove_sidecars(path: Path) -> None:
    """Remove what would lend a raster that takes the place of another the old class names, overviews and mask."""
    for ending in (".aux.xml", ".ovr", ".msk"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what a process that was killed has left beside a target."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial.tif*"):
        process = left.name.removeprefix(f".{path.name}.").split(".", 1)[0]
        if process.isdigit() and not is_alive(int(process)):
            left.unlink(missing_ok=True)


def require_local(path: str | Path) -> None:
    """Raise UsageError for an address in place of a map's path; of a folder's, too."""
    if not (source := Source.of(path)).local:
        raise UsageError(f"{source}: maps are written to files of this machine; upload it when it is made")


def require_writable(path: str | Path, overwrite: bool) -> None:
    """Raise OutputError unless a GeoTIFF can be put at ``path``; call it before any work."""
    path = Path(path)
    require_local(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{path}: class rasters are GeoTIFF; let the output end in .tif")
    require_place(path, overwrite)


def _profile(grid: Grid, count: int) -> dict[str, object]:
    place = {"crs": grid.crs} if not grid.gcps else {}
    if grid.georeferenced:
        place["transform"] = grid.transform
    height, width = grid.shape
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "DEFLATE", "BIGTIFF": "IF_SAFER"}
    layout |= {"SPARSE_OK": "TRUE", "INTERLEAVE": "BAND"}
    shape = {"height": height, "width": width, "count": count, "dtype": "uint8", "nodata": NODATA}
    return {"driver": "GTiff", **shape, **layout, **place}


def colour_table(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    """(red, green, blue, alpha) of each code of a class raster; NODATA is transparent."""
    return {c.code: (*c.colour, 255) for c in legend.classes} | {NODATA: (0, 0, 0, 0)}


def class_names(legend: Legend, tally: AreaTally) -> str:
    """Category names and a raster attribute table in GDAL's PAM document, as rasterio cannot write them.

    The table has each class's value, name, colour, pixels and, where the raster has a place on Earth, hectares.
    """
    by_code = {c.code: c for c in legend.classes}
    names = [by_code[code].name if code in by_code else "" for code in range(max(by_code) + 1)]
    categories = "".join(f"<Category>{escape(name)}</Category>" for name in names)
    # Types 0 integer, 1 real, 2 text; usages 5 value, 2 name, 6 to 9 red, green, blue, alpha, 1 pixel count, 0 other.
    columns = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9)]
    # As a real number: an integer of GDAL's has 32 bits.
    columns += [("Count", 1, 1)] + ([("Hectares", 1, 0)] if tally.hectares is not None else [])
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for i, (name, kind, usage) in enumerate(columns)
    )
    rows = ""
    for i, c in enumerate(sorted(legend.classes, key=lambda c: c.code)):
        values = (c.code, c.name, *c.colour, 255, tally.counts[c.code])
        values += (f"{tally.hectares[c.code]:.6f}",) if tally.hectares is not None else ()
        rows += f'<Row index="{i}">{"".join(f"<F>{escape(str(value))}</F>" for value in values)}</Row>'
    table = f'<GDALRasterAttributeTable tableType="thematic">{fields}{rows}</GDALRasterAttributeTable>'
    band = f'<PAMRasterBand band="1"><CategoryNames>{categories}</CategoryNames>{table}</PAMRasterBand>'
    return f"<PAMDataset>{band}</PAMDataset>\n"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
