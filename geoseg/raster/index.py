"""Class rasters that lie in many files, as one: VRT for thousands of them, a GDAL tile index (GTI) for any number."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyogrio.raw
import shapely

import geoseg
from geoseg.errors import ResourceError, UsageError
from geoseg.files import disk_errors, replace_database, require_closed, require_place
from geoseg.grid import Grid, Window
from geoseg.legend import NODATA, Legend
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.tile_index import LAYER, LOCATION
from geoseg.raster.writer import class_names, colour_table, remove_sidecars
from geoseg.source import TILE_INDEX
from geoseg.tiling import BLOCK

VRT = ".vrt"
MOST_SOURCES = 20_000
"""Files that a VRT names: GDAL reads its text from end to end whenever it opens it."""


class Found(Protocol):
    """What an AreaTally, or a Prediction, knows of a map."""

    counts: np.ndarray
    """(256,) pixels of each code."""
    hectares: np.ndarray | None
    """(256,) true area of each code; None without a place on Earth."""


PartFile = tuple[Path, Window]
"""A class raster of its own, and the pixels of the whole that it holds."""


def is_index(path: str | Path) -> bool:
    """True for the endings of files that name parts; raises UsageError for other tile indices."""
    name = Path(path).name.lower()
    if name.endswith(".gti"):
        raise UsageError(f"{path}: a tile index is one file here; let it end in {TILE_INDEX}")
    return name.endswith((VRT, TILE_INDEX))


@dataclass(frozen=True, eq=False)
class _Index:
    """What is written, and where."""

    path: Path
    grid: Grid
    legend: Legend
    parts: Sequence[PartFile]
    tags: Mapping[str, str]
    found: Found


def write_index(
    path: str | Path,
    grid: Grid,
    legend: Legend,
    parts: Sequence[PartFile],
    tags: Mapping[str, str],
    found: Found,
    overwrite: bool = False,
) -> None:
    """Write a .vrt or a .gti.gpkg that shows parts as one class raster; what no part holds is nodata.

    The parts are named relative to it and stay where they are. A .gti.gpkg (GDAL >= 3.9) needs a grid whose rows run
    east and whose columns run south.

    Args:
        found: the pixels of each code, and their hectares.

    Raises OutputError, ResourceError, UsageError.
    """
    path = Path(path)
    index = _Index(path, grid, legend, parts, tags, found)
    require_place(path, overwrite)
    ending = TILE_INDEX if path.name.lower().endswith(TILE_INDEX) else VRT
    write, put = (_write_gti, replace_database) if ending == TILE_INDEX else (_write_vrt, os.replace)
    draft = path.with_name(f".{uuid4().hex}{ending}")
    try:
        with disk_errors(path):
            write(draft, index)
            remove_sidecars(path)
            put(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _write_vrt(draft: Path, index: _Index) -> None:
    if len(index.parts) > MOST_SOURCES:
        raise UsageError(
            f"{index.path}: {len(index.parts)} parts are too many for a VRT; write a .gti.gpkg, which any number fits, "
            "or a .tif"
        )
    draft.write_bytes(_vrt(index).encode())


def _vrt(index: _Index) -> str:
    height, width = index.grid.shape
    sources = "".join(_source(index.path, file, window) for file, window in index.parts)
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">\n{_place(index.grid)}{_metadata(index)}'
        f'<VRTRasterBand dataType="Byte" band="1" blockXSize="{BLOCK}" blockYSize="{BLOCK}">\n'
        f"{_band(index)}{sources}</VRTRasterBand>\n</VRTDataset>\n"
    )


def _source(path: Path, file: Path, window: Window) -> str:
    size = f'xSize="{window.width}" ySize="{window.height}"'
    # With its size told, GDAL opens a file only when it reads there.
    shape = f'RasterXSize="{window.width}" RasterYSize="{window.height}"'
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="1">{escape(_relative(file, path))}</SourceFilename>'
        f'<SourceBand>1</SourceBand><SourceProperties {shape} DataType="Byte" BlockXSize="{BLOCK}" '
        f'BlockYSize="{BLOCK}"/><SrcRect xOff="0" yOff="0" {size}/>'
        f'<DstRect xOff="{window.col}" yOff="{window.row}" {size}/></SimpleSource>\n'
    )


def _place(grid: Grid) -> str:
    found = ""
    if grid.gcps:
        points = "".join(
            f'<GCP Id="{number}" Pixel="{p.col!r}" Line="{p.row!r}" X="{p.x!r}" Y="{p.y!r}" Z="{p.z!r}"/>'
            for number, p in enumerate(grid.gcps, start=1)
        )
        wkt = quoteattr(grid.crs.to_wkt()) if grid.crs else '""'
        found += f'<GCPList Projection={wkt} dataAxisToSRSAxisMapping="1,2">{points}</GCPList>\n'
    elif grid.crs:
        found += f'<SRS dataAxisToSRSAxisMapping="1,2">{escape(grid.crs.to_wkt())}</SRS>\n'
    if grid.georeferenced:
        found += f"{_transform(grid)}\n"
    if grid.rpcs:
        found += f'<Metadata domain="RPC">{_items(dict(grid.rpcs))}</Metadata>\n'
    return found


def _transform(grid: Grid) -> str:
    return f"<GeoTransform>{', '.join(repr(value) for value in grid.transform.to_gdal())}</GeoTransform>"


def _metadata(index: _Index) -> str:
    found = {LEGEND_TAG: json.dumps(index.legend.to_dict()), "AREA_OR_POINT": "Area"}
    found |= {"TIFFTAG_SOFTWARE": f"geoseg {geoseg.__version__}", **index.tags}
    return f"<Metadata>{_items(found)}</Metadata>\n"


def _items(values: Mapping[str, str]) -> str:
    return "".join(f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in sorted(values.items()))


def _band(index: _Index) -> str:
    """Nodata, colours, names and the attribute table, as the .tif has them."""
    colours = colour_table(index.legend)
    entries = "".join(
        "<Entry c1={} c2={} c3={} c4={}/>".format(*(f'"{part}"' for part in colours.get(code, (0, 0, 0, 255))))
        for code in range(256)
    )
    pam = class_names(index.legend, index.found)
    names = pam[pam.index('band="1">') + len('band="1">') : pam.index("</PAMRasterBand>")]
    return (
        f"<Description>class</Description><NoDataValue>{NODATA}</NoDataValue><ColorInterp>Palette</ColorInterp>\n"
        f"<ColorTable>{entries}</ColorTable>\n{names}\n"
    )


def _write_gti(draft: Path, index: _Index) -> None:
    path, grid = index.path, index.grid
    require_closed(path)
    place = grid.transform
    if not grid.georeferenced or grid.crs is None or place.b or place.d or place.a <= 0 or place.e >= 0:
        raise UsageError(
            f"{path}: a tile index needs a scene with a CRS whose rows run east and whose columns run south; "
            "write a .vrt"
        )
    height, width = grid.shape
    # Of an extent and a pixel's size GDAL rounds the number of pixels up.
    extent = f"<XSize>{width}</XSize><YSize>{height}</YSize>{_transform(grid)}"
    described = (
        f"<GDALTileIndexDataset><LocationField>{LOCATION}</LocationField>{extent}<BlockXSize>{BLOCK}</BlockXSize>"
        f"<BlockYSize>{BLOCK}</BlockYSize>{_metadata(index)}"
        f'<Band band="1" dataType="Byte">{_band(index)}</Band></GDALTileIndexDataset>'
    )
    try:
        _write_outlines(draft, index)
        _describe_layer(draft, described)
    except (pyogrio.errors.DataSourceError, sqlite3.Error) as error:
        raise ResourceError(f"{path}: could not be written; is the disk full? ({error})") from error


def _write_outlines(draft: Path, index: _Index) -> None:
    grid, parts = index.grid, index.parts
    # GDAL 3.10 takes a part that only touches a window to lie in it, and leaves out others there. So no outline, which
    # tells it where to look and no more, reaches the borders of its pixels.
    inset = min(grid.resolution) / 4
    bounds = np.array([grid[window].bounds for _, window in parts]).reshape(-1, 4)
    outlines = shapely.box(*(bounds + np.array((inset, inset, -inset, -inset))).T)
    pyogrio.raw.write(
        draft,
        shapely.to_wkb(outlines),
        [np.array([_relative(file, index.path) for file, _ in parts], object)],
        [LOCATION],
        layer=LAYER,
        driver="GPKG",
        geometry_type="Polygon",
        crs=grid.crs.to_wkt(),
        # So that there is a row of metadata.
        layer_metadata={"LOCATION_FIELD": LOCATION},
    )


def _describe_layer(draft: Path, described: str) -> None:
    """Put the description of the index into its layer, where GDAL looks for it; pyogrio has no way to that domain.

    In a file of its own it would name the index, and GDAL before 3.12 looks for that in the folder it runs in.
    """
    text = (
        f'<GDALMultiDomainMetadata><Metadata domain="xml:GTI" format="xml">{described}</Metadata>'
        "</GDALMultiDomainMetadata>"
    )
    with closing(sqlite3.connect(draft)) as database, database:
        database.execute("UPDATE gpkg_metadata SET metadata = ?", (text,))


def _relative(file: Path, index: Path) -> str:
    """The way from an index to a part as the system goes it, through links to folders."""
    return Path(os.path.relpath(os.path.realpath(file), os.path.realpath(index.parent))).as_posix()
