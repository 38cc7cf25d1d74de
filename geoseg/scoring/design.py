"""geoseg.design_sample: how many points to label, and where, so that their labels can be trusted for the whole map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.files import replace_file
from geoseg.grid import Window
from geoseg.legend import Legend
from geoseg.points import SamplePoints, require_new_points, table_bytes, write_points
from geoseg.qgis import labelling_style
from geoseg.scoring.strata import ClassMap
from geoseg.source import Source

Allocation = Literal["proportional", "equal", "mixed"]
LEAST = 2
"""Points of a class without which its estimate has no variance."""
EXPECTED = 0.8
"""User's accuracy that is expected of a class of which nothing is said."""
REFERENCE = "reference"
"""The column that a person fills in."""
KEY = "key"
"""The column that names the file in which the strata are, where they were put aside."""
DESIGN_COLUMNS = ("stratum", "code", "stratum_pixels", "stratum_ha", "stratum_points", "inclusion")
"""What the estimate needs to know of the design, and a labeller must not see."""


@dataclass(frozen=True, eq=False)
class SampleDesign:
    """A stratified random sample of a map's pixels, drawn and waiting for labels."""

    classes: tuple[str, ...]
    """The strata: the map's classes."""
    pixels: np.ndarray
    """(K,) int64 pixels of each class."""
    hectares: np.ndarray
    """(K,) float64 true area of each class."""
    units: np.ndarray
    """(K,) int64 points drawn from each class."""
    points: SamplePoints
    """The points in random order, at pixel centres in the map's CRS."""
    record: Mapping[str, Any]
    """What decided the draw: the map's name, allocation, seed."""
    notes: tuple[str, ...] = ()
    """What must be known of the sample, such as classes with fewer pixels than points."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        rows = zip(self.classes, self.pixels.tolist(), self.hectares.tolist(), self.units.tolist(), strict=True)
        strata = {name: {"pixels": p, "hectares": ha, "points": n} for name, p, ha, n in rows}
        return {"points": len(self.points), "strata": strata, **self.record, "notes": list(self.notes)}

    def to_text(self) -> str:
        """A table for the terminal."""
        width = max(len(name) for name in (*self.classes, "class"))
        shares = 100 * self.hectares / self.hectares.sum()
        lines = [f"{'class':{width}}  {'mapped ha':>14}  {'% of area':>9}  points"]
        for name, area, share, number in zip(self.classes, self.hectares, shares, self.units, strict=True):
            lines.append(f"{name:{width}}  {area:14,.2f}  {share:9.3f}  {number:6}")
        return "\n".join([*lines, f"{len(self.points)} points to label"])

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"


def sample_size(weights: np.ndarray, users: np.ndarray, target_se: float) -> int:
    """Points for a target standard error of overall accuracy (Olofsson et al. 2014, equation 13; Cochran 1977, 5.25).

    Args:
        weights: (K,) share of the area of each class, summing to 1.
        users: (K,) user's accuracy expected of each class, 0 to 1.
        target_se: standard error of overall accuracy, 0 to 1.
    """
    if not 0 < target_se < 1 or not ((users >= 0) & (users <= 1)).all():
        raise UsageError("the target standard error lies between 0 and 1, and so do expected user's accuracies")
    return math.ceil((np.sum(weights * np.sqrt(users * (1 - users))) / target_se) ** 2)


def allocate(
    total: int, weights: np.ndarray, method: Allocation, least: int = 50, pixels: np.ndarray | None = None
) -> np.ndarray:
    """(K,) int64 points of each class, ``total`` in all, or as many as there are pixels.

    Args:
        weights: (K,) share of the area of each class, none of them 0.
        method: "equal"; "proportional" to the area, but at least 2; "mixed": at least ``least`` of each class, the
            rest in proportion to the area of the classes that have more (Olofsson et al. 2014, section 5.1.2).
        pixels: (K,) pixels of each class, none of them 0: none gets more, and what it does not take goes to the others.

    Raises UsageError where ``total`` does not suffice for the least of every class.
    """
    floor, most = _floor(method, least), np.full(len(weights), np.inf) if pixels is None else np.asarray(pixels)
    low, high = np.minimum(floor, most), np.minimum(total, most)
    if total < low.sum():
        raise UsageError(
            f"{total} points do not suffice for {floor} of each of {len(weights)} classes; ask for at least "
            f"{low.sum():.0f}" + (" or fewer per class (--min-per-class)" if method == "mixed" else "")
        )
    return _whole(_shared_out(total, np.ones(len(weights)) if method == "equal" else weights, low, high))


def design_sample(
    map: str | Path | Source,
    output: str | Path | None = None,
    legend: Legend | str | Path | None = None,
    *,
    size: int | None = None,
    target_se: float | None = None,
    expected_ua: float = EXPECTED,
    class_ua: Mapping[str, float] | None = None,
    allocation: Allocation = "mixed",
    min_per_class: int = 50,
    seed: int = 0,
    key: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> SampleDesign:
    """Draw a stratified random sample of a map's pixels, without replacement; the strata are its classes.

    Within a class a pixel is drawn in proportion to its true area on the ellipsoid, so that each hectare of the class
    has the same chance in any CRS. The map is read twice, in windows.

    Args:
        map: a class raster with a CRS and a transform.
        output: .gpkg, .geojson or .csv; None writes nothing.
        legend: a legend, its name, or its file. None takes the one in the map's tags, else DeepGlobe's.
        size, target_se: number of points, or the standard error of overall accuracy that decides it. One of the two.
        expected_ua, class_ua: user's accuracy expected of every class, and of classes by name, for ``target_se``.
        allocation, min_per_class: see ``allocate``.
        seed: the same seed draws the same points from the same map.
        key: a .csv for the strata and inclusion probabilities; ``output`` then holds nothing that tells a labeller
            the map's class. ``estimate_areas`` takes it back.
        overwrite: replace files that exist.
        progress: show a bar on stderr.

    Raises InputError for an unusable map, UsageError for a design that cannot be, OutputError.
    """
    if allocation not in get_args(Allocation):
        raise UsageError(f"no allocation {allocation!r}; there are {', '.join(get_args(Allocation))}")
    if seed < 0:
        raise UsageError(f"a seed is a whole number >= 0, got {seed}")
    _require_outputs(output, key, overwrite)
    with ClassMap(map, legend, progress) as strata:
        users = _expected_users(strata.classes, expected_ua, class_ua or {})
        pixels, hectares = _count(strata)
        units, notes = _resolve_units(pixels, hectares, size, target_se, users, allocation, min_per_class)
        points = _draw(strata, pixels, hectares, units, seed)
    notes = (*strata.notes, *_say_whole(strata.classes, units, pixels), *notes)
    record = {"map": strata.labels.scene.source.filename, "allocation": allocation, "seed": seed}
    design = SampleDesign(strata.classes, pixels, hectares, units, points, record, notes)
    if output is not None:
        _write(design, Path(output), None if key is None else Path(key))
    return design


class _Smallest:
    """The ``number`` pixels of a stratum with the smallest keys so far.

    Keys are exponential variables divided by the pixel's area: the smallest of them are a draw without replacement,
    one by one in proportion to the area (Efraimidis and Spirakis 2006). For equal areas that is a simple random sample.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.found = np.empty((0, 4))
        """(<= number, 4) float64: key, row, column, hectares."""

    def offer(self, window: Window, inside: np.ndarray, keys: np.ndarray, hectares: np.ndarray) -> None:
        """Take pixels of a window, (H, W) each, where ``inside``."""
        if not self.number:
            return
        if len(self.found) == self.number:
            inside = inside & (keys < self.found[:, 0].max())
        row, col = np.nonzero(inside)
        new = np.column_stack([keys[row, col], row + window.row, col + window.col, hectares[row, col]])
        merged = np.concatenate([self.found, new])
        self.found = merged[np.argsort(merged[:, 0])[: self.number]]


