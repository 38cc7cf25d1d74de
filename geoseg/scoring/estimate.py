"""geoseg.estimate_areas: from a map and labelled points, or from a matrix of counts, to areas with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoseg.class_values import ClassValues
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend
from geoseg.points import SamplePoints, read_points, read_table
from geoseg.scoring.area import AreaEstimates, olofsson_2014, stehman_2014
from geoseg.scoring.design import KEY, REFERENCE
from geoseg.scoring.strata import ClassMap
from geoseg.source import Source

STRATUM = "stratum"
SIZES = "area_ha", "pixels"
"""Columns of a table of counts that say how large the map's classes are."""
SUMS = "total", "sum"
"""What people call rows and columns of a table that are no class."""


def estimate_areas(
    map: str | Path | Source,
    sample: SamplePoints | str | Path,
    legend: Legend | str | Path | None = None,
    *,
    key: str | Path | None = None,
    label_field: str = REFERENCE,
    stratum_field: str = STRATUM,
    level: float = 0.95,
    drop_unlabelled: bool = False,
    progress: bool = False,
) -> AreaEstimates:
    """Estimate the true area of a map's classes, and its accuracy, from points that were drawn at random and labelled.

    Without a column of strata, or where the strata are the map's own classes: ``olofsson_2014``. Where the sample was
    drawn from the strata of another map, whose sizes ``design_sample`` noted in the points: ``stehman_2014``. Areas are
    true areas on the ellipsoid, in hectares. The map is read once, in windows.

    Args:
        map: a class raster with a CRS and a transform.
        sample: points, or their file (``read_points``), in any CRS.
        legend: a legend, its name, or its file. None takes the one in the map's tags, else DeepGlobe's.
        key: the file of strata that ``design_sample`` put aside.
        label_field: column of the reference classes, by name or code.
        stratum_field: column of the stratum that each point was drawn from.
        level: confidence level of the intervals.
        drop_unlabelled: leave out points without a label, or missing from the file. That is sound only where being
            labelled has nothing to do with the class.
        progress: show a bar on stderr.

    Raises InputError: unknown classes, points without a label, points of a design where the map holds no class,
    classes with fewer than two points, a raster as sample.
    """
    points = sample if isinstance(sample, SamplePoints) else read_points(sample)
    points = _with_strata(points, key)
    with ClassMap(map, legend, progress) as strata:
        reference = reference_classes(points, label_field, strata)
        points, reference, notes = _labelled(points, reference, label_field, stratum_field, drop_unlabelled)
        seen = _look_at(strata, points)
    seen, reference, more = _on_the_map(seen, reference, strata.name, stratum_field)
    notes = (*strata.notes, *seen.notes, *notes, *more, *_say_assumed(seen.points, stratum_field))
    if not len(reference):
        raise InputError(f"{points.name}: no labelled point lies on {strata.name}")
    if seen.own_strata(strata, stratum_field):
        found = _by_own_classes(seen, reference, strata, level)
        return replace(found, notes=(*notes, *_remarks(found)))
    found, more = _by_other_strata(seen, reference, strata, stratum_field, level)
    return replace(found, notes=(*notes, *more, *_remarks(found)))


