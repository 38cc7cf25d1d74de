"""The outline of a raster's data on the Earth, as GeoJSON has outlines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.raster.opening import open_raster, reading
from geoseg.raster.projection import Projection, coordinates
from geoseg.source import Source

LOOKED_AT = 512
"""Pixels along the longer side that data are looked for in."""
PIECES = 32
"""Into which a side of the raster is cut before it is bent."""
MOST_POINTS = 400
"""Of an outline in pixels; where there are more its convex hull is taken."""
STRAIGHT = 0.05
"""Pixels by which an outline may miss where points on it are left out."""
DECIMALS = 7
"""Of degrees: a centimetre."""
WGS84 = CRS.from_epsg(4326)


def footprint(source: str | Path | Source, grid: Grid) -> shapely.Polygon | shapely.MultiPolygon:
    """Where a raster has data, longitudes and latitudes on WGS 84, exteriors counter-clockwise.

    The outline has no holes; of more than 512 pixels along a side not all are looked at, and it is drawn a little
    wider. It is cut at the antimeridian. A raster that holds a pole has the rectangle of all longitudes from its
    latitude farthest from there.
    Raises InputError where the grid has no place on Earth.
    """
    require_footprint(grid, str(Source.of(source)))
    outline = shapely.segmentize(_data_outline(source, grid), max(grid.shape) / PIECES)
    projection = Projection(grid.crs, WGS84)
    places = np.stack(projection(*coordinates(grid, shapely.get_coordinates(outline)).T), -1)
    if not np.isfinite(places).all():
        raise InputError(f"{source}: parts of it have no longitude and latitude; cut them away")
    around = shapely.set_coordinates(outline, places)
    if any(_goes_round_a_pole(part) for part in shapely.get_parts(around)):
        return _cap(places[:, 1])
    parts = [piece for part in shapely.get_parts(around) for piece in _cut_at_antimeridian(part)]
    whole = shapely.simplify(shapely.union_all(parts), STRAIGHT * _pixel_degrees(outline, around))
    return _oriented(shapely.set_precision(whole, 10.0**-DECIMALS))


def bbox_of(outline: shapely.Geometry) -> list[float]:
    """West, south, east, north; west is larger than east where the outline is cut at the antimeridian."""
    west, south, east, north = outline.bounds
    parts = shapely.get_parts(outline)
    if (west, east) == (-180.0, 180.0) and len(parts) > 1:
        east = max(part.bounds[2] for part in parts if part.bounds[2] < 180)
        west = min(part.bounds[0] for part in parts if part.bounds[0] > -180)
    return [west, south, east, north]


def require_footprint(grid: Grid, name: str) -> None:
    """Raise InputError where a grid has no place on Earth."""
    if grid.crs is None or not (grid.georeferenced or grid.gcps):
        raise InputError(f"{name}: has no place on Earth (no CRS, or no transform); georeference it first")


def _data_outline(source: str | Path | Source, grid: Grid) -> shapely.Geometry:
    """Where there are data, (col, row) of pixel corners as (x, y); the whole grid where there are none at all."""
    height, width = grid.shape
    step = max(1, math.ceil(max(grid.shape) / LOOKED_AT))
    shape = math.ceil(height / step), math.ceil(width / step)
    with reading(source, "read"), open_raster(source) as dataset:
        mask = (dataset.dataset_mask(out_shape=shape) > 0).astype(np.uint8)
    if mask.all() or not mask.any():
        return shapely.box(0, 0, width, height)
    found = [shapely.geometry.shape(one) for one, _ in rasterio.features.shapes(mask, mask > 0)]
    whole = shapely.union_all([shapely.Polygon(one.exterior) for one in found])
    if step > 1:
        # By one pixel for data beside what was looked at, by another for what is simplified.
        whole = shapely.simplify(whole.buffer(2, join_style="mitre"), 1)
    if shapely.get_num_coordinates(whole) > MOST_POINTS:
        whole = shapely.convex_hull(whole)
    scaled = shapely.transform(whole, lambda xy: xy * (width / shape[1], height / shape[0]))
    return scaled.intersection(shapely.box(0, 0, width, height))


def _turns(part: shapely.Polygon) -> np.ndarray:
    """Degrees of longitude from each point of a polygon to the next, the short way."""
    return (np.diff(shapely.get_coordinates(part.exterior)[:, 0]) + 180) % 360 - 180


def _goes_round_a_pole(part: shapely.Polygon) -> bool:
    return abs(_turns(part).sum()) > 180


def _pixel_degrees(outline: shapely.Geometry, around: shapely.Geometry) -> float:
    """Of latitude that a pixel is high, or of longitude that it is wide: the smaller one, about."""
    spans = [(bounds[2] - bounds[0], bounds[3] - bounds[1]) for bounds in (outline.bounds, around.bounds)]
    return min(spans[1]) / max(spans[0])


def _cap(latitudes: np.ndarray) -> shapely.Polygon:
    south, north = (latitudes.min(), 90.0) if latitudes.mean() > 0 else (-90.0, latitudes.max())
    return shapely.box(-180.0, round(float(south), DECIMALS), 180.0, round(float(north), DECIMALS))


def _cut_at_antimeridian(part: shapely.Polygon) -> list[shapely.Geometry]:
    """A polygon whose longitudes may leap from 180 to -180, as pieces on either side."""
    xy = shapely.get_coordinates(part.exterior)
    turned = np.concatenate([[0.0], np.cumsum(_turns(part))])
    straight = shapely.make_valid(shapely.Polygon(np.stack([xy[0, 0] + turned, xy[:, 1]], -1)))
    pieces = []
    for shift in (-360.0, 0.0, 360.0):
        inside = straight.intersection(shapely.box(shift - 180, -90, shift + 180, 90))
        pieces.append(shapely.transform(inside, lambda at, shift=shift: at - (shift, 0.0)))
    return [piece for piece in pieces if piece.area > 0]


def _oriented(outline: shapely.Geometry) -> shapely.Polygon | shapely.MultiPolygon:
    parts = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(outline) if part.area > 0]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
