"""geoseg.vectorize: a class raster as polygons, one a patch of one class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from tqdm import tqdm

import geoseg
from geoseg.class_values import ClassValues
from geoseg.errors import UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, Legend
from geoseg.qgis import class_polygon_style
from geoseg.raster.areas import DEGREES, AreaTally
from geoseg.raster.labels import LEGEND_TAG, Labels
from geoseg.raster.regions import SIDE, Read, Regions, find_parts
from geoseg.raster.scene import Scene
from geoseg.raster.sieve import MappingUnit, Sieve
from geoseg.raster.writer import RasterWriter
from geoseg.scoring.inputs import require_own_legend, resolve_legend
from geoseg.source import Source
from geoseg.tiling import blocks
from geoseg.vectorizing.features import FeatureWriter, require_format
from geoseg.vectorizing.ground import Ground
from geoseg.vectorizing.outlines import Outlines, Patches, outlines
from geoseg.vectorizing.simplifying import require_geos

MOST_CORNERS, MOST_FEATURES = 500_000, 20_000
"""What is written at once, at least, of outlines that are ready."""
ON_EARTH = {"area_m2": "float64", "area_ha": "float64", "perimeter_m": "float64"}
ELSEWHERE = {"area": "float64", "perimeter": "float64"}


@dataclass(frozen=True, eq=False)
class VectorMap:
    """Polygons that were written."""

    path: Path
    """The vector file."""
    layer: str
    """Its layer."""
    classes: tuple[str, ...]
    """The classes that were asked for, in the legend's order."""
    features: np.ndarray
    """(K,) int64 polygons of each class."""
    pixels: np.ndarray
    """(K,) int64 pixels of each class."""
    hectares: np.ndarray | None
    """(K,) float64 true area of each class; None where the map has no place on Earth."""
    notes: tuple[str, ...] = ()
    """What must be known of them, a line each."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        areas = [None] * len(self.classes) if self.hectares is None else self.hectares.tolist()
        rows = zip(self.classes, self.features.tolist(), self.pixels.tolist(), areas, strict=True)
        classes = {name: {"features": n, "pixels": pixels, "hectares": area} for name, n, pixels, area in rows}
        return {"path": str(self.path), "layer": self.layer, "classes": classes, "notes": list(self.notes)}

    def to_text(self) -> str:
        """A table for the terminal."""
        width = max(len(name) for name in (*self.classes, "class"))
        sizes = self.pixels if self.hectares is None else self.hectares
        digits, head = (0, "pixels") if self.hectares is None else (2, "hectares")
        lines = [f"{'class':{width}}  {'polygons':>10}  {head:>16}"]
        for name, number, size in zip(self.classes, self.features, sizes, strict=True):
            lines.append(f"{name:{width}}  {number:10,}  {size:16,.{digits}f}")
        return "\n".join([*lines, f"{self.path}: {self.features.sum():,} polygons"])


def vectorize(
    map: str | Path | Source,
    output: str | Path,
    legend: Legend | str | Path | None = None,
    *,
    classes: Sequence[str | int] | None = None,
    connectivity: int = 4,
    min_area: float | None = None,
    min_pixels: int | None = None,
    simplify: float | None = None,
    layer: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> VectorMap:
    """Write the patches of a class raster as polygons with their class, its code and colour, area and perimeter.

    The polygons are those of the whole raster, though it is read in tiles. Areas are those of the patch's pixels on the
    ellipsoid, as the map's own table has them; perimeters are those of the outlines as they are drawn.

    Args:
        map: a class raster, or a colour mask.
        output: .gpkg, .fgb, .geojson or .parquet; see FeatureWriter.
        legend: a legend, its name, or its file. None takes the one in the map's tags, else DeepGlobe's.
        classes: those to write, by name or code; None writes all.
        connectivity: 4 makes a patch of pixels that share edges, 8 also of those that meet in corners.
        min_area, min_pixels: hectares, or pixels, below which a patch becomes part of its largest neighbour first, as
            ``Sieve`` explains.
        simplify: metres (of a map without a place on Earth its own units): outlines get fewer points, without gaps and
            overlaps; see ``simplified``.
        layer: its name; None calls it as the file.

    Raises InputError, OutputError, ResourceError, UsageError; an older output stays as it is then.
    """
    output, source = Path(output), Source.of(map)
    manner = _Manner(connectivity, MappingUnit.of(min_area, min_pixels), simplify)
    legend, notes = (legend, []) if isinstance(legend, Legend) else resolve_legend((source,), legend)
    chosen = _resolve_classes(classes, legend)
    with closing(Labels(source, legend)) as labels:
        require_own_legend(labels)
        ground = Ground(labels.grid)
        require_format(output, ground.crs)
        if manner.unit:
            manner.unit.require_place(labels.grid, labels.name)
        if manner.simplify is not None and not np.isfinite(ground.pixel).all():
            raise UsageError(
                f"{labels.name}: its centre lies beyond the Earth, so --simplify finds no metres; leave it out"
            )
        writer = FeatureWriter(
            output,
            ground.crs,
            "MultiPolygon" if manner.diagonal else "Polygon",
            _fields(ground),
            layer=layer or output.stem,
            style=class_polygon_style([legend.classes[index] for index in chosen], "code"),
            record=_record(labels, manner),
            overwrite=overwrite,
        )
        with writer, _readable(labels, manner, writer.folder, progress) as (read, said):
            joined = _write(writer, read, labels, ground, chosen, manner)
    notes = (*notes, *_remarks(ground, output, labels), *said)
    return _summary(output, writer.layer, legend, chosen, joined, notes)


@dataclass(frozen=True)
class _Manner:
    """How polygons are made, as ``vectorize`` explains."""

    connectivity: int
    unit: MappingUnit | None
    simplify: float | None

    def __post_init__(self) -> None:
        if self.connectivity not in (4, 8):
            raise UsageError(f"pixels hang together by 4 neighbours or by 8, not by {self.connectivity}")
        if self.simplify is not None:
            require_geos()
            if not self.simplify > 0:
                raise UsageError(f"simplifying takes a length above 0, got {self.simplify}")

    @property
    def diagonal(self) -> bool:
        """True where pixels that meet in corners hang together."""
        return self.connectivity == 8


def _write(
    writer: FeatureWriter, read: Read, labels: Labels, ground: Ground, chosen: list[int], manner: _Manner
) -> Regions:
    """Write the polygons of the chosen classes; the patches of all classes."""
    shape, tiles = labels.grid.shape, blocks(labels.grid.shape, SIDE)
    patches = Patches(find_parts(read, shape, tiles, manner.diagonal, AreaTally(labels.grid)), manner.diagonal)
    wanted = np.isin(patches.joined.codes, chosen)
    for lot in _lots(outlines(read, shape, tiles, patches, wanted, manner.simplify, ground.pixel)):
        values = _values(lot, patches.joined, labels.legend, ground)
        writer.write(ground.placed(lot.shapes), values | {"id": writer.features + 1 + np.arange(len(lot.numbers))})
    return patches.joined


def _resolve_classes(classes: Sequence[str | int] | None, legend: Legend) -> list[int]:
    """The indices of the classes asked for, in the legend's order; raises UsageError for one that there is not."""
    if classes is None:
        return list(range(len(legend)))
    known = ClassValues.of(legend)
    found = {value: known.index(value) for value in classes}
    for value, index in found.items():
        if index is None or index == NO_CLASS:
            raise UsageError(
                f"the legend {legend.name!r} has no class {value!r}, but "
                f"{', '.join(f'{one.code} {one.name}' for one in legend.classes)}"
            )
    return sorted(set(found.values()))


