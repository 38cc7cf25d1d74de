"""SamplePoints: labelled points from vector files and tables, and into them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyogrio.raw
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from geoseg.class_values import one_spelling
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.files import disk_errors, replace_file, require_closed
from geoseg.layers import read_layer
from geoseg.qgis import write_layer_style
from geoseg.source import TILE_INDEX, Source

LAYER = "points"
"""Name of the layer that is written."""
WGS84 = "EPSG:4326"
FORMATS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".csv": "CSV"}
RASTERS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".vrt", ".img", TILE_INDEX)
PLACES = (("x", "y", None), ("lon", "lat", WGS84), ("longitude", "latitude", WGS84))
"""Columns of a table that place a point, and their CRS; None: not said."""


@dataclass(frozen=True, eq=False)
class SamplePoints:
    """n points with a value each in every column."""

    ids: tuple[str, ...]
    """What a point is called: its ``id`` column, else its number in the file from 1."""
    x: np.ndarray
    """(n,) float64 easting or longitude in ``crs``."""
    y: np.ndarray
    """(n,) float64 northing or latitude in ``crs``."""
    crs: CRS | None
    """CRS of x and y; None where the file does not say: that of whatever the points are laid over."""
    columns: Mapping[str, np.ndarray]
    """(n,) values by column name; None, "" or NaN where there is none."""
    name: str = "sample"
    """How messages call it."""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.x), len(self.y), *(len(column) for column in self.columns.values())}
        if lengths != {len(self.ids)}:
            raise InputError(f"{self.name}: ids, x, y and columns differ in length")
        twice = _first_twice(self.ids)
        if twice is not None:
            raise InputError(f"{self.name}: two points have the id {twice!r}")

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> np.ndarray:
        """The values of a column; raises InputError that lists the columns there are."""
        if name not in self.columns:
            raise InputError(f"{self.name}: has no column {name!r}, but {', '.join(self.columns) or 'none'}")
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray:
        """(n,) float64 of a column; raises InputError where a value is no number."""
        try:
            return np.array([float(value) for value in self.column(name)])
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: column {name!r} holds a value that is no number ({error})") from error

    def with_columns(self, **columns: np.ndarray) -> SamplePoints:
        """The same points with columns replaced or added."""
        return replace(self, columns={**self.columns, **columns})

    def where(self, chosen: np.ndarray) -> SamplePoints:
        """The points for which ``chosen`` (n,) is True."""
        ids = tuple(name for name, here in zip(self.ids, chosen, strict=True) if here)
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(self, ids=ids, x=self.x[chosen], y=self.y[chosen], columns=columns)

    def to_crs(self, crs: Any) -> SamplePoints:
        """The same points in another CRS; points that have no place there get infinite coordinates."""
        crs = CRS.from_user_input(crs)
        if self.crs is None or self.crs == crs or not len(self):
            return replace(self, crs=crs)
        x, y = transform(self.crs, crs, self.x, self.y)
        return replace(self, x=np.array(x), y=np.array(y), crs=crs)

    def joined(self, key: str | Path) -> SamplePoints:
        """The points with the columns of a CSV file that has a row for each ``id``. Raises InputError."""
        table = read_table(Path(key))
        if "id" not in table:
            raise InputError(f"{key}: a key needs a column id")
        ids = [one_spelling(value) for value in table["id"]]
        rows = {name: row for row, name in enumerate(ids)}
        absent = [name for name in self.ids if name not in rows]
        if absent or len(rows) < len(ids):
            what = f"no row for the id {absent[0]!r}" if absent else f"two rows for the id {_first_twice(ids)!r}"
            raise InputError(f"{key}: has {what} of {self.name}; is it the key of these points?")
        order = [rows[name] for name in self.ids]
        return self.with_columns(**{name: values[order] for name, values in table.items() if name != "id"})


def read_points(path: str | Path) -> SamplePoints:
    """Read points from a file.

    Args:
        path: a CSV file with columns x, y (in the CRS of whatever the points are laid over) or lon, lat (WGS 84), or a
            vector file (geoseg.vectors.FORMATS).

    Raises InputError: no such file, no points, and rasters, which are no samples.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if Source.of(path).suffix in RASTERS:
        raise InputError(
            f"{path}: a raster of labels is a census of its scene, not a probability sample, and has no sampling error "
            "to estimate from; compare the map with it by geoseg score, or draw points with geoseg design"
        )
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_vector(path)


