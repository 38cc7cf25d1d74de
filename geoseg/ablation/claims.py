"""The paper's claims as figures of confusion matrices, tested on the runs at hand.

Each claim has a lead: a number that is above 0 where the claim is true. Its interval comes from scenes drawn again, the
same for all rows. A claim holds where the interval and every seed's own lead lie above 0, it does not hold where they
lie at or below 0; else, and with fewer than FEWEST scenes, it cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geoseg import metrics
from geoseg.ablation.evaluate import Matrices, added
from geoseg.ablation.plan import BASELINE
from geoseg.legend import Legend
from geoseg.scoring.averages import Scenes, average_iou
from geoseg.scoring.intervals import Resampling, weightings_at_once

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"
FOCAL, AUGMENT, RESNET = "focal", "augment", "resnet34"
PER_IMAGE = "image-absent0"
"""The average that comes nearest to the paper's Table 4, of which it does not say what it is."""
ROUNDING = 1e-12
FEWEST = 6
"""Scenes below which no exchange of two rows could give a p-value under .05."""
DRAWS = 2000
"""Resamples behind the intervals of the claims."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows' scenes under one weighting of the scenes, or under many."""

    scenes: Mapping[str, Scenes]
    """By row, all of the same scenes in one order."""
    weights: np.ndarray
    """(..., n) how often each scene is taken."""
    dominant: int
    """Index of the class with most truth."""
    rarest: int
    """Index of the class with least truth, of those that have any."""
    classes: tuple[int, ...]
    """Indices of the scored classes with truth."""

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

    def mean_iou(self, row: str, average: str = "pooled") -> np.ndarray:
        """(...) mean over the classes."""
        return average_iou(self.scenes[row], average, self.weights).mean

    def taken(self, row: str, truth: int, found: int) -> np.ndarray:
        """(...) share of a class's truth that was predicted as another."""
        counts = self.counts(row)
        return _ratio(counts[..., truth, found], counts[..., truth, :].sum(-1))

    def predicted(self, row: str, index: int) -> np.ndarray:
        """(...) share of the scored pixels that is predicted as a class."""
        counts = self.counts(row)
        return _ratio(metrics.predicted(counts)[..., index], metrics.total(counts))

    def true(self, index: int) -> np.ndarray:
        """(...) share of the scored pixels that is of a class."""
        counts = self.counts(BASELINE)
        return _ratio(metrics.support(counts)[..., index], metrics.total(counts))

    def false_positives(self, row: str) -> np.ndarray:
        """(..., K) share of the scored pixels that is predicted as a class and is not of it."""
        counts = self.counts(row)
        return _ratio(metrics.predicted(counts) - metrics.hits(counts), metrics.total(counts)[..., None])

    def worst_target(self, row: str) -> int:
        """The class that most of the dominant one was taken for, over all scenes taken once."""
        counts = self.scenes[row].counts.sum(0)[self.dominant]
        return max(self.others, key=lambda i: counts[i])


@dataclass(frozen=True)
class Claim:
    """What the paper says, and how to see it in matrices."""

    text: str
    """With {dominant} and {rarest} for names of classes."""
    source: str
    """Where the paper says it."""
    rows: tuple[str, ...]
    """Rows it is about, beside the baseline."""
    lead: Callable[[Drawn], np.ndarray]
    """(...) above 0 where the claim is true."""
    said: Callable[[Drawn, Sequence[str]], str]
    """The figures in words, of the scenes taken once and the names of the classes."""


