"""Median-frequency weights: the paper's numbers, and what the median leaves out."""

from __future__ import annotations

import numpy as np
import pytest

import geoseg
from geoseg.errors import InputError
from geoseg.training.class_weights import class_weights, median_frequency_weights

ORIGINAL = (11.04, 57.35, 8.26, 11.54, 3.11, 8.64, 0.06)
AUGMENTED = (10.53, 52.01, 8.63, 10.67, 3.86, 9.21)


@pytest.mark.parametrize("scale", [1, 0.01, 123_456])
def test_weights_of_table_1(scale):
    weights = median_frequency_weights(np.array(ORIGINAL) * scale, ignored=(6,))
    assert weights.round(6).tolist() == [0.891304, 0.171578, 1.191283, 0.852686, 3.163987, 1.138889, 0.0]


def test_weights_of_the_augmented_column():
    weights = median_frequency_weights(AUGMENTED)
    assert weights == pytest.approx([0.937322, 0.189771, 1.143685, 0.925023, 2.556995, 1.071661], abs=1e-5)


def test_an_ignored_class_is_not_in_the_median():
    with_unknown = median_frequency_weights(ORIGINAL)
    assert with_unknown[6] == pytest.approx(144) and with_unknown[0] == pytest.approx(8.64 / 11.04)


def test_a_class_that_never_occurs_is_not_in_the_median():
    assert median_frequency_weights([4, 0, 1, 2]).tolist() == [0.5, 0, 2, 1]


def test_counts_are_as_good_as_shares():
    assert median_frequency_weights(np.array([1, 2, 4], np.int64)).tolist() == [2, 1, 0.5]


@pytest.mark.parametrize(
    ("shares", "ignored"), [([0, 0], ()), ([0, 5], (1,)), ([-1, 2], ()), ([float("nan"), 1], ()), ([[1, 2]], ())]
)
def test_shares_that_give_no_weights_are_refused(shares, ignored):
    with pytest.raises(InputError):
        median_frequency_weights(shares, ignored)


def test_it_is_a_public_name():
    assert geoseg.median_frequency_weights is median_frequency_weights


def test_milder_weights():
    shares, ignored = [8, 2, 0, 1, 4], (4,)
    assert class_weights("median", shares, ignored).tolist() == [0.25, 1, 0, 2, 0]
    assert class_weights("sqrt", shares, ignored) == pytest.approx([0.5, 1, 0, 2**0.5, 0])
    assert class_weights("none", shares, ignored).tolist() == [1, 1, 0, 1, 0]
