"""ClassRasterWriter: the one place that knows how a class raster lies on disk."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from types import TracebackType
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.enums import Resampling

import geoseg
from geoseg.errors import OutputError, ResourceError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import NODATA, Legend
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.opening import writing
from geoseg.tiling import BLOCK


class ClassRasterWriter:
    """Writes one uint8 band of a legend's codes on a given grid, beside the target first, then in its place.

    A context manager: leaving it without an error builds overviews, reads everything back, flushes it to the disk and
    renames; leaving it with an error removes the unfinished file. Until then an older output stays as it is.

    Args:
        path: the GeoTIFF to make, ending in .tif or .tiff.
        grid: copied untouched: CRS, transform, size, ground control points, RPCs.
        legend: names, colours and codes; NODATA (255) is the nodata value.
        tags: provenance, name to text.
        overwrite: replace an existing file.

    Raises OutputError, ResourceError (disk), UsageError (another ending).
    """

    def __init__(
        self, path: str | Path, grid: Grid, legend: Legend, tags: dict[str, str] | None = None, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.grid, self.legend = grid, legend
        self.tags = {LEGEND_TAG: json.dumps(legend.to_dict()), **(tags or {})}
        self.overwrite = overwrite
        self.counts = np.zeros(256, np.int64)
        """(256,) pixels written of each code."""
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial.tif")
        self._partial_sidecar = self._partial.with_name(self._partial.name + ".aux.xml")
        self._checksums: list[tuple[Window, int]] = []

    def __enter__(self) -> ClassRasterWriter:
        require_writable(self.path, self.overwrite)
        try:
            with writing(str(self.path)):
                self._dataset = rasterio.open(self._partial, "w", **_profile(self.grid))
                self._describe()
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise
        return self

    def write(self, window: Window, codes: np.ndarray) -> None:
        """Write (H, W) uint8 codes. Windows begin on block borders, do not overlap, and together cover the grid."""
        if window.row % BLOCK or window.col % BLOCK:
            raise UsageError(f"{window} does not begin on a block border of {BLOCK} px")
        if codes.shape != window.shape or codes.dtype != np.uint8:
            raise UsageError(f"codes are {window.shape} of uint8 here, got {codes.shape} of {codes.dtype}")
        with writing(str(self.path)):
            self._dataset.write(codes, 1, window=window.to_rasterio())
        self.counts += np.bincount(codes.ravel(), minlength=256)
        self._checksums.append((window, zlib.crc32(np.ascontiguousarray(codes))))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(str(self.path)):
                self._dataset.close()
                if error is None:
                    self._finish()
        finally:
            self._partial.unlink(missing_ok=True)
            self._partial_sidecar.unlink(missing_ok=True)

    def _finish(self) -> None:
        written, expected = sum(window.height * window.width for window, _ in self._checksums), self.grid.window
        if written != expected.height * expected.width:
            raise UsageError(f"{self.path}: {written} pixels were written of {expected.height * expected.width}")
        self._build_overviews()
        self._verify()
        require_writable(self.path, self.overwrite)
        self._partial_sidecar.write_text(_sidecar(self.legend, self.counts), encoding="utf-8")
        _flush(self._partial_sidecar)
        _flush(self._partial)
        # Left beside the new raster these would lend it the old one's class names, overviews and mask.
        for ending in (".aux.xml", ".ovr", ".msk"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        os.replace(self._partial, self.path)
        os.replace(self._partial_sidecar, self.path.with_name(self.path.name + ".aux.xml"))
        _flush(self.path.parent)

    def _describe(self) -> None:
        dataset, grid = self._dataset, self.grid
        if grid.gcps:
            points = [RasterioPoint(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]
            dataset.gcps = (points, grid.crs or rasterio.crs.CRS())
        if grid.rpcs:
            dataset.update_tags(ns="RPC", **dict(grid.rpcs))
        dataset.write_colormap(1, {c.code: (*c.colour, 255) for c in self.legend.classes} | {NODATA: (0, 0, 0, 0)})
        dataset.set_band_description(1, "class")
        software = f"geoseg {geoseg.__version__}"
        dataset.update_tags(AREA_OR_POINT="Area", TIFFTAG_SOFTWARE=software, **self.tags)

    def _build_overviews(self) -> None:
        longest = max(self.grid.shape)
        factors = [2**level for level in range(1, 32) if longest / 2 ** (level - 1) > BLOCK]
        if factors:
            with rasterio.open(self._partial, "r+") as dataset:
                dataset.build_overviews(factors, Resampling.mode)

    def _verify(self) -> None:
        # GDAL may report a full disk at a write, at the close, or not at all.
        with rasterio.open(self._partial) as dataset:
            for window, checksum in self._checksums:
                if zlib.crc32(dataset.read(1, window=window.to_rasterio())) != checksum:
                    raise ResourceError(
                        f"{self.path}: what was written at {window} does not read back; is the disk full?"
                    )


def require_writable(path: str | Path, overwrite: bool) -> None:
    """Raise OutputError unless a GeoTIFF can be put at ``path``; call it before any work."""
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{path}: class rasters are GeoTIFF; let the output end in .tif")
    if path.is_dir():
        raise OutputError(f"{path}: a folder is in the place of the output")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent}: no right to write there")


def _profile(grid: Grid) -> dict[str, object]:
    place = {"crs": grid.crs} if not grid.gcps else {}
    if grid.georeferenced:
        place["transform"] = grid.transform
    height, width = grid.shape
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "DEFLATE", "BIGTIFF": "IF_SAFER"}
    shape = {"height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": NODATA}
    return {"driver": "GTiff", **shape, **layout, **place}


def _sidecar(legend: Legend, counts: np.ndarray) -> str:
    """GDAL's PAM document: category names and a raster attribute table, which rasterio cannot write."""
    by_code = {c.code: c for c in legend.classes}
    names = [by_code[code].name if code in by_code else "" for code in range(max(by_code) + 1)]
    categories = "".join(f"<Category>{escape(name)}</Category>" for name in names)
    # Types 0 integer, 2 text; usages 5 value, 2 name, 6 to 9 red, green, blue, alpha, 1 pixel count.
    columns = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9)]
    columns.append(("Count", 1, 1))
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for i, (name, kind, usage) in enumerate(columns)
    )
    rows = ""
    for i, c in enumerate(sorted(legend.classes, key=lambda c: c.code)):
        values = (c.code, c.name, *c.colour, 255, counts[c.code])
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
