"""FeatureWriter: features written one lot after the other, in whole or not at all, in every format."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import Any

import numpy as np
import pyogrio
import pyogrio.errors
import pyogrio.raw
import pyproj
import shapely
from rasterio.crs import CRS

from geoseg.errors import ResourceError, UsageError
from geoseg.files import disk_errors, is_alive, replace_database, require_place
from geoseg.qgis import write_layer_style

FORMATS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON", ".parquet": "Parquet"}
"""OGR's names by the endings; GeoParquet is written by pyarrow, as pyogrio's wheels have no driver for it."""
VERSION = {"dataset_options": {"VERSION": "1.2"}}
"""Of GeoPackages, as GDAL wrote them until 3.6: older programs warn of newer ones."""
UNFINISHED = ".geoseg-"
"""Beginning of the name of a folder in which a file is made; its process's number follows."""
AT_ONCE = 2048
"""Features that are copied at a time from the GeoPackage to another format."""
WRITING_ERRORS = (
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    pyogrio.errors.FeatureError,
    pyogrio.errors.GeometryError,
    pyogrio.errors.FieldError,
    pyogrio.errors.CRSError,
)


class FeatureWriter:
    """Writes polygons with fields into a file by its ending: a GeoPackage beside the target first, which is then put in
    its place, or copied into the format asked for. An older file stays as it is until then.

    A context manager; leaving it with an error removes what was begun.

    Args:
        path: .gpkg, .fgb, .geojson (RFC 7946: longitude and latitude) or .parquet (GeoParquet 1.1).
        crs: of the coordinates, None without one.
        kind: "Polygon" or "MultiPolygon".
        fields: name and numpy dtype of each field; object for texts.
        style: a QML style, for GeoPackages.
        record: what to keep in the layer's metadata, likewise.

    Raises UsageError: another ending, GeoJSON without a CRS, Parquet without pyarrow. OutputError, ResourceError.
    """

    def __init__(
        self,
        path: str | Path,
        crs: CRS | None,
        kind: str,
        fields: Mapping[str, str],
        *,
        layer: str,
        style: str,
        record: Mapping[str, str],
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.crs, self.kind, self.fields, self.layer = crs, kind, dict(fields), layer
        self.style, self.record, self.overwrite = style, dict(record), overwrite
        require_format(self.path, crs)
        require_place(self.path, overwrite)
        self._begun = False
        self.features = 0
        """Number of those that were written."""
        self._bounds = np.full(4, np.nan)
        """(left, bottom, right, top) of what was written."""

    def __enter__(self) -> FeatureWriter:
        with disk_errors(self.path):
            _sweep(self.path.parent)
            prefix = f"{UNFINISHED}{gethostname()}-{os.getpid()}-"
            self._folder = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=prefix)
        self.folder = Path(self._folder.name)
        """A place for what is not finished, on the target's own disk; removed in the end."""
        self._whole = self.folder / "whole.gpkg"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._folder.cleanup()

    def write(self, shapes: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Write (m,) shapely polygons with (m,) values of every field."""
        columns = [np.asarray(values[name], dtype) for name, dtype in self.fields.items()]
        if self.kind == "MultiPolygon":
            single = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
            shapes = shapes.copy()
            shapes[single] = shapely.multipolygons(shapes[single][:, None])
        options = {"append": True} if self._begun else {"layer_metadata": self.record} | VERSION
        with self._writing():
            pyogrio.raw.write(
                self._whole,
                shapely.to_wkb(shapes),
                columns,
                list(self.fields),
                layer=self.layer,
                driver="GPKG",
                geometry_type=self.kind,
                crs=self.crs.to_wkt() if self.crs else None,
                **options,
            )
        self._begun = True
        self.features += len(shapes)
        bounds = np.concatenate([self._bounds[None], shapely.bounds(shapes).reshape(-1, 4)])
        self._bounds = np.concatenate([np.fmin.reduce(bounds[:, :2]), np.fmax.reduce(bounds[:, 2:])])

    def _finish(self) -> None:
        if not self._begun:
            self.write(np.empty(0, object), {name: np.empty(0, dtype) for name, dtype in self.fields.items()})
        with self._writing():
            finished = self._in_format()
            require_place(self.path, self.overwrite)
            if finished == self._whole:
                replace_database(finished, self.path)
            else:
                os.replace(finished, self.path)

    def _in_format(self) -> Path:
        """The finished file, in the format asked for."""
        driver, finished = FORMATS[self.path.suffix.lower()], self.folder / f"finished{self.path.suffix.lower()}"
        if driver == "GPKG":
            write_layer_style(self._whole, self.layer, "classes", self.style)
            return self._whole
        if driver == "Parquet":
            _write_parquet(self._whole, finished, _geo_metadata(self.crs, self.kind, self._bounds))
            return finished
        options = {"RFC7946": "YES"} if driver == "GeoJSON" else {}
        with pyogrio.raw.open_arrow(self._whole, layer=self.layer, batch_size=AT_ONCE) as (meta, stream):
            pyogrio.raw.write_arrow(
                stream,
                finished,
                layer=self.layer,
                driver=driver,
                geometry_name=meta["geometry_name"] or "wkb_geometry",
                geometry_type=self.kind,
                crs=meta["crs"],
                layer_options=options,
            )
        if not _is_whole(finished, driver, self.features):
            raise ResourceError(f"{self.path}: is not all there after it was written; is the disk full?")
        return finished

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with disk_errors(self.path), warnings.catch_warnings():
                # Of layers without a CRS.
                warnings.filterwarnings("ignore", "'crs' was not provided")
                yield
        except WRITING_ERRORS as error:
            said = " ".join(str(error).split())
            if "projection domain" in said:
                raise UsageError(
                    f"{self.path}: parts of the map have no longitude and latitude; write a .gpkg"
                ) from error
            raise ResourceError(f"{self.path}: could not be written; is the disk full? ({said})") from error


def _sweep(folder: Path) -> None:
    """Remove what processes of this machine that were killed have left in a folder."""
    ours = f"{UNFINISHED}{gethostname()}-"
    for left in folder.glob(f"{glob.escape(ours)}*"):
        process = left.name.removeprefix(ours).split("-", 1)[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _is_whole(path: Path, driver: str, features: int) -> bool:
    """False where a file lacks its end, which OGR may write without an error when the disk is full."""
    if driver == "FlatGeobuf":
        return pyogrio.read_info(path)["features"] == features
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 8, 0))
        return file.read().rstrip().endswith(b"}")


def require_format(path: Path, crs: CRS | None) -> None:
    """Raise UsageError where features of that CRS cannot be written into a file of that ending."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(f"{path}: polygons are written as {', '.join(FORMATS)}, by the file's ending")
    if ending == ".geojson" and crs is None:
        raise UsageError(
            f"{path}: GeoJSON holds longitudes and latitudes, and the map has no CRS to find them by; write a .gpkg"
        )
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"{path}: GeoParquet needs pyarrow: pip install 'geoseg[parquet]'; or write a .gpkg and convert it"
            ) from error


def _write_parquet(source: Path, path: Path, geo: Mapping[str, Any]) -> None:
    """Copy a GeoPackage's first layer into GeoParquet 1.1."""
    import pyarrow
    import pyarrow.parquet

    with pyogrio.raw.open_arrow(source, batch_size=AT_ONCE) as (meta, stream):
        reader = pyarrow.RecordBatchReader.from_stream(stream)
        renamed = {meta["geometry_name"] or "wkb_geometry": "geometry"}
        fields = [pyarrow.field(renamed.get(field.name, field.name), field.type) for field in reader.schema]
        schema = pyarrow.schema(fields, {"geo": json.dumps(geo)})
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_table(pyarrow.Table.from_arrays(batch.columns, schema=schema))


def _geo_metadata(crs: CRS | None, kind: str, bounds: np.ndarray) -> dict[str, Any]:
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": [kind], "orientation": "counterclockwise"}
    column["crs"] = pyproj.CRS.from_wkt(crs.to_wkt(version="WKT2_2019")).to_json_dict() if crs else None
    if np.isfinite(bounds).all():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