def _remarks(ground: Ground, output: Path, labels: Labels) -> list[str]:
    """What is to be said of the places and sizes that are written."""
    if ground.in_pixels:
        return [
            f"{labels.name}: has no georeference: coordinates are columns and rows (downwards from 0, negative), areas "
            "are in pixels"
        ]
    if ground.crs is None:
        return [f"{labels.name}: has no CRS: coordinates, areas and perimeters are in the units of its transform"]
    if not ground.on_earth:
        return [f"{labels.name}: its CRS has no place on Earth: areas and perimeters are in its own units"]
    notes = []
    if not labels.grid.georeferenced:
        notes.append(
            f"{labels.name}: has {len(labels.grid.gcps)} control points and no transform: coordinates are what GDAL's "
            "polynomial makes of them, areas are those of the outlines"
        )
    if output.suffix.lower() == ".geojson" and ground.crs != DEGREES:
        notes.append(f"{output}: in longitude and latitude (EPSG:4326), as GeoJSON is (RFC 7946)")
    return notes


def _fields(ground: Ground) -> dict[str, str]:
    fields = {"id": "int64", "class": "object", "code": "int32", "color": "object", "pixels": "int64"}
    return fields | (ON_EARTH if ground.on_earth else ELSEWHERE)


def _record(labels: Labels, manner: _Manner) -> dict[str, str]:
    """What is kept with the polygons: the map's own tags, and how they were made."""
    made = {"version": geoseg.__version__, "map": labels.scene.source.filename, "connectivity": manner.connectivity}
    made |= {"least_patch": str(manner.unit)} if manner.unit else {}
    made |= {"simplify": manner.simplify} if manner.simplify else {}
    own = {name: value for name, value in labels.scene.tags.items() if name.startswith("GEOSEG_")}
    return own | {LEGEND_TAG: json.dumps(labels.legend.to_dict()), "GEOSEG_VECTORIZED": json.dumps(made)}


