"""Class-aware oversampling (the paper's section 3.3): how often each training scene is repeated, by what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.errors import UsageError
from geoseg.legend import Legend

DROP_STREAM = 3
"""Keeps the draws of dropped scenes apart from those of datasets.samples."""


@dataclass(frozen=True)
class OversamplingRule:
    """Who is repeated, by names of classes; the first of the four conditions that a scene meets decides.

    A class is present where one pixel shows it. The defaults are the paper's, with totals in place of "up to".
    """

    very_rare: tuple[str, ...] = ("water",)
    """Scenes that show one of these get ``very_rare_copies``."""
    rare: tuple[str, ...] = ("rangeland", "forest")
    """Of the others, scenes that show one of these get ``rare_copies``."""
    dominant: str = "agriculture"
    """Of the others, scenes with more than ``dominant_share`` of this class ..."""
    dominant_share: float = 0.7
    """... in the pixels that have a class ..."""
    keep: float = 0.3
    """... are kept, once, with this probability; whether is drawn once per run."""
    very_rare_copies: int = 6
    rare_copies: int = 3
    other_copies: int = 2
    """Copies of a scene that meets none of the conditions. All are totals, the clean first copy included."""

    def __post_init__(self) -> None:
        if not (0 <= self.keep <= 1 and 0 <= self.dominant_share <= 1):
            raise UsageError(f"keep and dominant share are 0 to 1, got {self.keep} and {self.dominant_share}")
        if min(self.very_rare_copies, self.rare_copies, self.other_copies) < 1:
            raise UsageError("an oversampling rule gives each scene at least one copy; only keep drops scenes")

    @property
    def names(self) -> tuple[str, ...]:
        """Every class that the rule names."""
        return (*self.very_rare, *self.rare, self.dominant)

    def fits(self, legend: Legend) -> bool:
        """True where the legend has every class that the rule names."""
        return set(self.names) <= set(legend.names)

    def require_classes(self, legend: Legend) -> None:
        """Raise UsageError where the legend lacks a class that the rule names."""
        missing = [name for name in self.names if name not in legend.names]
        if missing:
            raise UsageError(
                f"oversampling goes by {', '.join(self.names)}; the legend {legend.name!r} has no {missing[0]}: "
                f"use --rare-set {SHARES}, which goes by how frequent classes are, or --no-oversample (--augment alone "
                "works with every legend)"
            )

    def __str__(self) -> str:
        """The classes it goes by, in words."""
        kinds = {"very rare": self.very_rare, "rare": self.rare, "dominant": (self.dominant,)}
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names)

    def expected_copies(self, counts: np.ndarray, legend: Legend) -> np.ndarray:
        """(S,) float64 copies of each scene on average over seeds, from (S, K) pixels of each class of the legend.

        Raises UsageError where the legend lacks a class that the rule names.
        """
        totals = np.array([self.very_rare_copies, self.rare_copies, self.keep, self.other_copies], np.float64)
        return totals[self._condition_met(counts, legend)]

    def copies(self, counts: np.ndarray, legend: Legend, seed: int) -> np.ndarray:
        """(S,) int64 copies of each scene, 0 where it is dropped; as ``expected_copies``, with the drops drawn."""
        drawn = np.random.default_rng((DROP_STREAM, seed)).random(len(counts)) < self.keep
        kept = np.where(self._condition_met(counts, legend) == 2, drawn, self.expected_copies(counts, legend))
        return kept.astype(np.int64)

    def _condition_met(self, counts: np.ndarray, legend: Legend) -> np.ndarray:
        """(S,) the first of very rare (0), rare (1), dominated (2) and other (3) that holds for a scene."""
        self.require_classes(legend)
        very_rare, rare = (_shows(counts, names, legend) for names in (self.very_rare, self.rare))
        dominant = counts[:, legend.names.index(self.dominant)] > self.dominant_share * counts.sum(1)
        return np.select([very_rare, rare, dominant], [0, 1, 2], default=3)


RULES: dict[str, OversamplingRule] = {
    "text": OversamplingRule(),
    "table1": OversamplingRule(rare=("rangeland", "forest", "barren")),
}
"""The paper's rule by what counts as rare: as its text says, or as the figures of its Table 1 need it."""
SHARES = "shares"
"""The rare set that is found in the training pixels, of any legend."""
RARE_SETS = (*RULES, SHARES)


def resolve_rare_set(asked: str | None, legend: Legend) -> str:
    """The rare set that was asked for; else the paper's text where the legend has its classes, else the shares.

    Raises UsageError for one that does not exist or names classes that the legend lacks.
    """
    if asked is None:
        return "text" if RULES["text"].fits(legend) else SHARES
    if asked not in RARE_SETS:
        raise UsageError(f"rare set {asked!r}: there are {', '.join(RARE_SETS)}")
    if asked != SHARES:
        RULES[asked].require_classes(legend)
    return asked


def find_rule(rare_set: str, counts: np.ndarray, legend: Legend) -> OversamplingRule:
    """The rule of one of RARE_SETS, from (S, K) pixels of each class in the training scenes.

    Raises UsageError where the legend lacks its classes, or no class is rarer than another.
    """
    if rare_set != SHARES:
        RULES[rare_set].require_classes(legend)
        return RULES[rare_set]
    rule = rule_by_shares(counts.sum(0), legend)
    if rule is None:
        raise UsageError(
            "oversampling goes by rare classes, and in the training scenes no class is rarer than another; leave it out"
        )
    return rule


def rule_by_shares(counts: np.ndarray, legend: Legend) -> OversamplingRule | None:
    """The paper's rule for any legend, from (K,) pixels of each class; None where no class is rarer than another.

    The most frequent class is the dominant one (the first of several), the least frequent is very rare (all of
    several), and of the others those below the median are rare. Ignored classes, and those without a pixel, are none of
    these. From the shares that the paper prints this gives agriculture; water; rangeland and barren.
    """
    pixels = {legend.names[i]: int(counts[i]) for i in legend.scored if counts[i]}
    most, least = max(pixels.values(), default=0), min(pixels.values(), default=0)
    if most == least:
        return None
    median = np.median(list(pixels.values()))
    dominant = next(name for name, count in pixels.items() if count == most)
    very_rare = tuple(name for name, count in pixels.items() if count == least)
    rare = tuple(name for name, count in pixels.items() if least < count < median)
    return OversamplingRule(very_rare, rare, dominant)


def _shows(counts: np.ndarray, names: Sequence[str], legend: Legend) -> np.ndarray:
    return counts[:, [legend.names.index(name) for name in names]].any(1)