@dataclass(frozen=True)
class Verdict:
    """A claim and what these runs say to it."""

    claim: str
    source: str
    verdict: str
    """HOLDS, FAILS or OPEN."""
    sentence: str
    """The figures, in words."""
    lead: float | None = None
    """Above 0 where the claim is true; None where it is undefined, or a row is missing."""
    low: float | None = None
    high: float | None = None
    """Ends of its 95 % interval over scenes; None with fewer than two scenes."""
    seeds: tuple[float | None, ...] = ()
    """The lead of each seed alone."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(runs: Mapping[str, Sequence[Matrices]], legend: Legend, by_value: bool = False) -> list[Verdict]:
    """What the runs of each row, in the order of their seeds, say to every claim of the paper.

    Args:
        by_value: judge by the figures alone, where there are no matrices of scenes, as of the paper's own figures.

    Matrices of a scene are added over seeds. Claims whose rows are missing cannot be told.
    """
    if BASELINE not in runs:
        return [_missing(claim, legend) for claim in CLAIMS]
    summed = {row: added(seeds) for row, seeds in runs.items()}
    together, leads = _drawn(summed, legend), {} if by_value else _resampled(summed, legend)
    alone = [
        _drawn({row: seeds[number] for row, seeds in runs.items() if number < len(seeds)}, legend)
        for number in range(max(map(len, runs.values())))
    ]
    return [
        _verdict(claim, together, leads.get(claim), alone, legend, by_value)
        if {BASELINE, *claim.rows} <= runs.keys()
        else _missing(claim, legend)
        for claim in CLAIMS
    ]


def _verdict(
    claim: Claim, together: Drawn, leads: np.ndarray | None, alone: Sequence[Drawn], legend: Legend, by_value: bool
) -> Verdict:
    lead = float(claim.lead(together))
    low, high = (math.nan, math.nan) if leads is None else np.nanquantile(leads, (0.025, 0.975))
    seeds = [float(claim.lead(one)) for one in alone if {BASELINE, *claim.rows} <= one.scenes.keys()]
    few = len(together.weights) < FEWEST and not by_value
    sentence = claim.said(together, legend.names) + "."
    return Verdict(
        _named(claim.text, together, legend),
        claim.source,
        OPEN if few else _decide(lead, low, high, seeds),
        sentence,
        *map(_null, (lead, low, high)),
        tuple(map(_null, seeds)),
    )


def _decide(lead: float, low: float, high: float, seeds: Sequence[float]) -> str:
    if math.isnan(lead):
        return OPEN
    low, high = (lead, lead) if math.isnan(low) else (low, high)
    if low > ROUNDING and all(seed > ROUNDING for seed in seeds):
        return HOLDS
    return FAILS if high <= ROUNDING and all(seed <= ROUNDING for seed in seeds) else OPEN


def _missing(claim: Claim, legend: Legend) -> Verdict:
    rows = " and ".join(sorted({BASELINE, *claim.rows}))
    text = claim.text.format(dominant="the dominant class", rarest="the rarest class")
    return Verdict(text, claim.source, OPEN, f"It needs runs of {rows}.")


def _named(text: str, drawn: Drawn, legend: Legend) -> str:
    return text.format(dominant=legend.names[drawn.dominant], rarest=legend.names[drawn.rarest])


def _drawn(rows: Mapping[str, Matrices], legend: Legend, weights: np.ndarray | None = None) -> Drawn:
    scenes = {row: Scenes.of(matrices.values()).with_truth() for row, matrices in rows.items()}
    support = metrics.support(next(iter(scenes.values())).counts).sum(0)
    classes = tuple(i for i in legend.scored if support[i])
    dominant, rarest = max(classes, key=lambda i: support[i]), min(classes, key=lambda i: support[i])
    once = next(iter(scenes.values())).once
    return Drawn(scenes, once if weights is None else weights, dominant, rarest, classes)


def _resampled(rows: Mapping[str, Matrices], legend: Legend) -> dict[Claim, np.ndarray]:
    """(DRAWS,) leads of each claim whose rows are there; nothing where there are fewer than two scenes."""
    once = _drawn(rows, legend)
    scenes = next(iter(once.scenes.values()))
    there = [claim for claim in CLAIMS if {BASELINE, *claim.rows} <= rows.keys()]
    if len(scenes) < 2:
        return {}
    found: dict[Claim, list[np.ndarray]] = {claim: [] for claim in there}
    for weights in Resampling(DRAWS).weights(len(scenes), weightings_at_once(scenes)):
        drawn = Drawn(once.scenes, weights, once.dominant, once.rarest, once.classes)
        for claim in there:
            found[claim].append(claim.lead(drawn))
    return {claim: np.concatenate(parts) for claim, parts in found.items()}


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(value: np.ndarray) -> str:
    return "n/a" if np.isnan(value) else f"{100 * float(value):.1f} %"


def _rows_taken_for_dominant(drawn: Drawn) -> np.ndarray:
    """(...) how many other classes are taken for the dominant one more often than for any other class."""
    counts = drawn.counts(BASELINE)
    wrong = np.where(np.eye(counts.shape[-2], counts.shape[-1], dtype=bool), -1.0, counts)
    return sum((wrong[..., i, :].argmax(-1) == drawn.dominant).astype(float) for i in drawn.others)


def _outflow(drawn: Drawn, row: str) -> np.ndarray:
    """(...) share of the scored pixels that is of the dominant class and was taken for others."""
    counts = drawn.counts(row)
    return _ratio(counts[..., drawn.dominant, drawn.others].sum(-1), metrics.total(counts))


def _inflow(drawn: Drawn, row: str) -> np.ndarray:
    """(...) share of the scored pixels that is of other classes and was taken for the dominant one."""
    counts = drawn.counts(row)
    return _ratio(counts[..., drawn.others, drawn.dominant].sum(-1), metrics.total(counts))


def _mean_of_others(drawn: Drawn, row: str) -> np.ndarray:
    """(...) mean IoU of all classes but the dominant one; 0 for one that a resample lacks."""
    return np.nan_to_num(drawn.iou(row)[..., drawn.others]).mean(-1)


def _gains(drawn: Drawn, row: str) -> np.ndarray:
    """(..., classes with truth) IoU of a row less the baseline's."""
    return drawn.iou(row)[..., drawn.classes] - drawn.iou(BASELINE)[..., drawn.classes]