def _count(strata: ClassMap) -> tuple[np.ndarray, np.ndarray]:
    """(K,) int64 pixels and (K,) float64 true hectares of each class."""
    tally = strata.tally()
    for window, index in strata.windows("counting"):
        tally.add(window, index)
    number = len(strata.classes)
    if not tally.counts[:number].sum():
        raise InputError(f"{strata.name}: holds no pixel of the classes {', '.join(strata.classes)}")
    return tally.counts[:number].copy(), tally.hectares[:number].copy()


def _draw(strata: ClassMap, pixels: np.ndarray, hectares: np.ndarray, units: np.ndarray, seed: int) -> SamplePoints:
    rng = np.random.default_rng(seed)
    found = _smallest_keys(strata, units, rng)
    # Shuffled, so that neither the order nor the ids tell a labeller the class.
    stratum, row, col, area = rng.permutation(found).T
    return _as_points(strata, stratum.astype(int), row, col, area, pixels, hectares, units)


def _smallest_keys(strata: ClassMap, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) float64: stratum, row, column, hectares of each pixel drawn."""
    areas = strata.tally()
    smallest = [_Smallest(int(number)) for number in units]
    for window, index in strata.windows("drawing"):
        hectares = areas.pixel_hectares(window)
        keys = rng.standard_exponential(window.shape) / hectares
        for k, kept in enumerate(smallest):
            kept.offer(window, index == k, keys, hectares)
    number = np.repeat(np.arange(len(units)), units)
    found = np.concatenate([kept.found for kept in smallest])
    return np.column_stack([number, found[:, 1:]])


def _as_points(
    strata: ClassMap,
    stratum: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    area: np.ndarray,
    pixels: np.ndarray,
    hectares: np.ndarray,
    units: np.ndarray,
) -> SamplePoints:
    x, y = strata.grid.transform @ (col + 0.5, row + 0.5)
    chance = np.where(units[stratum] == pixels[stratum], 1, units[stratum] * area / hectares[stratum])
    columns = {
        "x": x,
        "y": y,
        "stratum": np.array(strata.classes, object)[stratum],
        "code": np.array(strata.codes)[stratum],
        "stratum_pixels": pixels[stratum],
        "stratum_ha": hectares[stratum],
        "stratum_points": units[stratum],
        "inclusion": np.minimum(chance, 1.0),
        REFERENCE: np.full(len(x), None, object),
    }
    ids = tuple(str(number + 1) for number in range(len(x)))
    return SamplePoints(ids, x, y, strata.grid.crs, columns, f"sample of {strata.name}")


def _resolve_units(
    pixels: np.ndarray,
    hectares: np.ndarray,
    size: int | None,
    target_se: float | None,
    users: np.ndarray,
    allocation: Allocation,
    min_per_class: int,
) -> tuple[np.ndarray, list[str]]:
    """(K,) points of each class, none of a class that the map does not hold; and what there is to say."""
    if (size is None) == (target_se is None):
        raise UsageError("give either the number of points (--size) or the standard error to reach (--target-se)")
    here = pixels > 0
    weights, notes = hectares[here] / hectares.sum(), []
    if target_se is not None:
        needed = sample_size(weights, users[here], target_se)
        size = max(needed, int(np.minimum(_floor(allocation, min_per_class), pixels[here]).sum()))
        notes.append(f"{needed} points give a standard error of {target_se:g} of overall accuracy, drawn in proportion")
        if size > needed:
            notes.append(f"{size} points are drawn, so that every class has its least")
    units = np.zeros(len(pixels), np.int64)
    units[here] = allocate(size, weights, allocation, min_per_class, pixels[here])
    if units.sum() < size:
        notes.append(f"{size} points were wanted, and the map has {units.sum()} pixels of its classes: all are drawn")
    return units, notes


def _floor(method: Allocation, least: int) -> int:
    """The least points of a class that has as many pixels."""
    return max(least, LEAST) if method == "mixed" else LEAST


def _say_whole(classes: tuple[str, ...], units: np.ndarray, pixels: np.ndarray) -> list[str]:
    whole = np.flatnonzero((units == pixels) & (pixels > 0))
    return [f"{classes[k]}: every pixel that it has is drawn ({pixels[k]})" for k in whole]


def _expected_users(classes: tuple[str, ...], expected: float, by_class: Mapping[str, float]) -> np.ndarray:
    unknown = [name for name in by_class if name not in classes]
    if unknown:
        raise UsageError(f"no class {unknown[0]!r} to expect an accuracy of; the classes are {', '.join(classes)}")
    return np.array([by_class.get(name, expected) for name in classes])


def _shared_out(total: int, shares: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(K,) points, not whole: in proportion to the shares, but from ``low`` to ``high``; all ``high`` at most."""
    # Between the factors at which a class reaches an end, the sum is a straight line of the factor.
    factors = np.sort(np.concatenate([low / shares, high / shares]))
    sums = [np.clip(factor * shares, low, high).sum() for factor in factors]
    return np.clip(np.interp(total, sums, factors) * shares, low, high)


