"""What figures of maps are drawn of: rasters read at a few thousand pixels, in bounded memory.

Classes are the most frequent ones of the pixels that each new one stands for, images are means; errors are those of the
pixels in the middle, so that a picture shows as many as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import IDENTITY, Grid, Window
from geoseg.legend import NO_CLASS, NODATA, Legend
from geoseg.pictures import Outcome, outcomes, visible
from geoseg.raster.areas import AreaTally
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.raster.labels import LEGEND_TAG, Labels
from geoseg.raster.resample import area, majority, nearest, nearest_positions
from geoseg.raster.scene import READ_AT_ONCE, ArrayScene, Scene, SceneLike, visible_bands
from geoseg.raster.scores import SCORE_STEPS, ScoresKind, ScoresRaster
from geoseg.raster.stack import StackScene
from geoseg.raster.vector_labels import AnyLabels, open_labels
from geoseg.scoring.alignment import align
from geoseg.scoring.inputs import require_own_legend, resolve_legend
from geoseg.source import Source
from geoseg.tiling import fitting, strips

AnyFile = str | Path | Source
AnyMap = Any
"""A class raster or colour mask by path or URL, a Prediction, or (H, W) codes."""
AnyImage = AnyFile | Sequence[AnyFile] | np.ndarray | SceneLike


@dataclass(frozen=True, eq=False)
class Amounts:
    """How much there is of each class, of all pixels of a map."""

    pixels: np.ndarray
    """(256,) int64 by class index."""
    hectares: np.ndarray | None
    """(256,) float64 true area; None where the map has no place on Earth."""


@dataclass(frozen=True, eq=False)
class Confidence:
    """Scores beside a map."""

    values: np.ndarray
    """(h, w) float32 from 0 to 1, NaN without data."""
    kind: ScoresKind


@dataclass(frozen=True, eq=False)
class Comparison:
    """A map beside its truth, on the truth's grid."""

    truth: np.ndarray
    """(h, w) uint8 class indices."""
    outcome: np.ndarray
    """(h, w) uint8 Outcome of the pixel in the middle of each."""
    right: int
    """Scored pixels of the truth that the map has right, of ..."""
    scored: int
    """... these."""


@dataclass(frozen=True, eq=False)
class Material:
    """The rasters of a figure, all of one extent; those that were not asked for are None."""

    grid: Grid
    """Of the extent at its full resolution."""
    legend: Legend
    index: np.ndarray
    """(h, w) uint8 class indices of the map, NO_CLASS where there is none."""
    amounts: Amounts | None = None
    image: tuple[np.ndarray, np.ndarray] | None = None
    """(3, h, w) uint8 as it is seen, and (h, w) valid."""
    comparison: Comparison | None = None
    confidence: Confidence | None = None


@dataclass(frozen=True, eq=False)
class ArrayLabels:
    """Codes in memory, with what figures need of Labels."""

    codes: np.ndarray
    """(H, W) of any integer dtype."""
    legend: Legend
    grid: Grid
    name: str = "the map"
    sequential: bool = False

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.shape != self.grid.shape or self.codes.dtype.kind not in "iu":
            raise InputError(
                f"{self.name}: a map in memory is (height, width) of whole numbers, got {self.codes.shape}"
            )

    @property
    def block_shape(self) -> tuple[int, int]:
        """One row."""
        return 1, self.codes.shape[1]

    def read(self, window: Window | None = None) -> np.ndarray:
        """(H, W) uint8 class indices of a window, by default of all."""
        return self.legend.decode(self.codes if window is None else self.codes[window.slices], source=self.name)

    def close(self) -> None:
        """Nothing: there is no file."""


def gather(
    classes: AnyMap,
    side: int,
    *,
    legend: Legend | str | Path | None = None,
    scene: AnyImage | None = None,
    bands: Sequence[Band] | None = None,
    truth: AnyFile | np.ndarray | None = None,
    field: LabelField | None = None,
    scores: AnyFile | None = None,
    amounts: bool = True,
    progress: bool = False,
) -> Material:
    """Read a map and what is shown beside it, at most ``side`` px wide and high. Raises InputError, GridMismatch.

    Args:
        legend: None takes the one in the rasters' tags, else DeepGlobe's.
        scene: the image; several files are one band each. It has the extent of the map, or of the truth.
        bands: of image files, one or three; None takes red, green and blue, else the first three, else one.
        truth: given, all is shown on its grid.
        scores: what predict wrote with --scores; of a Prediction in memory its own.
        amounts: count all pixels of the map.
    """
    opened = open_map(classes, legend, truth)
    with closing(opened):
        if truth is None:
            grid, comparison = opened.grid, None
            shape = fitting(grid.shape, side)
            known = _known(classes) if amounts else None
            index, found = _read_map(opened, shape, amounts and known is None, progress)
            found = known or found
        else:
            with closing(_open_truth(truth, opened, field)) as truths:
                grid = truths.grid
                shape = fitting(grid.shape, side)
                index, comparison, found = _read_both(opened, truths, shape, amounts, progress)
        confidence = None if scores is None else _read_scores(scores, opened, grid, shape)
    image = None if scene is None else _read_image(scene, bands, grid, shape)
    return Material(grid, opened.legend, index, found, image, comparison, confidence)


