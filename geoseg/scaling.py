"""Scaling: what the raw numbers of a raster mean to a network, and which rasters mean the same by theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from geoseg.errors import UsageError

Kind = Literal["range", "statistics", "percentile"]
Bounds = tuple[tuple[float, float], ...]
"""(low, high) of each band, raw digital numbers: what become 0 and 1."""

SPREAD = 3.0
"""Standard deviations on either side of the mean that become 0 and 1."""
PERCENTILES = 2.0, 98.0
"""Those that become 0 and 1 where none are named."""
ROUNDING = 1e-12
"""Share of a number by which sums of float64 leave it uncertain, and more."""


@dataclass(frozen=True)
class Scaling:
    """How the pixels x of each band become what a network sees: (x - low) / (high - low), clipped to 0 and 1.

    Raises UsageError where the values contradict each other.
    """

    kind: Kind
    """range: bounds that were named. statistics: SPREAD standard deviations around the mean of the training pixels.
    percentile: of each raster its own percentiles, which are looked up before it is predicted."""
    bounds: Bounds = ()
    """One pair for all bands or one a band; none where each raster has its own."""
    percentiles: tuple[float, float] | None = None
    """Which of each raster's, from 0 to 100."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"the scaling is {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.per_raster != (not self.bounds) or self.per_raster != (self.percentiles is not None):
            has, lacks = ("percentiles", "bounds") if self.per_raster else ("bounds", "percentiles")
            raise UsageError(f"the scaling {self.kind} has {has} and no {lacks}")
        for low, high in self.bounds:
            require_apart(low, high)
        if self.percentiles and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise UsageError(f"percentiles are two numbers from 0 to 100, the lower first, got {self.percentiles}")

    @property
    def per_raster(self) -> bool:
        """True where each raster has bounds of its own, so that its dtype does not matter."""
        return self.kind == "percentile"

    def of_bands(self, count: int) -> Bounds:
        """The bounds of each of so many bands; raises UsageError where they are of another number of bands."""
        if len(self.bounds) not in (1, count):
            raise UsageError(f"bounds of {len(self.bounds)} bands for {count}: give one pair for all, or one a band")
        return self.bounds * count if len(self.bounds) == 1 else self.bounds

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Scaling:
        """Read back what ``to_dict`` gave; raises UsageError, KeyError, TypeError, ValueError."""
        percentiles = record["percentiles"]
        return cls(record["kind"], as_bounds(record["bounds"]), percentiles and as_pair(percentiles))

    def __str__(self) -> str:
        if self.percentiles:
            return f"each raster's percentiles {self.percentiles[0]:g} and {self.percentiles[1]:g}"
        pairs = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in self.bounds)
        around = f"mean and {SPREAD:g} standard deviations of the training pixels, "
        return f"{around if self.kind == 'statistics' else 'range '}{pairs}"


def of_statistics(means: Sequence[float], deviations: Sequence[float]) -> Scaling:
    """The scaling by the mean and standard deviation of each band."""
    reach = SPREAD * np.asarray(deviations)
    bounds = zip(np.asarray(means) - reach, np.asarray(means) + reach, strict=True)
    return Scaling("statistics", tuple(parted(low, high) for low, high in bounds))


def parted(low: float, high: float) -> tuple[float, float]:
    """The two bounds; around them where they are one but for rounding, as in a band that is the same everywhere."""
    if high - low > ROUNDING * max(abs(low), abs(high)):
        return float(low), float(high)
    reach = max(0.5, abs(low) * 1e-3)
    return float(low - reach), float(low + reach)


def require_apart(low: float, high: float) -> None:
    """Raise UsageError unless float32 tells the two bounds apart and holds what lies between them."""
    with np.errstate(over="ignore", divide="ignore"):
        span = np.float32(high - low)
        usable = np.isfinite([low, high, span, 1 / span]).all()
    if not usable or not span > 0:
        raise UsageError(f"pixels are scaled between two numbers, the lower first, got {low:g} and {high:g}")


def as_bounds(pairs: Sequence[Sequence[float]] | Sequence[float]) -> Bounds:
    """Pairs as JSON or a user gives them: one, or one a band."""
    one = len(pairs) == 2 and not isinstance(pairs[0], Sequence)
    return tuple(as_pair(pair) for pair in ([pairs] if one else pairs))


def as_pair(values: Sequence[float]) -> tuple[float, float]:
    """Two numbers; raises ValueError for more or fewer."""
    first, second = values
    return float(first), float(second)


def same_numbers(first: str, second: str) -> bool:
    """True where pixels of two dtypes mean the same: of one dtype, both floats, or both integers of over 8 bits.

    One product is kept as int16 here and as uint16 there; its 8-bit pictures and its reflectances are other numbers.
    """
    return first == second or _family(first) == _family(second) is not None


def _family(dtype: str) -> str | None:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return "floats"
    return "integers" if kind.itemsize > 1 else None


EIGHT_BITS = Scaling("range", ((0.0, 255.0),))
"""What uint8 pixels mean unless told otherwise, as in the paper."""
