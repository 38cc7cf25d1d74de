"""Comparing one map with its truth, window by window."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
from geoseg.scoring.alignment import Alignment, align, mismatch
from geoseg.scoring.counting import count_pairs, fold
from geoseg.scoring.inputs import require_own_legend
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.pair import Blocks, Pair
from geoseg.tiling import blocks

WINDOW = 2048
"""Side of the windows that are compared at a time, in truth pixels; of files of whole rows as many rows as hold as many
pixels. A few tens of MB whatever the rasters' size."""
READERS = 4
"""Threads that read, at most."""
PROVENANCE_TAGS = ("GEOSEG_VERSION", "GEOSEG_MODEL", "GEOSEG_MODEL_SHA256", "GEOSEG_INPUT", "GEOSEG_SETTINGS")
"""Tags in which a map tells how it was made."""


@dataclass(frozen=True)
class Comparison:
    """How each pair is compared."""

    legends: JoinedLegends
    ignore_missing: bool = False
    block: int | None = None
    """Side in truth pixels of the blocks whose matrices are kept, None for none."""

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


def score_pair(prediction: Path, truth: Path, comparison: Comparison, progress: bool = False) -> Pair:
    """Compare one map with its truth. Memory does not grow with their size, but for 8 K (K + 1) bytes a kept block."""
    legends = comparison.legends
    with ExitStack() as opened:
        maps, truths = Labels(prediction, legends.prediction), Labels(truth, legends.truth)
        for labels in (maps, truths):
            opened.callback(labels.close)
            require_own_legend(labels)
        alignment = align(maps.grid, truths.grid, maps.name, truths.name)
        readers = opened.enter_context(reader_threads(_reader_count(maps, truths)))
        windows = compared_windows(truths.scene, comparison.block)
        calls = (partial(read_piece, maps, truths, alignment, window) for window in windows)
        bar = opened.enter_context(
            tqdm(total=math.prod(truths.grid.shape), unit="px", unit_scale=True, disable=not progress, leave=False)
        )
        tally = Tally(maps, truths, alignment, comparison)
        for piece in read_ahead(readers, calls, depth=2):
            tally.add(piece)
            bar.update(piece.window.area)
        return tally.result()


class Tally:
    """What is counted of a pair, piece by piece."""

    def __init__(self, maps: Labels, truths: Labels, alignment: Alignment, comparison: Comparison) -> None:
        self._maps, self._truths, self._alignment, self._comparison = maps, truths, alignment, comparison
        self._legend = comparison.legends.legend
        self._truth_classes = comparison.legends.scored_truth(_classes(truths, alignment))
        self._prediction_classes = comparison.legends.scored_prediction(_classes(maps, alignment))
        self._areas = AreaTally(truths.grid)
        classes = len(self._legend)
        self._matrix = ConfusionMatrix.empty(classes, self._legend.ignored)
        self._hectares = np.zeros((classes, classes + 1))
        self._blocks: list[tuple[Window, np.ndarray]] = []
        self._inside = self._outside = self._undefined = 0

    def add(self, piece: Piece) -> None:
        """Count a piece; raises InputError for values that are no class."""
        self._inside += piece.inside
        self._outside += piece.outside
        self._undefined += piece.undefined
        for window, matrix in self._matrices(piece):
            self._matrix += matrix
            if self._comparison.block is not None and matrix.total:
                self._blocks.append((window, matrix.counts))
            hectares = self._areas.mean_pixel_hectares(window)
            self._hectares += matrix.counts * (np.nan if hectares is None else hectares)

    def result(self) -> Pair:
        """All that was counted; raises GridMismatch where the two share no ground."""
        maps, truths, block = self._maps, self._truths, self._comparison.block
        if not self._inside:
            raise GridMismatch(mismatch(maps.grid, truths.grid, maps.name, truths.name, "share no ground"))
        pair = Pair(
            maps.name,
            self._matrix,
            self._alignment.message,
            self._alignment.note,
            overlap=self._inside / math.prod(truths.grid.shape),
            outside=self._outside,
            undefined=self._undefined,
            unlabelled=self._inside - self._matrix.total,
            hectares=None if np.isnan(self._hectares).any() else self._hectares,
            blocks=None if block is None else Blocks.of(block, self._blocks),
            provenance={name: value for name, value in maps.scene.tags.items() if name in PROVENANCE_TAGS},
        )
        return pair.without_missing() if self._comparison.ignore_missing else pair

    def _matrices(self, piece: Piece) -> Iterator[tuple[Window, ConfusionMatrix]]:
        whole = Window(0, 0, *piece.window.shape)
        for part in [whole] if self._comparison.block is None else blocks(whole.shape, self._comparison.block):
            where = Window(piece.window.row + part.row, piece.window.col + part.col, *part.shape)
            yield where, self._count(piece.truth[part.slices], piece.prediction[part.slices])

    def _count(self, truth: np.ndarray, prediction: np.ndarray) -> ConfusionMatrix:
        joint = count_pairs(truth, prediction)
        if self._alignment.pixel_by_pixel:
            self._truths.require_known(joint.sum(1))
            self._maps.require_known(joint.sum(0))
        return fold(joint, self._truth_classes, self._prediction_classes, len(self._legend), self._legend.ignored)


def _classes(labels: Labels, alignment: Alignment) -> np.ndarray:
    """(256,) class index of each value of a piece."""
    return labels.value_classes if alignment.pixel_by_pixel else np.arange(256, dtype=np.int16)


def read_piece(maps: Labels, truths: Labels, alignment: Alignment, window: Window) -> Piece:
    """A window of the truth and what lies over it: values where both have the same pixels, class indices elsewhere."""
    if alignment.pixel_by_pixel:
        truth, undefined = truths.read_values(window)
        return Piece(window, truth, maps.read_values(window)[0], window.area, 0, undefined)
    index, inside = alignment.read(maps, window)
    if not inside.any():
        nothing = np.full(window.shape, NO_CLASS, np.uint8)
        return Piece(window, nothing, nothing, 0, _labelled(truths, window), 0)
    truth, undefined = truths.read_counted(window)
    outside = int(((truth != NO_CLASS) & ~inside).sum())
    return Piece(window, np.where(inside, truth, NO_CLASS), index, int(inside.sum()), outside, undefined)


def _labelled(truths: Labels, window: Window) -> int:
    return int((truths.read(window) != NO_CLASS).sum())


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


def _reader_count(maps: Labels, truths: Labels) -> int:
    sequential = maps.scene.sequential or truths.scene.sequential
    return 1 if sequential else min(READERS, os.cpu_count() or 1)