def open_map(
    classes: AnyMap, legend: Legend | str | Path | None, truth: AnyFile | np.ndarray | None = None
) -> Labels | ArrayLabels:
    """A map to be read, in its own legend unless another is asked for; raises InputError."""
    if _is_prediction(classes):
        if classes.path is None:
            return ArrayLabels(classes.codes, classes.legend, classes.grid)
        classes = classes.path
    files = tuple(Source.of(one) for one in (classes, truth) if not isinstance(one, np.ndarray | None))
    found, _ = resolve_legend(files, legend)
    if isinstance(classes, np.ndarray):
        return ArrayLabels(classes, found, Grid(None, IDENTITY, classes.shape[-2:]))
    labels = Labels(Source.of(classes), found)
    require_own_legend(labels)
    return labels


def fitted(material: Material, shape: tuple[int, int]) -> Material:
    """The same material at another shape, no larger than it is."""
    if shape == material.index.shape:
        return material
    both, sure, image = material.comparison, material.confidence, material.image
    if both is not None:
        smaller = majority(both.truth, shape, NO_CLASS), nearest(both.outcome, shape)
        both = replace(both, truth=smaller[0], outcome=smaller[1])
    if sure is not None:
        values, valid = area(np.nan_to_num(sure.values)[None], np.isfinite(sure.values), shape)
        sure = replace(sure, values=np.where(valid, values[0], np.float32(np.nan)))
    return replace(
        material,
        index=majority(material.index, shape, NO_CLASS),
        image=image and area(*image, shape),
        comparison=both,
        confidence=sure,
    )


def turned(material: Material, axes: tuple[int, ...], grid: Grid) -> Material:
    """The same material with some axes turned round; ``grid`` is its grid then."""
    both, sure, image = material.comparison, material.confidence, material.image

    def flip(values: np.ndarray) -> np.ndarray:
        return np.flip(values, axes)

    return replace(
        material,
        grid=grid,
        index=flip(material.index),
        image=image and (flip(image[0]), flip(image[1])),
        comparison=both and replace(both, truth=flip(both.truth), outcome=flip(both.outcome)),
        confidence=sure and replace(sure, values=flip(sure.values)),
    )


# Classes


def _read_map(
    labels: Labels | ArrayLabels, shape: tuple[int, int], amounts: bool, progress: bool
) -> tuple[np.ndarray, Amounts | None]:
    if not amounts and isinstance(labels, Labels) and LEGEND_TAG in labels.scene.tags:
        # geoseg's own overviews hold the most frequent classes; of others' nobody knows how they were made.
        codes, valid = labels.scene.read_overview(shape)
        return labels.legend.decode(codes[0], valid, labels.name), None
    found, tally = np.empty(shape, np.uint8), AreaTally(labels.grid)
    for strip, rows in _strips(labels, shape, progress):
        index = labels.read(strip)
        found[rows] = majority(index, (rows.stop - rows.start, shape[1]), NO_CLASS)
        if amounts:
            tally.add(strip, index)
    return found, Amounts(tally.counts, tally.hectares) if amounts else None


def _read_both(
    maps: Labels | ArrayLabels, truths: AnyLabels | ArrayLabels, shape: tuple[int, int], amounts: bool, progress: bool
) -> tuple[np.ndarray, Comparison, Amounts | None]:
    alignment, legend = align(maps.grid, truths.grid, maps.name, truths.name), maps.legend
    found, known, outcome = (np.empty(shape, np.uint8) for _ in range(3))
    middles = [nearest_positions(old, new) for old, new in zip(truths.grid.shape, shape, strict=True)]
    tally, counts = AreaTally(truths.grid), np.zeros(len(Outcome), np.int64)
    for strip, rows in _strips(truths, shape, progress):
        truth, (index, inside) = truths.read(strip), alignment.read(maps, strip)
        scored = inside & (truth != NO_CLASS) & ~np.isin(truth, legend.ignored)
        became = outcomes(truth, index, scored)
        counts += np.bincount(became.ravel(), minlength=len(Outcome))
        smaller = rows.stop - rows.start, shape[1]
        found[rows], known[rows] = majority(index, smaller, NO_CLASS), majority(truth, smaller, NO_CLASS)
        outcome[rows] = became[middles[0][rows, None] - strip.row, middles[1]]
        if amounts:
            tally.add(strip, index)
    scored = int(counts.sum() - counts[Outcome.UNSCORED])
    both = Comparison(known, outcome, int(counts[Outcome.RIGHT]), scored)
    return found, both, Amounts(tally.counts, tally.hectares) if amounts else None


