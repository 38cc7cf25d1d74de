"""Layers of vector files: one of them read, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geoseg.errors import InputError
from geoseg.vectors import require_vector

PARQUET = (".parquet", ".geoparquet")

# For the process: a GML file may name a schema on the network, which GDAL would go and get.
pyogrio.set_gdal_config_options({"GML_DOWNLOAD_SCHEMA": "NO"})


class Layer(NamedTuple):
    """Features of one layer."""

    name: str
    crs: CRS | None
    """None where the file does not say."""
    shapes: np.ndarray
    """(n,) shapely geometries, None where a feature has none."""
    fields: dict[str, np.ndarray]
    """(n,) values by the field's name."""


def read_layer(
    path: Path,
    layer: str | None = None,
    *,
    near: shapely.Geometry | None = None,
    fields: bool | Sequence[str] = True,
    remedy: str = "export one",
) -> Layer:
    """Read a layer of a vector file, of the formats that geoseg.vectors opens; curves become short lines, heights are
    left out.

    Args:
        layer: its name; None takes the only one that has geometry.
        near: read the features only that meet this, in the layer's CRS.
        fields: read their fields, too, or those of these names.
        remedy: what to do about a file of several layers.

    Raises InputError: no vector file, several layers and none named, no such layer, a CRS that is not understood.
    """
    columns = None if fields is True else list(fields or ())
    file = require_vector(path)
    with _reading(path):
        name = _resolve_layer(file, layer, path, remedy)
        meta, _, geometry, values = pyogrio.raw.read(file, layer=name, mask=near, columns=columns, force_2d=True)
        # Rings that end elsewhere than they begin are closed.
        shapes = shapely.from_wkb(geometry, on_invalid="fix")
    return Layer(name, _crs_of(meta, path), shapes, dict(zip(map(str, meta["fields"]), values, strict=True)))


def layer_info(path: Path, layer: str | None = None, *, remedy: str = "export one") -> tuple[str, CRS | None]:
    """The name and the CRS of the layer that ``read_layer`` would read. Raises as it does."""
    file = require_vector(path)
    with _reading(path):
        name = _resolve_layer(file, layer, path, remedy)
        return name, _crs_of(pyogrio.read_info(file, layer=name), path)


def layer_extent(path: Path, layer: str) -> tuple[float, float, float, float] | None:
    """(left, bottom, right, top) of a layer in its CRS, None where it has no features."""
    with _reading(path):
        bounds = pyogrio.read_info(require_vector(path), layer=layer, force_total_bounds=True)["total_bounds"]
    return None if bounds is None or not np.isfinite(bounds).all() else tuple(map(float, bounds))


def layer_names(path: Path) -> tuple[str, ...]:
    """The names of a file's layers that have geometry. Raises InputError as ``read_layer``."""
    with _reading(path):
        return _layer_names(require_vector(path))


def describe_layer(path: Path, layer: str) -> dict[str, Any]:
    """Kind of geometry, number of features, CRS, extent in it and fields of a layer, as JSON holds them. Raises as
    ``read_layer``."""
    with _reading(path):
        meta = pyogrio.read_info(require_vector(path), layer=layer, force_feature_count=True)
        crs = _crs_of(meta, path)
    extent = layer_extent(path, layer)
    fields = dict(zip(map(str, meta["fields"]), map(str, meta["dtypes"]), strict=True))
    what = {
        "geometry": meta["geometry_type"],
        "features": int(meta["features"]),
        "crs": crs.to_string() if crs else None,
    }
    return what | {"extent": extent and list(extent), "fields": fields}


def field_names(path: Path, layer: str) -> tuple[str, ...]:
    """The names of a layer's fields. Raises as ``read_layer``."""
    with _reading(path):
        return tuple(map(str, pyogrio.read_info(require_vector(path), layer=layer)["fields"]))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (DataSourceError, DataLayerError, shapely.errors.GEOSException, ValueError) as error:
        if path.suffix.lower() in PARQUET and "Parquet" not in pyogrio.list_drivers():
            raise InputError(
                f"{path}: pyogrio's GDAL has no Parquet driver here; convert the file first, for example with "
                "geopandas.read_parquet(FILE).to_file('labels.gpkg')"
            ) from error
        raise InputError(f"{path}: cannot be read as a vector file ({' '.join(str(error).split())})") from error


def _resolve_layer(file: str, wanted: str | None, path: Path, remedy: str) -> str:
    layers = _layer_names(file)
    if wanted is not None and wanted not in layers:
        raise InputError(f"{path}: has no layer {wanted!r} with geometry, but {', '.join(layers) or 'none'}")
    if wanted is None and len(layers) != 1:
        raise InputError(f"{path}: has {len(layers)} layers with geometry ({', '.join(layers)}); {remedy}")
    return wanted or layers[0]


def _layer_names(file: str) -> tuple[str, ...]:
    return tuple(str(name) for name, kind in pyogrio.list_layers(file) if kind is not None)


def _crs_of(meta: dict[str, Any], path: Path) -> CRS | None:
    try:
        return CRS.from_user_input(meta["crs"]) if meta["crs"] else None
    except CRSError as error:
        raise InputError(f"{path}: its CRS is not understood ({error})") from error
