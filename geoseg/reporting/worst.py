"""Where a map is worst: scenes and windows of a report, read again to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

import numpy as np

from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.dataset import IMAGE_ENDINGS
from geoseg.errors import GeosegError, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import NO_CLASS
from geoseg.pictures import outcomes
from geoseg.raster.labels import Labels
from geoseg.raster.resample import nearest_positions
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import open_labels
from geoseg.scoring.alignment import align
from geoseg.scoring.inputs import MASK_SUFFIXES
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.pair import Pair
from geoseg.scoring.report import Report
from geoseg.source import Source
from geoseg.tiling import fitting

MOST_OF_SCENE = 3
"""Windows of one scene: one bad scene should not hide what is wrong in others."""
READ_AT_ONCE = 1 << 22
"""Truth pixels of the strips that are read, at least one block high."""


@dataclass(frozen=True)
class Place:
    """A scene or a window of it, and what was counted there."""

    truth: str
    """Name of the truth."""
    window: Window | None
    """Of the truth; None for all of it."""
    matrix: ConfusionMatrix

    @property
    def wrong(self) -> int:
        """Scored pixels that are not predicted right."""
        return self.matrix.total - int(self.matrix.hits.sum())


@dataclass(frozen=True, eq=False)
class View:
    """A place as it looks, brought to a few hundred pixels by nearest."""

    place: Place
    truth: np.ndarray
    """(H, W) uint8 class indices, NO_CLASS where there is none."""
    prediction: np.ndarray
    """(H, W) uint8 class indices on the truth's grid, NO_CLASS where there is none."""
    scored: np.ndarray
    """(H, W) bool: True where the truth is of a scored class and lies in the map's extent."""
    image: np.ndarray | None
    """(1 or 3, H, W) in the image's dtype; None where no image is known."""
    image_valid: np.ndarray | None
    """(H, W) bool: True where the image has data."""
    note: str = ""
    """Why there is no image though one was found."""

    @property
    def outcome(self) -> np.ndarray:
        """(H, W) uint8 Outcome of each pixel."""
        return outcomes(self.truth, self.prediction, self.scored)


def worst_scenes(report: Report, most: int) -> list[Place]:
    """Scenes by their own mean IoU, lowest first."""
    shown = {truth: pair for truth, pair in report.pairs.items() if not pair.pointwise}
    scored = [Place(truth, None, pair.matrix) for truth, pair in shown.items() if pair.matrix.total]
    return sorted(scored, key=lambda place: (place.matrix.mean_iou(), place.truth))[:most]


def worst_windows(report: Report, most: int) -> list[Place]:
    """Windows by their number of wrong pixels, highest first, at most MOST_OF_SCENE of one scene; empty where no
    matrices of blocks were kept."""
    places = [place for truth in report.pairs for place in _worst_of(report, truth)]
    return sorted(places, key=_wrong_first)[:most]


def _worst_of(report: Report, truth: str) -> list[Place]:
    blocks = report.pairs[truth].blocks
    if blocks is None or report.pairs[truth].pointwise:
        return []
    matrices = zip(blocks.windows, blocks.matrices(report.legend.ignored), strict=True)
    places = (Place(truth, window, matrix) for window, matrix in matrices)
    return nsmallest(MOST_OF_SCENE, (place for place in places if place.wrong), key=_wrong_first)


def _wrong_first(place: Place) -> tuple[int, str, Window]:
    return -place.wrong, place.truth, place.window


def read_views(report: Report, places: list[Place], side: int, images: Source | None = None) -> Iterator[View]:
    """The places read again, at most ``side`` px wide and high. Raises InputError where truth or map cannot be read.

    Args:
        images: the one image of a single pair, or a folder of images with the truths' stems; None looks beside the
            truths, in the layouts of data folders. Of a vector truth of several maps it is the maps' stems.
    """
    legends = report.joined or JoinedLegends.of_one(report.legend)
    for place in places:
        pair = report.pairs[place.truth]
        prediction, truth = pair.sources or (Source.of(pair.prediction), Source.of(place.truth))
        yield _read(place, pair, prediction, truth, legends, side, _image_of(pair, prediction, truth, images))


def _image_of(pair: Pair, prediction: Source, truth: Source, images: Source | None) -> Source | None:
    if pair.field is None or Path(truth).parent.name == "labels":
        return find_image(truth, images)
    # One file for all scenes lies beside the images' folder and has none of their stems.
    beside = Path(truth).with_name("labels") / prediction.filename
    return find_image(truth.at(beside), images)


