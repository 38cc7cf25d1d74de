"""Accuracy and area of a map's classes from a probability sample: the estimators, on numbers alone.

Both articles' formulas are one: stratified means of values seen at the sample units, and ratios of two such means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.metrics import or_none

OLOFSSON = "Olofsson et al. 2014 (strata are the map's classes)"
STEHMAN = "Stehman 2014 (strata are not the map's classes)"
ROUNDING = 1e-14
"""Standard errors of shares below it come from the order of sums."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """One estimated figure, or one a class, with its standard error and interval."""

    value: np.ndarray
    """() or (K,) float64; NaN where the figure is not defined."""
    error: np.ndarray
    """Standard error, of the same shape and unit; NaN where the figure is not defined."""
    low: np.ndarray
    """Lower end of the interval, not below 0."""
    high: np.ndarray
    """Upper end of the interval, not above what is possible (1, or the whole area)."""


@dataclass(frozen=True, eq=False)
class AreaEstimates:
    """Areas and accuracies of K classes, with intervals that hold for the whole map."""

    classes: tuple[str, ...]
    """Names, in the order of every array here."""
    method: str
    """The article whose estimator was used."""
    level: float
    """Confidence level of all intervals."""
    counts: np.ndarray
    """(K, K) int64 sample units, rows map, columns reference."""
    proportions: np.ndarray
    """(K, K) float64 estimated share of the whole area, rows map, columns reference; sums to 1."""
    mapped: np.ndarray
    """(K,) float64 area that the map gives each class, in hectares."""
    area: Estimate
    """(K,) estimated true area of each class, in hectares."""
    overall: Estimate
    """() overall accuracy: share of the area that is mapped right."""
    users: Estimate
    """(K,) user's accuracy: share of a class's mapped area that is right; NaN for a class that is not mapped."""
    producers: Estimate
    """(K,) producer's accuracy: share of a class's true area mapped so; NaN where the reference never saw it."""
    notes: tuple[str, ...] = ()
    """What was said on the way: points left out, which strata."""

    @property
    def z(self) -> float:
        """Half width of an interval in standard errors."""
        return _z(self.level)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN becomes null, areas are in hectares."""
        return {
            "method": self.method,
            "level": self.level,
            "sample_units": int(self.counts.sum()),
            "overall_accuracy": self._record(self.overall, ()),
            "classes": {name: self._class_record(i) for i, name in enumerate(self.classes)},
            "matrix": {
                "rows": "map",
                "columns": "reference",
                "classes": list(self.classes),
                "counts": self.counts.tolist(),
                "area_proportions": self.proportions.tolist(),
            },
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Tables for the terminal: areas and accuracies, then the matrix of area shares in percent."""
        width = max(len(name) for name in (*self.classes, "class"))
        head = f"{'class':{width}}  {'mapped ha':>14}  {'area ha':>14}  {f'{100 * self.level:.4g} % +-':>12}"
        lines = [f"{head}  {'users accuracy':24}  {'producers accuracy':24}  units"]
        for i, name in enumerate(self.classes):
            area = f"{self.area.value[i]:14,.2f}  {self.z * self.area.error[i]:12,.2f}"
            accuracies = f"{_interval(self.users, i):24}  {_interval(self.producers, i):24}"
            lines.append(f"{name:{width}}  {self.mapped[i]:14,.2f}  {area}  {accuracies}  {self.counts[i].sum():5}")
        lines += [f"overall accuracy {_interval(self.overall, ())}", f"{self.counts.sum()} units, {self.method}"]
        return "\n".join([*lines, "", *self._matrix_lines(width)])

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{self.area.value[i]:,.2f} &plusmn; {self.z * self.area.error[i]:,.2f}</td>"
            f"<td>{_interval(self.users, i)}</td><td>{_interval(self.producers, i)}</td></tr>"
            for i, name in enumerate(self.classes)
        )
        head = "<tr><th>class</th><th>area ha</th><th>user's accuracy</th><th>producer's accuracy</th></tr>"
        return f"<table><caption>overall accuracy {_interval(self.overall, ())}</caption>{head}{rows}</table>"

    def _matrix_lines(self, width: int) -> list[str]:
        widths = [max(len(name), 8) for name in self.classes]
        names = "  ".join(f"{name:>{n}}" for name, n in zip(self.classes, widths, strict=True))
        lines = ["% of the area, rows map, columns reference", f"{'':{width}}  {names}"]
        for name, row in zip(self.classes, 100 * self.proportions, strict=True):
            lines.append(f"{name:{width}}  " + "  ".join(f"{v:{n}.4f}" for v, n in zip(row, widths, strict=True)))
        return lines

    def _class_record(self, i: int) -> dict[str, Any]:
        figures = {"area_ha": self.area, "users_accuracy": self.users, "producers_accuracy": self.producers}
        units = {"units_mapped": int(self.counts[i].sum()), "units_reference": int(self.counts[:, i].sum())}
        record = {name: self._record(figure, i) for name, figure in figures.items()}
        return {"mapped_ha": float(self.mapped[i])} | record | units

    def _record(self, figures: Estimate, i: int | tuple[()]) -> dict[str, float | None]:
        value, error = figures.value[i], figures.error[i]
        parts = {"value": value, "standard_error": error, "half_width": self.z * error}
        parts |= {"low": figures.low[i], "high": figures.high[i]}
        return {name: or_none(part) for name, part in parts.items()}


def olofsson_2014(
    counts: np.ndarray,
    mapped: Sequence[float] | np.ndarray,
    classes: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    pixels: Sequence[int] | np.ndarray | None = None,
) -> AreaEstimates:
    """Estimate from a count matrix of a sample that is stratified by the map's own classes.

    Olofsson et al. 2014, Remote Sensing of Environment 148, equations 1 to 11. They hold too, as post-stratified
    estimates, for a simple random sample.

    Args:
        counts: (K, K) whole sample units, rows map, columns reference.
        mapped: (K,) area of each class in the map, in hectares.
        classes: K names; None numbers them.
        level: confidence level, between 0 and 1.
        pixels: (K,) pixels of each class in the map, where known: a class of which every pixel was sampled has no
            sampling error. No other finite-population factor is applied, as in the article.

    Overall and user's accuracies whose standard error is 0 have Wilson's interval. Raises InputError: shapes, a
    mapped class with fewer than two sample units, units of a class without an area, more units than pixels.
    """
    counts, mapped = np.asarray(counts), np.asarray(mapped, float)
    _require_counts(counts, mapped)
    names, units = _names(classes, len(counts)), counts.sum(1)
    row, column = np.nonzero(counts)
    most = np.full(len(counts), np.inf) if pixels is None else np.asarray(pixels)
    sample = _Sample(row, row, column, counts[row, column], mapped, np.where(units == most, 0.0, 1.0), names)
    _require_room(units, most, mapped, names)
    return _estimate(sample, names, mapped, level, OLOFSSON)


def stehman_2014(
    stratum: np.ndarray,
    mapped_class: np.ndarray,
    reference_class: np.ndarray,
    sizes: Sequence[float] | np.ndarray,
    *,
    units: Sequence[int] | np.ndarray | None = None,
    classes: Sequence[str],
    strata: Sequence[str] | None = None,
    mapped: np.ndarray | None = None,
    level: float = 0.95,
) -> AreaEstimates:
    """Estimate from sample units whose strata are not the map's classes.

    Stehman 2014, International Journal of Remote Sensing 35(13), equations 2, 25, 27 and 28, with
    the finite-population factor of each stratum.

    Args:
        stratum, mapped_class, reference_class: (n,) int, indices of ``strata`` and of ``classes`` (twice).
        sizes: (H,) area of each stratum in hectares.
        units: (H,) pixels of each stratum, for the finite-population factor; None takes ``sizes`` as pixels.
        mapped: (K,) area of each class in the map, for the table; None estimates it.
        level: confidence level, between 0 and 1.

    Raises InputError as ``olofsson_2014``, and where a stratum has more sample units than pixels.
    """
    sizes = np.asarray(sizes, float)
    names = _names(strata, len(sizes))
    units = sizes if units is None else np.asarray(units)
    taken = np.bincount(stratum, minlength=len(sizes))
    if (taken > units).any():
        raise InputError(f"stratum {names[int((taken > units).argmax())]!r} has more sample units than pixels")
    finite = 1 - np.divide(taken, units, out=np.zeros(len(sizes)), where=units > 0)
    ones = np.ones(len(stratum), np.int64)
    sample = _Sample(stratum, mapped_class, reference_class, ones, sizes, finite, names)
    return _estimate(sample, tuple(classes), mapped, level, STEHMAN)


def wilson_interval(share: float, units: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a single proportion seen in ``units`` independent units (Wilson 1927); wide enough at 0 and 1."""
    z2 = _z(level) ** 2
    middle, half = share + z2 / (2 * units), math.sqrt(z2 * (share * (1 - share) + z2 / (4 * units)) / units)
    return max((middle - half) / (1 + z2 / units), 0.0), min((middle + half) / (1 + z2 / units), 1.0)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Cells of sample units that have stratum, map class and reference class in common."""

    stratum: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    count: np.ndarray
    sizes: np.ndarray
    """(H,) area of each stratum."""
    finite: np.ndarray
    """(H,) factor of each stratum's variance: 1, or the share that was not sampled."""
    strata: tuple[str, ...]

    def __post_init__(self) -> None:
        if (self.sizes < 0).any() or not np.isfinite(self.sizes).all() or not self.sizes.sum():
            raise InputError("the areas of the strata must be 0 or more, and one of them more")
        few = (self.sizes > 0) & ((self.taken == 0) | ((self.taken == 1) & (self.finite > 0)))
        if few.any():
            first = int(few.argmax())
            have = "no sample unit" if self.taken[first] == 0 else "one sample unit, hence no variance"
            raise InputError(
                f"stratum {self.strata[first]!r} has an area but {have}: sample at least two units of it, or merge it "
                "with another class"
            )

    @property
    def taken(self) -> np.ndarray:
        """(H,) sample units of each stratum."""
        return np.bincount(self.stratum, self.count, minlength=len(self.sizes))

    @property
    def weights(self) -> np.ndarray:
        """(H,) share of the whole area in each stratum."""
        return self.sizes / self.sizes.sum()

    def share(self, value: np.ndarray) -> float:
        """Estimated mean over the area of a value seen in each cell (Stehman's equation 2)."""
        return float((self.weights * self._means(value)).sum())

    def error(self, value: np.ndarray) -> float:
        """Standard error of ``share`` (Stehman's equation 25)."""
        off = value - self._means(value)[self.stratum]
        squares = np.bincount(self.stratum, self.count * off**2, minlength=len(self.sizes))
        variance = squares / np.maximum(self.taken - 1, 1) / np.maximum(self.taken, 1)
        error = math.sqrt((self.weights**2 * self.finite * variance).sum())
        return error if error > ROUNDING else 0.0

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
        """Share of ``whole`` that is ``part`` and its standard error (equations 27 and 28); NaN where there is none."""
        base = self.share(whole)
        if not base:
            return math.nan, math.nan
        ratio = self.share(part) / base
        return ratio, self.error(part - ratio * whole) / base

    def wilson(self, part: np.ndarray, whole: np.ndarray, level: float) -> tuple[float, float]:
        """Wilson's interval of ``ratio`` for a ``part`` of a ``whole``, both 0 or 1; strata seen whole are certain.

        Units count by what they stand for: as (sum of w)^2 / (sum of w^2) units of equal weight (Kish 1965).
        """
        weight = whole * (self.weights / np.maximum(self.taken, 1))[self.stratum]
        open_ = np.where(self.finite[self.stratum] > 0, self.count * weight, 0)
        value, base = self.ratio(part * whole, whole)[0], self.share(whole)
        if not open_.any():
            return value, value
        share, uncertain = (open_ * part).sum() / open_.sum(), open_.sum() / base
        low, high = wilson_interval(share, open_.sum() ** 2 / (open_ * weight).sum(), level)
        return max(value - uncertain * (share - low), 0.0), min(value + uncertain * (high - share), 1.0)

    def _means(self, value: np.ndarray) -> np.ndarray:
        sums = np.bincount(self.stratum, self.count * value, minlength=len(self.sizes))
        return sums / np.maximum(self.taken, 1)


def _estimate(
    sample: _Sample, classes: tuple[str, ...], mapped: np.ndarray | None, level: float, method: str
) -> AreaEstimates:
    if not 0 < level < 1:
        raise UsageError(f"the confidence level lies between 0 and 1, got {level}")
    number, total = range(len(classes)), float(sample.sizes.sum())
    right, everything = sample.mapped == sample.reference, np.ones(len(sample.count))
    is_map, is_reference = (np.array([1.0 * (side == k) for k in number]) for side in (sample.mapped, sample.reference))
    users, producers = ([sample.ratio(right * here, here) for here in side] for side in (is_map, is_reference))
    areas = total * np.array([sample.ratio(here, everything) for here in is_reference])
    overall = _wald(np.array(sample.ratio(1.0 * right, everything)), level)
    counts, proportions = _matrices(sample, len(classes))
    return AreaEstimates(
        classes,
        method,
        level,
        counts,
        proportions,
        proportions.sum(1) * total if mapped is None else mapped,
        _wald(areas, level, total),
        _with_wilson(overall, sample, everything, level),
        _with_wilson(_wald(np.array(users), level), sample, is_map, level),
        _wald(np.array(producers), level),
    )


def _matrices(sample: _Sample, classes: int) -> tuple[np.ndarray, np.ndarray]:
    cell = sample.mapped * classes + sample.reference
    share = sample.weights[sample.stratum] * sample.count / sample.taken[sample.stratum]
    both = [np.bincount(cell, values, classes**2).reshape(classes, classes) for values in (sample.count, share)]
    return both[0].astype(np.int64), both[1]


def _wald(pairs: np.ndarray, level: float, most: float = 1.0) -> Estimate:
    """From (..., 2) values and standard errors; the interval is Wald's, cut to what is possible."""
    value, error = pairs[..., 0], pairs[..., 1]
    half = _z(level) * error
    return Estimate(value, error, np.clip(value - half, 0, most), np.clip(value + half, 0, most))


def _with_wilson(found: Estimate, sample: _Sample, wholes: np.ndarray, level: float) -> Estimate:
    """A share right of each of ``wholes`` (..., cells): with a standard error of 0 it is still not certain."""
    low, high = np.array(found.low), np.array(found.high)
    for k in np.ndindex(low.shape):
        if found.error[k] == 0:
            low[k], high[k] = sample.wilson(sample.mapped == sample.reference, wholes[k], level)
    return replace(found, low=low, high=high)


def _require_counts(counts: np.ndarray, mapped: np.ndarray) -> None:
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or mapped.shape != counts.shape[:1]:
        raise InputError(f"expected (K, K) counts and K areas, got {counts.shape} and {mapped.shape}")
    if not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise InputError("counts of sample units are whole numbers >= 0, not areas or shares")


def _require_room(units: np.ndarray, pixels: np.ndarray, mapped: np.ndarray, names: tuple[str, ...]) -> None:
    for name, taken, there, area in zip(names, units, pixels, mapped, strict=True):
        if taken and not area:
            raise InputError(f"{name!r} has sample units but no area; where the map does not hold it, no unit can")
        if taken > there:
            raise InputError(f"{name!r} has {taken} sample units but {there:.0f} pixels")


def _names(names: Sequence[str] | None, number: int) -> tuple[str, ...]:
    names = tuple(str(i) for i in range(number)) if names is None else tuple(names)
    if len(names) != number:
        raise InputError(f"expected {number} names, got {len(names)}")
    return names


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _interval(figures: Estimate, i: int | tuple[()]) -> str:
    value = figures.value[i]
    return "n/a" if np.isnan(value) else f"{value:.4f} ({figures.low[i]:.4f}-{figures.high[i]:.4f})"
