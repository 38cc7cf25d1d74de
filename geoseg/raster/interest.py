"""AreaOfInterest: the part of the Earth that a map is asked for, and where it lies on a scene's pixels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid
from geoseg.layers import layer_extent, layer_info, read_layer
from geoseg.raster.opening import one_line
from geoseg.raster.projection import Projection

log = logging.getLogger("geoseg")

DEVIATION = 0.05
"""Pixels by which an edge may miss: straight in the area's own CRS, it is divided until it is so in pixels."""
MARGIN = 0.05
"""Share of a scene's extent: what lies further away is not brought to its CRS, where it may have no place."""
PROBES = 33
"""Points along either side of a grid that are taken to another CRS to find its extent there."""
GAP = 45.0
"""Degrees: where the longitudes of those points lie all closer, the grid goes round the Earth."""
MOST_POINTS = 1 << 21
"""Of edges that are divided; only what runs through a pole, where longitudes leap, takes more."""
BETWEEN = (0.25, 0.5, 0.75)
"""Where on an edge its deviation is looked at."""
Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top), or west, south, east, north."""
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class AreaOfInterest:
    """Polygons in a CRS. Edges are straight lines there."""

    polygons: tuple[shapely.Polygon, ...]
    """Valid ones; those that overlap count as their union."""
    crs: CRS | None
    """None: that of the scene."""
    record: Mapping[str, Any]
    """Its name and what identifies it in plans, as JSON holds it; ``reopen_area`` finds it again."""
    extent: Bounds
    """Of all that the file holds, or of the polygons."""

    @classmethod
    def of(cls, geometry: shapely.Geometry, crs: Any = None, name: str = "area") -> AreaOfInterest:
        """The polygons of a shapely geometry in a CRS, as anything that rasterio takes for one; None: the scene's.

        Raises InputError where it is none or holds others, UsageError for no CRS.
        """
        polygons = _polygons(np.array([geometry], object), name)
        if not len(polygons):
            raise InputError(f"{name}: is empty; an area of interest is made of polygons")
        crs = None if crs is None else _user_crs(crs)
        record = {"name": name, "wkb": shapely.to_wkb(geometry, hex=True), "crs": crs.to_string() if crs else None}
        return cls(tuple(polygons), crs, record, geometry.bounds)

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.record["name"]

    def on(self, grid: Grid, name: str) -> np.ndarray:
        """The polygons, cut to a grid, with (col, row) of the grid's pixel corners as (x, y).

        Raises InputError where the grid has no place on Earth, GridMismatch where the area misses it.
        """
        require_place(grid, name)
        to_pixels = self._way_to(grid)
        edged = self._divided(self._near(grid), to_pixels, grid) if self._differs(grid) else self.polygons
        on_pixels = [shapely.transform(p, lambda xy: self._unwrapped(to_pixels(*xy.T), grid)) for p in edged]
        if not np.isfinite(shapely.get_coordinates(on_pixels)).all():
            raise InputError(f"{self.name}: has no place in {grid.crs.to_string()}, the CRS of {name}; bring it there")
        on_grid = _cut(_around_the_earth(_valid(on_pixels), grid), (0, 0, grid.shape[1], grid.shape[0]))
        if not len(on_grid):
            raise GridMismatch(self._miss(grid, name))
        return on_grid

    def _differs(self, grid: Grid) -> bool:
        return self.crs is not None and self.crs != grid.crs

    def _way_to(self, grid: Grid) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        if not self._differs(grid):
            return partial(_on_pixels, grid)
        projection = Projection(self.crs, grid.crs)
        return lambda x, y: _on_pixels(grid, *projection(x, y))

    def _near(self, grid: Grid) -> np.ndarray:
        near = bounds_around(grid, self.crs) or [EVERYWHERE]
        return np.concatenate([_cut(self.polygons, bounds) for bounds in near])

    def _divided(self, polygons: np.ndarray, to_pixels: Callable, grid: Grid) -> np.ndarray:
        """Polygons with so many points on their edges that these are straight in pixels, too."""
        while True:
            lengths, off = _deviations(polygons, to_pixels, grid.pixels_around)
            wrong = off > DEVIATION
            if not wrong.any():
                return polygons
            # The deviation of a curve goes with the square of its length.
            needed = lengths[wrong] * np.sqrt(DEVIATION / off[wrong])
            longest = min(0.9 * needed.min(), 0.6 * lengths[wrong].max())
            if lengths.sum() / longest > MOST_POINTS:
                raise InputError(
                    f"{self.name}: cannot be drawn in {grid.crs.to_string()}; cut away what lies at a pole"
                )
            polygons = shapely.segmentize(polygons, float(longest))

    def _unwrapped(self, xy: tuple[np.ndarray, np.ndarray], grid: Grid) -> np.ndarray:
        """(n, 2) of a polygon's points; one drawn across the antimeridian of a grid in degrees stays in one piece."""
        x, y = xy
        if grid.pixels_around and self.crs is not None and self.crs.is_projected:
            # Whole turns, so that a ring is closed still.
            turns = np.round((np.unwrap(x, period=grid.pixels_around) - x) / grid.pixels_around)
            x = x + turns * grid.pixels_around
        return np.column_stack((x, y))

    def _miss(self, grid: Grid, name: str) -> str:
        crs, scenes = grid.crs, [grid.bounds]
        if self._differs(grid) and (found := bounds_around(grid, self.crs, margin=0)):
            crs, scenes = self.crs, found
        area, scene = (f" in {each.to_string()}" if each else "" for each in (self.crs or grid.crs, crs))
        return (
            f"{self.name}: the area, at {_said(self.extent)}{area}, misses {name}, which lies at "
            f"{' and '.join(map(_said, scenes))}{scene} (west south east north)"
        )


