"""LabelledFeatures: polygons and points of a vector file with a class each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from rasterio.crs import CRS

from geoseg.class_values import ClassValues, is_empty
from geoseg.errors import InputError
from geoseg.layers import Layer, field_names, layer_info, read_layer
from geoseg.legend import NO_CLASS, Legend
from geoseg.points import read_points
from geoseg.source import Source

VECTOR_ENDINGS = (".gpkg", ".geojson", ".geojsonl", ".fgb", ".shp", ".parquet", ".geoparquet", ".gml", ".kml")
"""Of files that are looked for in folders."""
OTHER_ENDINGS = (".json", ".csv")
"""Of files that hold shapes only where somebody says so; a CSV file holds points."""
BESIDE = (".dbf", ".shx", ".prj", ".cpg")
"""Endings of files that belong to a shapefile."""
REFERENCE = "reference"
"""The field that geoseg design leaves open for the class."""
DESIGN_FIELDS = ("stratum", "inclusion", "key")
"""Fields by which points are known to be drawn by class, as geoseg design does."""
NO_CLASSES = ("id", "fid", "x", "y", "lon", "lat", "longitude", "latitude")
"""Fields that are not taken for that of the classes unless they are named."""
FileState = tuple[tuple[str, int, int], ...]
REMEMBERED = 16
"""Files whose features stay in memory, the last ones used: some hundred bytes a corner."""


def is_vector(file: str | Path | Source) -> bool:
    """True for a file of polygons or points, by its ending."""
    return Source.of(file).suffix in VECTOR_ENDINGS + OTHER_ENDINGS


@dataclass(frozen=True)
class LabelField:
    """Where in a vector file the classes are."""

    name: str | None = None
    """The field that holds them, by name or by code; None: the only field there is, or ``REFERENCE``."""
    layer: str | None = None
    """The layer; None: the only one there is."""

    @classmethod
    def asked(cls, name: str | None, layer: str | None) -> LabelField | None:
        """What a user asks for; None where neither is given."""
        return None if name is None and layer is None else cls(name, layer)


@dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """What a vector file labels, in the order of its features."""

    name: str
    """How messages call it."""
    crs: CRS | None
    """None where the file does not say."""
    any_crs: bool
    """True where it cannot say, as a table of x and y: coordinates are those of whatever it is laid over."""
    shapes: np.ndarray
    """(n,) valid Polygons and Points: the parts of the features that have a class."""
    classes: np.ndarray
    """(n,) uint8 class index of each, NO_CLASS for a code that the legend ignores."""
    tree: shapely.STRtree
    """Of the shapes."""
    notes: tuple[str, ...]
    """What was left out or mended."""
    drawn_by_class: bool
    """True for points of a stratified sample: counted one by one they say nothing of the whole."""

    @property
    def points(self) -> int:
        """How many of the shapes are points."""
        return int((shapely.get_type_id(self.shapes) == shapely.GeometryType.POINT).sum())


def read_features(path: str | Path, legend: Legend, field: LabelField) -> LabelledFeatures:
    """The labelled features of a vector file, or of a CSV file of points; read once a process while they are used.

    Raises InputError: no vector file, no such layer or field, values that are no class of the legend, lines, and
    features none of which has a class.
    """
    path = Path(path)
    return _read(path, file_state(path), legend, field)


def file_state(path: Path) -> FileState:
    """Size and time of change of a vector file and of those that belong to it. Raises InputError: no such file."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    beside = [path.with_suffix(ending) for ending in BESIDE] if path.suffix.lower() == ".shp" else []
    # What a program that has a GeoPackage open has not yet put into it.
    beside.append(path.with_name(f"{path.name}-wal"))
    stats = [(str(file), os.stat(file)) for file in (path, *beside) if file.exists()]
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


