"""Comparing one map with its truth, window by window."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from geoseg.ahead import read_ahead, reader_threads
from geoseg.confusion import ConfusionMatrix
from geoseg.counting import count_pairs, fold
from geoseg.errors import GridMismatch, UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS
from geoseg.raster.areas import AreaTally
from geoseg.raster.features import LabelField
from geoseg.raster.labels import Flaws, Labels
from geoseg.raster.scene import SceneLike, reader_count
from geoseg.raster.scores import ScoresRaster
from geoseg.raster.vector_labels import AnyLabels, VectorLabels, open_labels
from geoseg.scoring.alignment import align, mismatch
from geoseg.scoring.boundary import BoundaryCounts, count_boundary, halo
from geoseg.scoring.calibration import Reliability
from geoseg.scoring.inputs import require_own_legend
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.pair import Blocks, Pair
from geoseg.source import Source
from geoseg.tiling import blocks

WINDOW = 2048
"""Side of the windows that are compared at a time, in truth pixels; of files of whole rows as many rows as hold as many
pixels. A few tens of MB whatever the rasters' size."""
MOST_DETAIL = 512
"""Side in truth pixels of the largest windows that a report shows; smaller ones would cost more to count."""
BURNT = "vector truth burnt onto the map's own grid, each pixel by its centre"
PROVENANCE_TAGS = ("GEOSEG_VERSION", "GEOSEG_MODEL", "GEOSEG_MODEL_SHA256", "GEOSEG_INPUT", "GEOSEG_SETTINGS")
"""Tags in which a map tells how it was made."""


@dataclass(frozen=True)
class Rules:
    """How each pair is compared."""

    legends: JoinedLegends
    ignore_missing: bool = False
    block: int | None = None
    """Side in truth pixels of the blocks whose matrices are kept, None for none."""
    boundary: float | None = None
    """Distance of Boundary IoU in metres (pixels, where the truth has no place on Earth), None for none."""
    field: LabelField | None = None
    """Where in vector files of truth the classes are."""
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
    flaws: Flaws
    """Of the truth."""
    boundary: BoundaryCounts | None = None
    reliability: Reliability | None = None


def score_pair(
    prediction: Source, truth: Source, rules: Rules, scores: Source | None = None, progress: bool = False
) -> Pair:
    """Compare one map with its truth; with the map's ``scores`` its calibration too.

    Memory does not grow with their size, but for 8 K (K + 1) bytes a kept block.
    """
    with ExitStack() as opened:
        reader = opened.enter_context(closing(PairReader(prediction, truth, rules, scores)))
        readers = opened.enter_context(reader_threads(reader.threads))
        height, width = reader.truths.grid.shape
        bar = opened.enter_context(
            tqdm(total=height * width, unit="px", unit_scale=True, disable=not progress, leave=False)
        )
        tally = Tally(reader)
        windows = compared_windows(reader.truths)
        for piece in read_ahead(readers, (partial(reader.read, window) for window in windows), depth=2):
            tally.add(piece)
            bar.update(piece.window.area)
        return tally.result()