def _gain(drawn: Drawn, row: str, average: str) -> np.ndarray:
    return drawn.mean_iou(row, average) - drawn.mean_iou(BASELINE, average)


def _best_other_gain(drawn: Drawn, average: str) -> np.ndarray:
    others = [row for row in drawn.scenes if row not in (BASELINE, RESNET)]
    return np.max([_gain(drawn, row, average) for row in others], axis=0)


def _false_positives_of_others(drawn: Drawn, row: str) -> np.ndarray:
    return drawn.false_positives(row)[..., drawn.others].sum(-1)


def _say_taken_for_dominant(drawn: Drawn, names: Sequence[str]) -> str:
    shares = ", ".join(f"{names[i]} {_percent(drawn.taken(BASELINE, i, drawn.dominant))}" for i in drawn.others)
    often = int(_rows_taken_for_dominant(drawn))
    return (
        f"The baseline takes for {names[drawn.dominant]}: of {shares}; "
        f"it is the commonest mistake in {often} of {len(drawn.others)} classes"
    )


def _say_flows(drawn: Drawn, names: Sequence[str]) -> str:
    name = names[drawn.dominant]
    return (
        f"Of all pixels {_percent(_outflow(drawn, BASELINE))} are {name} taken for another class, "
        f"{_percent(_inflow(drawn, BASELINE))} another class taken for {name}; the baseline predicts {name} on "
        f"{_percent(drawn.predicted(BASELINE, drawn.dominant))}, {_percent(drawn.true(drawn.dominant))} are of it"
    )


def _say_area(drawn: Drawn, names: Sequence[str]) -> str:
    name, true = names[drawn.rarest], _percent(drawn.true(drawn.rarest))
    before, after = (_percent(drawn.predicted(row, drawn.rarest)) for row in (BASELINE, FOCAL))
    return f"Focal predicts {name} on {after} of the pixels, the baseline on {before}; {true} are of it"