def area_from_file(text: str | Path, grid: Grid) -> AreaOfInterest:
    """The polygons of a layer, FILE or FILE:LAYER, near a grid.

    Raises InputError: no such file or layer, several layers and none named, other things than polygons, none of them.
    """
    path, layer = _split_layer(str(text))
    remedy = f"name one, as in {path}:LAYER"
    layer, crs = layer_info(path, layer, remedy=remedy)
    if crs is None:
        log.warning("%s: names no CRS; its coordinates are taken for the scene's", path)
    elif grid.crs is None:
        raise InputError(
            f"{path}: is in {crs.to_string()}, but the scene names no CRS; give it one by gdal_edit -a_srs"
        )
    around = bounds_around(grid, crs) if crs else []
    near = shapely.MultiPolygon([shapely.box(*bounds) for bounds in around]) if around else None
    polygons = _polygons(read_layer(path, layer, near=near, fields=False, remedy=remedy).shapes, path)
    extent = layer_extent(path, layer)
    if extent is None:
        raise InputError(f"{path}: its layer {layer} is empty; an area of interest is made of polygons")
    digest = hashlib.sha256(b"".join(shapely.to_wkb(polygons)) + (crs.to_wkt() if crs else "").encode())
    record = {"name": path.name, "path": str(path.absolute()), "layer": layer, "sha256": digest.hexdigest()}
    return AreaOfInterest(tuple(polygons), crs, record, extent)


def area_from_bounds(bounds: Sequence[float], crs: CRS | str | None, grid: Grid) -> AreaOfInterest:
    """The rectangle (west, south, east, north) in a CRS, None for the grid's.

    In degrees west may be larger than east: the rectangle then crosses the antimeridian. Raises UsageError.
    """
    west, south, east, north = bounds = tuple(float(value) for value in bounds)
    crs = grid.crs if crs is None else _user_crs(crs)
    wraps = west > east and crs is not None and crs.is_geographic
    if not np.isfinite(bounds).all() or not south < north or not (west < east or wraps):
        raise UsageError(
            f"a box is west,south,east,north with west below east and south below north; got {_said(bounds)}"
        )
    if grid.crs is None and crs is not None:
        raise UsageError(f"the box is in {crs.to_string()}, but the scene names no CRS; leave --bbox-crs out")
    turn = 360.0 if wraps else 0.0
    polygons = [shapely.box(west, south, east + turn, north)]
    polygons += [shapely.box(west - turn, south, east, north)] if wraps else []
    record = {"name": f"bbox {_said(bounds)}", "bbox": list(bounds), "crs": crs.to_string() if crs else None}
    return AreaOfInterest(tuple(polygons), crs, record, bounds)


def reopen_area(record: Mapping[str, Any], grid: Grid) -> AreaOfInterest:
    """The area that a record is of. Raises as those that made it."""
    if "bbox" in record:
        return area_from_bounds(record["bbox"], record["crs"], grid)
    if "wkb" in record:
        return AreaOfInterest.of(shapely.from_wkb(record["wkb"]), record["crs"], record["name"])
    return area_from_file(f"{record['path']}:{record['layer']}", grid)


def require_place(grid: Grid, name: str) -> None:
    """Raise InputError unless a transform places the grid."""
    if grid.georeferenced:
        return
    why = "is placed by control points; warp it first: gdalwarp" if grid.gcps else "has no georeference"
    raise InputError(f"{name}: {why}, so no area of interest can be laid over it")