class PairReader:
    """A map and its truth, opened and aligned; read on several threads.

    Raises InputError, GridMismatch among them.
    """

    def __init__(self, prediction: Source, truth: Source, rules: Rules, scores: Source | None = None) -> None:
        legends = rules.legends
        self.legend = legends.legend
        self.maps = Labels(prediction, legends.prediction)
        self.truths = open_labels(truth, legends.truth, self.maps.scene, rules.field)
        for labels in (self.maps, self.truths):
            if isinstance(labels, Labels):
                require_own_legend(labels)
            else:
                _require_shapes(labels, self.maps, rules)
        self.alignment = align(self.maps.grid, self.truths.grid, self.maps.name, self.truths.name)
        if rules.details and rules.block is None:
            rules = replace(rules, block=detail_side(self.truths.grid.shape))
        self.rules = rules
        self.truth_classes = legends.scored_truth(self._classes(self.truths))
        """(256,) index among the scored classes of each value of a piece's truth."""
        self.prediction_classes = legends.scored_prediction(self._classes(self.maps))
        self._scores = None if scores is None else self._open_scores(scores)
        if rules.boundary is not None:
            self._halo = halo(rules.boundary, self.truths.grid.pixel_metres)

    @property
    def threads(self) -> int:
        """How many may read."""
        return reader_count(self.maps, self.truths)

    def read(self, window: Window) -> Piece:
        """A window of the truth and what lies over it: values where both have the same pixels, else class indices."""
        piece = self._read_values(window)
        if self.rules.boundary is not None:
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
            truth, flaws = self.truths.read_values(window)
            return Piece(window, truth, self.maps.read_values(window)[0], window.area, 0, flaws)
        index, inside = self.alignment.read(self.maps, window)
        truth, flaws = self.truths.read_counted(window)
        outside = int(((truth != NO_CLASS) & ~inside).sum())
        return Piece(window, np.where(inside, truth, NO_CLASS), index, int(inside.sum()), outside, flaws)

    def _indices(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 scored class indices of truth and prediction; values that are no class become NO_CLASS, as the
        count of pairs raises for them."""
        tables = (np.where(t < 0, NO_CLASS, t).astype(np.uint8) for t in (self.truth_classes, self.prediction_classes))
        return tuple(table[values] for table, values in zip(tables, (piece.truth, piece.prediction), strict=True))

    def _count_boundary(self, window: Window) -> BoundaryCounts:
        grown = window.grown(*self._halo, self.truths.grid.shape)
        truth, prediction = self._indices(self._read_values(grown))
        if self.rules.ignore_missing:
            truth = np.where(prediction == NO_CLASS, np.uint8(NO_CLASS), truth)
        return count_boundary(
            truth,
            prediction,
            window.relative_to(grown),
            self.truths.grid.pixel_metres,
            self.rules.boundary,
            len(self.legend),
            self.legend.ignored,
        )

    def _count_scores(self, piece: Piece) -> Reliability:
        steps = self._scores.read(piece.window)
        truth, prediction = self._indices(piece)
        return Reliability.from_pair(truth, prediction, steps, len(self.legend), self.legend.ignored, self._scores.kind)

    def _open_scores(self, source: Source) -> ScoresRaster:
        if not self.alignment.pixel_by_pixel:
            raise GridMismatch(
                f"{source}: calibration needs a map on the truth's own grid, and {self.maps.name} ({self.maps.grid}) "
                f"is not on that of {self.truths.name} ({self.truths.grid})"
            )
        if self.rules.legends.prediction != self.legend:
            raise UsageError("scores are of the map's own classes: calibration and --mapping do not go together")
        scores = ScoresRaster(source, self.legend)
        scores.require_of(self.maps.scene)
        return scores


class Tally:
    """What is counted of a pair, piece by piece."""

    def __init__(self, reader: PairReader) -> None:
        self._reader, self._legend, self._block = reader, reader.legend, reader.rules.block
        self._areas = AreaTally(reader.truths.grid)
        self._counts = np.zeros((len(self._legend), len(self._legend) + 1), np.int64)
        self._hectares = np.zeros(self._counts.shape)
        self._blocks: dict[tuple[int, int], np.ndarray] = {}
        self._boundary: BoundaryCounts | None = None
        self._reliability: Reliability | None = None
        self._inside = self._outside = self._undefined = self._contested = 0

    def add(self, piece: Piece) -> None:
        """Count a piece; raises InputError for values that are no class."""
        self._inside += piece.inside
        self._outside += piece.outside
        self._undefined += piece.flaws.undefined
        self._contested += piece.flaws.contested
        self._boundary = _sum(self._boundary, piece.boundary)
        self._reliability = _sum(self._reliability, piece.reliability)
        for window in cut(piece.window, self._block):
            counts = self._count(piece, window)
            self._counts += counts
            if self._block is not None:
                place = window.row // self._block, window.col // self._block
                self._blocks[place] = _sum(self._blocks.get(place), counts)

    def result(self) -> Pair:
        """All that was counted; raises GridMismatch where the two share no ground."""
        maps, truths, alignment = self._reader.maps, self._reader.truths, self._reader.alignment
        if not self._inside:
            raise GridMismatch(mismatch(maps.grid, truths.grid, maps.name, truths.name, "share no ground"))
        matrix = ConfusionMatrix(self._counts, self._legend.ignored)
        burnt = isinstance(truths, VectorLabels)
        pair = Pair(
            maps.name,
            matrix,
            BURNT if burnt else alignment.message,
            alignment.note,
            overlap=self._inside / math.prod(truths.grid.shape),
            outside=self._outside,
            undefined=self._undefined,
            contested=self._contested,
            # Where in a warped window an undefined colour stands is not known: it may lie outside.
            unlabelled=max(self._inside - matrix.total - self._undefined, 0),
            hectares=None if self._areas.hectares is None else self._hectares,
            blocks=None if self._block is None else self._kept_blocks(),
            boundary=self._boundary,
            reliability=self._reliability,
            provenance={name: value for name, value in maps.scene.tags.items() if name in PROVENANCE_TAGS},
            sources=(maps.scene.source, Source.of(truths.path) if burnt else truths.scene.source),
            field=truths.field if burnt else None,
            pointwise=burnt and not len(truths.shapes.edges.shape),
        )
        return pair.without_missing() if self._reader.rules.ignore_missing else pair

    def _count(self, piece: Piece, window: Window) -> np.ndarray:
        """(K, K + 1) counts of a window of a piece; their ground is added up too."""
        joint, hectares = np.zeros((256, 256), np.int64), np.zeros((256, 256))
        for part, pixel in self._even_parts(window):
            where = part.relative_to(piece.window).slices
            found = count_pairs(piece.truth[where], piece.prediction[where])
            joint += found
            hectares += found * pixel
        reader = self._reader
        if reader.alignment.pixel_by_pixel:
            reader.truths.require_known(joint.sum(1))
            reader.maps.require_known(joint.sum(0))
        tables = reader.truth_classes, reader.prediction_classes
        self._hectares += fold(hectares, *tables, len(self._legend))
        return fold(joint, *tables, len(self._legend))

    def _even_parts(self, window: Window) -> list[tuple[Window, float]]:
        return [(window, 0.0)] if self._areas.hectares is None else self._areas.even_parts(window)

    def _kept_blocks(self) -> Blocks:
        """Those with scored pixels, row-major."""
        side, (height, width) = self._block, self._reader.truths.grid.shape
        scored = list(self._legend.scored)
        found = [
            (Window(row * side, col * side, min(side, height - row * side), min(side, width - col * side)), counts)
            for (row, col), counts in sorted(self._blocks.items())
            if counts[scored].any()
        ]
        return Blocks.of(side, found)


def cut(window: Window, side: int | None) -> list[Window]:
    """A window cut along the borders of square blocks of ``side`` that begin with the raster; whole without one."""
    if side is None:
        return [window]
    rows, cols = (
        [first, *range((first // side + 1) * side, stop, side), stop]
        for first, stop in ((window.row, window.row_stop), (window.col, window.col_stop))
    )
    return [
        Window(row, col, row_stop - row, col_stop - col)
        for row, row_stop in pairwise(rows)
        for col, col_stop in pairwise(cols)
    ]


def _sum(total, part):
    """Of counts that add up, None where there are none."""
    return part if total is None else total + part


def _require_shapes(truths: VectorLabels, maps: Labels, rules: Rules) -> None:
    """Raise where nothing of a vector file lies on a map, or where it has no borders to compare."""
    if not len(truths.shapes):
        raise GridMismatch(f"{truths.name}: nothing of it lies on {maps.name} ({maps.grid}); is its CRS right?")
    if rules.boundary is not None and len(truths.points):
        raise UsageError(f"{truths.name}: holds points, which have no borders; leave --boundary out")


def compared_windows(truth: AnyLabels | SceneLike) -> list[Window]:
    """Windows that cover the truth, row-major."""
    height, width = truth.grid.shape
    if truth.sequential or truth.block_shape[1] >= width:
        # Rows are decoded whole: cutting them would decode them again.
        rows = max(WINDOW * WINDOW // width, truth.block_shape[0])
        return [Window(row, 0, min(rows, height - row), width) for row in range(0, height, rows)]
    return blocks((height, width), WINDOW)


def detail_side(shape: tuple[int, int]) -> int:
    """Side in pixels of the windows that are looked at: a quarter of the truth, at most MOST_DETAIL."""
    return min(MOST_DETAIL, -(-max(shape) // 4))
