"""AreaTally: how much ground each class covers, truly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rasterio.warp import transform as transform_points

from geoseg.grid import ECCENTRICITY_2, SEMI_MAJOR, Grid, Window
from geoseg.legend import NODATA, count_codes
from geoseg.raster.opening import GDAL_ERRORS

CELL = 16, 1024
"""(rows, columns) of pixels that are given one area."""
CORNERS = 9
"""Along each side of a window whose area as a whole is asked for."""
COARSE = 100.0
"""Metres per pixel above which a cell is one row high and no wider than ..."""
WIDEST = 1_000_000.0
"""... this, in metres."""


class AreaTally:
    """Counts pixels of each code and adds up the area they cover on the ellipsoid, in any CRS.

    A pixel's area is that of its cell (16 x 1024 pixels) divided by the cell's pixels. The cell's corners are taken to
    longitude and latitude; its area there follows from the radii of curvature in its middle (Snyder 1987, equations
    4-19 and 4-20), to better than 1e-5. A grid without a CRS or transform has counts only.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.counts = np.zeros(256, np.int64)
        """(256,) pixels of each code."""
        self._hectares = np.zeros(256)
        gsd = grid.gsd or 1.0
        self._cell = (1, max(1, min(CELL[1], int(WIDEST / gsd)))) if gsd > COARSE else CELL
        self._has_place = self._find_place()

    @property
    def hectares(self) -> np.ndarray | None:
        """(256,) true area of each code in hectares, of what was added; None where the grid has no place on Earth."""
        return self._hectares if self._has_place else None

    def add(self, window: Window, codes: np.ndarray) -> None:
        """Add (height, width) uint8 codes of a window of the grid."""
        if not self._has_place:
            self.counts += count_codes(codes)
            return
        high, wide = self._cell
        areas = self._pixel_areas(window)
        for i, row in enumerate(range(0, window.height, high)):
            for j, col in enumerate(range(0, window.width, wide)):
                counts = np.bincount(codes[row : row + high, col : col + wide].ravel(), minlength=256)
                self.counts += counts
                self._hectares += counts * areas[i, j]

    def pixel_hectares(self, window: Window) -> np.ndarray:
        """(height, width) float64 true area of each pixel of a window, in hectares, of a grid that has a place."""
        (high, wide), (height, width) = self._cell, window.shape
        return self._pixel_areas(window).repeat(high, 0)[:height].repeat(wide, 1)[:, :width]

    def skip(self, window: Window) -> None:
        """Count a window without data; its area is nobody's."""
        self.counts[NODATA] += window.height * window.width

    def mean_pixel_hectares(self, windows: Sequence[Window]) -> np.ndarray | None:
        """(N,) mean area of the pixels of each window in hectares; None where the grid has no place on Earth."""
        if not self._has_place:
            return None
        sides = np.linspace(0, 1, CORNERS)
        rows = np.array([window.row + window.height * sides for window in windows])[:, :, None]
        cols = np.array([window.col + window.width * sides for window in windows])[:, None, :]
        corners = self._degrees_of(*np.broadcast_arrays(rows, cols))
        return quadrangle_areas(*corners).sum((-2, -1)) / [window.area * 10_000 for window in windows]

    def _pixel_areas(self, window: Window) -> np.ndarray:
        """Hectares of a pixel in each cell of a window."""
        rows = np.append(np.arange(window.row, window.row_stop, self._cell[0]), window.row_stop)
        cols = np.append(np.arange(window.col, window.col_stop, self._cell[1]), window.col_stop)
        longitude, latitude = self._to_degrees(rows, cols)
        pixels = np.outer(np.diff(rows), np.diff(cols))
        return quadrangle_areas(longitude, latitude) / pixels / 10_000

    def _to_degrees(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._degrees_of(*np.meshgrid(rows, cols, indexing="ij"))

    def _degrees_of(self, row: np.ndarray, col: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(longitude, latitude) of corners of pixels, in arrays of any shape."""
        x, y = self.grid.transform @ (col.ravel().astype(float), row.ravel().astype(float))
        longitude, latitude = transform_points(self.grid.crs, "EPSG:4326", x, y)
        return np.reshape(longitude, col.shape), np.reshape(latitude, col.shape)

    def _find_place(self) -> bool:
        if not self.grid.georeferenced or self.grid.crs is None:
            return False
        height, width = self.grid.shape
        try:
            corners = self._to_degrees(np.array([0, height]), np.array([0, width]))
        except GDAL_ERRORS:
            return False
        return bool(np.isfinite(corners).all())


def quadrangle_areas(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """(..., R, C) square metres of the cells between (..., R + 1, C + 1) corners in degrees on WGS 84."""
    turned = np.unwrap(np.unwrap(longitude, period=360, axis=-1), period=360, axis=-2)
    corners = [(..., slice(None, -1), slice(None, -1)), (..., slice(None, -1), slice(1, None))]
    corners += [(..., slice(1, None), slice(1, None)), (..., slice(1, None), slice(None, -1))]
    phi = sum(latitude[corner] for corner in corners) / 4
    sine = np.sin(np.radians(phi))
    flattening = 1 - ECCENTRICITY_2 * sine**2
    meridian = SEMI_MAJOR * (1 - ECCENTRICITY_2) / flattening**1.5
    across = SEMI_MAJOR / np.sqrt(flattening)
    # dA = M N cos(phi) dphi dlambda: a plane of lambda and sin(phi) has true areas up to the slowly changing M N.
    x = [np.radians(turned[corner]) for corner in corners]
    y = [np.sin(np.radians(latitude[corner])) for corner in corners]
    # From the first corner: cells of a metre would be lost in the rounding of the coordinates' products.
    x, y = ([part - parts[0] for part in parts] for parts in (x, y))
    doubled = sum(x[i] * y[(i + 1) % 4] - x[(i + 1) % 4] * y[i] for i in range(4))
    return np.abs(doubled) / 2 * meridian * across
