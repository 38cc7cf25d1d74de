"""geoseg.compare: two maps of the same truth, paired scene by scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError
from geoseg.legend import Legend
from geoseg.metrics import or_none
from geoseg.scoring.averages import AVERAGES, Figures, Scenes, iou_name
from geoseg.scoring.intervals import Interval, Intervals, Resampling, bootstrap_difference
from geoseg.scoring.permutation import SignFlip, sign_flip
from geoseg.scoring.report import Report
from geoseg.scoring.score import score
from geoseg.source import Source

DRAWS = 10_000
"""Resamples, and exchanges of the test: p-values down to 1 in 10,001."""
USUAL_P = 0.05
"""Where scenes are too few for a p-value below it, that is said."""

TITLES = {f"mean_{iou_name(average)}": f"mean IoU ({average})" for average in AVERAGES} | {
    "mean_f1": "mean F1",
    "frequency_weighted_iou": "frequency-weighted IoU",
}
"""Of figures in tables, where the name with spaces is not enough."""

Record = dict[str, float | None]
"""a, b, difference, low, high, undefined; p and p_holm where there is a test. NaN is None."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What tells two maps of the same truth apart. Every difference is B - A."""

    names: tuple[str, str]
    """A and B as they were given."""
    legend: Legend
    """The classes of truth and maps."""
    truths: tuple[str, ...]
    """Names of the scenes, or of the blocks, that both maps were scored on."""
    figures: tuple[Figures, Figures]
    """Of A and of B, over all scenes."""
    differences: Intervals
    """Of every figure, the same scenes drawn for both maps."""
    test: SignFlip
    """p-values, the maps exchanged scene by scene."""
    notes: tuple[str, ...] = ()
    """What was said about the pairs of map and truth."""

    @property
    def overall(self) -> dict[str, Record]:
        """By the names of Figures.overall."""
        a, b = (figures.overall for figures in self.figures)
        tests = {"mean_iou": {"p": self.test.mean_iou}, "pixel_accuracy": {"p": self.test.pixel_accuracy}}
        return {
            name: _record(a[name], b[name], interval, tests.get(name, {}))
            for name, interval in self.differences.overall.items()
        }

    @property
    def classes(self) -> dict[str, dict[str, Record]]:
        """By the names of the scored classes, then by those of Figures.per_class."""
        return {self.legend.names[i]: self._class(i) for i in self.legend.scored}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the intervals and p-values do not say."""
        differing = self.differences.resampling.count(self.test.differing)
        bound = f"the maps differ in {differing}: no p-value can be below {self.test.smallest:.3g}"
        return (*self.differences.notes, *self._class_remarks(), *([bound] if self.test.smallest >= USUAL_P else []))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN becomes null."""
        resampling = self.differences.resampling
        test = {name: getattr(self.test, name) for name in ("exchanges", "exact", "differing", "smallest")}
        return {
            "a": self.names[0],
            "b": self.names[1],
            "difference": "b - a",
            "resampling": asdict(resampling) | {"unit": resampling.unit, "units": self.differences.units},
            "test": test,
            "overall": self.overall,
            "classes": self.classes,
            "truths": list(self.truths),
            "notes": [*self.notes, *self.remarks],
        }

    def to_text(self) -> str:
        """A table for the terminal: the figures of all classes, then the IoU of each."""
        table, resampling, test = self._table(), self.differences.resampling, self.test
        units, differing = resampling.count(self.differences.units), resampling.count(test.differing)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join([title.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip() for title, *cells in table
        ]
        way = "all" if test.exact else "drawn"
        return "\n".join(
            [
                *(f"{letter}: {name}" for letter, name in zip("AB", self.names, strict=True)),
                *lines,
                f"intervals: {resampling.draws} resamples of {units}, seed {resampling.seed}",
                f"p: {test.exchanges} exchanges ({way}) of A and B, which differ in {differing}",
                *self.remarks,
            ]
        )

    def _repr_html_(self) -> str:
        head, *body = (tuple(map(escape, line)) for line in self._table())
        rows = "".join("<tr><td>" + "</td><td>".join(line) + "</td></tr>" for line in body)
        caption = f"A: {escape(self.names[0])}, B: {escape(self.names[1])}"
        return f"<table><caption>{caption}</caption><tr><th>{'</th><th>'.join(head)}</th></tr>{rows}</table>"

    def _class_remarks(self) -> Iterator[str]:
        iou = {name: figures["iou"] for name, figures in self.classes.items()}
        holding = {self.legend.names[i]: self.differences.holding[i] for i in self.legend.scored}
        if few := [name for name, units in holding.items() if units < 2 <= self.differences.units]:
            unit = self.differences.resampling.unit
            yield f"no interval for classes in the truth of fewer than two {unit}: {', '.join(few)}"
        undefined = {name: iou[name]["undefined"] for name, units in holding.items() if units > 1}
        if left_out := [f"{name} {share:.1%}" for name, share in undefined.items() if share]:
            yield f"resamples without a class are left out of its interval: {', '.join(left_out)}"
        for name, record in iou.items():
            if (record["a"] is None) != (record["b"] is None):
                only = "B" if record["a"] is None else "A"
                yield f"{name} is in {only} alone, neither in a truth nor in the other map: 0 in {only}'s mean IoU"

    def _class(self, i: int) -> dict[str, Record]:
        a, b = (figures.per_class for figures in self.figures)
        tests = {"iou": {"p": self.test.iou[i], "p_holm": self.test.iou_holm[i]}}
        return {
            name: _record(a[name][i], b[name][i], intervals[i], tests.get(name, {}))
            for name, intervals in self.differences.per_class.items()
        }

    def _table(self) -> list[tuple[str, ...]]:
        records = {TITLES.get(name, name.replace("_", " ")): record for name, record in self.overall.items()}
        records |= {f"IoU of {name}": figures["iou"] for name, figures in self.classes.items()}
        head = ("", "A", "B", "B - A", f"{100 * self.differences.resampling.level:.4g} % interval", "p", "p (Holm)")
        return [head, *((title, *_cells(record)) for title, record in records.items())]


def compare(
    first: str | Path | Source,
    second: str | Path | Source,
    truth: str | Path | Source,
    legend: Legend | str | Path | None = None,
    *,
    prediction_legend: Legend | str | Path | None = None,
    mapping: str | Path | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
    block: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Compare two maps, or the maps of two folders, on the same truth.

    Args:
        first, second, truth, legend: maps A and B, and the rest, as geoseg.score takes them.
        prediction_legend, mapping: as geoseg.score takes them, of both maps.
        label_field, label_layer: as geoseg.score takes them, of the truth.
        draws: resamples of the scenes, and exchanges of the test, >= 1000.
        seed: of both.
        level: share of the resamples inside an interval.
        block: side in truth pixels of blocks that are drawn and exchanged in place of scenes.
        progress: show a bar on stderr.

    Scenes are the unit: with one scene there is no interval. Raises UsageError, and InputError where a map cannot be
    scored or the two were not scored on the same truth pixels.
    """
    resampling = Resampling(draws, seed, level, block)
    joining = {"prediction_legend": prediction_legend, "mapping": mapping}
    joined = any(part is not None for part in joining.values())
    how = joining | {"label_field": label_field, "label_layer": label_layer, "block": block, "progress": progress}
    a = score(first, truth, legend, **how)
    # Legends that are joined end in the truth's classes; else what was found for A holds for B.
    b = score(second, truth, legend if joined else a.legend, **how)
    names = str(Source.of(first)), str(Source.of(second))
    notes = tuple(f"{letter}: {note}" for letter, report in (("A", a), ("B", b)) for note in report.notes)
    return compare_matrices(_units(a, block), _units(b, block), a.legend, names, resampling, notes)


def _units(report: Report, block: int | None) -> dict[str, ConfusionMatrix]:
    """One matrix a scene, or one a block with its place in the truth's name."""
    if block is None:
        return report.matrices
    return {
        f"{truth} rows {window.row}-{window.row_stop}, columns {window.col}-{window.col_stop}": matrix
        for truth, pair in report.pairs.items()
        for window, matrix in zip(pair.blocks.windows, pair.blocks.matrices(report.legend.ignored), strict=True)
    }


def compare_matrices(
    first: Mapping[str, ConfusionMatrix],
    second: Mapping[str, ConfusionMatrix],
    legend: Legend,
    names: tuple[str, str] = ("A", "B"),
    resampling: Resampling | None = None,
    notes: tuple[str, ...] = (),
) -> Comparison:
    """As compare, from the matrices of two maps by the truth's name; of blocks where ``resampling`` says so.

    Raises InputError where the two do not count the same truth.
    """
    _require_same_truth(first, second, legend, names)
    resampling = resampling or Resampling(DRAWS)
    pair = [list(first.values()), [second[truth] for truth in first]]
    figures = tuple(
        Figures.of(scenes, scenes.once, resampling.averages) for scenes in (Scenes.of(matrices) for matrices in pair)
    )
    differences = bootstrap_difference(*pair, resampling)
    test = sign_flip(*pair, resampling.draws, resampling.seed)
    return Comparison(names, legend, tuple(first), figures, differences, test, notes)


def _require_same_truth(
    first: Mapping[str, ConfusionMatrix], second: Mapping[str, ConfusionMatrix], legend: Legend, names: tuple[str, str]
) -> None:
    for name, here, there in zip(names, (first, second), (second, first), strict=True):
        if only := sorted(here.keys() - there.keys()):
            listed = ", ".join(only[:4]) + (", ..." if len(only) > 4 else "")
            raise InputError(
                f"{' and '.join(names)} must be scored on the same truths: {len(only)} have a map in {name} only "
                f"({listed}); add or remove maps until both have the same"
            )
    for truth, matrix in first.items():
        a, b = matrix.support, second[truth].support
        for i in (a != b).nonzero()[0][:1]:
            raise InputError(
                f"{truth}: {' and '.join(names)} were scored on different truth pixels ({a[i]} and {b[i]} of "
                f"{legend.names[i]}); give both maps the same grid and extent"
            )


def _record(a: float, b: float, interval: Interval, tests: Mapping[str, float]) -> Record:
    spread = {"low": interval.low, "high": interval.high, "undefined": interval.undefined}
    values = {"a": a, "b": b, "difference": interval.estimate} | spread | dict(tests)
    return {name: or_none(value) for name, value in values.items()}


def _cells(record: Record) -> tuple[str, ...]:
    bounds = "no interval" if record["low"] is None else f"{record['low']:+.4f} to {record['high']:+.4f}"
    p = ("" if key not in record else _figure(record[key]) for key in ("p", "p_holm"))
    return _figure(record["a"]), _figure(record["b"]), _figure(record["difference"], "+"), bounds, *p


def _figure(value: float | None, sign: str = "") -> str:
    return "n/a" if value is None else f"{value:{sign}.4f}"