def _say_learned(drawn: Drawn, names: Sequence[str]) -> str:
    own, others = drawn.iou(BASELINE)[drawn.dominant], _mean_of_others(drawn, BASELINE)
    return f"The baseline's IoU is {own:.4f} for {names[drawn.dominant]} and {others:.4f} in the mean of the others"


def _say_others(row: str) -> Callable[[Drawn, Sequence[str]], str]:
    def say(drawn: Drawn, names: Sequence[str]) -> str:
        """Of the classes but the dominant one, together and each."""
        each = zip(drawn.classes, _gains(drawn, row), strict=True)
        changes = ", ".join(f"{names[i]} {gain:+.4f}" for i, gain in each)
        means = [_mean_of_others(drawn, one) for one in (BASELINE, row)]
        return (
            f"Mean IoU of the classes but {names[drawn.dominant]}: baseline {means[0]:.4f}, {row} {means[1]:.4f}; "
            f"class by class {changes}"
        )

    return say


def _say_false_positives(drawn: Drawn, names: Sequence[str]) -> str:
    before, after = (drawn.false_positives(row) for row in (BASELINE, FOCAL))
    each = ", ".join(f"{names[i]} {_percent(before[i])} to {_percent(after[i])}" for i in drawn.others)
    total = [_percent(_false_positives_of_others(drawn, row)) for row in (BASELINE, FOCAL)]
    return f"False positives of the rare classes, of all pixels: baseline {total[0]}, focal {total[1]}; {each}"


def _say_rarest(drawn: Drawn, names: Sequence[str]) -> str:
    before, after = (_percent(drawn.taken(row, drawn.dominant, drawn.rarest)) for row in (BASELINE, FOCAL))
    rarest = names[drawn.rarest]
    return f"Of {names[drawn.dominant]} {before} is taken for {rarest} by the baseline, {after} by focal"


def _say_gain(row: str, average: str) -> Callable[[Drawn, Sequence[str]], str]:
    def say(drawn: Drawn, names: Sequence[str]) -> str:
        means = [float(drawn.mean_iou(one, average)) for one in (BASELINE, row)]
        return f"Mean IoU ({average}): baseline {means[0]:.4f}, {row} {means[1]:.4f} ({means[1] - means[0]:+.4f})"

    return say


def _say_confused(drawn: Drawn, names: Sequence[str]) -> str:
    target = drawn.worst_target(AUGMENT)
    before, after = (_percent(drawn.taken(row, drawn.dominant, target)) for row in (BASELINE, AUGMENT))
    predicted, true = _percent(drawn.predicted(AUGMENT, target)), _percent(drawn.true(target))
    return (
        f"Of {names[drawn.dominant]} {before} is taken for {names[target]} by the baseline, {after} with augmentation, "
        f"which predicts {names[target]} on {predicted} of the pixels ({true} are of it)"
    )


def _confused_more(drawn: Drawn) -> np.ndarray:
    target = drawn.worst_target(AUGMENT)
    return drawn.taken(AUGMENT, drawn.dominant, target) - drawn.taken(BASELINE, drawn.dominant, target)


def _say_every_class(drawn: Drawn, names: Sequence[str]) -> str:
    each = zip(drawn.classes, _gains(drawn, RESNET), strict=True)
    return "IoU of resnet34 less the baseline's: " + ", ".join(f"{names[i]} {gain:+.4f}" for i, gain in each)


def _say_largest(average: str) -> Callable[[Drawn, Sequence[str]], str]:
    def say(drawn: Drawn, names: Sequence[str]) -> str:
        rows = [row for row in drawn.scenes if row != BASELINE]
        return f"Gains in mean IoU ({average}): " + ", ".join(
            f"{row} {float(_gain(drawn, row, average)):+.4f}" for row in rows
        )

    return say


