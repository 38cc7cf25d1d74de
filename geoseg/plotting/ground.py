"""What a picture of a grid says of the ground: how long a pixel truly is, where north lies, coordinates at the
edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pyproj
from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.raster.projection import Projection

DEGREES = CRS.from_epsg(4326)
EVEN, UNEVEN = 1.02, 2.0
"""Ratio of the longest to the shortest pixel of a map from which a scale is said to hold at one latitude, and from
which there is none."""
UPRIGHT = 5.0
"""Degrees by which north may lean before an arrow shows it."""
EDGE = 65
"""Places along an edge whose coordinates are looked up."""


@dataclass(frozen=True)
class Ground:
    """A grid as it lies on the ground."""

    aspect: float = 1.0
    """Height of a pixel by its width, as it is drawn."""
    metres: float | None = None
    """Geodesic length of a pixel along the row in the middle; None where there is none, or no one length for all."""
    latitude: float | None = None
    """In degrees where ``metres`` holds, given where it holds at no other."""
    north: float | None = None
    """Degrees from up to north, clockwise; None where north is up, or where nothing is known of it."""


@dataclass(frozen=True)
class Ticks:
    """Meridians that meet the lower edge, and parallels that meet the left one."""

    across: tuple[tuple[float, str], ...]
    """(column with its fraction, label)."""
    down: tuple[tuple[float, str], ...]
    """(row with its fraction, label)."""


def upright(grid: Grid) -> tuple[Grid, tuple[int, ...]]:
    """A grid with north up and east to the right where turning rows or columns round does it, and the axes to turn."""
    t = grid.transform
    if not grid.georeferenced or t.b or t.d:
        return grid, ()
    height, width = grid.shape
    turned = t
    axes = tuple(axis for axis, wrong in ((-2, t.e > 0), (-1, t.a < 0)) if wrong)
    if -2 in axes:
        turned = turned @ Affine(1, 0, 0, 0, -1, height)
    if -1 in axes:
        turned = turned @ Affine(-1, 0, width, 0, 1, 0)
    return replace(grid, transform=turned), axes


def ground_of(grid: Grid) -> Ground:
    """How a grid lies on the ground; in a geographic CRS it is drawn with the shape that it has in its middle."""
    down, across = grid.resolution
    shape = down / across if grid.georeferenced else 1.0
    way = _way(grid)
    if way is None:
        return Ground(shape)
    height, width = grid.shape
    middle, reach = (width / 2, height / 2), (max(width / 8, 0.5), max(height / 8, 0.5))
    long, bearing_right = _between(way, grid, (middle[0] - reach[0], middle[1]), (middle[0] + reach[0], middle[1]))
    tall, bearing_up = _between(way, grid, (middle[0], middle[1] + reach[1]), (middle[0], middle[1] - reach[1]))
    rows = [row * height for row in (0.01, 0.5, 0.99)]
    lengths = [_between(way, grid, (middle[0] - reach[0], row), (middle[0] + reach[0], row))[0] for row in rows]
    if not (np.isfinite([long, tall, *lengths]).all() and min(lengths) > 0 and tall > 0):
        return Ground(shape)
    spread = max(lengths) / min(lengths)
    if grid.crs.is_geographic and spread < UNEVEN:
        shape = (tall / reach[1]) / (long / reach[0])
    mirrored = math.sin(math.radians(bearing_right - bearing_up)) < 0
    lean = (bearing_up if mirrored else -bearing_up + 0.0) % 360
    north = None if min(lean, 360 - lean) < UPRIGHT else lean
    if spread >= UNEVEN:
        return Ground(shape, north=north)
    _, latitude = way(*(np.array([value]) for value in grid.transform @ middle))
    return Ground(shape, long / (2 * reach[0]), float(latitude[0]) if spread > EVEN else None, north)


def ticks_of(grid: Grid, most_across: int, most_down: int) -> Ticks | None:
    """Round longitudes along the lower edge and latitudes along the left one, so many at most; None where there are
    none, or where an edge shows one of them twice."""
    way = _way(grid)
    if way is None:
        return None
    height, width = grid.shape
    cols, rows = np.linspace(0, width, EDGE), np.linspace(height, 0, EDGE)
    longitudes, _ = way(*(grid.transform @ (cols, np.full(EDGE, float(height)))))
    _, latitudes = way(*(grid.transform @ (np.zeros(EDGE), rows)))
    if not np.isfinite([longitudes, latitudes]).all():
        return None
    longitudes = np.rad2deg(np.unwrap(np.deg2rad(longitudes)))
    if not all((np.diff(values) > 0).all() for values in (longitudes, latitudes)):
        return None
    return Ticks(_ticks(longitudes, cols, most_across, "EW"), _ticks(latitudes, rows, most_down, "NS"))


def nice_length(most: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no longer than ``most``."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def _ticks(values: np.ndarray, places: np.ndarray, most: int, letters: str) -> tuple[tuple[float, str], ...]:
    low, high = float(values[0]), float(values[-1])
    step = _step((high - low) / max(most, 1))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    return tuple(
        (float(np.interp(number, values, places)), degrees_said(number, decimals, letters)) for number in numbers
    )


def _step(least: float) -> float:
    """The smallest round step in degrees that is no smaller than ``least``."""
    if least > 5:
        return next((step for step in (10, 15, 20, 30, 45, 60, 90) if step >= least), 180)
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def degrees_said(value: float, decimals: int, letters: str) -> str:
    """Such as 13.4°E; ``letters`` are those of values above 0 and below."""
    value = (value + 180) % 360 - 180 if "E" in letters else value
    rounded = round(value, decimals)
    letter = "" if rounded == 0 or abs(rounded) == 180 else letters[0] if rounded > 0 else letters[1]
    return f"{abs(rounded):.{decimals}f}°{letter}"


def _way(grid: Grid) -> Projection | None:
    """From a grid's CRS to longitude and latitude."""
    if not grid.georeferenced or grid.crs is None or not (grid.crs.is_geographic or grid.crs.is_projected):
        return None
    try:
        return Projection(grid.crs, DEGREES)
    except InputError:
        return None


def _between(way: Projection, grid: Grid, first: tuple[float, float], last: tuple[float, float]) -> tuple[float, float]:
    """Geodesic length between two (col, row), and the bearing at the first."""
    x, y = zip(*(grid.transform @ place for place in (first, last)), strict=True)
    longitude, latitude = way(np.array(x), np.array(y))
    if not np.isfinite([longitude, latitude]).all() or np.abs(latitude).max() > 90:
        return math.nan, math.nan
    bearing, _, metres = pyproj.Geod(ellps="WGS84").inv(longitude[0], latitude[0], longitude[1], latitude[1])
    return metres, bearing
