"""How a prediction lies over its truth: stated, never guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from affine import Affine

from geoseg.errors import GridMismatch
from geoseg.grid import Grid, Window
from geoseg.legend import NO_CLASS
from geoseg.raster.labels import Labels
from geoseg.raster.projection import Projection
from geoseg.raster.resample import nearest_positions

Kind = Literal["same grid", "same size", "nearest", "warped"]

KNOTS = 32
"""Truth pixels between points that are taken from one CRS to the other exactly, at first; between them is a plane."""
DEVIATION = 0.02
"""Prediction pixels by which the plane may miss; the points are laid closer until it does not."""
TIE = 1e-6
"""Pixels by which a centre on the border of two pixels is moved, so that rounding does not decide."""
MOST_WARPED = 1 << 18
"""Truth pixels that are laid over at once, which bounds what their positions take."""
MOST_READ = 1 << 25
"""Prediction pixels that are read at once; the truth's window is halved until fewer lie under it."""


class Positions(NamedTuple):
    """The prediction's pixels under the centres of a window of the truth; all three broadcast to (height, width)."""

    rows: np.ndarray
    """int64."""
    cols: np.ndarray
    inside: np.ndarray
    """True where the centre lies in the prediction's extent; rows and cols are 0 elsewhere."""


@dataclass(frozen=True)
class Alignment:
    """A prediction laid onto the truth's grid by nearest neighbour; nothing is interpolated."""

    truth: Grid
    prediction: Grid
    kind: Kind
    """"same grid"; "same size": not both are georeferenced; "nearest": equal extents at another size; "warped": another
    CRS, resolution, origin or extent."""
    note: str = ""
    """What should be looked at, such as a shifted origin."""

    @property
    def message(self) -> str:
        """One line that says what was done."""
        if self.kind == "same grid":
            return "same grid, pixel by pixel"
        if self.kind == "same size":
            return "same size, pixel by pixel (not both are georeferenced)"
        if self.kind == "warped":
            return f"nearest from {self.prediction} onto the truth's {self.truth}, over their common area"
        (height, width), (rows, cols) = self.prediction.shape, self.truth.shape
        return f"nearest from {height} x {width} px onto the truth's {rows} x {cols} px (rows x columns)"

    @property
    def pixel_by_pixel(self) -> bool:
        """True where both rasters have the same pixels."""
        return self.kind in ("same grid", "same size")

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.truth.crs, self.prediction.crs)

    def positions(self, window: Window) -> Positions:
        """The prediction's pixels under a window of the truth."""
        if self.kind == "warped":
            return _pixels(*self._warped(window), self.prediction.shape)
        rows, cols = (
            nearest_positions(old, new) for old, new in zip(self.prediction.shape, self.truth.shape, strict=True)
        )
        return Positions(rows[window.slices[0], None], cols[None, window.slices[1]], np.ones((1, 1), bool))

    def read(self, prediction: Labels, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 class indices of the prediction under a window of the truth, NO_CLASS where there is none, and
        (H, W) bool, True where the window lies in the prediction's extent. Raises InputError."""
        if self.pixel_by_pixel:
            return prediction.read(window), np.ones(window.shape, bool)
        if self.kind == "warped" and window.area > MOST_WARPED:
            return self._read_halves(prediction, window)
        rows, cols, inside = self.positions(window)
        found = np.full(window.shape, NO_CLASS, np.uint8)
        seen = np.broadcast_to(inside, window.shape)
        if not inside.any():
            return found, seen
        under = _around(rows, cols, inside)
        if under.area > MOST_READ and window.area > 1:
            return self._read_halves(prediction, window)
        values = prediction.read(under)
        taken = values[np.where(inside, rows - under.row, 0), np.where(inside, cols - under.col, 0)]
        np.copyto(found, taken, where=inside)
        return found, seen

    def _read_halves(self, prediction: Labels, window: Window) -> tuple[np.ndarray, np.ndarray]:
        parts = [self.read(prediction, half) for half in _halves(window)]
        axis = 0 if window.height >= window.width else 1
        return tuple(np.concatenate(part, axis) for part in zip(*parts, strict=True))

    def _warped(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """(rows, cols) of the prediction, with fractions, under the truth's pixel centres; not finite where none is."""
        if self.truth.crs == self.prediction.crs or None in (self.truth.crs, self.prediction.crs):
            return _by_transform(self.truth, self.prediction, window)
        step = KNOTS
        while True:
            rows, cols = np.arange(window.height), np.arange(window.width)
            row_knots, col_knots = (_knots(length, step) for length in window.shape)
            at_knots = self._exact(window, row_knots, col_knots)
            if step == 1 or self._deviation(window, row_knots, col_knots, at_knots) <= DEVIATION:
                return tuple(_between(plane, row_knots, col_knots, rows, cols) for plane in at_knots)
            step //= 2

    def _exact(self, window: Window, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """(2, R, C): the prediction's (row, col), with fractions, under centres of the truth's pixels; NaN for none."""
        col, row = np.meshgrid(cols + window.col + 0.5, rows + window.row + 0.5)
        x, y = self._projection(*(self.truth.transform @ (col, row)))
        cols, rows = ~self.prediction.transform @ (x, y)
        return np.stack([rows, _around_the_earth(cols, self.prediction)])

    def _deviation(self, window: Window, rows: np.ndarray, cols: np.ndarray, at_knots: np.ndarray) -> float:
        mid_rows, mid_cols = ((knots[1:] + knots[:-1]) / 2 if len(knots) > 1 else knots for knots in (rows, cols))
        known = np.isfinite(at_knots).all(0)
        if known.any() and not known.all():
            # Between a place and none there is no plane.
            return math.inf
        exact = self._exact(window, mid_rows, mid_cols)
        planes = np.stack([_between(plane, rows, cols, mid_rows, mid_cols) for plane in at_knots])
        off = np.abs(exact - planes)
        return float(np.nanmax(off)) if np.isfinite(off).any() else 0.0


def align(prediction: Grid, truth: Grid, prediction_name: str, truth_name: str) -> Alignment:
    """Decide how ``prediction`` lies over ``truth``.

    Equal grids: pixel by pixel. Equal extents, or no georeference but the same ratio of sides: nearest onto the truth's
    grid. Both georeferenced otherwise: warped by nearest onto the truth's grid, over the common area. Anything else
    raises GridMismatch with both grids; that two georeferenced rasters share no ground is found when they are read.
    """
    both = prediction.georeferenced and truth.georeferenced
    if prediction.gcps != truth.gcps and (prediction.gcps or truth.gcps) and _placed(prediction) and _placed(truth):
        why = "are placed by control points, which are not the same; warp both by gdalwarp first"
        raise GridMismatch(mismatch(prediction, truth, prediction_name, truth_name, why))
    if not both and prediction.shape == truth.shape:
        return Alignment(truth, prediction, "same size")
    if not both and _same_ratio(prediction.shape, truth.shape):
        return Alignment(truth, prediction, "nearest")
    if not both:
        raise GridMismatch(
            mismatch(prediction, truth, prediction_name, truth_name, "differ in the ratio of their sides")
        )
    if (prediction.crs is None) != (truth.crs is None):
        if prediction.shape == truth.shape and prediction.corners_agree(truth, 0.1):
            nameless = prediction_name if prediction.crs is None else truth_name
            return Alignment(truth, prediction, "same grid", f"{nameless} names no CRS, but its corners are the same")
        raise GridMismatch(mismatch(prediction, truth, prediction_name, truth_name, "only one of them names its CRS"))
    if prediction.same_as(truth):
        return Alignment(truth, prediction, "same grid")
    if prediction.shape != truth.shape and prediction.same_extent_as(truth):
        return Alignment(truth, prediction, "nearest")
    return Alignment(truth, prediction, "warped", shift_note(prediction, truth))


def _placed(grid: Grid) -> bool:
    return grid.georeferenced or bool(grid.gcps)


def mismatch(prediction: Grid, truth: Grid, prediction_name: str, truth_name: str, why: str) -> str:
    """One line with both grids."""
    return f"{prediction_name} ({prediction}) does not lie over {truth_name} ({truth}): they {why}"


def shift_note(prediction: Grid, truth: Grid) -> str:
    """What to tell of two rasters of one CRS and pixel whose pixels do not coincide, or whose origins differ.

    "" for rasters of another kind, and for one that is a window of the other's own pixels of another shape.
    """
    step = ~truth.transform @ prediction.transform
    turned = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d)) * max(truth.shape) > 0.1
    if prediction.crs != truth.crs or turned:
        return ""
    around = truth.pixels_around
    if around is not None:
        # A whole turn is no shift.
        step = step @ Affine.translation(-round(step.c / around) * around, 0)
    whole = max(abs(step.c - round(step.c)), abs(step.f - round(step.f))) < 0.1
    if whole and prediction.shape != truth.shape:
        return ""
    metres = truth.pixel_metres
    said = f"the prediction's origin lies {step.f:+.2f} px down and {step.c:+.2f} px right of the truth's"
    if metres:
        said += f" ({step.f * metres[0]:+.2f} m and {step.c * metres[1]:+.2f} m)"
    return said + "; if that is not meant, mend its georeference"


def _same_ratio(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """True where the sides' ratio differs by less than one pixel of the smaller raster."""
    (height, width), (rows, cols) = sorted((first, second))
    return abs(rows * width / cols - height) < 1 and abs(cols * height / rows - width) < 1


def _by_transform(truth: Grid, prediction: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    step = ~prediction.transform @ truth.transform
    row = np.arange(window.row, window.row_stop)[:, None] + 0.5
    col = np.arange(window.col, window.col_stop)[None] + 0.5
    # Rows alone decide rows where neither grid is turned against the other: two lines in place of two planes.
    turned = max(abs(step.b) * truth.shape[0], abs(step.d) * truth.shape[1]) > TIE
    rows = step.d * col + step.e * row + step.f if turned else step.e * row + step.f
    cols = step.a * col + step.b * row + step.c if turned else step.a * col + step.c
    return rows, cols if turned else _around_the_earth(cols, prediction)


def _around_the_earth(cols: np.ndarray, prediction: Grid) -> np.ndarray:
    """Columns of a geographic grid taken into its first turn: 190 degrees east are 170 west."""
    period = prediction.pixels_around
    return cols if period is None else np.mod(cols + TIE, period) - TIE


def _pixels(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> Positions:
    rows, cols = np.floor(rows + TIE), np.floor(cols + TIE)
    on_rows, on_cols = (rows >= 0) & (rows < shape[0]), (cols >= 0) & (cols < shape[1])
    whole = (np.where(on, line, 0).astype(np.int64) for on, line in ((on_rows, rows), (on_cols, cols)))
    return Positions(*whole, on_rows & on_cols)


def _around(rows: np.ndarray, cols: np.ndarray, inside: np.ndarray) -> Window:
    """The smallest window of the prediction that holds the positions inside."""
    (row, row_last), (col, col_last) = (_range(axis, inside) for axis in (rows, cols))
    return Window(row, col, row_last - row + 1, col_last - col + 1)


def _range(axis: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
    low, high = np.iinfo(np.int64).max, -1
    return int(np.where(inside, axis, low).min()), int(np.where(inside, axis, high).max())


def _halves(window: Window) -> tuple[Window, Window]:
    row, col, height, width = window.row, window.col, window.height, window.width
    if height >= width:
        return Window(row, col, height // 2, width), Window(row + height // 2, col, height - height // 2, width)
    return Window(row, col, height, width // 2), Window(row, col + width // 2, height, width - width // 2)


def _knots(length: int, step: int) -> np.ndarray:
    return np.unique(np.append(np.arange(0, length, step), length - 1)).astype(float)


def _between(
    plane: np.ndarray, row_knots: np.ndarray, col_knots: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """A plane known at knots, linearly between them: (R, C) at (H, W) places."""
    for axis, knots, places in ((0, row_knots, rows), (1, col_knots, cols)):
        if len(knots) == 1:
            plane = np.repeat(plane, len(places), axis)
            continue
        left = np.clip(np.searchsorted(knots, places, side="right") - 1, 0, len(knots) - 2)
        share = (places - knots[left]) / (knots[left + 1] - knots[left])
        share = share[:, None] if axis == 0 else share
        low, high = np.take(plane, left, axis), np.take(plane, left + 1, axis)
        # A knot without a place spoils what lies between it and its neighbours only.
        plane = np.where(share == 0, low, low + share * (high - low))
    return plane
