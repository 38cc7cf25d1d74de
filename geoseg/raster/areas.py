"""AreaTally: how much ground each class covers, truly."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import numpy as np
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.grid import ECCENTRICITY_2, SEMI_MAJOR, Grid, Window
from geoseg.legend import NODATA, count_codes
from geoseg.raster.projection import Projection

DEGREES = CRS.from_epsg(4326)
CELL = 16, 1024
"""(rows, columns) of pixels that are given one area."""
PROBES = 8
"""Pieces of either side of a window whose pixels' areas are looked at first."""
EVEN = 5e-4
"""Share by which the areas of pixels may differ that are counted as one."""
COARSE = 100.0
"""Metres per pixel above which a cell is one row high and no wider than ..."""
WIDEST = 1_000_000.0
"""... this, in metres."""


class AreaTally:
    """Counts pixels of each code and adds up the area they cover on the ellipsoid, in any CRS.

    A pixel's area is that of its cell (16 x 1024 pixels) divided by the cell's pixels. The cell's corners are taken to
    longitude and latitude; its area there follows from the radii of curvature in its middle (Snyder 1987, equations
    4-19 and 4-20), to better than 1e-5. A cell with a corner beyond the Earth has none. A grid without a CRS or
    transform has counts only.
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

    def even_parts(self, window: Window) -> list[tuple[Window, float]]:
        """Parts that cover a window, in each of which pixels are of nearly one area, and that area in hectares.

        The grid has a place on Earth. Neighbouring parts differ by EVEN at most.
        """
        places = [np.linspace(0, length, PROBES + 1) for length in window.shape]
        probed = self._areas_between(window, *places)
        parts = [
            min(length, max(1, math.ceil(PROBES * np.abs(np.diff(probed, axis=axis)).max() / probed.max() / EVEN)))
            for axis, length in enumerate(window.shape)
        ]
        if parts == [1, 1]:
            return [(window, float(probed.mean()))]
        rows, cols = (np.linspace(0, n, k + 1).round().astype(int) for n, k in zip(window.shape, parts, strict=True))
        areas = self._areas_between(window, rows, cols)
        return [
            (Window(window.row + row, window.col + col, row_stop - row, col_stop - col), float(areas[i, j]))
            for i, (row, row_stop) in enumerate(pairwise(rows))
            for j, (col, col_stop) in enumerate(pairwise(cols))
        ]

    def _areas_between(self, window: Window, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """(R, C) hectares of a pixel between rows and columns counted from a window's first; 0 beyond the Earth."""
        corners = self._to_degrees(window.row + rows, window.col + cols)
        pixels = np.outer(np.diff(rows), np.diff(cols))
        return np.nan_to_num(quadrangle_areas(*corners)) / pixels / 10_000

    def _pixel_areas(self, window: Window) -> np.ndarray:
        """Hectares of a pixel in each cell of a window."""
        rows, cols = (
            np.append(np.arange(0, length, cell), length) for length, cell in zip(window.shape, self._cell, strict=True)
        )
        return self._areas_between(window, rows, cols)

    def _to_degrees(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(longitude, latitude), (R, C) each, of corners of pixels."""
        row, col = np.meshgrid(rows, cols, indexing="ij")
        x, y = self.grid.transform @ (col.astype(float), row.astype(float))
        return self._to_earth(x, y)

    def _find_place(self) -> bool:
        if not self.grid.georeferenced or self.grid.crs is None:
            return False
        try:
            self._to_earth = Projection(self.grid.crs, DEGREES)
            corners = self._to_degrees(*(np.linspace(0, length, PROBES + 1) for length in self.grid.shape))
        except InputError:
            return False
        return bool(np.isfinite(corners).any())


def quadrangle_areas(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """(..., R, C) square metres of the cells between (..., R + 1, C + 1) corners in degrees on WGS 84; NaN for those
    with a corner that has no place."""
    corners = [(..., slice(None, -1), slice(None, -1)), (..., slice(None, -1), slice(1, None))]
    corners += [(..., slice(1, None), slice(1, None)), (..., slice(1, None), slice(None, -1))]
    phi = sum(latitude[corner] for corner in corners) / 4
    sine = np.sin(np.radians(phi))
    flattening = 1 - ECCENTRICITY_2 * sine**2
    meridian = SEMI_MAJOR * (1 - ECCENTRICITY_2) / flattening**1.5
    across = SEMI_MAJOR / np.sqrt(flattening)
    # dA = M N cos(phi) dphi dlambda: a plane of lambda and sin(phi) has true areas up to the slowly changing M N.
    # Each corner's longitude follows the one before by less than half a turn, whatever the antimeridian.
    lambdas = [longitude[corner] for corner in corners]
    steps = ((b - a + 180) % 360 - 180 for a, b in pairwise(lambdas))
    x = [np.radians(turned) for turned in accumulate(steps, initial=lambdas[0])]
    y = [np.sin(np.radians(latitude[corner])) for corner in corners]
    # From the first corner: cells of a metre would be lost in the rounding of the coordinates' products.
    x, y = ([part - parts[0] for part in parts] for parts in (x, y))
    doubled = sum(x[i] * y[(i + 1) % 4] - x[(i + 1) % 4] * y[i] for i in range(4))
    return np.abs(doubled) / 2 * meridian * across
