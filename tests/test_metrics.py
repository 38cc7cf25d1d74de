"""Figures on counts: hand-worked tables, scikit-learn, and many matrices at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import NO_CLASS

HAND = np.array([[5, 1, 0, 0], [2, 3, 1, 0], [0, 0, 4, 0]])
"""Rows 6, 6, 4; columns 7, 4, 5; 12 of 16 right."""
MISSING = np.array([[5, 1, 0, 2], [2, 3, 1, 1], [0, 0, 4, 1]])
"""The same with 4 pixels of the truth not predicted: rows 8, 7, 5; columns 7, 4, 5, 4; 12 of 20 right."""

UNDEFINED = {
    "no pixel": (np.zeros((3, 4), int), set(metrics.overall(HAND))),
    "one class, all right": (np.array([[9, 0, 0], [0, 0, 0]]), {"kappa"}),
}


def counts(classes: int = 4) -> st.SearchStrategy[np.ndarray]:
    """(3, 2, K, K + 1) int64, with empty rows, empty columns and empty matrices among them."""

    def draw(seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        shape = (3, 2, classes, classes + 1)
        empty = generator.random((3, 2, classes, 1)) < 0.3, generator.random((3, 2, 1, classes + 1)) < 0.3
        return generator.integers(0, 10 ** generator.integers(1, 12), shape) * ~(empty[0] | empty[1])

    return st.integers(0, 2**32 - 1).map(draw)


def test_figures_of_a_table_by_hand() -> None:
    chance = (6 * 7 + 6 * 4 + 4 * 5) / 16**2
    assert metrics.overall(HAND) == pytest.approx(
        {
            "mean_iou": (5 / 8 + 3 / 7 + 4 / 5) / 3,
            "mean_precision": (5 / 7 + 3 / 4 + 4 / 5) / 3,
            "mean_recall": (5 / 6 + 3 / 6 + 4 / 4) / 3,
            "mean_f1": (10 / 13 + 6 / 10 + 8 / 9) / 3,
            "pixel_accuracy": 12 / 16,
            "kappa": (12 / 16 - chance) / (1 - chance),
            "frequency_weighted_iou": (6 * 5 / 8 + 6 * 3 / 7 + 4 * 4 / 5) / 16,
            # Areas differ by 1, 2 and 1 px.
            "quantity_disagreement": (1 + 2 + 1) / 2 / 16,
            # Omissions 1, 3, 0 and commissions 2, 1, 1.
            "allocation_disagreement": (1 + 1 + 0) / 16,
        }
    )


def test_a_missing_prediction_is_a_category_that_no_truth_has() -> None:
    chance = (8 * 7 + 7 * 4 + 5 * 5) / 20**2
    found = metrics.overall(MISSING)
    assert found["pixel_accuracy"] == pytest.approx(12 / 20)
    assert found["kappa"] == pytest.approx((12 / 20 - chance) / (1 - chance))
    assert found["quantity_disagreement"] == pytest.approx((1 + 3 + 0 + 4) / 2 / 20)
    assert found["allocation_disagreement"] == pytest.approx((2 + 1 + 1) / 20)
    assert found["frequency_weighted_iou"] == pytest.approx((8 * 5 / 10 + 7 * 3 / 8 + 5 * 4 / 6) / 20)


def test_an_ignored_class_that_is_predicted_is_another_such_category() -> None:
    """Folding its column into the missing predictions changes nothing but the missing ones."""
    ignored = ConfusionMatrix(np.array([[5, 1, 2], [0, 3, 4], [7, 9, 11]]), ignored=(2,))
    missing = ConfusionMatrix(np.array([[5, 1, 2], [0, 3, 4]]))
    for name, value in metrics.overall(ignored.scored, (2,)).items():
        assert value == pytest.approx(float(metrics.overall(missing.scored)[name])), name
    assert (ignored.kappa(), ignored.quantity_disagreement()) == (missing.kappa(), missing.quantity_disagreement())
    for name, values in metrics.per_class(ignored.scored, (2,)).items():
        assert values == pytest.approx([*metrics.per_class(missing.scored)[name], math.nan], nan_ok=True)


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_undefined_is_nan(case: str) -> None:
    table, undefined = UNDEFINED[case]
    assert {name for name, value in metrics.overall(table).items() if np.isnan(value)} == undefined


def test_a_class_is_undefined_where_its_denominator_is_0() -> None:
    table = np.array([[4, 1, 0, 0, 0], [0, 0, 0, 0, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    found = metrics.per_class(table)
    assert found["iou"] == pytest.approx([4 / 8, 0, 0, math.nan], nan_ok=True)
    assert found["precision"] == pytest.approx([4 / 7, 0, math.nan, math.nan], nan_ok=True)
    assert found["recall"] == pytest.approx([4 / 5, math.nan, 0, math.nan], nan_ok=True)
    assert found["f1"] == pytest.approx([8 / 12, 0, 0, math.nan], nan_ok=True)


def test_a_map_of_one_class_has_kappa_0_and_swapped_areas_are_allocation() -> None:
    assert metrics.kappa(np.array([[6, 0, 0], [2, 0, 0]])) == 0
    swapped = np.array([[3, 2, 0], [2, 3, 0]])
    assert (metrics.quantity_disagreement(swapped), metrics.allocation_disagreement(swapped)) == (0, 4 / 10)


def test_percent_of_rows_and_columns() -> None:
    matrix = ConfusionMatrix(np.array([[1, 3, 0, 4], [0, 0, 0, 0], [9, 9, 9, 9]]), ignored=(2,))
    nothing = [math.nan] * 4
    assert matrix.row_percent().ravel() == pytest.approx([12.5, 37.5, 0, 50, *nothing, *nothing], nan_ok=True)
    columns = [[100, 100, math.nan, 100], [0, 0, math.nan, 0], [0, 0, math.nan, 0]]
    assert matrix.column_percent().ravel() == pytest.approx(np.ravel(columns), nan_ok=True)


def test_large_rasters_do_not_overflow() -> None:
    """The product of two margins of 1e10 px is beyond 64 bits."""
    assert metrics.kappa(HAND * 10**10) == pytest.approx(metrics.kappa(HAND))


@given(counts())
def test_many_matrices_at_once_are_each_by_itself(tables: np.ndarray) -> None:
    tables[..., 3, :] = 0
    for function in (metrics.overall, metrics.per_class):
        together = function(tables, (3,))
        for place in np.ndindex(tables.shape[:2]):
            alone = function(tables[place], (3,))
            for name, values in alone.items():
                np.testing.assert_array_equal(together[name][place], values)


@given(counts())
def test_disagreements_make_up_what_is_wrong(tables: np.ndarray) -> None:
    quantity, allocation = metrics.quantity_disagreement(tables), metrics.allocation_disagreement(tables)
    np.testing.assert_allclose(quantity + allocation, 1 - metrics.pixel_accuracy(tables), rtol=1e-12, atol=1e-15)
    assert not ((quantity < 0) | (allocation < 0)).any()


@given(counts())
def test_figures_stay_in_their_range(tables: np.ndarray) -> None:
    for function in (metrics.overall, metrics.per_class):
        for name, values in function(tables).items():
            lowest = -1 if name == "kappa" else 0
            assert not ((values < lowest - 1e-12) | (values > 1 + 1e-12)).any(), name


@given(st.integers(0, 2**32 - 1))
def test_scikit_learn_agrees(seed: int) -> None:
    oracle = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, (7, 11)).astype(np.uint8)
    prediction = np.where(generator.random(truth.shape) < 0.5, truth, generator.choice([0, 1, 2, 3, NO_CLASS]))
    matrix = ConfusionMatrix.from_pair(truth, prediction.astype(np.uint8), 4)
    flat, labels = (truth.ravel(), prediction.ravel()), [0, 1, 2, 3]
    assert matrix.kappa() == pytest.approx(oracle.cohen_kappa_score(*flat))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(*flat, labels=labels, zero_division=np.nan)
    assert matrix.precision() == pytest.approx(precision, nan_ok=True)
    assert matrix.recall() == pytest.approx(recall, nan_ok=True)
    assert matrix.f1() == pytest.approx(f1, nan_ok=True)
    assert matrix.support.tolist() == support.tolist()
    weighted = oracle.jaccard_score(*flat, labels=labels, average="weighted", zero_division=0)
    assert matrix.frequency_weighted_iou() == pytest.approx(weighted)


@pytest.mark.parametrize(
    "name", ["kappa", "frequency_weighted_iou", "quantity_disagreement", "allocation_disagreement"]
)
def test_a_matrix_knows_its_figures(name: str) -> None:
    figure: Callable[[], float] = getattr(ConfusionMatrix(MISSING), name)
    assert figure() == metrics.overall(MISSING)[name] and isinstance(figure(), float)
