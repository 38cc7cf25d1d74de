"""Comparing one map with its truth, window by window."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from geoseg.ahead import read_ahead, reader_threads
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import GridMismatch, UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.scores import ScoresRaster
from geoseg.scoring.alignment import align, mismatch
from geoseg.scoring.boundary import BoundaryCounts, count_boundary, halo
from geoseg.scoring.calibration import Reliability
from geoseg.scoring.counting import count_pairs, fold
from geoseg.scoring.inputs import require_own_legend
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.pair import Blocks, Pair
from geoseg.tiling import blocks

WINDOW = 2048
"""Side of the windows that are compared at a time, in truth pixels; of files of whole rows as many rows as hold as many
pixels. A few tens of MB whatever the rasters' size."""
MOST_DETAIL = 512
"""Side in truth pixels of the largest windows that a report shows; smaller ones would cost more to count."""
READERS = 4
"""Threads that read, at most."""
PLACED_AT_ONCE = 64
"""Windows whose areas are worked out together: asking for coordinates takes as long for one as for many."""
PROVENANCE_TAGS = ("GEOSEG_VERSION", "GEOSEG_MODEL", "GEOSEG_MODEL_SHA256", "GEOSEG_INPUT", "GEOSEG_SETTINGS")
"""Tags in which a map tells how it was made."""


@dataclass(frozen=True)
class Comparison:
    """How each pair is compared."""

    legends: JoinedLegends
    ignore_missing: bool = False
    block: int | None = None
    """Side in truth pixels of the blocks whose matrices are kept, None for none."""
    boundary: float | None = None
    """Distance of Boundary IoU in metres (pixels, where the truth has no place on Earth), None for none."""

    details: bool = False
    """Keep matrices of blocks where no side is given, too: of some that make a picture each."""

    def __post_init__(self) -> None:
        if self.block is not None and self.block < 1:
            raise UsageError(f"blocks have a side of at least 1 px, got {self.block}")


class Piece(NamedTuple):
    """A window of both rasters, read."""

    window: Window
    truth: np.ndarray
    """(H, W) uint8 values of the truth."""
    prediction: np.ndarray
    """(H, W) uint8 values of the prediction, on the truth's grid."""
    inside: int
    """Pixels that lie in the prediction's extent."""
    outside: int
    """Pixels of a class of the truth that do not, and are left out."""
    undefined: int
    """Pixels of the truth of a colour that is no class."""
    boundary: BoundaryCounts | None = None
    reliability: Reliability | None = None


def score_pair(
    prediction: Path, truth: Path, comparison: Comparison, scores: Path | None = None, progress: bool = False
) -> Pair:
    """Compare one map with its truth; with the map's ``scores`` its calibration too.

    Memory does not grow with their size, but for 8 K (K + 1) bytes a kept block.
    """
    with ExitStack() as opened:
        reader = opened.enter_context(closing(PairReader(prediction, truth, comparison, scores)))
        readers = opened.enter_context(reader_threads(reader.threads))
        height, width = reader.truths.grid.shape
        bar = opened.enter_context(
            tqdm(total=height * width, unit="px", unit_scale=True, disable=not progress, leave=False)
        )
        tally = Tally(reader)
        windows = compared_windows(reader.truths.scene, reader.comparison.block)
        for piece in read_ahead(readers, (partial(reader.read, window) for window in windows), depth=2):
            tally.add(piece)
            bar.update(piece.window.area)
        return tally.result()


