"""What was counted of one map and its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from geoseg.confusion import ConfusionMatrix
from geoseg.grid import Window
from geoseg.raster.features import LabelField
from geoseg.scoring.boundary import BoundaryCounts
from geoseg.scoring.calibration import Reliability
from geoseg.source import Source


@dataclass(frozen=True, eq=False)
class Blocks:
    """Matrices of the square blocks of a truth that hold scored pixels."""

    side: int
    """Of a block in truth pixels; blocks at the end of the truth are smaller."""
    windows: tuple[Window, ...]
    """Where they are in the truth, row-major."""
    counts: np.ndarray
    """(N, K, K + 1) int64."""

    @classmethod
    def of(cls, side: int, found: Sequence[tuple[Window, np.ndarray]]) -> Blocks:
        """From windows and their counts."""
        return cls(side, tuple(window for window, _ in found), np.array([counts for _, counts in found], np.int64))

    def without_missing(self) -> Blocks:
        """The same blocks with the truth that has no prediction left out."""
        return replace(self, counts=_without_last_column(self.counts))

    def matrices(self, ignored: tuple[int, ...]) -> list[ConfusionMatrix]:
        """One matrix a block."""
        return [ConfusionMatrix(counts, ignored) for counts in self.counts]


@dataclass(frozen=True, eq=False)
class Pair:
    """What a map and its truth have in common, and what not."""

    prediction: str
    """Name of the map."""
    matrix: ConfusionMatrix
    """Rows truth, columns prediction, on the truth's grid."""
    alignment: str = "same grid, pixel by pixel"
    """How the map was laid over the truth, in one line."""
    note: str = ""
    """What should be looked at, such as a shifted origin."""
    overlap: float = 1.0
    """Share of the truth's pixels that lie in the map's extent."""
    outside: int = 0
    """Pixels of a class of the truth that lie outside of it, and are left out."""
    undefined: int = 0
    """Truth pixels of a colour that is no class, left out."""
    contested: int = 0
    """Truth pixels in shapes of several classes; they count to that of the last one."""
    unlabelled: int = 0
    """Other truth pixels in the map's extent without a class or of an ignored one, left out."""
    unpredicted: int = 0
    """Truth pixels without a prediction that were left out, as was asked for."""
    hectares: np.ndarray | None = None
    """(K, K + 1) true ground area of the counts in hectares; None where the truth has no place on Earth."""
    blocks: Blocks | None = None
    """Matrices of the parts, where they were asked for."""
    boundary: BoundaryCounts | None = None
    """Pixels near the borders of classes, where they were asked for."""
    reliability: Reliability | None = None
    """The map's scores against what is right, where they were given."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """What the map's own tags tell of how it was made."""
    sources: tuple[Source, Source] | None = None
    """Where map and truth were read from; None where they were not read."""
    file: str = ""
    """Of the truth, where it is not what the truth is called: several maps have one vector file."""
    field: LabelField | None = None
    """Where in a vector file of truth the classes are."""
    pointwise: bool = False
    """True where the truth is points: single pixels that no picture shows."""

    def without_missing(self) -> Pair:
        """The same pair with the truth that has no prediction left out."""
        return replace(
            self,
            matrix=self.matrix.without_missing(),
            unpredicted=self.matrix.missing,
            hectares=None if self.hectares is None else _without_last_column(self.hectares),
            blocks=None if self.blocks is None else self.blocks.without_missing(),
        )


def _without_last_column(counts: np.ndarray) -> np.ndarray:
    kept = counts.copy()
    kept[..., -1] = 0
    return kept
