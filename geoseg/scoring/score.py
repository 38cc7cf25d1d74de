"""geoseg.score: maps against truths, window by window."""

from __future__ import annotations

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from tqdm import tqdm

import geoseg
from geoseg.ahead import read_ahead, reader_threads
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Window
from geoseg.legend import DEEPGLOBE, NO_CLASS, Legend, find_legend
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import Labels, own_legend
from geoseg.raster.scene import Scene
from geoseg.scoring.alignment import Alignment, align, mismatch
from geoseg.scoring.averages import AVERAGES
from geoseg.scoring.counting import count_pairs, fold
from geoseg.scoring.intervals import Intervals, Resampling, bootstrap
from geoseg.scoring.joining import JoinedLegends, join, read_mapping
from geoseg.scoring.pair import Blocks, Pair
from geoseg.scoring.report import Report
from geoseg.tiling import blocks

WINDOW = 2048
"""Side of the windows that are compared at a time, in truth pixels; of files of whole rows as many rows as hold as many
pixels. A few tens of MB whatever the rasters' size."""
MOST_DETAIL = 512
"""Side in truth pixels of the largest windows that a report shows; smaller ones would cost more to count."""
READERS = 4
"""Threads that read, at most."""

PROVENANCE_TAGS = ("GEOSEG_VERSION", "GEOSEG_MODEL", "GEOSEG_MODEL_SHA256", "GEOSEG_INPUT", "GEOSEG_SETTINGS")
"""Tags in which a map tells how it was made."""
RASTER_ENDINGS = (".tif", ".tiff", ".png", ".vrt", ".jp2")
MASK_SUFFIXES = re.compile(r"(_mask|_sat|_pred)+$")
"""Left out where files of two folders are matched by stem, so that 7_sat.tif meets 7_mask.png."""


@dataclass(frozen=True)
class Comparison:
    """How each pair is compared."""

    legends: JoinedLegends
    ignore_missing: bool = False
    block: int | None = None
    """Side in truth pixels of the blocks whose matrices are kept, None for none."""
    details: bool = False
    """Keep matrices of blocks where no side is given, too: some that make a picture each."""

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


def score(
    prediction: str | Path,
    truth: str | Path,
    legend: Legend | str | Path | None = None,
    *,
    prediction_legend: Legend | str | Path | None = None,
    mapping: str | Path | None = None,
    ignore_missing: bool = False,
    average: str = "pooled",
    block: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    details: bool = False,
    progress: bool = False,
) -> Report:
    """Compare a map with its truth, or the maps of a folder with the truths of another, matched by stem.

    Args:
        prediction, truth: class rasters (codes or palettes) or colour masks, or two folders of them.
        legend: the truth's legend, its name, or its file. None takes the one in the rasters' own tags, else
            DeepGlobe's.
        prediction_legend: the map's where it is another; needs ``mapping``. None: the one in the map's tags, else
            ``legend``.
        mapping: a JSON file that joins two legends (``read_mapping`` explains it).
        ignore_missing: leave out truth pixels without a prediction, which else count as missed.
        average: which of averages.AVERAGES the report's ``iou`` and ``mean_iou`` are; all of them are in it.
        block: keep a matrix for each block of that side in truth pixels, too, and draw those for the intervals.
        draws: resamples of the scenes (or blocks) for an interval of every figure, >= 1000; None for no intervals.
        seed, level: of the intervals.
        details: keep a matrix for each of some windows, so that an .html report shows where the map is worst. Intervals
            stay those of scenes; it takes up to twice the time.

    Every scored truth pixel counts once, on the truth's grid. Raises InputError: unreadable, not alignable, codes or
    colours that are not the legend's.
    """
    if average not in AVERAGES:
        raise UsageError(f"no average {average!r}; there are {', '.join(AVERAGES)}")
    resampling = None if draws is None else Resampling(draws, seed, level, block)
    pairs, notes = find_pairs(Path(prediction), Path(truth))
    legends, said = resolve_legends(pairs[0], legend, prediction_legend, mapping)
    comparison = Comparison(legends, ignore_missing, block, details)
    found: dict[str, Pair] = {}
    alone = len(pairs) == 1
    for map_path, truth_path in tqdm(pairs, unit="pair", disable=not progress or alone, leave=False):
        found[str(truth_path)] = score_pair(map_path, truth_path, comparison, progress and alone)
    notes = (*notes, *said, *_notes(found))
    intervals = None if resampling is None else _intervals(found, legends.legend, resampling)
    provenance = {"prediction": str(prediction), "truth": str(truth), "legend": legends.legend.name} | versions()
    return Report(legends.legend, found, notes, average, intervals, provenance, legends)