def find_image(truth: Source, images: Source | None) -> Source | None:
    """The image of a truth: ``images`` itself, or its file of the truth's stem; else beside the truth, in the layouts
    of data folders (X_sat.jpg with X_mask.png, images/X.* with labels/X.*). None where there is none."""
    if images is not None and not images.is_dir():
        return images
    stem = MASK_SUFFIXES.sub("", truth.stem)
    if images is not None:
        return _of_stem(images, Path(images), stem)
    if not truth.local:
        return None
    folder = Path(truth).parent
    if truth.stem.endswith("_mask"):
        return _of_stem(truth, folder, f"{stem}_sat")
    return _of_stem(truth, folder.with_name("images"), stem) if folder.name == "labels" else None


def require_images(images: Source, several: bool) -> None:
    """Raise InputError where ``images`` does not exist, UsageError where it is one file for ``several`` scenes."""
    if not images.exists():
        raise InputError(f"{images}: no such image or folder of images")
    if several and not images.is_dir():
        raise UsageError(f"{images}: one image for several scenes; give a folder of images with the truths' stems")


def _of_stem(asked: Source, folder: Path, stem: str) -> Source | None:
    """The image of a folder, under the policy of what was asked for."""
    names = {f"{stem}{end}" for end in IMAGE_ENDINGS} | {f"{stem}_sat{end}" for end in IMAGE_ENDINGS}
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = next((path for path in there if path.name.lower() in {name.lower() for name in names}), None)
    return None if found is None else asked.at(found)


def _read(
    place: Place, pair: Pair, prediction: Source, truth: Source, legends: JoinedLegends, side: int, image: Source | None
) -> View:
    with ExitStack() as opened:
        maps = Labels(prediction, legends.prediction)
        truths = open_labels(truth, legends.truth, maps.scene, pair.field)
        opened.callback(maps.close)
        opened.callback(truths.close)
        alignment = align(maps.grid, truths.grid, maps.name, truths.name)
        window = place.window or truths.grid.window
        truth_classes, map_classes = (
            own(np.arange(256, dtype=np.int16)).astype(np.uint8)
            for own in (legends.scored_truth, legends.scored_prediction)
        )
        parts = []
        for strip, rows, cols in _strips(window, fitting(window.shape, side), truths.block_shape[0]):
            index, inside = alignment.read(maps, strip)
            known = truth_classes[truths.read(strip)[rows, cols]]
            parts.append((known, map_classes[index[rows, cols]], inside[rows, cols]))
        known, found, inside = (np.concatenate(part) for part in zip(*parts, strict=True))
    scored = inside & (known != NO_CLASS) & ~np.isin(known, legends.legend.ignored)
    return View(place, known, found, scored, *_read_image(image, truths.grid, window, known.shape))


def _strips(window: Window, shape: tuple[int, int], block: int) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Parts of a window that together give ``shape``, and the (row, column) positions in each that are shown."""
    rows, cols = (nearest_positions(old, new) for old, new in zip(window.shape, shape, strict=True))
    height = max(READ_AT_ONCE // window.width, block)
    for start in range(0, window.height, height):
        here = rows[(rows >= start) & (rows < start + height)]
        if len(here):
            first, last = int(here[0]), int(here[-1])
            strip = Window(window.row + first, window.col, last - first + 1, window.width)
            yield strip, here[:, None] - first, cols[None]


def _read_image(
    image: Source | None, truth: Grid, window: Window, shape: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    if image is None:
        return None, None, ""
    try:
        with Scene(image) as every, Scene(image, every.visible) as scene:
            if not scene.grid.shows_the_same_as(truth):
                return None, None, f"{image.filename} does not cover the truth's extent, so the image is left out"
            parts = [
                scene.read(_under(strip, truth.shape, scene.grid.shape), (len(rows), shape[1]))
                for strip, rows, _ in _strips(window, shape, scene.block_shape[0])
            ]
    except GeosegError as error:
        return None, None, f"{error}; the image is left out"
    pixels, valid = (np.concatenate(part, axis) for part, axis in zip(zip(*parts, strict=True), (1, 0), strict=True))
    return pixels, valid, ""


def _under(window: Window, shape: tuple[int, int], image: tuple[int, int]) -> Window:
    """The window of an image of the same extent that lies under a window of a raster of ``shape``."""
    if shape == image:
        return window
    ends = []
    for start, stop, old, new in (
        (window.row, window.row_stop, shape[0], image[0]),
        (window.col, window.col_stop, shape[1], image[1]),
    ):
        first = min(start * new // old, new - 1)
        ends.append((first, max(-(-stop * new // old), first + 1)))
    (row, row_stop), (col, col_stop) = ends
    return Window(row, col, row_stop - row, col_stop - col)
