"""Where pixels are: integer windows of a raster, and the grid that gives them a place on Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from affine import Affine

from geoseg.errors import GridMismatch, UsageError

if TYPE_CHECKING:
    import rasterio.windows


@dataclass(frozen=True, order=True)
class Window:
    """An integer pixel rectangle: (row, col) of its upper left pixel, height and width in pixels."""

    row: int
    """First row, counted from the raster's first row, >= 0."""
    col: int
    """First column, >= 0."""
    height: int
    """Rows, >= 1."""
    width: int
    """Columns, >= 1."""

    def __post_init__(self) -> None:
        values = (self.row, self.col, self.height, self.width)
        if not all(float(value).is_integer() for value in values):
            raise UsageError(f"a window has whole pixels only, got {values}")
        if self.row < 0 or self.col < 0 or self.height < 1 or self.width < 1:
            raise UsageError(f"a window starts at 0 or later and is at least 1 x 1, got {values}")
        for name, value in zip(("row", "col", "height", "width"), values, strict=True):
            object.__setattr__(self, name, int(value))

    @classmethod
    def of(cls, window: Window | rasterio.windows.Window) -> Window:
        """A geoseg window from itself or from a rasterio window with whole pixels."""
        if isinstance(window, cls):
            return window
        return cls(window.row_off, window.col_off, window.height, window.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def row_stop(self) -> int:
        """The row after the last."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """The column after the last."""
        return self.col + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) to index the last two axes of an array with."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def intersect(self, other: Window) -> Window | None:
        """The common rectangle, or None."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_stop, other.row_stop) - row
        width = min(self.col_stop, other.col_stop) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def relative_to(self, outer: Window) -> Window:
        """The same rectangle counted from the upper left pixel of ``outer``, which holds it."""
        return replace(self, row=self.row - outer.row, col=self.col - outer.col)

    def grown(self, rows: int, cols: int, shape: tuple[int, int]) -> Window:
        """The rectangle with so many rows and columns more on each side, as far as a raster of ``shape`` reaches."""
        row, col = max(self.row - rows, 0), max(self.col - cols, 0)
        return Window(row, col, min(self.row_stop + rows, shape[0]) - row, min(self.col_stop + cols, shape[1]) - col)

    def to_rasterio(self) -> rasterio.windows.Window:
        """The same rectangle as rasterio has it, with columns first."""
        from rasterio.windows import Window as RasterioWindow

        return RasterioWindow(self.col, self.row, self.width, self.height)


class GroundControlPoint(NamedTuple):
    """A pixel position (row, col; fractions allowed) and its place (x, y, z) in the grid's CRS."""

    row: float
    col: float
    x: float
    y: float
    z: float


IDENTITY = Affine.identity()
SEMI_MAJOR, ECCENTRICITY_2 = 6378137.0, 0.00669437999014
"""Of the WGS 84 ellipsoid: metres, and the first eccentricity squared."""


@dataclass(frozen=True)
class Grid:
    """The pixel plane of a raster. Slicing it, ``grid[window]``, gives the georeference of the slice.

    Pixel (row, col) covers the square from (col, row) to (col + 1, row + 1) of ``transform``.
    """

    crs: Any
    """rasterio CRS of ``transform`` or of ``gcps``, None where the file has none."""
    transform: Affine
    """(col, row) of a pixel corner to (x, y) in the CRS; the identity without a georeference."""
    shape: tuple[int, int]
    """(height, width) in pixels."""
    gcps: tuple[GroundControlPoint, ...] = ()
    """Ground control points, where the file has them in place of a transform."""
    rpcs: tuple[tuple[str, str], ...] = ()
    """Rational polynomial coefficients as (name, value) tags, where the file has them."""

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise UsageError(f"a grid has (height, width) >= 1, got {self.shape}")

    @property
    def window(self) -> Window:
        """The window of the whole grid."""
        return Window(0, 0, *self.shape)

    @property
    def georeferenced(self) -> bool:
        """True where the file places its pixels by a transform (a CRS alone does not)."""
        return self.transform != IDENTITY

    @property
    def resolution(self) -> tuple[float, float]:
        """(height, width) of a pixel in CRS units."""
        t = self.transform
        return (t.b**2 + t.e**2) ** 0.5, (t.a**2 + t.d**2) ** 0.5

    @property
    def pixel_metres(self) -> tuple[float, float] | None:
        """(height, width) of a pixel in metres on the ground; None without a transform or a CRS.

        In a geographic CRS its degrees are those of WGS 84 at the latitude of the grid's centre. In a projected CRS its
        units are taken for distances on the ground; those of Mercator are brought to it at the same latitude.
        """
        if not self.georeferenced or self.crs is None or not (self.crs.is_geographic or self.crs.is_projected):
            return None
        t = self.transform
        _, y = t @ (self.shape[1] / 2, self.shape[0] / 2)
        if self.crs.is_geographic:
            degrees = math.degrees(self.crs.units_factor[1])
            north, east = (metres * degrees for metres in metres_per_degree(y * degrees))
        else:
            metres = self.crs.linear_units_factor[1]
            east = north = metres / math.cosh(y * metres / SEMI_MAJOR) if _is_mercator(self.crs) else metres
        return math.hypot(t.b * east, t.e * north), math.hypot(t.a * east, t.d * north)

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance: the geometric mean of ``pixel_metres``; None where there are none."""
        return None if self.pixel_metres is None else math.sqrt(math.prod(self.pixel_metres))

    @property
    def pixels_around(self) -> float | None:
        """Pixels of a whole turn of longitude; None unless the CRS is geographic and columns run along parallels."""
        turned = self.transform.b != 0 or self.transform.d != 0
        if not self.georeferenced or turned or self.crs is None or not self.crs.is_geographic:
            return None
        return 2 * math.pi / self.crs.units_factor[1] / abs(self.transform.a)

    def __getitem__(self, window: Window) -> Grid:
        return Grid(
            self.crs,
            self.transform @ Affine.translation(window.col, window.row) if self.georeferenced else IDENTITY,
            window.shape,
            tuple(p._replace(row=p.row - window.row, col=p.col - window.col) for p in self.gcps),
            tuple(_shift_rpc(name, value, window) for name, value in self.rpcs),
        )

    def coarsened(self, factor: int) -> Grid:
        """The grid whose pixels are ``factor`` x ``factor`` of this one's, from the same corner, the last ones reaching
        beyond it; without RPCs."""
        return Grid(
            self.crs,
            self.transform @ Affine.scale(factor) if self.georeferenced else IDENTITY,
            tuple(-(-length // factor) for length in self.shape),
            tuple(p._replace(row=p.row / factor, col=p.col / factor) for p in self.gcps),
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top): the rectangle along the axes of the CRS that holds the grid."""
        x, y = zip(*_corners(self), strict=True)
        return min(x), min(y), max(x), max(y)

    def same_as(self, other: Grid, tolerance: float = 0.1) -> bool:
        """True where both cover the same pixels: CRS and shape equal, corners within ``tolerance`` pixels."""
        return self.crs == other.crs and self.shape == other.shape and self.corners_agree(other, tolerance)

    def same_extent_as(self, other: Grid, tolerance: float = 0.5) -> bool:
        """True where the outer corners agree within ``tolerance`` pixels of the finer grid, whatever the shapes."""
        return self.crs == other.crs and self.corners_agree(other, tolerance)

    def corners_agree(self, other: Grid, tolerance: float) -> bool:
        """True where the coordinates of the outer corners agree, in pixels of the finer grid, whatever the CRS."""
        mine, theirs = _corners(self), _corners(other)
        pixel = min(*self.resolution, *other.resolution)
        return all(
            abs(x - u) <= tolerance * pixel and abs(y - v) <= tolerance * pixel
            for (x, y), (u, v) in zip(mine, theirs, strict=True)
        )

    def __str__(self) -> str:
        height, width = self.shape
        size = f"{height} x {width} px (rows x columns)"
        if not self.georeferenced:
            return f"{size}, {f'{len(self.gcps)} control points' if self.gcps else 'no georeference'}"
        crs = self.crs.to_string() if self.crs else "no CRS"
        down, across = self.resolution
        x, y = self.transform @ (0, 0)
        return f"{size}, {crs}, pixel {down:.6g} x {across:.6g}, origin ({x:.10g}, {y:.10g})"


def _is_mercator(crs: Any) -> bool:
    """True for Mercator that is true at the equator, as Web Mercator is: elsewhere its metres are too short."""
    terms = crs.to_dict()
    return terms.get("proj") == "merc" and not terms.get("lat_ts") and terms.get("k", 1) == 1


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """(along the meridian, along the parallel) on WGS 84 at a latitude in degrees (Snyder 1987, eq. 4-18 to 4-20)."""
    phi = math.radians(latitude)
    flattening = 1 - ECCENTRICITY_2 * math.sin(phi) ** 2
    meridian, across = SEMI_MAJOR * (1 - ECCENTRICITY_2) / flattening**1.5, SEMI_MAJOR / math.sqrt(flattening)
    return math.radians(meridian), math.radians(across * max(math.cos(phi), 0.0))


def require_same_shape(first: Grid, second: Grid, first_name: str, second_name: str) -> None:
    """Raise GridMismatch unless the two grids have the same height and width."""
    if first.shape != second.shape:
        raise GridMismatch(
            f"{second_name} ({second}) is not on the grid of {first_name} ({first}); export it on the same grid"
        )


def _corners(grid: Grid) -> list[tuple[float, float]]:
    height, width = grid.shape
    return [grid.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]


def _shift_rpc(name: str, value: str, window: Window) -> tuple[str, str]:
    offset = {"LINE_OFF": window.row, "SAMP_OFF": window.col}.get(name)
    return (name, value) if offset is None else (name, repr(float(value) - offset))
