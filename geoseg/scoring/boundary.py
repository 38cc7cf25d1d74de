"""Boundary IoU: how well a map draws the borders between classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS

PixelSize = tuple[float, float] | None
"""(height, width) of a pixel in metres, as Grid.pixel_metres; None takes pixels as the unit of length."""

ROUNDING = 1e-9
"""Relative excess up to which a distance still counts as the one asked for: three times 0.1 is more than 0.3."""
BITS = 8
"""Classes that are looked at together, one bit of a byte each."""


@dataclass(frozen=True, eq=False)
class BoundaryCounts:
    """Pixels near the borders of each class, in the truth and in the map. Counts of windows and of scenes add up."""

    distance: float
    """How far from the border a pixel may lie, in ``unit``."""
    unit: str
    """"m", or "px" where the pixels have no size in metres."""
    intersection: np.ndarray
    """(K,) int64 pixels that lie near the class's border, and in the class, in both."""
    union: np.ndarray
    """(K,) int64 pixels that do so in at least one of the two."""
    truth: np.ndarray
    """(K,) int64 pixels that do so in the truth."""

    @classmethod
    def empty(cls, distance: float, pixel_size: PixelSize, classes: int) -> BoundaryCounts:
        """Counts of zero for ``classes`` classes."""
        zeros = np.zeros(classes, np.int64)
        return cls(distance, "px" if pixel_size is None else "m", zeros, zeros, zeros)

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        if self._what != other._what:
            raise InputError("boundary counts of different distances or legends do not add")
        pairs = zip(self._counts, other._counts, strict=True)
        return BoundaryCounts(self.distance, self.unit, *(mine + theirs for mine, theirs in pairs))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundaryCounts)
            and self._what == other._what
            and all(np.array_equal(mine, theirs) for mine, theirs in zip(self._counts, other._counts, strict=True))
        )

    @property
    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.intersection, self.union, self.truth

    @property
    def _what(self) -> tuple[float, str, int]:
        return self.distance, self.unit, len(self.union)

    def iou(self) -> np.ndarray:
        """(K,) float64 Boundary IoU (Cheng et al. 2021), pooled over all counted pixels.

        NaN for ignored classes and for classes that have a border neither in the truth nor in the map.
        """
        values = np.full(len(self.union), np.nan)
        return np.divide(self.intersection, self.union, out=values, where=self.union > 0)

    def mean_iou(self) -> float:
        """Mean of the values that are not NaN; NaN where there is none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else math.nan


def halo(distance: float, pixel_size: PixelSize) -> tuple[int, int]:
    """(rows, columns) by which a window is grown before ``count_boundary``.

    Raises UsageError where the distance is no number, or less than a pixel in one direction.
    """
    height, width = pixel_size or (1.0, 1.0)
    if not max(height, width) <= distance * (1 + ROUNDING) < math.inf:
        unit = "px" if pixel_size is None else "m"
        raise UsageError(
            f"a boundary distance of {distance:g} {unit} is not at least one pixel, which is {height:g} x {width:g} "
            f"{unit} (height x width); take a larger one"
        )
    half_widths = _half_widths(distance, pixel_size)
    # One more, because whether a pixel stands at a border is seen in its neighbours.
    return len(half_widths), int(half_widths[0]) + 1


def count_boundary(
    truth: np.ndarray,
    prediction: np.ndarray,
    inner: Window,
    pixel_size: PixelSize,
    distance: float,
    classes: int,
    ignored: tuple[int, ...] = (),
) -> BoundaryCounts:
    """Count the pixels near the classes' borders in a window of truth and map.

    Args:
        truth, prediction: (H, W) uint8 class indices, NO_CLASS where there is none, of ``inner`` and ``halo`` around it
            as far as the scene reaches.
        inner: what is counted, relative to the arrays; where these windows cover a scene once, their counts add up to
            those of the whole scene, to the pixel.
        pixel_size: of the whole scene, so that every window means the same by ``distance``.
        distance: in metres, in pixels without a pixel size: from the centre of a pixel of the class to the nearest
            centre of a pixel just across the class's border. At one pixel's side the band is one pixel wide.
        ignored: class indices whose truth pixels count nowhere.

    A border lies along the side that two pixels of different classes share. The scene's edge, pixels without a scored
    truth, and in the map pixels without a prediction make no border. Raises UsageError as ``halo``, InputError for
    indices beyond ``classes``.
    """
    halo(distance, pixel_size)
    scored = ~np.isin(truth, (NO_CLASS, *ignored))
    half_widths = _half_widths(distance, pixel_size)
    of_truth = _border_band(np.where(scored, truth, NO_CLASS), half_widths, classes)[inner.slices]
    of_map = _border_band(np.where(scored, prediction, NO_CLASS), half_widths, classes)[inner.slices]
    intersection = _sizes(of_truth[of_truth == of_map], classes)
    in_truth = _sizes(of_truth, classes)
    union = in_truth + _sizes(of_map, classes) - intersection
    union[list(ignored)] = 0
    return BoundaryCounts(distance, "px" if pixel_size is None else "m", intersection, union, in_truth)


def _sizes(index: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(index.ravel(), minlength=NO_CLASS + 1)[:classes]


def _half_widths(distance: float, pixel_size: PixelSize) -> np.ndarray:
    """The disk of pixels within ``distance``: how far it reaches to each side, by rows from its centre down."""
    height, width = pixel_size or (1.0, 1.0)
    reach = distance * (1 + ROUNDING)
    down = np.arange(int(reach / height) + 1) * height
    return (np.sqrt(np.maximum(reach**2 - down**2, 0)) / width).astype(int)


def _border_band(index: np.ndarray, half_widths: np.ndarray, classes: int) -> np.ndarray:
    """(H, W) uint8: the class index of pixels near their class's border, NO_CLASS elsewhere."""
    present = np.flatnonzero(np.bincount(index.ravel(), minlength=NO_CLASS + 1)[:NO_CLASS])
    if len(present) and present[-1] >= classes:
        raise InputError(f"class indices beyond the legend's {classes} classes")
    band = np.full_like(index, NO_CLASS)
    for group in np.split(present, range(BITS, len(present), BITS)):
        bit = np.zeros(NO_CLASS + 1, np.uint8)
        bit[group] = 1 << np.arange(len(group))
        own = bit[index]
        near = _spread(_across(own, index), half_widths) & own > 0
        band[near] = index[near]
    return band


def _across(own: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(H, W) uint8: at each pixel with a class the bits of the other classes that share a side with it."""
    bits = np.zeros_like(own)
    bits[1:] |= own[:-1]
    bits[:-1] |= own[1:]
    bits[:, 1:] |= own[:, :-1]
    bits[:, :-1] |= own[:, 1:]
    bits &= ~own
    bits[index == NO_CLASS] = 0
    return bits


def _spread(bits: np.ndarray, half_widths: np.ndarray) -> np.ndarray:
    """(H, W) uint8: at each pixel the bits of all pixels of the disk around it.

    The disk's rows from its ends to its middle: each is as wide as the one before or wider, so one run grows.
    """
    spread, run, reached = np.zeros_like(bits), bits.copy(), 0
    for down in reversed(range(len(half_widths))):
        for across in range(reached + 1, half_widths[down] + 1):
            run[:, across:] |= bits[:, :-across]
            run[:, :-across] |= bits[:, across:]
        reached = half_widths[down]
        rows = max(len(bits) - down, 0)
        spread[down:] |= run[:rows]
        spread[:rows] |= run[down:]
    return spread
