"""Confusion matrices: hand-worked tables, scikit-learn, and parts that add up to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError
from geoseg.legend import NO_CLASS

HAND = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]])
"""Rows truth. IoU 5/8, 3/7, 4/5; 16 pixels, 12 right."""


def label_maps(classes: int) -> st.SearchStrategy[np.ndarray]:
    """(9, 14) indices with NO_CLASS; often not all classes are there."""

    def draw(seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        present = generator.choice([*range(classes), NO_CLASS], generator.integers(1, classes + 2), replace=False)
        return generator.choice(present, (9, 14)).astype(np.uint8)

    return st.integers(0, 2**32 - 1).map(draw)


def test_scores_by_hand() -> None:
    matrix = ConfusionMatrix(HAND)
    assert matrix.iou() == pytest.approx([5 / 8, 3 / 7, 4 / 5])
    assert matrix.mean_iou() == pytest.approx((5 / 8 + 3 / 7 + 4 / 5) / 3)
    assert matrix.precision() == pytest.approx([5 / 7, 3 / 4, 4 / 5])
    assert matrix.recall() == pytest.approx([5 / 6, 3 / 6, 4 / 4])
    assert matrix.f1() == pytest.approx([10 / 13, 6 / 10, 8 / 9])
    assert matrix.pixel_accuracy() == pytest.approx(12 / 16)
    assert (matrix.support.tolist(), matrix.predicted.tolist()) == ([6, 6, 4], [7, 4, 5])
    assert (matrix.total, matrix.missing, matrix.classes) == (16, 0, 3)


def test_rows_are_truth_and_columns_prediction() -> None:
    matrix = ConfusionMatrix.from_pair(np.array([[0, 0, 2]], np.uint8), np.array([[1, 1, 0]], np.uint8), 3)
    assert matrix.counts.tolist() == [[0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_a_missing_prediction_is_missed_and_can_be_left_out() -> None:
    truth = np.array([[0, 0, 0, 1, 1, NO_CLASS]], np.uint8)
    prediction = np.array([[0, NO_CLASS, NO_CLASS, 1, 0, NO_CLASS]], np.uint8)
    matrix = ConfusionMatrix.from_pair(truth, prediction, 2)
    assert matrix.counts.tolist() == [[1, 0, 2], [1, 1, 0]]
    assert (matrix.missing, matrix.total) == (2, 5)
    assert matrix.iou() == pytest.approx([1 / 4, 1 / 2])
    without = matrix.without_missing()
    assert (without.missing, without.total) == (0, 3)
    assert without.iou() == pytest.approx([1 / 2, 1 / 2])


def test_truth_of_an_ignored_class_counts_nowhere_and_its_prediction_is_wrong() -> None:
    counts = np.array([[5, 1, 2], [0, 3, 0], [7, 9, 11]])
    matrix = ConfusionMatrix(counts, ignored=(2,))
    assert matrix.iou() == pytest.approx([5 / 8, 3 / 4, math.nan], nan_ok=True)
    assert matrix.mean_iou() == pytest.approx((5 / 8 + 3 / 4) / 2)
    assert (matrix.total, matrix.pixel_accuracy()) == (11, 8 / 11)
    assert matrix.support.tolist() == [8, 3, 0]
    assert np.isnan([matrix.precision()[2], matrix.recall()[2], matrix.f1()[2]]).all()


def test_a_missing_prediction_of_an_ignored_class_is_not_missed() -> None:
    assert ConfusionMatrix(np.array([[1, 0, 3], [0, 1, 5]]), ignored=(1,)).missing == 3


def test_a_class_absent_from_both_is_left_out_of_the_mean() -> None:
    matrix = ConfusionMatrix(np.array([[4, 0, 0], [0, 0, 0], [4, 0, 8]]))
    assert matrix.iou() == pytest.approx([1 / 2, math.nan, 2 / 3], nan_ok=True)
    assert matrix.mean_iou() == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_class_that_is_only_predicted_scores_0() -> None:
    matrix = ConfusionMatrix(np.array([[4, 1], [0, 0]]))
    assert matrix.iou() == pytest.approx([4 / 5, 0])
    assert matrix.recall() == pytest.approx([4 / 5, math.nan], nan_ok=True)


def test_no_pixel_no_score() -> None:
    empty = ConfusionMatrix.empty(3)
    assert np.isnan([*empty.iou(), empty.mean_iou(), empty.pixel_accuracy()]).all()
    assert empty.counts.shape == (3, 4) and empty.counts.dtype == np.int64


def test_the_majority_baseline_predicts_the_most_frequent_class() -> None:
    matrix = ConfusionMatrix(np.array([[1, 1, 0, 0], [2, 3, 1, 6], [0, 0, 4, 0]]))
    assert matrix.majority_baseline() == (1, pytest.approx(12 / 18 / 3))


def test_an_ignored_class_is_no_majority() -> None:
    assert ConfusionMatrix(np.diag([3, 2, 90]), ignored=(2,)).majority_baseline() == (0, pytest.approx(3 / 5 / 2))
    majority, value = ConfusionMatrix(np.diag([90, 0, 0]), ignored=(0,)).majority_baseline()
    assert majority == 1 and np.isnan(value), "nothing is scored"


@given(label_maps(4), label_maps(4), st.integers(1, 8), st.integers(1, 13))
def test_matrices_of_the_parts_add_to_the_whole(truth: np.ndarray, prediction: np.ndarray, row: int, col: int) -> None:
    whole = ConfusionMatrix.from_pair(truth, prediction, 4, ignored=(3,))
    parts = ConfusionMatrix.empty(4, ignored=(3,))
    for rows in (slice(0, row), slice(row, None)):
        for cols in (slice(0, col), slice(col, None)):
            parts += ConfusionMatrix.from_pair(truth[rows, cols], prediction[rows, cols], 4, ignored=(3,))
    assert parts == whole


@given(label_maps(4), label_maps(4))
def test_counts_are_those_of_scikit_learn(truth: np.ndarray, prediction: np.ndarray) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    matrix = ConfusionMatrix.from_pair(truth, prediction, 4)
    labelled = truth != NO_CLASS
    codes = [0, 1, 2, 3, NO_CLASS]
    if labelled.any():
        expected = metrics.confusion_matrix(truth[labelled], prediction[labelled], labels=codes)
        assert matrix.counts.tolist() == expected[:4].tolist()
    both = labelled & (prediction != NO_CLASS)
    if both.any():
        seen = np.union1d(truth[both], prediction[both])
        iou = np.full(4, np.nan)
        iou[seen] = metrics.jaccard_score(truth[both], prediction[both], labels=seen, average=None)
        assert matrix.without_missing().iou() == pytest.approx(iou, nan_ok=True)
        assert matrix.without_missing().pixel_accuracy() == pytest.approx(
            metrics.accuracy_score(truth[both], prediction[both])
        )


def test_255_classes_leave_room_for_no_class() -> None:
    truth = np.arange(256, dtype=np.uint8)[None]
    matrix = ConfusionMatrix.from_pair(truth, truth[:, ::-1].copy(), 255)
    assert (matrix.total, matrix.missing) == (255, 1)
    assert matrix.counts[1, 254] == matrix.counts[0, 255] == 1


@pytest.mark.parametrize("side", ["truth", "prediction"])
def test_an_index_beyond_the_classes_is_refused(side: str) -> None:
    odd, fine = np.array([[0, 3]], np.uint8), np.array([[0, 1]], np.uint8)
    with pytest.raises(InputError, match="beyond the legend's 3 classes"):
        ConfusionMatrix.from_pair(*((odd, fine) if side == "truth" else (fine, odd)), 3)


@pytest.mark.parametrize(
    "counts", [[[1, 2]] * 3, [1, 2], [[0, -1], [0, 0]], [[0.5, 0], [0, 1]], [[1, 2, 3, 4]] * 2], ids=str
)
def test_what_is_no_matrix_is_refused(counts: list) -> None:
    with pytest.raises(InputError) as caught:
        ConfusionMatrix(np.array(counts))
    assert caught.value.exit_code == 3


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="differ in shape"):
        ConfusionMatrix.from_pair(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


@pytest.mark.parametrize("other", [ConfusionMatrix.empty(4), ConfusionMatrix.empty(3, ignored=(1,))])
def test_matrices_of_other_legends_do_not_add(other: ConfusionMatrix) -> None:
    with pytest.raises(InputError, match="do not add"):
        ConfusionMatrix(HAND) + other
    assert ConfusionMatrix(np.zeros((3, 3), int)) != other


def test_a_matrix_does_not_change() -> None:
    counts = HAND.copy()
    matrix = ConfusionMatrix(counts)
    counts[0, 0] = 99
    assert matrix == ConfusionMatrix(HAND)
    with pytest.raises(ValueError, match="read-only"):
        matrix.counts[0, 0] = 99