@lru_cache(maxsize=REMEMBERED)
def _read(path: Path, state: FileState, legend: Legend, field: LabelField) -> LabelledFeatures:
    layer, chosen, drawn_by_class = _open(path, field)
    where = f"{path}: field {chosen!r}"
    values, shapes = layer.fields[chosen], layer.shapes
    classes = ClassValues.of(legend).indices(values, where)
    # An ignored code is said to be no class, which an empty field does not say.
    pairs = zip(classes, values, strict=True)
    unlabelled = np.array([index == NO_CLASS and is_empty(value) for index, value in pairs], bool)
    placeless = ~unlabelled & ~_placed(shapes)
    used = ~unlabelled & ~placeless
    if not (classes[used] != NO_CLASS).any():
        raise InputError(f"{where} gives none of the {len(values)} features a class and a place; label them first")
    crooked = ~shapely.is_valid(shapes[used])
    parts, of_feature = _single(shapes[used], path)
    found = {"have no class": unlabelled, "have no place": placeless, "had to be mended": crooked}
    return LabelledFeatures(
        str(path),
        layer.crs,
        path.suffix.lower() == ".csv" and layer.crs is None,
        parts,
        classes[used][of_feature],
        shapely.STRtree(parts),
        tuple(f"{path}: {mask.sum()} of {len(values)} features {said}" for said, mask in found.items() if mask.any()),
        drawn_by_class,
    )


def _open(path: Path, field: LabelField) -> tuple[Layer, str, bool]:
    """The features, the name of the field that holds their classes, and whether they are points of a sample."""
    if path.suffix.lower() == ".csv":
        if field.layer is not None:
            raise InputError(f"{path}: a table has no layers, such as {field.layer!r}; leave --label-layer out")
        points = read_points(path)
        layer = Layer(path.stem, points.crs, shapely.points(points.x, points.y), dict(points.columns))
        names = tuple(layer.fields)
        chosen = resolve_field(names, field.name, path)
    else:
        remedy = "name one with --label-layer"
        layer_name, _ = layer_info(path, field.layer, remedy=remedy)
        names = field_names(path, layer_name)
        chosen = resolve_field(names, field.name, path)
        layer = read_layer(path, layer_name, fields=[chosen])
    return layer, chosen, bool(set(names) & set(DESIGN_FIELDS))


def resolve_field(names: Sequence[str], wanted: str | None, path: Path) -> str:
    """The field that is asked for; else that of geoseg design, or the only one that can be. Raises InputError."""
    if wanted is not None and wanted not in names:
        raise InputError(f"{path}: has no field {wanted!r}, but {', '.join(names) or 'none'}")
    if wanted is not None or REFERENCE in names:
        return wanted or REFERENCE
    possible = [name for name in names if name.lower() not in NO_CLASSES]
    if len(possible) != 1:
        raise InputError(
            f"{path}: which field holds the classes? Name it with --label-field; there are {', '.join(names) or 'none'}"
        )
    return possible[0]


def _placed(shapes: np.ndarray) -> np.ndarray:
    """(n,) True for shapes that have coordinates, all of them numbers."""
    points, of_shape = shapely.get_coordinates(shapes, return_index=True)
    placed = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    placed[of_shape[~np.isfinite(points).all(1)]] = False
    return placed


def _single(shapes: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The Polygons and Points that shapes are made of, valid, and the number of the shape each is part of.

    The parts of one shape may lie over each other: they are its union. Raises InputError for lines.
    """
    parts, of_shape = _parts(shapes)
    lines = np.isin(shapely.get_type_id(parts), (shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING))
    if lines.any():
        raise InputError(
            f"{path}: {len(np.unique(of_shape[lines]))} of its features are lines, which have no area: "
            "label polygons or points, or buffer the lines first"
        )
    crooked = ~shapely.is_valid(parts)
    parts[crooked] = shapely.make_valid(parts[crooked])
    parts, of_part = _parts(parts)
    flat = np.isin(shapely.get_type_id(parts), (shapely.GeometryType.POLYGON, shapely.GeometryType.POINT))
    return parts[flat], of_shape[of_part[flat]]


def _parts(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The single shapes of shapes, collections in collections taken apart, none of them empty."""
    parts, number = shapes, np.arange(len(shapes))
    while (shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        parts, of_part = shapely.get_parts(parts, return_index=True)
        number = number[of_part]
    there = ~shapely.is_empty(parts)
    return parts[there], number[there]
