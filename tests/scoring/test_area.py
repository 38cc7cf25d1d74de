"""Area estimators against published digits, and hand-worked tables where a figure is not defined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from geoseg.errors import InputError, UsageError
from geoseg.scoring.area import AreaEstimates, olofsson_2014, stehman_2014, wilson_interval

CLASSES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
TABLE_8 = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED_HA = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09


@pytest.fixture(scope="module")
def olofsson() -> AreaEstimates:
    return olofsson_2014(TABLE_8, MAPPED_HA, CLASSES)


# Olofsson et al. 2014, Table 8


def test_olofsson_overall_accuracy(olofsson: AreaEstimates) -> None:
    assert olofsson.overall.value == pytest.approx(0.9465118881, abs=1e-10)
    assert olofsson.z * olofsson.overall.error == pytest.approx(0.0184832781, abs=1e-10)


def test_olofsson_users_accuracy(olofsson: AreaEstimates) -> None:
    assert olofsson.users.value == pytest.approx([0.88, 0.7333333333, 0.9272727273, 0.9630769231], abs=1e-10)
    half = [0.0740396216, 0.1007551631, 0.0397446394, 0.0205331234]
    assert olofsson.z * olofsson.users.error == pytest.approx(half, abs=1e-10)
    assert olofsson.users.high - olofsson.users.value == pytest.approx(half, abs=1e-10)


def test_olofsson_producers_accuracy(olofsson: AreaEstimates) -> None:
    expected = [0.7486614048, 0.8471563981, 0.9345089086, 0.9616089928]
    half = [0.2133059334, 0.2544036859, 0.0343237919, 0.0183611981]
    assert olofsson.producers.value == pytest.approx(expected, abs=1e-10)
    assert olofsson.z * olofsson.producers.error == pytest.approx(half, abs=1e-10)
    assert olofsson.producers.high[1] == 1, "an accuracy is at most 1"


def test_olofsson_areas(olofsson: AreaEstimates) -> None:
    assert olofsson.area.value == pytest.approx([21157.7622, 11686.1538, 285769.9301, 581386.1538], abs=1e-4)
    half = [6157.5212, 3755.7570, 15509.5513, 16281.3572]
    assert olofsson.z * olofsson.area.error == pytest.approx(half, abs=1e-4)
    assert olofsson.area.value.sum() == pytest.approx(MAPPED_HA.sum())


def test_olofsson_in_pixels_as_printed() -> None:
    found = olofsson_2014(TABLE_8, MAPPED_HA / 0.09)
    assert (round(found.area.value[0]), round(found.z * found.area.error[0])) == (235_086, 68_417)


def test_olofsson_proportions(olofsson: AreaEstimates) -> None:
    expected = [
        [0.0176, 0, 0.0013333333, 0.0010666667],
        [0, 0.011, 0.0016, 0.0024],
        [0.0019393939, 0, 0.2967272727, 0.0213333333],
        [0.0039692308, 0.0019846154, 0.0178615385, 0.6211846154],
    ]
    np.testing.assert_allclose(olofsson.proportions, expected, atol=1e-10)
    assert (olofsson.counts == TABLE_8).all()


def test_producers_variance_is_equation_7(olofsson: AreaEstimates) -> None:
    n, share = TABLE_8.sum(1), TABLE_8 / TABLE_8.sum(1)[:, None]
    for j in range(4):
        total, users, producers = (MAPPED_HA * share[:, j]).sum(), share[j, j], olofsson.producers.value[j]
        own = MAPPED_HA[j] ** 2 * (1 - producers) ** 2 * users * (1 - users) / (n[j] - 1)
        others = MAPPED_HA**2 * share[:, j] * (1 - share[:, j]) / (n - 1)
        variance = (own + producers**2 * (others.sum() - others[j])) / total**2
        assert olofsson.producers.error[j] == pytest.approx(math.sqrt(variance), rel=1e-12)


# Olofsson et al. 2013


def test_olofsson_2013_example_1() -> None:
    found = olofsson_2014(np.array([[97, 0, 3], [3, 279, 18], [2, 1, 97]]), [22353, 1122543, 610228])
    assert found.area.value[0] == pytest.approx(45112.4, abs=0.05)
    assert found.area.error[0] == pytest.approx(10751.40, abs=0.01)
    assert (found.area.low[0], found.area.high[0]) == pytest.approx((24040.0, 66184.8), abs=0.05)
    assert found.overall.value == pytest.approx(0.9444167819, abs=1e-10)
    assert found.producers.value == pytest.approx([0.4806308243, 0.9941886771, 0.8969258968], abs=1e-10)


def test_olofsson_2013_example_2() -> None:
    found = olofsson_2014(np.array([[127, 66, 54], [2, 322, 17], [0, 15, 540]]), [0.007, 0.295, 0.698])
    assert found.overall.value == pytest.approx(0.9612973753, abs=1e-10)
    assert found.users.value == pytest.approx([0.5141700, 0.9442815, 0.9729730], abs=5e-8)
    assert found.producers.value == pytest.approx([0.6753468, 0.9307203, 0.9766498], abs=5e-8)


# Stehman 2014, the numerical example

MAP = "AAAAAAABBB" + "ABBBBBBBBB" + "BBCCCCCCBB" + "DDDDDDDDDD"
REFERENCE = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"


def number(letters: str) -> np.ndarray:
    return np.array(["ABCD".index(letter) for letter in letters])


@pytest.fixture(scope="module")
def stehman() -> AreaEstimates:
    stratum = np.repeat(np.arange(4), 10)
    return stehman_2014(stratum, number(MAP), number(REFERENCE), [40_000, 30_000, 20_000, 10_000], classes=list("ABCD"))


def test_stehman_estimates(stehman: AreaEstimates) -> None:
    assert stehman.overall.value == pytest.approx(0.63)
    assert stehman.area.value[[0, 2]] / 100_000 == pytest.approx([0.35, 0.20])
    assert (stehman.users.value[1], stehman.producers.value[1]) == pytest.approx((0.5744681, 0.7941176), abs=5e-8)
    assert stehman.proportions[1, 2] == pytest.approx(0.08)


def test_stehman_standard_errors(stehman: AreaEstimates) -> None:
    assert stehman.area.error[[0, 2]] / 100_000 == pytest.approx([0.0822478, 0.06427977], abs=5e-8)
    assert stehman.overall.error == pytest.approx(0.08464219, abs=5e-9)
    assert (stehman.users.error[1], stehman.producers.error[1]) == pytest.approx((0.1247822, 0.1165479), abs=5e-8)


def test_stehman_is_olofsson_where_strata_are_classes_and_pixels_many() -> None:
    row, column = np.nonzero(TABLE_8)
    row, column = (np.repeat(part, TABLE_8[row, column]) for part in (row, column))
    found = stehman_2014(row, row, column, MAPPED_HA, units=[10**12] * 4, classes=CLASSES)
    expected = olofsson_2014(TABLE_8, MAPPED_HA, CLASSES)
    for name in ("overall", "users", "producers", "area"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(mine.value, theirs.value, rtol=1e-12)
        np.testing.assert_allclose(mine.error, theirs.error, rtol=1e-9)
    np.testing.assert_allclose(found.mapped, MAPPED_HA)


def test_stehman_more_units_than_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="'1' has more sample units than pixels"):
        stehman_2014(np.array([0, 0, 1, 1]), *[np.array([0, 1, 1, 1])] * 2, [5, 1], classes="ab")


# What is not defined, and what is refused


def test_a_class_that_is_not_mapped_has_no_users_accuracy() -> None:
    found = olofsson_2014(np.array([[8, 1, 1], [0, 9, 1], [0, 0, 0]]), [10, 20, 0])
    assert np.isnan(found.users.value).tolist() == [False, False, True] and np.isnan(found.users.error[2])
    assert found.producers.value[2] == 0 and found.area.value[2] == pytest.approx(10 * 0.1 + 20 * 0.1)


def test_units_of_a_class_without_an_area_or_beyond_its_pixels_are_refused() -> None:
    counts = np.array([[8, 2, 0], [1, 9, 0], [0, 1, 4]])
    with pytest.raises(InputError, match="'2' has sample units but no area"):
        olofsson_2014(counts, [10, 20, 0])
    with pytest.raises(InputError, match="'b' has 10 sample units but 9 pixels"):
        olofsson_2014(counts, [10, 20, 5], ["a", "b", "c"], pixels=[10, 9, 5])


def test_a_class_never_seen_in_the_reference_has_no_producers_accuracy() -> None:
    found = olofsson_2014(np.array([[8, 0], [5, 0]]), [10, 20])
    assert np.isnan(found.producers.value).tolist() == [False, True] and np.isnan(found.producers.high[1])
    assert found.users.value.tolist() == [1, 0]
    assert found.to_dict()["classes"]["1"]["producers_accuracy"]["value"] is None


@pytest.mark.parametrize(("units", "what"), [(1, "one sample unit, hence no variance"), (0, "no sample unit")])
def test_a_mapped_stratum_with_too_few_units_is_named(units: int, what: str) -> None:
    with pytest.raises(InputError, match=f"'roof' has an area but {what}"):
        olofsson_2014(np.array([[8, 0], [0, units]]), [10, 20], ["road", "roof"])


def test_a_stratum_of_one_pixel_that_was_seen_has_no_error() -> None:
    found = olofsson_2014(np.array([[8, 2], [0, 1]]), [99, 1], pixels=[99, 1])
    assert (found.users.error[1], found.users.low[1], found.users.high[1]) == (0, 1, 1)
    assert found.area.error[1] == pytest.approx(100 * 0.99 * math.sqrt(0.2 * 0.8 / 9))


def test_an_accuracy_of_0_or_1_has_wilson_s_interval() -> None:
    found = olofsson_2014(np.array([[20, 0, 0], [0, 0, 5], [1, 0, 9]]), [10, 20, 30])
    z2 = found.z**2
    assert found.users.error.tolist()[:2] == [0, 0]
    assert (found.users.low[0], found.users.high[0]) == pytest.approx((20 / (20 + z2), 1))
    assert (found.users.low[1], found.users.high[1]) == pytest.approx((0, z2 / (5 + z2)))
    assert found.users.high[2] - 0.9 == pytest.approx(min(found.z * math.sqrt(0.09 / 9), 0.1))


def test_a_sample_without_an_error_has_wilson_s_interval_overall() -> None:
    found = olofsson_2014(np.diag([20, 30]), [75, 25])
    units = 1 / (0.75**2 / 20 + 0.25**2 / 30)
    assert (found.overall.value, found.overall.error) == (1, 0)
    assert (found.overall.low, found.overall.high) == pytest.approx(wilson_interval(1, units))
    assert found.overall.low < wilson_interval(1, 50)[0], "fewer than 50 units' worth, as most of the area has 20"
    wrong = olofsson_2014(np.array([[0, 20], [30, 0]]), [75, 25])
    assert (wrong.overall.low, wrong.overall.high) == pytest.approx(wilson_interval(0, units))


def test_strata_that_are_all_right_or_all_wrong_are_not_certain_either() -> None:
    # 0.1 and 0.3 are no binary fractions: without care, rounding would pass for a standard error.
    found = olofsson_2014(np.array([[7, 0, 0], [0, 0, 9], [0, 0, 11]]), [10, 30, 60])
    units = 1 / (0.1**2 / 7 + 0.3**2 / 9 + 0.6**2 / 11)
    assert found.overall.error == found.producers.error[2] == 0
    assert (found.overall.low, found.overall.high) == pytest.approx(wilson_interval(0.7, units))


def test_what_was_seen_whole_is_certain() -> None:
    found = olofsson_2014(np.diag([10, 4]), [50, 50], pixels=[40, 4])
    low = wilson_interval(1, 10)[0]
    assert (found.overall.low, found.overall.high) == pytest.approx((0.5 + 0.5 * low, 1))
    census = olofsson_2014(np.array([[3, 1], [0, 4]]), [4, 4], pixels=[4, 4])
    assert (census.overall.low, census.overall.high) == pytest.approx((7 / 8, 7 / 8))


def test_strata_of_a_mapped_class_count_by_what_their_units_stand_for() -> None:
    # Class 1 of the map: 2 units that stand for 45 ha each and 8 that stand for 1 ha each.
    stratum, mapped = np.repeat([0, 1], [2, 10]), np.array([1] * 10 + [0] * 2)
    found = stehman_2014(stratum, mapped, mapped, [90, 10], units=[9000, 1000], classes="ab")
    units = (2 * 45 + 8) ** 2 / (2 * 45**2 + 8)
    assert (found.users.low[1], found.users.high[1]) == pytest.approx(wilson_interval(1, units))


def test_wilson_as_published() -> None:
    # Newcombe 1998, Table I: 81 of 263, and 0 of 20.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_the_level_is_a_parameter(olofsson: AreaEstimates) -> None:
    wide = olofsson_2014(TABLE_8, MAPPED_HA, CLASSES, level=0.99)
    assert (olofsson.z, wide.z) == pytest.approx((1.959964, 2.575829), abs=5e-7)
    assert wide.area.high[0] - wide.area.value[0] == pytest.approx(wide.z * olofsson.area.error[0])
    with pytest.raises(UsageError, match="level"):
        olofsson_2014(TABLE_8, MAPPED_HA, level=95)


@pytest.mark.parametrize(
    ("counts", "mapped", "what"),
    [
        (TABLE_8[:3], MAPPED_HA, r"\(K, K\)"),
        (TABLE_8, MAPPED_HA[:3], r"\(K, K\)"),
        (TABLE_8 / 640, MAPPED_HA, "whole numbers"),
        (-TABLE_8, MAPPED_HA, "whole numbers"),
        (TABLE_8, -MAPPED_HA, "areas of the strata"),
        (TABLE_8, 0 * MAPPED_HA, "areas of the strata"),
    ],
)
def test_what_is_no_table_is_refused(counts: np.ndarray, mapped: np.ndarray, what: str) -> None:
    with pytest.raises(InputError, match=what):
        olofsson_2014(counts, mapped)


# What is shown


def test_texts(olofsson: AreaEstimates) -> None:
    text = olofsson.to_text()
    assert "21,157.76      6,157.52  0.8800 (0.8060-0.9540)" in text and "640 units" in text
    assert "29.6727" in text, "the area-weighted matrix, in percent"
    assert "21,157.76 ± 6,157.52" in olofsson._repr_html_()
    record = json.loads(json.dumps(olofsson.to_dict(), allow_nan=False))
    assert record["classes"]["deforestation"]["area_ha"]["half_width"] == pytest.approx(6157.5212, abs=1e-4)
    assert record["matrix"]["counts"] == TABLE_8.tolist()
