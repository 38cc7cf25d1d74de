"""Calibration: by hand, against torchmetrics, and window by window."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from geoseg.errors import InputError, UsageError
from geoseg.legend import NO_CLASS, NODATA
from geoseg.raster.scores import SCORE_STEPS
from geoseg.scoring.calibration import CELL_OF_STEP, CELLS, Reliability, ScoreHistogram
from geoseg.tiling import blocks

CLASSES, IGNORED = 7, (2,)
SCORED = [0, 1, 3, 4, 5, 6]
SHAPE = (37, 53)


def steps(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(6, H, W) uint8 written scores that are shares of 1, none of them 1 itself."""
    logits = np.random.default_rng(seed).normal(0, 2, (6, *shape))
    shares = np.exp(logits) / np.exp(logits).sum(0)
    return np.minimum(np.round(shares * SCORE_STEPS), SCORE_STEPS - 1).astype(np.uint8)


def pair(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, map and the scores of all classes; some of each are missing."""
    rng = np.random.default_rng(seed + 1)
    scores = steps(seed, shape)
    prediction = np.array(SCORED, np.uint8)[scores.argmax(0)]
    truth = np.where(rng.random(shape) < 0.6, prediction, rng.integers(0, CLASSES, shape)).astype(np.uint8)
    truth[rng.random(shape) < 0.1] = NO_CLASS
    nothing = rng.random(shape) < 0.1
    prediction[nothing], scores[:, nothing] = NO_CLASS, NODATA
    return truth, prediction, scores


def top_of(scores: np.ndarray) -> np.ndarray:
    """(H, W) the highest score, NODATA where there is none."""
    return scores.max(0)


def equal(first: ScoreHistogram, second: ScoreHistogram) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("counts", "hits", "sums"))


# By hand


def test_four_pixels_by_hand() -> None:
    truth = np.array([[0, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 0, 1, 1]], np.uint8)
    found = Reliability.from_pair(truth, prediction, np.array([[0.95, 0.65, 0.7, 0.78]]), 2)
    # Bins of a tenth: .6 holds one pixel that is wrong, .7 two that are right, .9 one that is right.
    gaps, shares = np.array([0.65, 1 - (0.7 + 0.78) / 2, 1 - 0.95]), np.array([1, 2, 1]) / 4
    assert found.ece(10) == pytest.approx(gaps @ shares)
    assert found.rms(10) == pytest.approx(np.sqrt(gaps**2 @ shares))
    assert found.maximum(10) == pytest.approx(0.65)
    table = found.bins(10)
    assert table.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 0, 1]
    assert table.confidence[7] == pytest.approx(0.74) and table.accuracy[7] == 1 and np.isnan(table.accuracy[8])


def test_bins_are_closed_below_and_the_last_on_both_sides() -> None:
    index = np.zeros((1, 5), np.uint8)
    exact = np.array([[0.0, 0.0999, 0.1, 0.7, 1.0]])
    # Widened again, 0.7 in 32 bits is visibly less than 0.7.
    for scores in (exact, exact.astype(np.float32), exact.astype(np.float32).astype(np.float64)):
        assert Reliability.from_pair(index, index, scores, 2).bins(10).count.tolist() == [2, 1, 0, 0, 0, 0, 0, 1, 0, 1]


def test_every_written_step_has_its_own_cell_and_its_exact_bin() -> None:
    assert len(set(CELL_OF_STEP)) == SCORE_STEPS + 1 and CELL_OF_STEP.max() == CELLS - 1
    for bins in (10, 15, 20):
        expected = [min(step * bins // SCORE_STEPS, bins - 1) for step in range(SCORE_STEPS + 1)]
        assert (CELL_OF_STEP // (CELLS // bins)).tolist() == expected


def test_only_scored_truth_with_a_prediction_and_a_score_counts() -> None:
    truth = np.array([[0, 0, NO_CLASS, 2, 0]], np.uint8)
    prediction = np.array([[0, NO_CLASS, 0, 0, 1]], np.uint8)
    written = np.array([[200, 200, 200, 200, NODATA]], np.uint8)
    assert Reliability.from_pair(truth, prediction, written, 3, (2,)).total == 1
    floats = np.where(written == NODATA, np.nan, written / SCORE_STEPS)
    assert Reliability.from_pair(truth, prediction, floats, 3, (2,)).total == 1


def test_a_map_class_without_a_band_has_no_score() -> None:
    truth, prediction = np.array([[0, 0]], np.uint8), np.array([[0, 2]], np.uint8)
    found = Reliability.from_pair(truth, prediction, np.full((2, 1, 2), 127, np.uint8), 3, (2,), "all")
    assert found.total == 1 and found.each.counts.sum(1).tolist() == [2, 2, 0]


def test_by_the_map_s_class() -> None:
    truth, prediction, scores = pair(3)
    found = Reliability.from_pair(truth, prediction, top_of(scores), CLASSES, IGNORED)
    counted = ~np.isin(truth, (NO_CLASS, *IGNORED)) & (prediction != NO_CLASS)
    for index in range(CLASSES):
        mine = counted & (prediction == index)
        assert found.top.counts[index].sum() == mine.sum()
        assert found.top.hits[index].sum() == (mine & (truth == index)).sum()
        assert found.top.sums[index].sum() == top_of(scores)[mine].sum(dtype=int)


def test_a_map_that_shows_another_class_has_that_class_s_score() -> None:
    truth, prediction = np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8)
    found = Reliability.from_pair(truth, prediction, np.array([[[200, 54]], [[54, 200]]], np.uint8), 2, kind="all")
    assert found.top.sums.sum(1).tolist() == [254, 0] and found.each.sums.sum(1).tolist() == [254, 254]


# Oracles


@pytest.mark.parametrize("bins", [10, 15, 20])
@pytest.mark.parametrize("written", [True, False])
def test_against_torchmetrics(bins: int, written: bool) -> None:
    truth, prediction, scores = pair(5)
    counted = ~np.isin(truth, (NO_CLASS, *IGNORED)) & (prediction != NO_CLASS)
    shares = torch.tensor(scores[:, counted].T.astype(np.float64) / SCORE_STEPS)
    target = torch.tensor(np.searchsorted(SCORED, truth[counted]))
    given = scores if written else np.where(scores == NODATA, np.nan, scores / SCORE_STEPS)
    found = Reliability.from_pair(truth, prediction, given, CLASSES, IGNORED, "all")
    # torchmetrics applies a softmax to rows that leave 0 to 1, which shares never do.
    for norm, value in (("l1", found.ece(bins)), ("l2", found.rms(bins)), ("max", found.maximum(bins))):
        expected = multiclass_calibration_error(shares, target, 6, n_bins=bins, norm=norm)
        assert value == pytest.approx(float(expected), rel=1e-5) and value > 0.01
    of_classes = found.class_ece(bins)
    assert np.isnan(of_classes[2])
    for band, index in enumerate(SCORED):
        counts, hits, sums = (part[index : index + 1] for part in (found.each.counts, found.each.hits, found.each.sums))
        one = Reliability(ScoreHistogram(counts, hits, sums))
        assert of_classes[index] == one.ece(bins)
        # The binary figure of torchmetrics takes the score of the class as the confidence, as class-wise ECE does.
        expected = binary_calibration_error(shares[:, band], (target == band).int(), n_bins=bins, norm="l1")
        assert of_classes[index] == pytest.approx(float(expected), rel=1e-5)


def test_a_score_of_one_belongs_to_the_last_bin() -> None:
    """torchmetrics gives it a bin of its own; here it meets the others, as in an article's last bin."""
    truth, prediction = np.array([[0, 1]], np.uint8), np.zeros((1, 2), np.uint8)
    found = Reliability.from_pair(truth, prediction, np.array([[1.0, 0.98]]), 2)
    assert found.bins(10).count[-1] == 2 and found.ece(10) == pytest.approx(0.99 - 0.5)


# Windows


@given(st.integers(0, 10**6), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(1, 35), st.booleans())
def test_windows_add_up_to_the_whole_scene(seed: int, shape: tuple[int, int], side: int, every: bool) -> None:
    truth, prediction, scores = pair(seed, shape)
    kind, scores = ("all", scores) if every else ("top", top_of(scores)[None])
    whole = Reliability.from_pair(truth, prediction, scores, CLASSES, IGNORED, kind)
    total = Reliability.empty(CLASSES, kind)
    for window in blocks(shape, side):
        part = truth[window.slices], prediction[window.slices], scores[:, *window.slices]
        total += Reliability.from_pair(*part, CLASSES, IGNORED, kind)
    assert equal(total.top, whole.top)
    assert equal(total.each, whole.each) if every else total.each is None
    assert total.to_dict() == whole.to_dict()


def test_nothing_counted_is_no_figure() -> None:
    empty = Reliability.empty(3, "all")
    assert all(np.isnan(value) for value in (empty.ece(), empty.rms(), empty.maximum(), *empty.class_ece()))
    record = json.loads(json.dumps(empty.to_dict(), allow_nan=False))
    assert (record["ece"], record["pixels"], record["bins"][3]["accuracy"]) == (None, 0, None)


def test_the_record_is_json() -> None:
    record = json.loads(json.dumps(Reliability.from_pair(*pair(2), CLASSES, IGNORED, "all").to_dict(), allow_nan=False))
    assert len(record["bins"]) == 15 and len(record["class_ece"]) == CLASSES and record["class_ece"][2] is None
    assert sum(row["pixels"] for row in record["bins"]) == record["pixels"] > 0


# The door


def test_a_margin_is_refused_in_words() -> None:
    truth, prediction, scores = pair(1)
    for call in (
        lambda: Reliability.empty(CLASSES, "margin"),
        lambda: Reliability.from_pair(truth, prediction, top_of(scores), CLASSES, IGNORED, "margin"),
    ):
        with pytest.raises(UsageError, match=r"a margin is the lead .* --scores top or all"):
            call()


def test_scores_that_do_not_fit_are_refused() -> None:
    truth, prediction, scores = pair(1)
    cases = [
        (scores, "top", r"do not fit: scores \(top\) of \(1, 37, 53\)"),
        (scores[:5], "all", r"do not fit: scores \(all\) of \(6, 37, 53\)"),
        (scores[0, :5], "top", "do not fit"),
        (scores[0].astype(np.int16), "top", "not int16"),
        (scores[0] / 200, "top", "logits are no scores"),
    ]
    for wrong, kind, message in cases:
        with pytest.raises(InputError, match=message):
            Reliability.from_pair(truth, prediction, wrong, CLASSES, IGNORED, kind)


def test_classes_beyond_the_legend_and_sums_of_two_kinds_are_refused() -> None:
    truth, prediction, scores = pair(1)
    with pytest.raises(InputError, match="beyond the legend's 4 classes"):
        Reliability.from_pair(truth, prediction, top_of(scores), 4)
    with pytest.raises(InputError, match="do not add"):
        _ = Reliability.empty(3) + Reliability.empty(3, "all")
    with pytest.raises(InputError, match="do not add"):
        _ = Reliability.empty(3) + Reliability.empty(4)


def test_bins_that_do_not_divide_the_cells_are_refused() -> None:
    for bins in (0, 11, 5000):
        with pytest.raises(UsageError, match=f"{bins} bins do not divide"):
            Reliability.empty(3).ece(bins)
