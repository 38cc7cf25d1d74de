"""Calibration: whether a map that is 80 % sure is right in 80 of 100 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.legend import NO_CLASS, NODATA
from geoseg.metrics import or_none
from geoseg.raster.scores import SCORE_STEPS, ScoresKind

CELLS = 2520
"""Cells of the histogram from 0 to 1: each written step has its own, and 1 to 10, 12, 15 or 20 bins divide it."""
ROUNDING = 1e-3
"""Cells by which a score below an edge still counts as on it: 0.7 in 32 bits is a little less than 0.7."""
CELL_OF_STEP = np.minimum(np.arange(SCORE_STEPS + 1) * CELLS // SCORE_STEPS, CELLS - 1)


class Bins(NamedTuple):
    """A table for plots: B bins of equal width. Bin i holds the scores in [i / B, (i + 1) / B), the last one also 1."""

    low: np.ndarray
    """(B,) float64 lower edges."""
    high: np.ndarray
    """(B,) float64 upper edges."""
    count: np.ndarray
    """(..., B) int64 pixels."""
    confidence: np.ndarray
    """(..., B) float64 mean score; NaN in an empty bin."""
    accuracy: np.ndarray
    """(..., B) float64 share of the pixels that were right; NaN in an empty bin."""

    @property
    def share(self) -> np.ndarray:
        """(..., B) float64 share of all pixels; NaN without any."""
        return _ratio(self.count, self.count.sum(-1, keepdims=True))

    @property
    def gap(self) -> np.ndarray:
        """(..., B) float64 |accuracy - confidence|, 0 in an empty bin."""
        return np.nan_to_num(np.abs(self.accuracy - self.confidence))


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """For each class: how many pixels had a score in each of CELLS fine cells, and in how many it was right.

    Cells are half open like Bins. Histograms of windows and of scenes add up.
    """

    counts: np.ndarray
    """(K, CELLS) int64 pixels."""
    hits: np.ndarray
    """(K, CELLS) int64 of them, those that were right."""
    sums: np.ndarray
    """(K, CELLS) float64 sum of the scores in steps of 1/254: whole numbers, thus exact, for scores from a file."""

    @classmethod
    def empty(cls, classes: int) -> ScoreHistogram:
        """A histogram of zeros."""
        return cls(*(np.zeros((classes, CELLS), dtype) for dtype in (np.int64, np.int64, np.float64)))

    @classmethod
    def of(cls, rows: np.ndarray, hit: np.ndarray, scores: np.ndarray, classes: int) -> ScoreHistogram:
        """Count (N,) scores (uint8 steps, or floats from 0 to 1) of classes ``rows`` (N,), right where ``hit`` (N,)."""
        if scores.dtype == np.uint8:
            return cls._of_steps(rows, hit, scores, classes)
        cells = np.minimum((scores * CELLS + ROUNDING).astype(np.int64), CELLS - 1)
        place, size = rows.astype(np.int64) * CELLS + cells, classes * CELLS
        sums = np.bincount(place, scores * float(SCORE_STEPS), size)
        parts = (np.bincount(place, minlength=size), np.bincount(place[hit], minlength=size), sums)
        return cls(*(part.reshape(classes, CELLS) for part in parts))

    @classmethod
    def _of_steps(cls, rows: np.ndarray, hit: np.ndarray, steps: np.ndarray, classes: int) -> ScoreHistogram:
        joint = np.bincount((rows * np.int32(2) + hit) * 256 + steps, minlength=classes * 512).reshape(classes, 2, 256)
        hits, counts = joint[:, 1, : SCORE_STEPS + 1], joint[:, :, : SCORE_STEPS + 1].sum(1)
        histogram = cls.empty(classes)
        for part, of_steps in (
            (histogram.counts, counts),
            (histogram.hits, hits),
            (histogram.sums, counts * np.arange(SCORE_STEPS + 1)),
        ):
            part[:, CELL_OF_STEP] = of_steps
        return histogram

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        if self.counts.shape != other.counts.shape:
            raise InputError("calibrations of different legends do not add")
        return ScoreHistogram(self.counts + other.counts, self.hits + other.hits, self.sums + other.sums)

    @property
    def pooled(self) -> ScoreHistogram:
        """All classes as one: (1, CELLS)."""
        return ScoreHistogram(*(part.sum(0, keepdims=True) for part in (self.counts, self.hits, self.sums)))

    def bins(self, bins: int) -> Bins:
        """(K, bins) of equal width. Raises UsageError unless ``bins`` divides CELLS."""
        if bins < 1 or CELLS % bins:
            raise UsageError(f"{bins} bins do not divide the histogram's {CELLS} cells; take 10, 15 or 20")
        edges = np.linspace(0, 1, bins + 1)
        counts, hits, sums = (
            part.reshape(-1, bins, CELLS // bins).sum(-1) for part in (self.counts, self.hits, self.sums)
        )
        return Bins(edges[:-1], edges[1:], counts, _ratio(sums / SCORE_STEPS, counts), _ratio(hits, counts))

    def errors(self, bins: int) -> np.ndarray:
        """(K,) expected calibration error of each class; NaN for a class without a pixel."""
        table = self.bins(bins)
        return (table.share * table.gap).sum(-1)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How far the scores of a map are its chances of being right. The parts of a scene, and scenes, add up."""

    top: ScoreHistogram
    """The score of the class that the map shows, by that class; right where the truth is of it."""
    each: ScoreHistogram | None = None
    """The score of every class in every pixel; right where the truth is of that class. None where only top is known."""

    @classmethod
    def empty(cls, classes: int, kind: ScoresKind = "top") -> Reliability:
        """Nothing counted yet, of ``classes`` classes. Raises UsageError for the kind "margin"."""
        require_scores(kind)
        return cls(ScoreHistogram.empty(classes), ScoreHistogram.empty(classes) if kind == "all" else None)

    @classmethod
    def from_pair(
        cls,
        truth: np.ndarray,
        prediction: np.ndarray,
        scores: np.ndarray,
        classes: int,
        ignored: tuple[int, ...] = (),
        kind: ScoresKind = "top",
    ) -> Reliability:
        """Count the pixels that have a scored truth, a prediction and a score.

        Args:
            truth, prediction: (H, W) uint8 class indices, NO_CLASS where there is none.
            scores: for "top" (H, W) or (1, H, W), for "all" (S, H, W) of the S classes that are not ignored, in the
                legend's order. uint8 steps of 1/254 with NODATA (255), as ScoresRaster.read gives them, or floats
                from 0 to 1 with NaN where there is none.
            ignored: class indices whose truth pixels count nowhere.

        Raises UsageError for "margin"; InputError for other shapes, scores that are no shares, unknown class indices.
        """
        scores = _checked_scores(truth, prediction, scores, classes - len(set(ignored)), require_scores(kind))
        missing = scores == NODATA if scores.dtype == np.uint8 else np.isnan(scores)
        counted = ~np.isin(truth, (NO_CLASS, *ignored)) & (prediction != NO_CLASS) & ~missing.any(0)
        truth, prediction, scores = truth[counted], prediction[counted], scores[:, counted]
        if max(truth.max(initial=0), prediction.max(initial=0)) >= classes:
            raise InputError(f"class indices beyond the legend's {classes} classes")
        if kind == "top":
            return cls(ScoreHistogram.of(prediction, truth == prediction, scores[0], classes))
        scored = [index for index in range(classes) if index not in ignored]
        return cls(_of_the_map(truth, prediction, scores, scored, classes), _of_each(truth, scores, scored, classes))

    def __add__(self, other: Reliability) -> Reliability:
        if (self.each is None) != (other.each is None):
            raise InputError("a calibration of top scores and one of every class's scores do not add")
        return Reliability(self.top + other.top, None if self.each is None else self.each + other.each)

    @cached_property
    def total(self) -> int:
        """Pixels that count."""
        return int(self.top.counts.sum())

    def bins(self, bins: int = 15) -> Bins:
        """(bins,) table of the map's scores, all classes together."""
        table = self.top.pooled.bins(bins)
        return table._replace(count=table.count[0], confidence=table.confidence[0], accuracy=table.accuracy[0])

    def ece(self, bins: int = 15) -> float:
        """Expected calibration error: mean gap, weighted by pixels (Guo et al. 2017); NaN without a pixel."""
        return float(self.top.pooled.errors(bins)[0])

    def rms(self, bins: int = 15) -> float:
        """Root mean square calibration error: as ``ece``, of squared gaps (Kumar et al. 2019)."""
        table = self.bins(bins)
        return math.sqrt((table.share * table.gap**2).sum())

    def maximum(self, bins: int = 15) -> float:
        """The largest gap of a bin that holds pixels, however few (Guo et al. 2017); NaN without a pixel."""
        return float(self.bins(bins).gap.max()) if self.total else math.nan

    def class_ece(self, bins: int = 15) -> np.ndarray | None:
        """(K,) expected calibration error of each class's score, whatever the map shows (Kull et al. 2019).

        NaN for classes without a score; None where only top scores are known.
        """
        return None if self.each is None else self.each.errors(bins)

    def to_dict(self, bins: int = 15) -> dict[str, Any]:
        """As JSON holds it: NaN becomes null."""
        table, each = self.bins(bins), self.class_ece(bins)
        return {
            "pixels": self.total,
            "ece": or_none(self.ece(bins)),
            "rms": or_none(self.rms(bins)),
            "maximum": or_none(self.maximum(bins)),
            "class_ece": None if each is None else [or_none(value) for value in each],
            "bins": [
                {"low": float(low), "high": float(high), "pixels": int(count)}
                | {"confidence": or_none(confidence), "accuracy": or_none(accuracy)}
                for low, high, count, confidence, accuracy in zip(*table, strict=True)
            ],
        }