def _strips(labels: AnyLabels | ArrayLabels, shape: tuple[int, int], progress: bool):
    whole = list(strips(labels.grid.window, shape, READ_AT_ONCE, labels.block_shape[0]))
    return tqdm(whole, desc="reading", unit="strip", disable=not progress or len(whole) < 2, leave=False)


def _known(classes: AnyMap) -> Amounts | None:
    """What a Prediction counted, by class index."""
    if not _is_prediction(classes):
        return None
    codes = [one.code for one in classes.legend.classes]
    pixels, hectares = np.zeros(256, np.int64), np.zeros(256)
    pixels[: len(codes)], pixels[NO_CLASS] = classes.counts[codes], classes.counts[NODATA]
    if classes.hectares is None:
        return Amounts(pixels, None)
    hectares[: len(codes)] = classes.hectares[codes]
    return Amounts(pixels, hectares)


def _is_prediction(classes: AnyMap) -> bool:
    """Without its class, which would load torch to look at a file."""
    return hasattr(classes, "counts")


def _open_truth(
    truth: AnyFile | np.ndarray, maps: Labels | ArrayLabels, field: LabelField | None
) -> AnyLabels | ArrayLabels:
    if isinstance(truth, np.ndarray):
        grid = maps.grid if truth.shape == maps.grid.shape else Grid(None, IDENTITY, truth.shape[-2:])
        return ArrayLabels(truth, maps.legend, grid, "the truth")
    on = maps.scene if isinstance(maps, Labels) else ArrayScene(np.zeros(maps.grid.shape, np.uint8), grid=maps.grid)
    labels = open_labels(Source.of(truth), maps.legend, on, field)
    if isinstance(labels, Labels):
        if field is not None:
            raise UsageError(f"{labels.name}: a raster has neither --label-field nor --label-layer")
        require_own_legend(labels)
    return labels


# Images and scores


def _read_image(
    scene: AnyImage, bands: Sequence[Band] | None, grid: Grid, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    with open_image(scene, bands) as opened:
        if not opened.grid.shows_the_same_as(grid):
            raise GridMismatch(
                f"{opened.name} ({opened.grid}) does not show the extent of the map ({grid}); cut or warp it to it, "
                "for example by gdalwarp -te"
            )
        reading = fitting(opened.grid.shape, max(shape))
        pixels, valid = opened.read_overview(reading)
        pixels = visible(pixels[list(visible_bands(opened))], valid)
    return area(pixels, valid, shape)


def open_image(scene: AnyImage, bands: Sequence[Band] | None = None) -> SceneLike:
    """An image to look at: a scene, an array, a file, or files of one band each. Raises InputError, UsageError."""
    if isinstance(scene, np.ndarray):
        return ArrayScene(scene, name="the image")
    if isinstance(scene, str | Path | Source):
        opened = Scene(scene, bands)
        opened = Scene(scene, opened.visible) if bands is None else opened
    elif isinstance(scene, Sequence):
        opened = StackScene(scene, bands)
    else:
        return scene
    if bands is not None and len(opened.bands) not in (1, 3):
        raise UsageError(f"a picture is made of one band or three, not of {len(opened.bands)}")
    return opened


def _read_scores(scores: AnyFile, maps: Labels | ArrayLabels, grid: Grid, shape: tuple[int, int]) -> Confidence:
    with closing(ScoresRaster(Source.of(scores), maps.legend)) as raster:
        if isinstance(maps, Labels):
            raster.require_of(maps.scene)
        if not raster.grid.shows_the_same_as(grid):
            raise GridMismatch(f"{raster.name} ({raster.grid}) does not show the extent of the truth ({grid})")
        reading = fitting(raster.grid.shape, max(shape))
        if raster.kind == "all":
            steps, valid = _means_of_top(raster, reading)
        else:
            steps, valid = raster.scene.read_overview(reading)
        steps, valid = area(steps.astype(np.float32), valid, shape)
    return Confidence(np.where(valid, steps[0] / np.float32(SCORE_STEPS), np.float32(np.nan)), raster.kind)


def _means_of_top(raster: ScoresRaster, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of the highest score of each pixel: the highest of mean scores is another number."""
    parts = []
    for strip, rows in strips(raster.grid.window, shape, READ_AT_ONCE, raster.scene.block_shape[0]):
        steps = raster.read(strip)
        valid = steps[0] != NODATA
        parts.append(area(steps.max(0, keepdims=True), valid, (rows.stop - rows.start, shape[1])))
    top, valid = zip(*parts, strict=True)
    return np.concatenate(top, 1), np.concatenate(valid)
