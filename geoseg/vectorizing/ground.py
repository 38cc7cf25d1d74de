"""Ground: where the corners of a raster's pixels are, and how long and large shapes are there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pyproj
import shapely

from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.raster.areas import DEGREES
from geoseg.raster.projection import Projection, coordinates

GEOD = pyproj.Geod(ellps="WGS84")
LONGEST = 16.0
"""Pixels of an edge that is measured as one straight line on the ellipsoid."""


class Ground:
    """The way from pixels of a grid to coordinates.

    By the grid's transform; by its control points as GDAL fits them (a polynomial of the second order from six points
    on); else x is the column and y the row, counted downwards from 0, as QGIS places such a raster.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._by_points = not grid.georeferenced and len(grid.gcps) >= 3
        self.crs: Any = grid.crs if grid.georeferenced or self._by_points else None
        """rasterio CRS of the coordinates, None where there is none."""
        self._to_earth = None
        if self.crs is not None:
            # Not of a CRS without a place on Earth, such as a building's.
            with suppress(InputError):
                self._to_earth = Projection(self.crs, DEGREES)

    @property
    def on_earth(self) -> bool:
        """True where lengths are metres and areas square metres, on the ellipsoid."""
        return self._to_earth is not None

    @property
    def in_pixels(self) -> bool:
        """True where coordinates are those of pixels."""
        return not self._grid.georeferenced and not self._by_points

    @property
    def pixel(self) -> tuple[float, float]:
        """(height, width) of a pixel at the grid's centre: metres on the ellipsoid, else the coordinates' units."""
        row, col = (length / 2 for length in self._grid.shape)
        here, below, right = self._measured(np.array([[col, row], [col, row + 1], [col + 1, row]]))[:, None]
        return float(self._between(here, below)[0]), float(self._between(here, right)[0])

    @property
    def pixel_area(self) -> float:
        """Of a pixel without a place on Earth, in the coordinates' units squared."""
        return abs(self._grid.transform.determinant)

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) coordinates of (n, 2) corners (column, row)."""
        return points * (1, -1) if self.in_pixels else coordinates(self._grid, points)

    def placed(self, shapes: np.ndarray) -> np.ndarray:
        """(m,) polygons in pixels, with their shells anticlockwise, in coordinates."""
        return shapely.orient_polygons(shapely.transform(shapes, self.coordinates))

    def perimeters(self, shapes: np.ndarray) -> np.ndarray:
        """(m,) lengths of the outlines of polygons in pixels, holes included: in metres on the ellipsoid, else in the
        coordinates' units. NaN where there is no ground."""
        parts, owners = shapely.get_parts(shapes, return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        corners, ring = shapely.get_coordinates(rings, return_index=True)
        places = self._measured(corners)
        lengths = self._between(places[:-1], places[1:])
        edges = ring[1:] == ring[:-1]
        pixels = np.hypot(*np.diff(corners, axis=0).T)
        long = np.flatnonzero(edges & (pixels > LONGEST))
        lengths[long] = self._in_pieces(corners[long], corners[long + 1], np.ceil(pixels[long] / LONGEST).astype(int))
        return np.bincount(owners[part[ring[1:][edges]]], lengths[edges], minlength=len(shapes))

    def areas(self, shapes: np.ndarray) -> np.ndarray:
        """(m,) areas in square metres of polygons in pixels that have a place on Earth, by their outlines."""
        placed = shapely.orient_polygons(shapely.transform(shapely.segmentize(shapes, LONGEST), self._measured))
        return np.array([GEOD.geometry_area_perimeter(shape)[0] for shape in placed])

    def _measured(self, corners: np.ndarray) -> np.ndarray:
        """(n, 2) places to measure between: longitude and latitude, else the coordinates themselves."""
        places = self.coordinates(corners)
        return np.stack(self._to_earth(*places.T), 1) if self.on_earth else places

    def _in_pieces(self, starts: np.ndarray, stops: np.ndarray, pieces: np.ndarray) -> np.ndarray:
        """(e,) lengths of edges between (e, 2) corners, each measured in so many pieces."""
        edge = np.repeat(np.arange(len(pieces)), pieces)
        along = (np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces))[:, None]
        step = ((stops - starts) / pieces[:, None])[edge]
        here, there = (self._measured(starts[edge] + step * (along + more)) for more in (0, 1))
        return np.bincount(edge, self._between(here, there), minlength=len(pieces))

    def _between(self, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        if self.on_earth:
            return GEOD.inv(*here.T, *there.T)[2]
        return np.hypot(*(there - here).T)