def areas_from_counts(path: str | Path, *, pixel_ha: float | None = None, level: float = 0.95) -> AreaEstimates:
    """Estimate from a CSV file of counts: rows map classes, columns reference classes (``olofsson_2014``).

    The first column names the map's classes. A column ``area_ha`` has their mapped areas in hectares, or a column
    ``pixels`` their pixels of ``pixel_ha`` hectares each. The other columns are named like the rows; a class that only
    one side has gets a row or a column of zeros, and the notes name those without a row. An empty count is 0; an empty
    size, both sizes, sums of the others, and more units than pixels or area allow are refused.

    Args:
        path: the CSV file.
        pixel_ha: hectares of a pixel, with a column ``pixels``.
        level: confidence level of the intervals, between 0 and 1.

    Raises InputError.
    """
    path = Path(path)
    table = read_table(path)
    first, *others = table
    size = _size_column(others, pixel_ha, path)
    rows, columns = [str(name) for name in table[first]], [name for name in others if name != size]
    classes = tuple(dict.fromkeys([*rows, *columns]))
    counts, sizes = np.zeros((len(classes), len(classes)), np.int64), np.zeros(len(classes))
    if len(set(rows)) < len(rows):
        raise InputError(f"{path}: names a class of the map in two rows")
    place = [classes.index(name) for name in rows]
    sizes[place] = _numbers(table[size], size, path)
    for name in columns:
        counts[place, classes.index(name)] = _numbers(table[name], name, path, whole=True)
    _require_no_sums(counts, classes, path)
    try:
        pixels = None if pixel_ha is None else sizes
        found = olofsson_2014(counts, sizes * (pixel_ha or 1.0), classes, level=level, pixels=pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    alone = [name for name in columns if name not in rows]
    notes = [f"only columns have these classes, so the map has no area of them: {', '.join(alone)}"] if alone else []
    return replace(found, notes=(*notes, *_remarks(found)))


def reference_classes(points: SamplePoints, field: str, strata: ClassMap) -> np.ndarray:
    """(n,) int stratum numbers of the labels in a column, by name or code; NO_CLASS without one, or ignored.

    Raises InputError that lists labels which are no class.
    """
    values = ClassValues.of(strata.legend).indices(points.column(field), f"{points.name}: column {field!r}")
    return strata.numbers[values].astype(int)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The map's sizes, and what it holds at the points."""

    points: SamplePoints
    mapped: np.ndarray
    """(n,) int stratum numbers at the points; NO_CLASS off the map, on nodata and on ignored classes."""
    pixels: np.ndarray
    hectares: np.ndarray
    notes: tuple[str, ...]

    def where(self, chosen: np.ndarray) -> _Seen:
        return replace(self, points=self.points.where(chosen), mapped=self.mapped[chosen])

    def own_strata(self, strata: ClassMap, field: str) -> bool:
        """True where nothing says that the points were drawn from anything else than this map's classes."""
        if field not in self.points.columns:
            return True
        classes = ClassValues.of(strata.legend)
        drawn = [classes.index(value) for value in self.points.column(field)]
        # What is no class of this map (None) equals none of its numbers.
        drawn = np.array([index if index is None else int(strata.numbers[index]) for index in drawn], object)
        sizes = "stratum_pixels" in self.points.columns
        same = not sizes or (self.points.numbers("stratum_pixels") == self.pixels[self.mapped]).all()
        return bool((drawn == self.mapped).all() and same)


def _with_strata(points: SamplePoints, key: str | Path | None) -> SamplePoints:
    if key is not None:
        return points.joined(key)
    if KEY in points.columns:
        raise InputError(f"{points.name}: its strata were put aside in {points.columns[KEY][0]}; give that as --key")
    return points


def _say_assumed(points: SamplePoints, stratum_field: str) -> list[str]:
    if stratum_field in points.columns:
        return []
    return [f"no column {stratum_field!r}: taken as drawn at random from the whole map, or from each of its classes"]


def _labelled(
    points: SamplePoints, reference: np.ndarray, field: str, stratum_field: str, drop: bool
) -> tuple[SamplePoints, np.ndarray, list[str]]:
    """The points with a label, or InputError where there are others and they were not given up."""
    labelled, gone = reference != NO_CLASS, _missing_points(points, stratum_field)
    without = int((~labelled).sum())
    if not without and not gone:
        return points, reference, []
    parts = [f"{without} of {len(points)} points have no class in column {field!r}"] if without else []
    parts += [f"{gone} points of the design are missing from the file"] if gone else []
    if not drop:
        raise InputError(
            f"{points.name}: {' and '.join(parts)}: label them, or leave them out with --drop-unlabelled, which is "
            "sound only where being labelled has nothing to do with the class"
        )
    note = f"{' and '.join(parts)}, left out: the estimate holds only if they are like the others of their stratum"
    return points.where(labelled), reference[labelled], [note]


def _missing_points(points: SamplePoints, stratum_field: str) -> int:
    """Points that the design drew and the file no longer has, of the strata it still has points of."""
    if stratum_field not in points.columns or "stratum_points" not in points.columns:
        return 0
    _, first, have = np.unique(points.column(stratum_field).astype(str), return_index=True, return_counts=True)
    drawn = points.numbers("stratum_points")[first]
    if (have > drawn).any():
        raise InputError(f"{points.name}: has more points of a stratum than were drawn, so it is no random sample")
    return int((drawn - have).sum())


def _look_at(strata: ClassMap, points: SamplePoints) -> _Seen:
    """Read the map once: pixels and true areas of its classes, and the class at each point."""
    placed = points.to_crs(strata.grid.crs)
    nowhere = ~(np.isfinite(placed.x) & np.isfinite(placed.y))
    x, y = (np.where(nowhere, 0, part) for part in (placed.x, placed.y))
    col, row = (np.where(nowhere, -1, np.floor(part)).astype(np.int64) for part in ~strata.grid.transform @ (x, y))
    tally, mapped = strata.tally(), np.full(len(points), NO_CLASS)
    for window, index in strata.windows("reading"):
        tally.add(window, index)
        here = (row >= window.row) & (row < window.row_stop) & (col >= window.col) & (col < window.col_stop)
        mapped[here] = index[row[here] - window.row, col[here] - window.col]
    sizes = (values[: len(strata.classes)].copy() for values in (tally.counts, tally.hectares))
    assumed = points.crs is None
    notes = (f"{points.name}: says no CRS, taken as the map's ({strata.grid.crs.to_string()})",) if assumed else ()
    return _Seen(points, mapped, *sizes, notes)


def _on_the_map(
    seen: _Seen, reference: np.ndarray, name: str, stratum_field: str
) -> tuple[_Seen, np.ndarray, list[str]]:
    """The points at which the map holds a class; others are outside the area that is estimated."""
    on = seen.mapped != NO_CLASS
    off = int((~on).sum())
    if not off:
        return seen, reference, []
    if stratum_field in seen.points.columns:
        raise InputError(
            f"{name}: holds no class at {off} of the {len(on)} points of {seen.points.name} that were drawn by strata, "
            "so it is not a map of the area that was sampled; wrong CRS, or another extent?"
        )
    note = f"{off} of {len(on)} points lie where the map holds no class, left out: the estimate is of the map's area"
    return seen.where(on), reference[on], [note]


def _by_own_classes(seen: _Seen, reference: np.ndarray, strata: ClassMap, level: float) -> AreaEstimates:
    number = len(strata.classes)
    cells = np.bincount(seen.mapped * number + reference, minlength=number**2)
    counts = cells.reshape(number, number)
    return olofsson_2014(counts, seen.hectares, strata.classes, level=level, pixels=seen.pixels)


def _by_other_strata(
    seen: _Seen, reference: np.ndarray, strata: ClassMap, field: str, level: float
) -> tuple[AreaEstimates, list[str]]:
    points = seen.points
    missing = [name for name in ("stratum_ha", "stratum_pixels") if name not in points.columns]
    if missing:
        raise InputError(
            f"{points.name}: column {field!r} is not the map's class at every point, so the sample was drawn from "
            "other strata; their sizes must be known: columns stratum_ha and stratum_pixels, as geoseg design writes"
        )
    names, first, stratum = np.unique(points.column(field).astype(str), return_index=True, return_inverse=True)
    sizes = [points.numbers(name) for name in ("stratum_ha", "stratum_pixels")]
    if any((size != size[first][stratum]).any() for size in sizes):
        raise InputError(f"{points.name}: points of one stratum disagree on its stratum_ha or stratum_pixels")
    found = stehman_2014(
        stratum,
        seen.mapped,
        reference,
        sizes[0][first],
        units=sizes[1][first],
        classes=strata.classes,
        strata=tuple(names),
        mapped=seen.hectares,
        level=level,
    )
    total, mapped = sizes[0][first].sum(), seen.hectares.sum()
    notes = ["the points were drawn from the strata of another map, or of another state of this one"]
    if abs(total - mapped) > 1e-4 * total:
        notes.append(f"areas are estimated for the {total:,.2f} ha of the strata; the map covers {mapped:,.2f} ha")
    return found, notes


def _remarks(found: AreaEstimates) -> tuple[str, ...]:
    """Figures that say less than they seem to."""
    overall, users = found.overall, found.users
    if overall.low == overall.high:
        # Every pixel was seen.
        return ()
    seen, alike = found.counts.sum(0) > 0, "has a standard error of 0, which is no certainty"
    named = {
        "user's accuracy has a standard error of 0, with Wilson's interval": (users.error == 0)
        & (users.low < users.high),
        f"producer's accuracy {alike}": found.producers.error == 0,
        f"the area {alike}": (found.area.error == 0) & seen,
        "never seen in the reference, so the area of 0 has no interval": (found.mapped > 0) & ~seen,
    }
    remarks = ["overall accuracy has a standard error of 0, with Wilson's interval"] if overall.error == 0 else []
    remarks += [f"{said}: {', '.join(np.array(found.classes)[here])}" for said, here in named.items() if here.any()]
    return tuple(remarks)


def _size_column(names: list[str], pixel_ha: float | None, path: Path) -> str:
    """The one column of sizes, in any case."""
    sizes = [name for name in names if name.casefold() in SIZES]
    if len(sizes) > 1:
        raise InputError(f"{path}: has both {' and '.join(sizes)}: keep one of the two sizes")
    if not sizes or (sizes[0].casefold() == "pixels") != (pixel_ha is not None):
        raise InputError(f"{path}: needs a column area_ha, or a column pixels and --pixel-ha")
    return sizes[0]


def _require_no_sums(counts: np.ndarray, classes: tuple[str, ...], path: Path) -> None:
    for k, name in enumerate(classes):
        sums = [(side[k], side.sum(0) - side[k]) for side in (counts, counts.T)]
        if name.casefold() in SUMS and any(one.any() and (one == others).all() for one, others in sums):
            raise InputError(f"{path}: {name!r} holds the sums of the others, and is no class: remove it")


def _numbers(values: np.ndarray, name: str, path: Path, whole: bool = False) -> np.ndarray:
    """The values of a column; an empty one is 0 where they are counts (``whole``), and refused where they are sizes."""
    if not whole and not all(values):
        raise InputError(f"{path}: column {name!r} is empty in a row; write 0 for a class that the map does not hold")
    try:
        numbers = np.array([float(value or 0) for value in values])
    except ValueError as error:
        raise InputError(f"{path}: column {name!r} holds a value that is no number ({error})") from error
    if (numbers < 0).any() or not np.isfinite(numbers).all() or (whole and (numbers % 1).any()):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{path}: column {name!r} holds a value that is not {kind} >= 0")
    return numbers