@contextmanager
def _readable(labels: Labels, manner: _Manner, folder: Path, progress: bool) -> Iterator[tuple[Read, Sequence[str]]]:
    """How the class indices of a window are read, of the map itself or of one whose small patches are merged; and what
    is to be said of that."""
    passes = 5 if manner.unit else 2
    tiles = len(blocks(labels.grid.shape, SIDE))
    with tqdm(total=passes * tiles, unit="tile", disable=not progress, leave=False) as bar:

        def counted(read: Read) -> Read:
            """The same, moving the bar."""

            def read_and_count(window: Window) -> np.ndarray:
                bar.update()
                return read(window)

            return read_and_count

        if manner.unit is None:
            yield counted(labels.read), ()
            return
        sieve = Sieve(counted(labels.read), labels.grid, manner.unit, manner.diagonal)
        with RasterWriter(folder / "sieved.tif", labels.grid, 1, overviews=False) as writer:
            sieve.write_to(writer)
        with Scene(folder / "sieved.tif") as scene:
            yield counted(lambda window: scene.read_values(window)[0]), sieve.notes(labels.name)


def _lots(found: Iterator[Outlines]) -> Iterator[Outlines]:
    """Outlines in lots that are worth a write each."""
    waiting: list[Outlines] = []
    corners = features = 0
    for some in found:
        waiting.append(some)
        corners += int(shapely.get_num_coordinates(some.shapes).sum())
        features += len(some.numbers)
        if corners > MOST_CORNERS or features > MOST_FEATURES:
            yield _joined(waiting)
            waiting, corners, features = [], 0, 0
    if waiting:
        yield _joined(waiting)


def _joined(lots: list[Outlines]) -> Outlines:
    return Outlines(*(np.concatenate(parts) for parts in zip(*lots, strict=True)))


def _values(lot: Outlines, joined: Regions, legend: Legend, ground: Ground) -> dict[str, np.ndarray]:
    """The fields of a lot of polygons but their numbers."""
    classes = [legend.classes[index] for index in joined.codes[lot.numbers]]
    values = {"pixels": joined.pixels[lot.numbers], "code": np.array([one.code for one in classes])}
    values["class"] = np.array([one.name for one in classes], object)
    values["color"] = np.array(["#{:02x}{:02x}{:02x}".format(*one.colour) for one in classes], object)
    perimeters = ground.perimeters(lot.shapes)
    if not ground.on_earth:
        return values | {"area": values["pixels"] * ground.pixel_area, "perimeter": perimeters}
    square_metres = ground.areas(lot.shapes) if joined.hectares is None else joined.hectares[lot.numbers] * 10_000
    return values | {"area_m2": square_metres, "area_ha": square_metres / 10_000, "perimeter_m": perimeters}


def _summary(path: Path, layer: str, legend: Legend, chosen: list[int], joined: Regions, notes: list[str]) -> VectorMap:
    number, pixels = (np.bincount(joined.codes, weights, minlength=256) for weights in (None, joined.pixels))
    hectares = None if joined.hectares is None else np.bincount(joined.codes, joined.hectares, minlength=256)[chosen]
    names = tuple(legend.names[index] for index in chosen)
    return VectorMap(path, layer, names, number[chosen], pixels[chosen].astype(np.int64), hectares, notes)
