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
"""(rows, columns) of pixels that are given one area, at most."""
PROBES = 8
"""Pieces of either side of a window whose pixels' areas are looked at first."""
EVEN = 5e-4
"""Share by which the areas of pixels may differ that are counted as one."""
COARSE = 100.0
"""Metres per pixel above which a cell is one row high."""
WIDEST = 10_000.0
"""Metres that a cell is wide, at most, ..."""
NARROWEST = 48
"""... where these are more pixels than this."""


class AreaTally:
    """Counts pixels of each code and adds up the area they cover on the ellipsoid, in any CRS.

    A pixel's area is that of its cell (up to 16 x 1024 pixels) divided by the cell's pixels. Cells are counted from the
    grid's first pixel, so an area does not depend on the windows that are added. The cell's corners are taken to
    longitude and latitude; its area there follows from the radii of curvature in its middle (Snyder 1987, equations
    4-19 and 4-20), to better than 1e-5. Where a cell has several classes each gets its mean, which at the edge of
    a UTM zone may err by 6e-5. A cell with a corner beyond the Earth has no area. A grid without a CRS or transform has
    counts only.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.counts = np.zeros(256, np.int64)
        """(256,) pixels of each code."""
        self._hectares = np.zeros(256)
        gsd = grid.gsd or 1.0
        self._cell = 1 if gsd > COARSE else CELL[0], min(CELL[1], max(NARROWEST, int(WIDEST / gsd)))
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
        rows, cols, areas = self._cells(window)
        for i, (row, row_stop) in enumerate(pairwise(rows)):
            for j, (col, col_stop) in enumerate(pairwise(cols)):
                counts = np.bincount(codes[row:row_stop, col:col_stop].ravel(), minlength=256)
                self.counts += counts
                self._hectares += counts * areas[i, j]

    def pixel_hectares(self, window: Window) -> np.ndarray:
        """(height, width) float64 true area of each pixel of a window, in hectares, of a grid that has a place."""
        rows, cols, areas = self._cells(window)
        return areas.repeat(np.diff(rows), 0).repeat(np.diff(cols), 1)

    def skip(self, window: Window) -> None:
        """Count a window without data; its area is nobody's."""
        self.counts[NODATA] += window.height * window.width

    def even_parts(self, window: Window) -> list[tuple[Window, float]]:
        """Parts that cover a window, in each of which pixels are of nearly one area, and that area in hectares.

        The grid has a place on Earth. Neighbouring parts differ by EVEN at most.
        """
        probed = self._areas_between(*(np.linspace(0, n, PROBES + 1) + first for first, n in _spans(window)))
        parts = [
            min(length, max(1, math.ceil(PROBES * np.abs(np.diff(probed, axis=axis)).max() / probed.max() / EVEN)))
            for axis, length in enumerate(window.shape)
        ]
        if parts == [1, 1]:
            return [(window, float(probed.mean()))]
        rows, cols = (np.linspace(0, n, k + 1).round().astype(int) for n, k in zip(window.shape, parts, strict=True))
        areas = self._areas_between(window.row + rows, window.col + cols)
        return [
            (Window(window.row + row, window.col + col, row_stop - row, col_stop - col), float(areas[i, j]))
            for i, (row, row_stop) in enumerate(pairwise(rows))
            for j, (col, col_stop) in enumerate(pairwise(cols))
        ]

    def _areas_between(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """(R, C) hectares of a pixel between rows and columns of the grid; 0 beyond the Earth."""
        pixels = np.outer(np.diff(rows), np.diff(cols))
        return np.nan_to_num(quadrangle_areas(*self._to_degrees(rows, cols))) / pixels / 10_000

    def _cells(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The cells that meet a window: the (R + 1,) rows and (C + 1,) columns of the window that they lie between, and
        the (R, C) hectares of a pixel, of the whole cell though the window may cut it."""
        edges = [
            np.minimum(np.arange(first // cell * cell, first + length + cell, cell), whole)
            for (first, length), cell, whole in zip(_spans(window), self._cell, self.grid.shape, strict=True)
        ]
        cuts = [np.clip(edge - first, 0, length) for edge, (first, length) in zip(edges, _spans(window), strict=True)]
        return *cuts, self._areas_between(*edges)

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


def _spans(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and number of a window's rows, and of its columns."""
    return (window.row, window.height), (window.col, window.width)


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
