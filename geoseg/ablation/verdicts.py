"""What the runs at hand say to the paper's claims.

Each claim has a lead: a number that is above 0 where the claim is true. Its interval comes from scenes drawn again, the
same for all rows. A claim holds where the interval and every seed's own lead lie above 0, it does not hold where they
lie at or below 0; else, and with fewer than FEWEST scenes, it cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from geoseg import metrics
from geoseg.ablation.claims import AUGMENT, CLAIMS, Claim, Drawn
from geoseg.ablation.evaluate import Matrices, added
from geoseg.ablation.plan import BASELINE
from geoseg.legend import Legend
from geoseg.metrics import or_none
from geoseg.scoring.averages import Scenes
from geoseg.scoring.intervals import Resampling, weightings_at_once

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"
ROUNDING = 1e-12
FEWEST = 6
"""Scenes below which no exchange of two rows could give a p-value under .05."""
DRAWS = 2000
"""Resamples behind the intervals of the claims."""


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
    """What the runs of each of the paper's rows, in the order of their seeds, say to every claim of the paper.

    Args:
        by_value: judge by the figures alone, where there are no matrices of scenes, as of the paper's own figures.

    Matrices of a scene are added over seeds. Claims whose rows or classes are missing cannot be told.
    """
    if BASELINE not in runs:
        return [_missing_rows(claim, _unnamed(claim)) for claim in CLAIMS]
    together = _drawn(_scenes({row: added(seeds) for row, seeds in runs.items()}), legend)
    there = [claim for claim in CLAIMS if claim.rows <= runs.keys() and claim.fewest <= len(together.classes)]
    leads = {} if by_value else _resampled(there, together)
    # Each seed's lead is about the same classes.
    alone = [
        replace(together, scenes=_scenes({row: seeds[number] for row, seeds in runs.items() if number < len(seeds)}))
        for number in range(max(map(len, runs.values())))
    ]
    return [
        _verdict(claim, together, leads.get(claim), alone, by_value)
        if claim in there
        else _missing(claim, together, runs.keys())
        for claim in CLAIMS
    ]


def _verdict(
    claim: Claim, together: Drawn, leads: np.ndarray | None, alone: Sequence[Drawn], by_value: bool
) -> Verdict:
    lead = float(claim.lead(together))
    low, high = (math.nan, math.nan) if leads is None else np.nanquantile(leads, (0.025, 0.975))
    seeds = [float(claim.lead(one)) for one in alone if claim.rows <= one.scenes.keys()]
    few = len(together.weights) < FEWEST and not by_value
    return Verdict(
        together.named(claim.text),
        claim.source,
        OPEN if few else _decide(lead, low, high, seeds),
        claim.said(together),
        *map(or_none, (lead, low, high)),
        tuple(map(or_none, seeds)),
    )


def _decide(lead: float, low: float, high: float, seeds: Sequence[float]) -> str:
    if math.isnan(lead):
        return OPEN
    low, high = (lead, lead) if math.isnan(low) else (low, high)
    if low > ROUNDING and all(seed > ROUNDING for seed in seeds):
        return HOLDS
    return FAILS if high <= ROUNDING and all(seed <= ROUNDING for seed in seeds) else OPEN


def _missing(claim: Claim, drawn: Drawn, rows: Sequence[str]) -> Verdict:
    """Of a claim that lacks rows, or classes in the truth."""
    text = drawn.named(claim.text)
    if not claim.rows <= rows:
        return _missing_rows(claim, text)
    names = ", ".join(drawn.names[i] for i in drawn.classes)
    return Verdict(text, claim.source, OPEN, f"It takes {claim.fewest} classes; the test scenes' truth has {names}.")


def _missing_rows(claim: Claim, text: str) -> Verdict:
    return Verdict(text, claim.source, OPEN, f"It needs runs of {' and '.join(sorted(claim.rows))}.")


def _unnamed(claim: Claim) -> str:
    return claim.text.format(dominant="the dominant class", rarest="the rarest class")


def _scenes(rows: Mapping[str, Matrices]) -> dict[str, Scenes]:
    """Those with truth."""
    return {row: Scenes.of(matrices.values()).with_truth() for row, matrices in rows.items()}


def _drawn(scenes: Mapping[str, Scenes], legend: Legend) -> Drawn:
    """Every scene taken once."""
    baseline = scenes[BASELINE]
    support = metrics.support(baseline.counts).sum(0)
    classes = tuple(i for i in legend.scored if support[i])
    dominant, rarest = max(classes, key=lambda i: support[i]), min(classes, key=lambda i: support[i])
    taken = scenes.get(AUGMENT, baseline).counts.sum(0)[dominant]
    target = max((i for i in classes if i != dominant), key=lambda i: taken[i], default=dominant)
    return Drawn(scenes, baseline.once, legend.names, classes, dominant, rarest, target)


def _resampled(claims: Sequence[Claim], once: Drawn) -> dict[Claim, np.ndarray]:
    """(DRAWS,) leads of each claim; nothing where there are fewer than two scenes."""
    scenes = next(iter(once.scenes.values()))
    if len(scenes) < 2:
        return {}
    found: dict[Claim, list[np.ndarray]] = {claim: [] for claim in claims}
    for weights in Resampling(DRAWS).weights(len(scenes), weightings_at_once(scenes)):
        drawn = replace(once, weights=weights)
        for claim in claims:
            found[claim].append(claim.lead(drawn))
    return {claim: np.concatenate(parts) for claim, parts in found.items()}
