"""Laying polygons and points of any CRS over the pixels of a grid."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import shapely
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.raster.burning import Edges, PixelShapes, Points
from geoseg.raster.projection import Projection

DEVIATION = 0.02
"""Pixels by which an edge may miss: it is straight in its own CRS, and divided until it is so in pixels, too."""
BETWEEN = (0.25, 0.5, 0.75)
"""Where on an edge that is looked at."""
MOST_DIVISIONS = 20
"""Of an edge in two; where a projection tears it apart, no number would do."""
MARGIN = 0.05
"""Of a grid's extent: what of a polygon lies further away is cut off, as it may have no place in the grid's CRS."""

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top)."""


def require_place(grid: Grid, name: str, crs: CRS | None, source: str) -> None:
    """Raise InputError unless shapes of ``crs``, from ``source``, can be laid over the grid of ``name``.

    A scene without a CRS takes shapes without one: in the units of its transform, or in pixels where it has none.
    """
    if grid.gcps and not grid.georeferenced:
        raise InputError(f"{name}: is placed by control points, and {source} cannot be laid over it; warp it: gdalwarp")
    if crs is None and grid.crs is not None:
        raise InputError(f"{source}: names no CRS, and {name} is in {_said(grid.crs)}; give the layer its CRS")
    if crs is not None and grid.crs is None:
        raise InputError(f"{source}: is in {_said(crs)}, but {name} names no CRS; give it one: gdal_edit -a_srs EPSG:N")


def lay_over(
    shapes: np.ndarray, classes: np.ndarray, crs: CRS | None, grid: Grid, tree: shapely.STRtree
) -> PixelShapes:
    """The shapes that may meet a grid, in its pixels, in their order. Raises InputError where no way leads there.

    Args:
        shapes: (n,) valid Polygons and Points in ``crs``.
        classes: (n,) uint8 class indices.
        tree: of the shapes.
    """
    way, boxes = Way(crs, grid), bounds_around(grid, crs)
    number = np.unique(tree.query([shapely.box(*bounds) for bounds in boxes])[1]) if boxes else np.arange(len(shapes))
    parts = shapes[number]
    if way.bends and boxes:
        parts, number = _clipped(parts, number, boxes)
    edges, points = _edges(parts, number, way), _points(parts, number, way)
    # Without an extent to cut to, what has no place may as well lie far away.
    lost = len(np.setdiff1d(number, np.concatenate([edges.shape, points.shape]))) if boxes else 0
    return replace(_on_grid(edges, points, classes, grid), lost=lost)


class Way:
    """From coordinates in a CRS to (x, y) in the pixels of a grid."""

    def __init__(self, crs: CRS | None, grid: Grid) -> None:
        self.bends = crs is not None and crs != grid.crs
        """True where straight lines may become curves."""
        self._projection = Projection(crs, grid.crs) if self.bends else None
        self._inverse = ~grid.transform
        # Coordinates in metres have one place around the Earth, and it should be the grid's.
        turned = self.bends and not crs.is_geographic
        self._turn, self._middle = grid.pixels_around if turned else None, grid.shape[1] / 2

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64 of their shape, NaN where a place is none of the grid's CRS."""
        if self._projection is not None:
            x, y = self._projection(x, y)
        col, row = self._inverse @ (x, y)
        if self._turn is not None:
            col = np.mod(col - self._middle + self._turn / 2, self._turn) + self._middle - self._turn / 2
        return col, row


def bounds_around(grid: Grid, crs: CRS | None, margin: float = MARGIN) -> list[Bounds]:
    """The extent of a grid in another CRS, widened by a share of it; several where it goes on at the other end of a
    geographic CRS, none where it has none there."""
    left, bottom, right, top = _extent(grid)
    if crs is not None and crs != grid.crs:
        left, bottom, right, top = Projection(grid.crs, crs).bounds((left, bottom, right, top))
    if not np.isfinite((left, bottom, right, top)).all():
        return []
    turn = 0.0 if crs is None or not crs.is_geographic else 2 * np.pi / crs.units_factor[1]
    right += turn if left > right else 0.0
    aside, above = margin * (right - left), margin * (top - bottom)
    left, bottom, right, top = left - aside, bottom - above, right + aside, top + above
    if turn and right - left >= turn:
        return [(-turn, bottom, turn, top)]
    return [(left + by, bottom, right + by, top) for by in ((-turn, 0.0, turn) if turn else (0.0,))]


def _extent(grid: Grid) -> Bounds:
    height, width = grid.shape
    x, y = zip(*(grid.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))), strict=True)
    return min(x), min(y), max(x), max(y)


def _clipped(shapes: np.ndarray, number: np.ndarray, boxes: list[Bounds]) -> tuple[np.ndarray, np.ndarray]:
    """The parts of shapes in boxes, and their numbers."""
    found = [shapely.clip_by_rect(shapes, *bounds) for bounds in boxes]
    parts, of_shape = shapely.get_parts(np.concatenate(found), return_index=True)
    kinds = shapely.get_type_id(parts)
    whole = np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.POINT)) & ~shapely.is_empty(parts)
    return parts[whole], number[of_shape[whole] % len(number)]


