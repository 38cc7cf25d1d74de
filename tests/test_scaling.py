"""Scaling: what it refuses, what it stands for, and which dtypes mean the same."""

from __future__ import annotations

import json

import pytest

from geoseg.errors import UsageError
from geoseg.scaling import EIGHT_BITS, Scaling, as_bounds, of_statistics, parted, same_numbers


@pytest.mark.parametrize(
    "scaling",
    [
        EIGHT_BITS,
        Scaling("range", ((0.0, 10000.0), (-1.0, 1.0))),
        Scaling("percentile", percentiles=(0.5, 99.5)),
        of_statistics((300.25, -7.0), (12.0, 1 / 3)),
    ],
)
def test_a_scaling_survives_json(scaling):
    assert Scaling.from_dict(json.loads(json.dumps(scaling.to_dict()))) == scaling
    assert scaling.per_raster == (scaling.kind == "percentile")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("minmax", ((0, 1),)), "range, statistics, percentile"),
        (("range",), "has bounds"),
        (("statistics", (), (2.0, 98.0)), "has bounds"),
        (("percentile", ((0, 1),), (2.0, 98.0)), "has percentiles"),
        (("percentile",), "has percentiles"),
        (("range", ((5, 5),)), "the lower first, got 5 and 5"),
        (("range", ((0, 1), (3, 2))), "the lower first, got 3 and 2"),
        (("range", ((0, float("nan")),)), "two numbers"),
        (("range", ((0, float("inf")),)), "two numbers"),
        (("range", ((-3e38, 3e38),)), "two numbers"),
        (("range", ((0, 1e-46),)), "two numbers"),
        (("percentile", (), (98.0, 2.0)), "0 to 100, the lower first"),
        (("percentile", (), (-1.0, 98.0)), "0 to 100"),
        (("percentile", (), (2.0, 101.0)), "0 to 100"),
    ],
)
def test_contradictions_are_refused(values, said):
    with pytest.raises(UsageError, match=said):
        Scaling(*values)


def test_one_pair_is_for_all_bands_and_others_for_one_each():
    assert EIGHT_BITS.of_bands(3) == ((0.0, 255.0),) * 3
    two = Scaling("range", ((0.0, 1.0), (0.0, 2.0)))
    assert two.of_bands(2) == two.bounds
    with pytest.raises(UsageError, match="bounds of 2 bands for 3"):
        two.of_bands(3)


def test_statistics_reach_three_standard_deviations_and_part_a_constant_band():
    scaling = of_statistics((100.0, 7.0, 0.1), (10.0, 0.0, 1e-18))
    assert scaling.bounds == ((70.0, 130.0), (6.5, 7.5), pytest.approx((-0.4, 0.6)))
    assert parted(2e9, 2e9) == pytest.approx((1.998e9, 2.002e9)) and parted(2e9, 2e9 + 1) == (2e9, 2e9 + 1)


def test_pairs_as_people_write_them():
    assert as_bounds((0, 10000)) == as_bounds([[0, 10000]]) == ((0.0, 10000.0),)
    assert as_bounds([(0, 1), (2, 3)]) == ((0.0, 1.0), (2.0, 3.0))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("uint8", "uint8", True),
        ("uint8", "uint16", False),
        ("uint8", "int8", False),
        ("int16", "uint16", True),
        ("int32", "uint16", True),
        ("float32", "float64", True),
        ("float32", "uint16", False),
        ("float32", "uint8", False),
        ("int8", "int8", True),
    ],
)
def test_which_dtypes_mean_the_same(first, second, same):
    assert same_numbers(first, second) == same_numbers(second, first) == same