def require_scores(kind: ScoresKind) -> ScoresKind:
    """The kind itself; raises UsageError for margins, which are no chances."""
    if kind == "margin":
        raise UsageError(
            "calibration needs scores, and a margin is the lead of one score over another, no chance of being right; "
            "predict with --scores top or all"
        )
    return kind


def _of_the_map(
    truth: np.ndarray, prediction: np.ndarray, scores: np.ndarray, scored: list[int], classes: int
) -> ScoreHistogram:
    """The score of the class that the map shows; a class without a band has none, and its pixels do not count."""
    band = np.full(classes, -1)
    band[scored] = range(len(scored))
    has_band = band[prediction] >= 0
    truth, prediction = truth[has_band], prediction[has_band]
    shown = scores[band[prediction], np.flatnonzero(has_band)]
    return ScoreHistogram.of(prediction, truth == prediction, shown, classes)


def _of_each(truth: np.ndarray, scores: np.ndarray, scored: list[int], classes: int) -> ScoreHistogram:
    parts = (
        ScoreHistogram.of(np.full(truth.shape, index), truth == index, band, classes)
        for index, band in zip(scored, scores, strict=True)
    )
    return sum(parts, start=ScoreHistogram.empty(classes))


def _checked_scores(
    truth: np.ndarray, prediction: np.ndarray, scores: np.ndarray, scored: int, kind: ScoresKind
) -> np.ndarray:
    """(bands, H, W) scores that fit the pair."""
    scores = scores[None] if scores.ndim == 2 else scores
    expected = (scored if kind == "all" else 1, *truth.shape)
    if prediction.shape != truth.shape or scores.shape != expected:
        raise InputError(
            f"truth {truth.shape}, prediction {prediction.shape} and scores {scores.shape} do not fit: scores "
            f"({kind}) of {expected} belong there"
        )
    if scores.dtype != np.uint8 and not np.issubdtype(scores.dtype, np.floating):
        raise InputError(f"scores are uint8 steps of 1/{SCORE_STEPS} or floats from 0 to 1, not {scores.dtype}")
    if scores.dtype != np.uint8 and not ((scores >= 0) & (scores <= 1) | np.isnan(scores)).all():
        raise InputError("scores are shares from 0 to 1; some are not (logits are no scores: take their softmax)")
    return scores


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=ratio, where=whole > 0)
