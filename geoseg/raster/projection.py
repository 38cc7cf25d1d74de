"""Coordinates of pixels, and of one CRS in another."""

from __future__ import annotations

import numpy as np
import pyproj
import pyproj.exceptions
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer

from geoseg.errors import InputError
from geoseg.grid import Grid


class Projection:
    """The way from one CRS to another, x being east or longitude in both; used on any thread.

    Raises InputError where no way leads from the one to the other.
    """

    def __init__(self, source: CRS, target: CRS) -> None:
        try:
            texts = (crs.to_wkt(version="WKT2_2019") for crs in (source, target))
            self._transformer = pyproj.Transformer.from_crs(*texts, always_xy=True)
        except pyproj.exceptions.ProjError as error:
            raise InputError(f"no way from {source.to_string()} to {target.to_string()} ({error})") from error

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of places in the source as (x, y) in the target, float64 of their shape.

        NaN for both where a place has no coordinates there, as beyond what a projection shows.
        """
        found = np.array(self._transformer.transform(x, y))
        found[:, ~np.isfinite(found).all(0)] = np.nan
        return found[0], found[1]

    def bounds(self, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in the target of a rectangle in the source, whose edges may be curves there.

        Left is larger than right where the target is in degrees and the rectangle crosses the antimeridian; not finite
        where there are no coordinates.
        """
        return self._transformer.transform_bounds(*bounds)


def coordinates(grid: Grid, points: np.ndarray) -> np.ndarray:
    """(n, 2) float64 (x, y) in the grid's CRS of (n, 2) corners of pixels (column, row).

    By the transform, else by the control points as GDAL fits them: a polynomial of the second order from six on.
    """
    col, row = points.T
    if grid.georeferenced:
        return np.stack(grid.transform @ (col, row), 1)
    fitted = [GroundControlPoint(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]
    with GCPTransformer(fitted) as transformer:
        return np.stack(transformer.xy(row, col, offset="ul"), 1)
