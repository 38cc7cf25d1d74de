"""Bootstrap intervals: scenes (or blocks of pixels) drawn again with replacement, every figure worked out anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import UsageError
from geoseg.legend import Legend
from geoseg.scoring.averages import AVERAGES, Figures, Scenes

FEWEST_DRAWS = 1000
"""With fewer, an end of a 95 % interval would rest on fewer than 25 draws."""
FEW_UNITS = 20
"""Below this many scenes percentile intervals come out too narrow; docs/metrics.md has the coverage measured."""
DRAWN_BYTES = 1 << 25
"""Of the weights, or of the summed matrices, that are held at once; working out the figures takes a few times more."""


@dataclass(frozen=True)
class Resampling:
    """How units are drawn again."""

    draws: int = FEWEST_DRAWS
    """Number of resamples, >= 1000."""
    seed: int = 0
    """Seed of numpy's PCG64, >= 0."""
    level: float = 0.95
    """Share of the resamples that lie between the two ends, between 0 and 1."""
    block: int | None = None
    """Side in pixels of the blocks that are drawn; None where scenes are."""

    def __post_init__(self) -> None:
        if self.draws < FEWEST_DRAWS:
            raise UsageError(f"intervals need at least {FEWEST_DRAWS} draws, got {self.draws}")
        if not 0 < self.level < 1:
            raise UsageError(f"the level of an interval lies between 0 and 1 (0.95), got {self.level}")
        if self.seed < 0 or (self.block is not None and self.block < 1):
            raise UsageError(f"a seed is >= 0 and a block >= 1 px, got {self.seed} and {self.block}")

    @property
    def unit(self) -> str:
        """What is drawn."""
        return "scenes" if self.block is None else f"blocks of {self.block} px"

    def count(self, units: int) -> str:
        """So many of them, in words."""
        number = f"{units} {self.unit}"
        return number.replace("scenes", "scene").replace("blocks", "block") if units == 1 else number

    @property
    def averages(self) -> tuple[str, ...]:
        """The averages that have intervals: a mean over blocks is none over images, and changes with their size."""
        return AVERAGES if self.block is None else ("pooled",)

    def notes(self, units: int) -> tuple[str, ...]:
        """What intervals of so many units do not say."""
        found = []
        if units < 2:
            found.append(f"{self.count(units)}: how figures vary over {self.unit} is unknown, so there is no interval")
        elif units < FEW_UNITS:
            found.append(f"{self.count(units)} are few: intervals of so few come out too narrow")
        if self.block is not None:
            found.append(
                "blocks near each other are alike: intervals and p-values are too small, and of these scenes only"
            )
        return tuple(found)

    def weights(self, units: int, at_once: int) -> Iterator[np.ndarray]:
        """(<= at_once, units) float64: how often each unit is drawn; the same rows whatever ``at_once`` is."""
        generator = np.random.Generator(np.random.PCG64(self.seed))
        for start in range(0, self.draws, at_once):
            size = min(at_once, self.draws - start)
            yield generator.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float64)


@dataclass(frozen=True)
class Interval:
    """A figure and the percentiles of its resamples."""

    estimate: float
    """The figure of the units as they are; NaN where it is undefined."""
    low: float
    """Lower end; NaN where there is no interval."""
    high: float
    """Upper end; NaN where there is no interval."""
    undefined: float
    """Share of the resamples in which the figure is undefined; they are left out of the percentiles."""

    def to_dict(self) -> dict[str, float | None]:
        """As JSON holds it: NaN becomes null."""
        return {name: metrics.or_none(value) for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Intervals:
    """Percentile intervals of every figure, or of the difference of every figure between two maps."""

    resampling: Resampling
    """How the units were drawn."""
    units: int
    """Number of scenes or blocks with scored truth."""
    holding: tuple[int, ...]
    """Of each class index: the units whose scored truth has it. Below 2 the class has no interval."""
    overall: Mapping[str, Interval]
    """By the names of Figures.overall."""
    per_class: Mapping[str, tuple[Interval, ...]]
    """By the names of Figures.per_class, one interval a class index."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the intervals do not say."""
        return self.resampling.notes(self.units)

    def to_dict(self, legend: Legend) -> dict[str, Any]:
        """As JSON holds it, with the scored classes by name."""
        names = {legend.names[i]: i for i in legend.scored}
        return vars(self.resampling) | {
            "unit": self.resampling.unit,
            "units": self.units,
            "overall": {figure: interval.to_dict() for figure, interval in self.overall.items()},
            "classes": {
                name: {"units_with_truth": self.holding[i]}
                | {figure: intervals[i].to_dict() for figure, intervals in self.per_class.items()}
                for name, i in names.items()
            },
            "notes": list(self.notes),
        }


def bootstrap(
    matrices: Iterable[ConfusionMatrix],
    draws: int = FEWEST_DRAWS,
    seed: int = 0,
    level: float = 0.95,
    block: int | None = None,
) -> Intervals:
    """Percentile intervals of every figure over scenes drawn again (Efron and Tibshirani 1993, chapter 13).

    Args:
        matrices: one a scene; or one a block, where ``block`` is given.
        draws, seed, level, block: as Resampling has them.

    Units without scored truth are not drawn. Memory does not grow with scenes times draws. Raises UsageError, and
    InputError for matrices of several legends.
    """
    scenes, resampling = Scenes.of(matrices).with_truth(), Resampling(draws, seed, level, block)
    return _intervals(scenes, resampling, lambda weights: Figures.of(scenes, weights, resampling.averages))


def bootstrap_difference(
    first: Iterable[ConfusionMatrix], second: Iterable[ConfusionMatrix], resampling: Resampling
) -> Intervals:
    """Percentile intervals of second - first for every figure: two maps of one truth, the same draws for both.

    Args:
        first, second: one matrix a unit each, in one order.
    """
    before, after = Scenes.of(first).with_truth(), Scenes.of(second).with_truth()
    averages = resampling.averages

    def difference(weights: np.ndarray) -> Figures:
        return Figures.of(after, weights, averages) - Figures.of(before, weights, averages)

    return _intervals(before, resampling, difference)


def weightings_at_once(scenes: Scenes) -> int:
    """Weightings that are worked out together, so that memory stays within a few times DRAWN_BYTES."""
    return max(1, DRAWN_BYTES // (8 * max(scenes.counts[0].size, len(scenes))))


def _intervals(scenes: Scenes, resampling: Resampling, figures: Callable[[np.ndarray], Figures]) -> Intervals:
    weights = resampling.weights(len(scenes), weightings_at_once(scenes))
    drawn, found = Figures.joined([figures(some) for some in weights]), figures(scenes.once)
    holding = (metrics.support(scenes.counts) > 0).sum(0)
    return Intervals(
        resampling,
        len(scenes),
        tuple(holding.tolist()),
        {
            name: _interval(value, drawn.overall[name], resampling.level, len(scenes))
            for name, value in found.overall.items()
        },
        {
            name: tuple(map(_interval, values, drawn.per_class[name].T, [resampling.level] * len(values), holding))
            for name, values in found.per_class.items()
        },
    )


def _interval(estimate: float, drawn: np.ndarray, level: float, units: int) -> Interval:
    """One unit always draws itself: its percentiles would claim certainty."""
    there = drawn[~np.isnan(drawn)]
    low, high = (math.nan, math.nan)
    if units > 1 and len(there):
        low, high = np.quantile(there, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(estimate), float(low), float(high), 1 - len(there) / len(drawn))