def _whole(points: np.ndarray) -> np.ndarray:
    """Rounded so that the sum stays: the largest fractions are rounded up."""
    whole = np.floor(points).astype(np.int64)
    left = round(points.sum()) - whole.sum()
    whole[np.argsort(whole - points, kind="stable")[:left]] += 1
    return whole


def _require_outputs(output: str | Path | None, key: str | Path | None, overwrite: bool) -> None:
    if output is not None:
        require_new_points(output, overwrite)
    if key is not None:
        require_new_points(key, overwrite, (".csv",))
        if output is None or Path(key).resolve() == Path(output).resolve():
            raise UsageError(f"{key}: a key stands beside the points, in a file of its own")


def _write(design: SampleDesign, output: Path, key: Path | None) -> None:
    points, columns = design.points, design.points.columns
    if key is not None:
        secret = {name: columns[name] for name in DESIGN_COLUMNS}
        replace_file(key, table_bytes({"id": np.array(points.ids), **secret}))
        open_columns = {name: values for name, values in columns.items() if name not in DESIGN_COLUMNS}
        open_columns[KEY] = np.full(len(points), key.name, object)
        points = SamplePoints(points.ids, points.x, points.y, points.crs, open_columns)
    hidden = [name for name in DESIGN_COLUMNS if key is None]
    record = {name: str(value) for name, value in design.record.items()}
    write_points(points, output, style=labelling_style(REFERENCE, design.classes, hidden), record=record)