def _edges(shapes: np.ndarray, number: np.ndarray, way: Way) -> Edges:
    """The edges of the polygons, their shapes by ``number``."""
    polygons = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    rings, of_polygon = shapely.get_rings(shapes[polygons], return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    follows = of_ring[1:] == of_ring[:-1]
    shape = number[polygons][of_polygon][of_ring][:-1][follows]
    begin, end = points[:-1][follows], points[1:][follows]
    if way.bends:
        shape, begin, end = _straightened(shape, begin, end, way)
    return _upright(shape, *way(*begin.T), *way(*end.T))


def _straightened(
    shape: np.ndarray, begin: np.ndarray, end: np.ndarray, way: Way
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges divided until they are straight lines in pixels. Each is divided alike, whatever it is an edge of."""
    done = []
    for _ in range(MOST_DIVISIONS):
        curved = _deviation(begin, end, way) > DEVIATION
        done.append((shape[~curved], begin[~curved], end[~curved]))
        shape, begin, end = shape[curved], begin[curved], end[curved]
        if not len(shape):
            break
        middle = (begin + end) / 2
        shape, begin, end = np.tile(shape, 2), np.concatenate([begin, middle]), np.concatenate([middle, end])
    done.append((shape, begin, end))
    return tuple(np.concatenate(parts) for parts in zip(*done, strict=True))


def _deviation(begin: np.ndarray, end: np.ndarray, way: Way) -> np.ndarray:
    """(n,) pixels by which edges are no straight lines; 0 where they leave what the projection shows."""
    first, last = (np.stack(way(*ends.T)) for ends in (begin, end))
    off = (
        np.hypot(*(np.stack(way(*(begin + share * (end - begin)).T)) - first - share * (last - first)))
        for share in BETWEEN
    )
    return np.nan_to_num(reduce(np.maximum, off), nan=0.0)


def _upright(shape: np.ndarray, x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> Edges:
    """The edges that do not run along a row, from their upper ends; none of shapes with a corner without a place."""
    lost = ~np.isfinite(x1 + y1 + x2 + y2)
    kept, down = (y1 != y2) & ~np.isin(shape, shape[lost]), y1 < y2
    upper, lower = np.where(down, (x1, y1), (x2, y2)), np.where(down, (x2, y2), (x1, y1))
    return Edges(shape[kept], *upper[:, kept], *lower[:, kept])


def _points(shapes: np.ndarray, number: np.ndarray, way: Way) -> Points:
    """The points, their shapes by ``number``."""
    points = shapely.get_type_id(shapes) == shapely.GeometryType.POINT
    x, y = way(*shapely.get_coordinates(shapes[points]).T)
    kept = np.isfinite(x + y)
    return Points(number[points][kept], x[kept], y[kept])


def _on_grid(edges: Edges, points: Points, classes: np.ndarray, grid: Grid) -> PixelShapes:
    """What meets a grid, numbered anew. Of one in degrees also what does so a turn to either side: -170 is 190."""
    turn = grid.pixels_around
    turns = (0.0,) if turn is None else (-turn, 0.0, turn)
    found: list[tuple[Edges, Points]] = []
    for place, by in enumerate(turns):
        # Each turn of a shape is a shape of its own, right after the one before.
        lines = edges._replace(shape=edges.shape * len(turns) + place, x1=edges.x1 + by, x2=edges.x2 + by)
        dots = points._replace(shape=points.shape * len(turns) + place, x=points.x + by)
        found.append((_that_meet(lines, grid.shape), _inside(dots, grid.shape)))
    lines = Edges(*map(np.concatenate, zip(*(lines for lines, _ in found), strict=True)))
    dots = Points(*map(np.concatenate, zip(*(dots for _, dots in found), strict=True)))
    order = np.argsort(lines.shape, kind="stable")
    lines = Edges(*(values[order] for values in lines))
    number = np.unique(np.concatenate([lines.shape, dots.shape]))
    lines, dots = (items._replace(shape=np.searchsorted(number, items.shape)) for items in (lines, dots))
    return PixelShapes(classes[number // len(turns)], lines, dots, number // len(turns))


def _that_meet(edges: Edges, shape: tuple[int, int]) -> Edges:
    """The edges of polygons whose rectangles meet a raster of ``shape``."""
    number, of_edge = np.unique(edges.shape, return_inverse=True)
    left, right, top, bottom = (np.full(len(number), value) for value in (np.inf, -np.inf, np.inf, -np.inf))
    for x in (edges.x1, edges.x2):
        np.minimum.at(left, of_edge, x)
        np.maximum.at(right, of_edge, x)
    np.minimum.at(top, of_edge, edges.y1)
    np.maximum.at(bottom, of_edge, edges.y2)
    meets = (right > 0) & (left < shape[1]) & (bottom > 0) & (top < shape[0])
    return Edges(*(values[meets[of_edge]] for values in edges))


def _inside(points: Points, shape: tuple[int, int]) -> Points:
    here = (points.x >= 0) & (points.x < shape[1]) & (points.y >= 0) & (points.y < shape[0])
    return Points(*(values[here] for values in points))


def _said(crs: CRS) -> str:
    return crs.to_string() if crs.to_epsg() else "a CRS of its own"