def versions() -> dict[str, str]:
    """Of geoseg and of what counts and reads for it."""
    python = ".".join(map(str, sys.version_info[:3]))
    libraries = {"numpy": np.__version__, "rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}
    return {"geoseg": geoseg.__version__, "python": python} | libraries


def _intervals(pairs: dict[str, Pair], legend: Legend, resampling: Resampling) -> Intervals:
    if resampling.block is None:
        units = [pair.matrix for pair in pairs.values()]
    else:
        units = [matrix for pair in pairs.values() for matrix in pair.blocks.matrices(legend.ignored)]
    return bootstrap(units, **asdict(resampling))


def _notes(pairs: dict[str, Pair]) -> list[str]:
    alignments = Counter(pair.alignment for pair in pairs.values())
    notes = [f"{count} pair(s): {message}" for message, count in alignments.items()]
    for truth, pair in pairs.items():
        if pair.note:
            notes.append(f"{pair.prediction}: {pair.note}")
        if pair.overlap < 1:
            notes.append(
                f"{truth}: {pair.overlap:.2%} of its pixels lie in the extent of {pair.prediction}; {pair.outside} "
                "pixels of a class lie outside and are left out"
            )
        if pair.undefined:
            notes.append(f"{truth}: {pair.undefined} pixels of a colour that is no class, ignored")
    return notes


def score_pair(prediction: Path, truth: Path, comparison: Comparison, progress: bool = False) -> Pair:
    """Compare one map with its truth. Memory does not grow with their size, but for 8 K (K + 1) bytes a kept block."""
    legends = comparison.legends
    with ExitStack() as opened:
        maps, truths = Labels(prediction, legends.prediction), Labels(truth, legends.truth)
        for labels in (maps, truths):
            opened.callback(labels.close)
            _require_own_legend(labels)
        alignment = align(maps.grid, truths.grid, maps.name, truths.name)
        if comparison.details and comparison.block is None:
            comparison = replace(comparison, block=detail_side(truths.grid.shape))
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
            hectares = self._areas.pixel_hectares(window)
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


def detail_side(shape: tuple[int, int]) -> int:
    """Side in pixels of the windows that are looked at: a quarter of the truth, at most MOST_DETAIL."""
    return min(MOST_DETAIL, -(-max(shape) // 4))


def _reader_count(maps: Labels, truths: Labels) -> int:
    sequential = maps.scene.sequential or truths.scene.sequential
    return 1 if sequential else min(READERS, os.cpu_count() or 1)


def resolve_legends(
    pair: tuple[Path, Path],
    legend: Legend | str | Path | None,
    prediction_legend: Legend | str | Path | None,
    mapping: str | Path | None,
) -> tuple[JoinedLegends, list[str]]:
    """The legends of map and truth and the one they are scored in, and a note on what was assumed."""
    if mapping is None and prediction_legend is None:
        found, notes = _resolve_legend(pair, legend)
        return JoinedLegends.of_one(found), notes
    truth, notes = _resolve_legend(pair[1:], legend)
    prediction = _own_or(pair[0], prediction_legend, truth)
    renamings = ({}, {}) if mapping is None else read_mapping(mapping)
    return join(prediction, truth, renamings, str(mapping or "no mapping given (--mapping)")), notes


def _own_or(path: Path, wanted: Legend | str | Path | None, other: Legend) -> Legend:
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted)
    with Scene(path) as scene:
        return own_legend(scene) or other


def find_pairs(prediction: Path, truth: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs of (map, truth): the two files, or the files of two folders by stem; and a note on what is left out."""
    if not prediction.is_dir() and not truth.is_dir():
        return [(prediction, truth)], []
    if not (prediction.is_dir() and truth.is_dir()):
        raise InputError(f"{prediction} and {truth}: two files or two folders, not one of each")
    maps, truths = _by_stem(prediction), _by_stem(truth)
    common = sorted(maps.keys() & truths.keys())
    if not common:
        raise InputError(f"{prediction} and {truth}: no raster of the one has the stem of one of the other")
    notes = _left_out(prediction, maps.keys() - truths.keys()) + _left_out(truth, truths.keys() - maps.keys())
    return [(maps[stem], truths[stem]) for stem in common], notes


def _left_out(folder: Path, stems: set[str]) -> list[str]:
    listed = ", ".join(sorted(stems)[:4]) + (", ..." if len(stems) > 4 else "")
    return [f"{folder}: {len(stems)} raster(s) without a partner left out ({listed})"] if stems else []


def _resolve_legend(paths: tuple[Path, ...], wanted: Legend | str | Path | None) -> tuple[Legend, list[str]]:
    """The legend asked for; else the first in the tags of the rasters; else DeepGlobe's, and a note."""
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted), []
    for path in paths:
        with Scene(path) as scene:
            if (own := own_legend(scene)) is not None:
                return own, []
    return DEEPGLOBE, ["no legend given and none in the rasters' tags: taken as DeepGlobe's"]


def _by_stem(folder: Path) -> dict[str, Path]:
    rasters = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in RASTER_ENDINGS]
    # In a DeepGlobe folder the masks are the labels, and the pictures lie beside them.
    masks = [path for path in rasters if path.stem.endswith("_mask")]
    found: dict[str, Path] = {}
    for path in masks or rasters:
        stem = MASK_SUFFIXES.sub("", path.stem)
        if stem in found:
            raise InputError(f"{folder}: {found[stem].name} and {path.name} have the same stem {stem!r}; keep one")
        found[stem] = path
    return found


def _require_own_legend(labels: Labels) -> None:
    """A raster that says which legend it was made with is not read with another."""
    own, legend = own_legend(labels.scene), labels.legend
    if own is not None and [(c.code, c.name) for c in own.classes] != [(c.code, c.name) for c in legend.classes]:
        raise InputError(
            f"{labels.name}: was made with the legend {own.name!r} ({', '.join(own.names)}), "
            f"not with {legend.name!r} ({', '.join(legend.names)}); join the two with --mapping"
        )