def _gain_claim(row: str, average: str, source: str) -> Claim:
    text = f"The {row} row has a higher mean IoU ({average}) than the baseline"
    return Claim(text, source, (row,), lambda d: _gain(d, row, average), _say_gain(row, average))


def _largest_claim(average: str) -> Claim:
    text = f"The ResNet-34 encoder gains most ({average})"
    return Claim(
        text,
        "5.5, 6",
        (RESNET, AUGMENT),
        lambda d: _gain(d, RESNET, average) - _best_other_gain(d, average),
        _say_largest(average),
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "The baseline learns {dominant}, the dominant class, and struggles with the others",
        "5.2, Fig. 2",
        (),
        lambda d: np.nan_to_num(d.iou(BASELINE)[..., d.dominant]) - _mean_of_others(d, BASELINE),
        _say_learned,
    ),
    Claim(
        "The class {dominant} does not replace the others: of most of them it is not the commonest mistake",
        "5.2, Fig. 4",
        (),
        lambda d: len(d.others) / 2 - _rows_taken_for_dominant(d),
        _say_taken_for_dominant,
    ),
    Claim(
        "The baseline does not overpredict {dominant}: it loses more to the other classes than it takes from them",
        "5.2, Fig. 4",
        (),
        lambda d: _outflow(d, BASELINE) - _inflow(d, BASELINE),
        _say_flows,
    ),
    Claim(
        "Focal loss is worse on the classes but {dominant}",
        "5.3, Table 4",
        (FOCAL,),
        lambda d: _mean_of_others(d, BASELINE) - _mean_of_others(d, FOCAL),
        _say_others(FOCAL),
    ),
    Claim(
        "Focal loss gives more false positives of the classes but {dominant}",
        "5.3",
        (FOCAL,),
        lambda d: _false_positives_of_others(d, FOCAL) - _false_positives_of_others(d, BASELINE),
        _say_false_positives,
    ),
    Claim(
        "Focal loss takes more of {dominant} for {rarest} than the baseline does",
        "5.3, Fig. 5",
        (FOCAL,),
        lambda d: d.taken(FOCAL, d.dominant, d.rarest) - d.taken(BASELINE, d.dominant, d.rarest),
        _say_rarest,
    ),
    Claim(
        "Focal loss overpredicts {rarest}",
        "5.3",
        (FOCAL,),
        lambda d: d.predicted(FOCAL, d.rarest) - d.true(d.rarest),
        _say_area,
    ),
    _gain_claim(AUGMENT, "pooled", "5.4, Table 3"),
    _gain_claim(AUGMENT, PER_IMAGE, "5.4, Table 3"),
    Claim(
        "Augmentation gains in the classes but {dominant}",
        "5.4, Table 4",
        (AUGMENT,),
        lambda d: _mean_of_others(d, AUGMENT) - _mean_of_others(d, BASELINE),
        _say_others(AUGMENT),
    ),
    Claim(
        "Augmentation lowers the IoU of {dominant}",
        "5.4, Table 4",
        (AUGMENT,),
        lambda d: d.iou(BASELINE)[..., d.dominant] - d.iou(AUGMENT)[..., d.dominant],
        _say_others(AUGMENT),
    ),
    Claim(
        "With augmentation more of {dominant} is taken for the class that it resembles",
        "5.4, Fig. 6",
        (AUGMENT,),
        _confused_more,
        _say_confused,
    ),
    _gain_claim(RESNET, "pooled", "5.5, Table 3"),
    _gain_claim(RESNET, PER_IMAGE, "5.5, Table 3"),
    Claim(
        "The ResNet-34 encoder improves every class",
        "5.5, Table 4",
        (RESNET,),
        lambda d: _gains(d, RESNET).min(-1),
        _say_every_class,
    ),
    _largest_claim("pooled"),
    _largest_claim(PER_IMAGE),
)