def bounds_around(grid: Grid, crs: CRS, margin: float = MARGIN) -> list[Bounds]:
    """The extent of a grid in another CRS, widened by a share of it: two rectangles where it crosses the antimeridian,
    none where part of the grid has no place there."""
    row, col = np.meshgrid(*(np.linspace(0, length, PROBES) for length in grid.shape), indexing="ij")
    there = grid.transform @ (col, row)
    x, y = Projection(grid.crs, crs)(*there)
    back = Projection(crs, grid.crs)(x, y)
    # Beyond what a projection shows it may give coordinates, too, but not ones that lead back.
    east, north = np.subtract(back, there)
    off = np.hypot(np.mod(east + 180, 360) - 180 if grid.crs.is_geographic else east, north)
    if not off.max() <= 1e-3 * max(map(np.ptp, there)):
        return []
    bottom, top = _widened(y.min(), y.max(), margin)
    if not crs.is_geographic:
        left, right = _widened(x.min(), x.max(), margin)
        return [(left, bottom, right, top)]
    left, right = _arc(x.ravel())
    if right - left >= 360:
        # A pole lies within it.
        return [(-180, bottom, 180, 90) if top + bottom > 0 else (-180, -90, 180, top)]
    left, right = _widened(left, right, margin)
    beyond = [(-180.0, bottom, right - 360, top)] if right > 180 else []
    return [(left, bottom, min(right, 180.0), top), *beyond]


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    aside = margin * (high - low)
    return float(low - aside), float(high + aside)


def _arc(longitude: np.ndarray) -> tuple[float, float]:
    """(west, east) of the shortest arc that holds all longitudes; east is above 180 where it crosses the antimeridian.

    The whole circle where no gap between them is wider than GAP.
    """
    around = np.unique(np.mod(longitude + 180, 360) - 180)
    gaps = np.diff(around, append=around[0] + 360)
    widest = int(gaps.argmax())
    if gaps[widest] < GAP:
        return -180.0, 180.0
    west = around[(widest + 1) % len(around)]
    return float(west), float(west + 360 - gaps[widest])


def _on_pixels(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(col, row) of places; more exactly than by the inverse transform, whose offset is lost in its rounding."""
    t = grid.transform
    x, y, area = x - t.c, y - t.f, t.a * t.e - t.b * t.d
    return (t.e * x - t.b * y) / area, (t.a * y - t.d * x) / area


def _split_layer(text: str) -> tuple[Path, str | None]:
    if Path(text).exists():
        return Path(text), None
    head, colon, tail = text.rpartition(":")
    if colon and Path(head).exists():
        return Path(head), tail
    raise InputError(f"{text}: no such file")


def _user_crs(crs: Any) -> CRS:
    try:
        return CRS.from_user_input(crs)
    except (CRSError, ValueError) as error:
        raise UsageError(f"{crs!r} is no CRS, such as EPSG:4326 ({one_line(error)})") from error


def _polygons(shapes: np.ndarray, name: str | Path) -> np.ndarray:
    """Single valid polygons from polygons of any kind. Raises InputError for other shapes."""
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    kinds = {shape.geom_type for shape in shapes} - {"Polygon", "MultiPolygon"}
    if kinds:
        raise InputError(f"{name}: holds {', '.join(sorted(kinds))}; an area of interest is made of polygons")
    return _valid(shapes)


def _valid(shapes: Sequence[shapely.Geometry]) -> np.ndarray:
    """Valid polygons that cover what the shapes do; their outlines may cross themselves."""
    shapes = np.array(shapes, object)
    crossed = ~shapely.is_valid(shapes)
    shapes[crossed] = shapely.make_valid(shapes[crossed])
    return _areal(shapes)


def _areal(shapes: np.ndarray) -> np.ndarray:
    """The polygons among the parts of shapes."""
    parts = shapely.get_parts(shapely.get_parts(shapes))
    return parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]


def _cut(polygons: Sequence[shapely.Polygon], bounds: Bounds) -> np.ndarray:
    return _areal(shapely.clip_by_rect(np.array(polygons, object), *bounds))


def _deviations(polygons: np.ndarray, to_pixels: Callable, turn: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The length of each edge, and by how many pixels it is no straight line there."""
    points, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    same = ring[1:] == ring[:-1]
    begin, end = points[:-1][same], points[1:][same]
    first = to_pixels(*begin.T)

    def from_first(share: float) -> np.ndarray:
        x, y = np.subtract(to_pixels(*(begin + share * (end - begin)).T), first)
        return np.stack((x if turn is None else np.mod(x + turn / 2, turn) - turn / 2, y))

    off = reduce(np.maximum, (np.hypot(*(from_first(share) - share * from_first(1))) for share in BETWEEN))
    return np.hypot(*(end - begin).T), np.nan_to_num(off)


def _around_the_earth(polygons: np.ndarray, grid: Grid) -> np.ndarray:
    """Polygons in pixels, and for a grid in degrees their copies a turn to either side: -170 degrees are 190."""
    turn = grid.pixels_around
    if turn is None:
        return polygons
    aside = (np.array([by, 0]) for by in (-turn, 0, turn))
    return np.concatenate([shapely.transform(polygons, lambda xy, by=by: xy + by) for by in aside])


def _said(bounds: Bounds) -> str:
    return " ".join(f"{value:.10g}" for value in bounds)