class PairReader:
    """A map and its truth, opened and aligned; read on several threads.

    Raises InputError, GridMismatch among them.
    """

    def __init__(self, prediction: Path, truth: Path, comparison: Comparison, scores: Path | None = None) -> None:
        legends = comparison.legends
        self.legend = legends.legend
        self.maps, self.truths = Labels(prediction, legends.prediction), Labels(truth, legends.truth)
        for labels in (self.maps, self.truths):
            require_own_legend(labels)
        self.alignment = align(self.maps.grid, self.truths.grid, self.maps.name, self.truths.name)
        if comparison.details and comparison.block is None:
            comparison = replace(comparison, block=detail_side(self.truths.grid.shape))
        self.comparison = comparison
        self.truth_classes = legends.scored_truth(self._classes(self.truths))
        """(256,) index among the scored classes of each value of a piece's truth."""
        self.prediction_classes = legends.scored_prediction(self._classes(self.maps))
        self._scores = None if scores is None else self._open_scores(scores)
        if comparison.boundary is not None:
            self._halo = halo(comparison.boundary, self.truths.grid.pixel_metres)

    @property
    def threads(self) -> int:
        """How many may read: one, where rows can only be decoded from the first on."""
        sequential = self.maps.scene.sequential or self.truths.scene.sequential
        return 1 if sequential else min(READERS, os.cpu_count() or 1)

    def read(self, window: Window) -> Piece:
        """A window of the truth and what lies over it: values where both have the same pixels, else class indices."""
        piece = self._read_values(window)
        if self.comparison.boundary is not None:
            piece = piece._replace(boundary=self._count_boundary(window))
        if self._scores is not None:
            piece = piece._replace(reliability=self._count_scores(piece))
        return piece

    def close(self) -> None:
        """Close the files."""
        for raster in (self.maps, self.truths, self._scores):
            if raster is not None:
                raster.close()

    def _classes(self, labels: Labels) -> np.ndarray:
        """(256,) own class index of each value of a piece."""
        return labels.value_classes if self.alignment.pixel_by_pixel else np.arange(256, dtype=np.int16)

    def _read_values(self, window: Window) -> Piece:
        if self.alignment.pixel_by_pixel:
            truth, undefined = self.truths.read_values(window)
            return Piece(window, truth, self.maps.read_values(window)[0], window.area, 0, undefined)
        index, inside = self.alignment.read(self.maps, window)
        truth, undefined = self.truths.read_counted(window)
        outside = int(((truth != NO_CLASS) & ~inside).sum())
        return Piece(window, np.where(inside, truth, NO_CLASS), index, int(inside.sum()), outside, undefined)

    def _indices(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 scored class indices of truth and prediction; values that are no class become NO_CLASS, as the
        count of pairs raises for them."""
        tables = (np.where(t < 0, NO_CLASS, t).astype(np.uint8) for t in (self.truth_classes, self.prediction_classes))
        return tuple(table[values] for table, values in zip(tables, (piece.truth, piece.prediction), strict=True))

    def _count_boundary(self, window: Window) -> BoundaryCounts:
        grown = window.grown(*self._halo, self.truths.grid.shape)
        truth, prediction = self._indices(self._read_values(grown))
        return count_boundary(
            truth,
            prediction,
            window.relative_to(grown),
            self.truths.grid.pixel_metres,
            self.comparison.boundary,
            len(self.legend),
            self.legend.ignored,
        )

    def _count_scores(self, piece: Piece) -> Reliability:
        steps = self._scores.read(piece.window)
        truth, prediction = self._indices(piece)
        return Reliability.from_pair(truth, prediction, steps, len(self.legend), self.legend.ignored, self._scores.kind)

    def _open_scores(self, path: Path) -> ScoresRaster:
        if not self.alignment.pixel_by_pixel:
            raise GridMismatch(
                f"{path}: calibration needs a map on the truth's own grid, and {self.maps.name} ({self.maps.grid}) is "
                f"not on that of {self.truths.name} ({self.truths.grid})"
            )
        if self.comparison.legends.prediction != self.legend:
            raise UsageError("scores are of the map's own classes: calibration and --mapping do not go together")
        scores = ScoresRaster(path, self.legend)
        scores.require_of(self.maps.scene)
        return scores


class Tally:
    """What is counted of a pair, piece by piece."""

    def __init__(self, reader: PairReader) -> None:
        self._reader, self._legend, self._block = reader, reader.legend, reader.comparison.block
        self._areas = AreaTally(reader.truths.grid)
        classes = len(self._legend)
        self._matrix = ConfusionMatrix.empty(classes, self._legend.ignored)
        self._hectares: np.ndarray | None = np.zeros((classes, classes + 1))
        self._unplaced: list[tuple[Window, np.ndarray]] = []
        self._blocks: list[tuple[Window, np.ndarray]] = []
        self._boundary: BoundaryCounts | None = None
        self._reliability: Reliability | None = None
        self._inside = self._outside = self._undefined = 0

    def add(self, piece: Piece) -> None:
        """Count a piece; raises InputError for values that are no class."""
        self._inside += piece.inside
        self._outside += piece.outside
        self._undefined += piece.undefined
        self._boundary = _sum(self._boundary, piece.boundary)
        self._reliability = _sum(self._reliability, piece.reliability)
        for window, matrix in self._matrices(piece):
            self._matrix += matrix
            if self._block is not None and matrix.total:
                self._blocks.append((window, matrix.counts))
            self._unplaced.append((window, matrix.counts))
        if len(self._unplaced) >= PLACED_AT_ONCE:
            self._add_areas()

    def result(self) -> Pair:
        """All that was counted; raises GridMismatch where the two share no ground."""
        maps, truths, alignment = self._reader.maps, self._reader.truths, self._reader.alignment
        if not self._inside:
            raise GridMismatch(mismatch(maps.grid, truths.grid, maps.name, truths.name, "share no ground"))
        if self._unplaced:
            self._add_areas()
        pair = Pair(
            maps.name,
            self._matrix,
            alignment.message,
            alignment.note,
            overlap=self._inside / math.prod(truths.grid.shape),
            outside=self._outside,
            undefined=self._undefined,
            unlabelled=self._inside - self._matrix.total,
            hectares=self._hectares,
            blocks=None if self._block is None else Blocks.of(self._block, self._blocks),
            boundary=self._boundary,
            reliability=self._reliability,
            provenance={name: value for name, value in maps.scene.tags.items() if name in PROVENANCE_TAGS},
        )
        return pair.without_missing() if self._reader.comparison.ignore_missing else pair

    def _add_areas(self) -> None:
        windows, counts = zip(*self._unplaced, strict=True)
        pixels = self._areas.mean_pixel_hectares(windows)
        self._hectares = None if pixels is None else self._hectares + np.tensordot(pixels, np.array(counts), 1)
        self._unplaced.clear()

    def _matrices(self, piece: Piece) -> Iterator[tuple[Window, ConfusionMatrix]]:
        whole = Window(0, 0, *piece.window.shape)
        for part in [whole] if self._block is None else blocks(whole.shape, self._block):
            where = Window(piece.window.row + part.row, piece.window.col + part.col, *part.shape)
            yield where, self._count(piece.truth[part.slices], piece.prediction[part.slices])

    def _count(self, truth: np.ndarray, prediction: np.ndarray) -> ConfusionMatrix:
        joint, reader = count_pairs(truth, prediction), self._reader
        if reader.alignment.pixel_by_pixel:
            reader.truths.require_known(joint.sum(1))
            reader.maps.require_known(joint.sum(0))
        tables = reader.truth_classes, reader.prediction_classes
        return fold(joint, *tables, len(self._legend), self._legend.ignored)


def _sum(total, part):
    """Of counts that add up, None where there are none."""
    return part if total is None else total + part


def compared_windows(truth: Scene, block: int | None = None) -> list[Window]:
    """Windows that cover the truth, row-major; no block lies in two of them."""
    height, width = truth.grid.shape
    step = 1 if block is None else block
    if truth.sequential or truth.block_shape[1] >= width:
        # Rows are decoded whole: cutting them would decode them again.
        rows = max(WINDOW * WINDOW // width, truth.block_shape[0])
        rows = max(rows // step, 1) * step
        return [Window(row, 0, min(rows, height - row), width) for row in range(0, height, rows)]
    return blocks((height, width), max(WINDOW // step, 1) * step)


def detail_side(shape: tuple[int, int]) -> int:
    """Side in pixels of the windows that are looked at: a quarter of the truth, at most MOST_DETAIL."""
    return min(MOST_DETAIL, -(-max(shape) // 4))