def write_points(
    points: SamplePoints, path: str | Path, *, style: str | None = None, record: Mapping[str, str] | None = None
) -> None:
    """Write points as .gpkg, .geojson (in longitude and latitude, as its standard asks) or .csv, whole or not at all.

    Args:
        style: a QGIS style (QML) that QGIS applies on loading; GeoPackage only.
        record: what to keep in the layer's metadata; GeoPackage only.
    """
    path = Path(path)
    if path.suffix == ".csv":
        replace_file(path, table_bytes({"id": np.array(points.ids), **points.columns}))
        return
    with TemporaryDirectory() as folder, disk_errors(path):
        whole = Path(folder) / path.name
        if path.suffix == ".geojson":
            _write_layer(points.to_crs(WGS84), whole, {})
        else:
            _write_layer(points, whole, {"layer_metadata": dict(record or {})})
            if style is not None:
                write_layer_style(whole, LAYER, "labelling", style)
        if path.suffix == ".gpkg":
            require_closed(path)
        replace_file(path, whole.read_bytes())


def require_new_points(path: str | Path, overwrite: bool, endings: tuple[str, ...] = tuple(FORMATS)) -> None:
    """Raise UsageError for another ending, OutputError unless a file can be put at ``path``."""
    path = Path(path)
    if path.suffix not in endings:
        raise UsageError(f"{path}: points are written as {', '.join(endings)}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")


def table_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """A CSV file of columns of one length."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue().encode("utf-8")


def _read_csv(path: Path) -> SamplePoints:
    table = read_table(path)
    names = {name.lower(): name for name in table} | {name: name for name in table}
    place = next(((x, y, crs) for x, y, crs in PLACES if x in names and y in names), None)
    if place is None:
        raise InputError(f"{path}: needs columns x and y, or lon and lat; has {', '.join(table)}")
    x, y = (names[name] for name in place[:2])
    number = len(table[x])
    ids = _ids(table, range(1, number + 1))
    crs = CRS.from_user_input(place[2]) if place[2] else None
    read = SamplePoints(ids, np.zeros(number), np.zeros(number), crs, table, str(path))
    return replace(read, x=read.numbers(x), y=read.numbers(y))


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Columns of a CSV file separated by commas or semicolons, as text; raises InputError, also for a name twice."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of text in UTF-8 ({error})") from error
    head = text.partition("\n")[0]
    rows = list(csv.reader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ","))
    rows = [row for row in rows if any(part.strip() for part in row)]
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"{path}: expected a line of column names and lines of as many values")
    names = [name.strip() for name in rows[0]]
    if (twice := _first_twice(names)) is not None:
        raise InputError(f"{path}: two columns are called {twice!r}; rename or remove one")
    return {name: np.array([row[i].strip() for row in rows[1:]], object) for i, name in enumerate(names)}


def _read_vector(path: Path) -> SamplePoints:
    layer = read_layer(path)
    if not len(layer.shapes) or not all(shape is not None and shape.geom_type == "Point" for shape in layer.shapes):
        raise InputError(f"{path}: a sample is a layer of points, and this one holds others or none")
    x, y = shapely.get_x(layer.shapes), shapely.get_y(layer.shapes)
    return SamplePoints(_ids(layer.fields, range(1, len(x) + 1)), x, y, layer.crs, layer.fields, str(path))


def _ids(columns: Mapping[str, np.ndarray], numbers: range) -> tuple[str, ...]:
    return tuple(one_spelling(value) for value in columns.get("id", numbers))


def _first_twice(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _write_layer(points: SamplePoints, path: Path, options: Mapping[str, Any]) -> None:
    columns = {"id": np.array([int(name) if name.isdigit() else name for name in points.ids]), **points.columns}
    values = [column.astype(object) if column.dtype.kind in "OU" else column for column in columns.values()]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapely.points(points.x, points.y)),
        values,
        list(columns),
        layer=LAYER,
        driver=FORMATS[path.suffix],
        geometry_type="Point",
        crs=points.crs.to_wkt() if points.crs else None,
        **options,
    )
