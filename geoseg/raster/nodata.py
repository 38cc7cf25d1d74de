"""NodataRule: which pixels of a raster file hold no data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from geoseg.errors import UsageError

Which = Literal["all", "any"]


@dataclass(frozen=True)
class NodataRule:
    """A pixel has no data where the file's mask says so, or where its bands hold a value that the file never declared.

    Raises UsageError where the values are none of these.
    """

    which: Which = "all"
    """Whether all bands have to be nodata, or one is enough."""
    value: float | None = None
    """Raw digital number that means no data, beside what the file declares; None: only that."""

    def __post_init__(self) -> None:
        if self.which not in get_args(Which):
            raise UsageError(f'the nodata rule is "all" or "any", got {self.which!r}')
        if self.value is not None and not math.isfinite(self.value):
            raise UsageError(f"{self.value} is no data anyway; --nodata is for other values")

    @classmethod
    def of(cls, given: NodataRule | str) -> NodataRule:
        """A rule as it is, or from what ``str`` makes of one: "all", "any", "all 0"."""
        if isinstance(given, NodataRule):
            return given
        try:
            which, *value = given.split(" ", 1)
            return cls(which, float(value[0]) if value else None)
        except ValueError as error:
            raise UsageError(
                f'the nodata rule is "all", "any", or either with a value, as "all 0"; got {given!r}'
            ) from error

    def __str__(self) -> str:
        return self.which if self.value is None else f"{self.which} {self.value:.17g}"

    def holds(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W) bool, False where (C, H, W) ``pixels`` are the value."""
        is_value = pixels == self.value
        return ~(is_value.any(0) if self.which == "any" else is_value.all(0))
