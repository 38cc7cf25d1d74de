"""The paper's claims: each says that one figure of confusion matrices lies above another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from geoseg import metrics
from geoseg.ablation.plan import BASELINE
from geoseg.scoring.averages import Scenes, average_iou

FOCAL, AUGMENT, RESNET = "focal", "augment", "resnet34"
PER_IMAGE = "image-absent0"
"""The average that comes nearest to the paper's Table 4, of which it does not say what it is."""
DECIMAL, SIGNED, PERCENT, NUMBER = "{:.4f}", "{:+.4f}", "{:.1%}", "{:g}"
"""How values are said."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The paper's rows under one weighting of the scenes, or under many."""

    scenes: Mapping[str, Scenes]
    """By row, all of the same scenes in one order."""
    weights: np.ndarray
    """(..., n) how often each scene is taken."""
    names: tuple[str, ...]
    """Of the legend's classes."""
    classes: tuple[int, ...]
    """Indices of the scored classes with truth."""
    dominant: int
    """Index of the class with most truth."""
    rarest: int
    """Index of the class with least truth, of those that have any."""
    target: int
    """Index of the class that augmentation takes most of the dominant one for, the baseline where it is missing."""

    @property
    def others(self) -> list[int]:
        """The classes but for the dominant one."""
        return [i for i in self.classes if i != self.dominant]

    def counts(self, row: str) -> np.ndarray:
        """(..., K, K + 1) pooled."""
        return self.scenes[row].pooled(self.weights)

    def iou(self, row: str) -> np.ndarray:
        """(..., K) pooled."""
        return metrics.iou(self.counts(row), self.scenes[row].ignored)

    def mean_iou(self, row: str, average: str) -> np.ndarray:
        """(...) mean over the classes."""
        return average_iou(self.scenes[row], average, self.weights).mean

    def gain(self, row: str, average: str) -> np.ndarray:
        """(...) mean IoU less the baseline's."""
        return self.mean_iou(row, average) - self.mean_iou(BASELINE, average)

    def taken(self, row: str, truth: int, found: int) -> np.ndarray:
        """(...) share of a class's truth that was predicted as another."""
        counts = self.counts(row)
        return _ratio(counts[..., truth, found], counts[..., truth, :].sum(-1))

    def of_all(self, row: str, pixels: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(...) share of the scored pixels that ``pixels`` takes from the counts."""
        counts = self.counts(row)
        return _ratio(pixels(counts), metrics.total(counts))

    def named(self, text: str) -> str:
        """The text with the names of its classes."""
        places = {place: self.names[getattr(self, place)] for place in ("dominant", "rarest", "target")}
        return text.format(**places)


@dataclass(frozen=True)
class Figure:
    """A figure of a row's matrices, and how it is said."""

    name: str
    """With {dominant}, {rarest} and {target} for names of classes."""
    of: Callable[[Drawn, str], np.ndarray]
    """(...) of a row."""
    form: str = DECIMAL
    parts: Callable[[Drawn, str], Mapping[str, np.ndarray]] | None = None
    """What it is made of, by name."""
    part_form: str = DECIMAL


@dataclass(frozen=True)
class Term:
    """A figure of one row."""

    figure: Figure
    row: str | None = BASELINE
    """None for what is a figure of no single row."""

    def value(self, drawn: Drawn) -> np.ndarray:
        """(...)"""
        return self.figure.of(drawn, self.row)

    def said(self, drawn: Drawn) -> str:
        """The row and its value."""
        return f"{self.row or ''} {_formed(self.figure.form, self.value(drawn))}".lstrip()


@dataclass(frozen=True)
class Claim:
    """What the paper says, true where ``more`` is above ``less``."""

    text: str
    """With {dominant} and {rarest} for names of classes."""
    source: str
    """Where the paper says it."""
    more: Term
    less: Term | None = None
    """None: above 0."""
    needs: tuple[str, ...] = ()
    """Rows beside those of its terms and the baseline."""
    fewest: int = 2
    """Classes with truth below which it says nothing."""

    @property
    def terms(self) -> list[Term]:
        """Those there are, the baseline's first."""
        there = [term for term in (self.more, self.less) if term is not None]
        return sorted(there, key=lambda term: term.row != BASELINE)

    @property
    def rows(self) -> set[str]:
        """All rows that it takes."""
        return {BASELINE, *self.needs, *(term.row for term in self.terms if term.row)}

    def lead(self, drawn: Drawn) -> np.ndarray:
        """(...) above 0 where the claim is true."""
        return self.more.value(drawn) - (0 if self.less is None else self.less.value(drawn))

    def said(self, drawn: Drawn) -> str:
        """The figures in words, of scenes that are taken once."""
        rows_of = {term.figure: [other for other in self.terms if other.figure is term.figure] for term in self.terms}
        said = "; ".join(_say(figure, terms, drawn) for figure, terms in rows_of.items())
        return f"{said[0].upper()}{said[1:]}."


def _say(figure: Figure, terms: list[Term], drawn: Drawn) -> str:
    """A figure of one row or two: "IoU of road: baseline 0.1000, focal 0.2000 (its parts)"."""
    said = f"{drawn.named(figure.name)}: {', '.join(term.said(drawn) for term in terms)}"
    if figure.parts is None:
        return said
    parts = [figure.parts(drawn, term.row) for term in terms]
    each = (f"{name} {' to '.join(_formed(figure.part_form, part[name]) for part in parts)}" for name in parts[0])
    return f"{said} ({', '.join(each)})"


def _formed(form: str, value: np.ndarray) -> str:
    return "n/a" if np.isnan(value) else form.format(float(value)).replace("%", " %")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean_of_others(drawn: Drawn, row: str) -> np.ndarray:
    # 0 for a class that a resample lacks.
    return np.nan_to_num(drawn.iou(row)[..., drawn.others]).mean(-1)


def _iou_of_each(drawn: Drawn, row: str) -> dict[str, np.ndarray]:
    iou = drawn.iou(row)
    return {drawn.names[i]: iou[..., i] for i in drawn.others}


def _gain_of_each(drawn: Drawn, row: str) -> dict[str, np.ndarray]:
    gains = drawn.iou(row) - drawn.iou(BASELINE)
    return {drawn.names[i]: gains[..., i] for i in drawn.classes}


def _commonly_taken(drawn: Drawn, row: str) -> np.ndarray:
    """How many other classes are taken for the dominant one more often than for any other class."""
    counts = drawn.counts(row)
    wrong = np.where(np.eye(counts.shape[-2], counts.shape[-1], dtype=bool), -1.0, counts)
    return sum((wrong[..., i, :].argmax(-1) == drawn.dominant).astype(float) for i in drawn.others)


def _taken_of_each(drawn: Drawn, row: str) -> dict[str, np.ndarray]:
    return {drawn.names[i]: drawn.taken(row, i, drawn.dominant) for i in drawn.others}


def _false_positives(drawn: Drawn, row: str, classes: list[int]) -> np.ndarray:
    """Share of the scored pixels that is predicted as one of the classes and is not of it."""
    return drawn.of_all(row, lambda c: (metrics.predicted(c) - metrics.hits(c))[..., classes].sum(-1))


def _false_positives_of_each(drawn: Drawn, row: str) -> dict[str, np.ndarray]:
    return {drawn.names[i]: _false_positives(drawn, row, [i]) for i in drawn.others}


def _of_mean_iou(average: str) -> Figure:
    return Figure(f"mean IoU ({average})", lambda d, row: d.mean_iou(row, average))


def _gains_of_others(drawn: Drawn, average: str) -> dict[str, np.ndarray]:
    return {row: drawn.gain(row, average) for row in drawn.scenes if row not in (BASELINE, RESNET)}


def _largest(average: str) -> Claim:
    gain = Figure(f"gain in mean IoU ({average})", lambda d, row: d.gain(row, average), SIGNED)
    best_other = Figure(
        "largest gain of the other rows",
        lambda d, _: np.max(list(_gains_of_others(d, average).values()), axis=0),
        SIGNED,
        lambda d, _: _gains_of_others(d, average),
        SIGNED,
    )
    text = f"The ResNet-34 encoder gains most ({average})"
    return Claim(text, "5.5, 6", Term(gain, RESNET), Term(best_other, None), needs=(AUGMENT,))


def _higher(row: str, average: str, source: str) -> Claim:
    text = f"The {row} row has a higher mean IoU ({average}) than the baseline"
    figure = _of_mean_iou(average)
    return Claim(text, source, Term(figure, row), Term(figure))


IOU_OF_DOMINANT = Figure("IoU of {dominant}", lambda d, row: d.iou(row)[..., d.dominant])
IOU_OF_OTHERS = Figure("mean IoU of the classes but {dominant}", _mean_of_others, parts=_iou_of_each)
COMMONLY_TAKEN = Figure(
    "classes whose commonest mistake is {dominant}, with the share of each that is taken for it",
    _commonly_taken,
    NUMBER,
    _taken_of_each,
    PERCENT,
)
HALF_OF_OTHERS = Figure("half of the other classes", lambda d, _: np.array(len(d.others) / 2), NUMBER)
LOST = Figure(
    "{dominant} taken for other classes, of all pixels",
    lambda d, row: d.of_all(row, lambda c: c[..., d.dominant, d.others].sum(-1)),
    PERCENT,
)
WON = Figure(
    "other classes taken for {dominant}, of all pixels",
    lambda d, row: d.of_all(row, lambda c: c[..., d.others, d.dominant].sum(-1)),
    PERCENT,
)
FALSE_POSITIVES = Figure(
    "false positives of the classes but {dominant}, of all pixels",
    lambda d, row: _false_positives(d, row, d.others),
    PERCENT,
    _false_positives_of_each,
    PERCENT,
)
TAKEN_FOR_RAREST = Figure("{dominant} taken for {rarest}", lambda d, row: d.taken(row, d.dominant, d.rarest), PERCENT)
TAKEN_FOR_TARGET = Figure("{dominant} taken for {target}", lambda d, row: d.taken(row, d.dominant, d.target), PERCENT)
RAREST_PREDICTED = Figure(
    "predicted as {rarest}, of all pixels",
    lambda d, row: d.of_all(row, lambda c: metrics.predicted(c)[..., d.rarest]),
    PERCENT,
)
RAREST_TRUE = Figure(
    "of the class {rarest} in truth",
    lambda d, _: d.of_all(BASELINE, lambda c: metrics.support(c)[..., d.rarest]),
    PERCENT,
)
SMALLEST_GAIN = Figure(
    "smallest gain in a class's IoU",
    lambda d, row: np.min(list(_gain_of_each(d, row).values()), axis=0),
    SIGNED,
    _gain_of_each,
    SIGNED,
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "The baseline learns {dominant}, the dominant class, and struggles with the others",
        "5.2, Fig. 2",
        Term(IOU_OF_DOMINANT),
        Term(IOU_OF_OTHERS),
    ),
    Claim(
        "The class {dominant} does not replace the others: of most of them it is not the commonest mistake",
        "5.2, Fig. 4",
        Term(HALF_OF_OTHERS, None),
        Term(COMMONLY_TAKEN),
        fewest=3,
    ),
    Claim(
        "The baseline does not overpredict {dominant}: it loses more to the other classes than it takes from them",
        "5.2, Fig. 4",
        Term(LOST),
        Term(WON),
    ),
    Claim(
        "Focal loss is worse on the classes but {dominant}",
        "5.3, Table 4",
        Term(IOU_OF_OTHERS),
        Term(IOU_OF_OTHERS, FOCAL),
    ),
    Claim(
        "Focal loss gives more false positives of the classes but {dominant}",
        "5.3",
        Term(FALSE_POSITIVES, FOCAL),
        Term(FALSE_POSITIVES),
    ),
    Claim(
        "Focal loss takes more of {dominant} for {rarest} than the baseline does",
        "5.3, Fig. 5",
        Term(TAKEN_FOR_RAREST, FOCAL),
        Term(TAKEN_FOR_RAREST),
    ),
    Claim("Focal loss overpredicts {rarest}", "5.3", Term(RAREST_PREDICTED, FOCAL), Term(RAREST_TRUE, None)),
    _higher(AUGMENT, "pooled", "5.4, Table 3"),
    _higher(AUGMENT, PER_IMAGE, "5.4, Table 3"),
    Claim(
        "Augmentation gains in the classes but {dominant}",
        "5.4, Table 4",
        Term(IOU_OF_OTHERS, AUGMENT),
        Term(IOU_OF_OTHERS),
    ),
    Claim(
        "Augmentation lowers the IoU of {dominant}",
        "5.4, Table 4",
        Term(IOU_OF_DOMINANT),
        Term(IOU_OF_DOMINANT, AUGMENT),
    ),
    Claim(
        "With augmentation more of {dominant} is taken for the class that it resembles",
        "5.4, Fig. 6",
        Term(TAKEN_FOR_TARGET, AUGMENT),
        Term(TAKEN_FOR_TARGET),
    ),
    _higher(RESNET, "pooled", "5.5, Table 3"),
    _higher(RESNET, PER_IMAGE, "5.5, Table 3"),
    Claim("The ResNet-34 encoder improves every class", "5.5, Table 4", Term(SMALLEST_GAIN, RESNET)),
    _largest("pooled"),
    _largest(PER_IMAGE),
)
