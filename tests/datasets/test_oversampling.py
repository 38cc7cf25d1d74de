"""Oversampling: the paper's rule on presence vectors like those of its training part."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets.oversampling import RULES, OversamplingRule, find_rule, resolve_rare_set, rule_by_shares
from geoseg.datasets.stats import PAPER_TABLE_1
from geoseg.errors import UsageError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass

U, A, R, F, W, B, UNKNOWN = range(7)


def scene(**pixels: int) -> list[int]:
    return [pixels.get(name, 0) for name in DEEPGLOBE.names]


def scenes_of_the_paper() -> np.ndarray:
    """643 scenes: 379 with water, 166 with rangeland or forest, 65 of agriculture above 70 %, 33 others."""
    random = np.random.default_rng(0)
    water = [scene(water=1, agriculture=99, rangeland=i % 2) for i in range(379)]
    rare = [scene(agriculture=80, **{("rangeland", "forest")[i % 2]: 1 + i}) for i in range(166)]
    dominated = [scene(agriculture=71, urban=29)] * 65
    others = [scene(agriculture=70, urban=30), scene(urban=5, barren=2), scene(barren=9)] * 11
    return random.permutation(np.array(water + rare + dominated + others))


def test_the_expected_length_is_the_papers():
    expected = RULES["text"].expected_copies(scenes_of_the_paper(), DEEPGLOBE)
    assert expected.sum() == pytest.approx(379 * 6 + 166 * 3 + 33 * 2 + 65 * 0.3) == pytest.approx(2857.5)


def test_the_drawn_lengths_are_around_the_expected():
    counts = scenes_of_the_paper()
    lengths = [RULES["text"].copies(counts, DEEPGLOBE, seed).sum() for seed in range(200)]
    assert 2838 <= min(lengths) < max(lengths) <= 2838 + 65
    assert np.mean(lengths) == pytest.approx(2857.5, abs=1.5)


@pytest.mark.parametrize(
    ("pixels", "text", "table1"),
    [
        ({"water": 1, "agriculture": 999}, 6, 6),
        ({"water": 1, "forest": 5, "barren": 1}, 6, 6),
        ({"forest": 1, "agriculture": 999}, 3, 3),
        ({"rangeland": 1}, 3, 3),
        ({"barren": 1, "agriculture": 999}, 0.3, 3),
        ({"barren": 1, "urban": 1}, 2, 3),
        ({"urban": 1}, 2, 2),
        ({"agriculture": 7, "urban": 3}, 2, 2),
        ({"agriculture": 701, "urban": 299}, 0.3, 0.3),
        ({"agriculture": 701, "unknown": 299}, 0.3, 0.3),
        ({"agriculture": 70, "unknown": 30}, 2, 2),
        ({}, 2, 2),
    ],
)
def test_the_first_condition_that_holds_decides(pixels, text, table1):
    counts = np.array([scene(**pixels)])
    assert RULES["text"].expected_copies(counts, DEEPGLOBE).tolist() == [text]
    assert RULES["table1"].expected_copies(counts, DEEPGLOBE).tolist() == [table1]


def test_drops_are_drawn_from_the_seed_and_whole():
    counts = np.array([scene(agriculture=1)] * 50 + [scene(water=1)] * 3)
    first, again, other = (RULES["text"].copies(counts, DEEPGLOBE, seed) for seed in (4, 4, 5))
    assert first.dtype == np.int64 and np.array_equal(first, again) and not np.array_equal(first, other)
    assert set(first[:50]) == {0, 1} and set(first[50:]) == {6}


def test_a_legend_without_the_classes_is_refused():
    legend = Legend("roofs", (LegendClass(0, "roof", (1, 2, 3)), LegendClass(1, "water", (4, 5, 6))))
    with pytest.raises(UsageError, match=r"legend 'roofs' has no rangeland: use --rare-set shares, .* --no-oversample"):
        RULES["text"].copies(np.ones((2, 2), int), legend, 0)
    assert not RULES["text"].fits(legend) and RULES["text"].fits(DEEPGLOBE)


def legend_of(*names: str, ignore: tuple[int, ...] = ()) -> Legend:
    return Legend("own", tuple(LegendClass(i, name, (i, 2, 3)) for i, name in enumerate(names)), ignore)


def test_the_shares_that_the_paper_prints_give_a_rule_near_its_own():
    """Water; rangeland and barren; agriculture: 0.080 points from Table 1, where the text is 0.448 from it."""
    shares = np.array([100 * original for original, _ in PAPER_TABLE_1.values()]).round().astype(int)
    assert rule_by_shares(shares, DEEPGLOBE) == OversamplingRule(rare=("rangeland", "barren"))


@pytest.mark.parametrize(
    ("pixels", "ignore", "very_rare", "rare", "dominant"),
    [
        ((5, 1, 9), (), ("b",), (), "c"),
        ((5, 1, 9, 3), (), ("b",), ("d",), "c"),
        ((3, 9), (), ("a",), (), "b"),
        ((0, 9, 4, 0), (), ("c",), (), "b"),
        # What is ignored is neither rare nor dominant, and in no median.
        ((1, 90, 7, 5, 3), (0, 1), ("e",), (), "c"),
        # Ties: all of the least, the first of the most.
        ((9, 2, 9, 2), (), ("b", "d"), (), "a"),
        ((4, 9, 1, 4, 8, 4), (), ("c",), (), "b"),
        ((3, 9, 1, 3, 8), (), ("c",), (), "b"),
    ],
)
def test_a_rule_by_shares(pixels, ignore, very_rare, rare, dominant):
    legend = legend_of(*"abcdef"[: len(pixels)], ignore=ignore)
    rule = rule_by_shares(np.array(pixels), legend)
    assert (rule.very_rare, rule.rare, rule.dominant) == (very_rare, rare, dominant)
    assert (rule.very_rare_copies, rule.rare_copies, rule.other_copies) == (6, 3, 2)
    assert (rule.dominant_share, rule.keep) == (0.7, 0.3)


@pytest.mark.parametrize(("pixels", "ignore"), [((0, 7), ()), ((4, 4), ()), ((0, 0), ())])
def test_where_no_class_is_rarer_there_is_no_rule(pixels, ignore):
    legend = legend_of("a", "b", ignore=ignore)
    assert rule_by_shares(np.array(pixels), legend) is None
    with pytest.raises(UsageError, match="no class is rarer than another; leave it out"):
        find_rule("shares", np.array([pixels, pixels]), legend)


def test_scenes_are_repeated_by_the_shares_of_all_together():
    legend = legend_of("field", "wood", "roof", "path")
    counts = np.array([[60, 30, 10, 0], [50, 49, 0, 1], [90, 10, 0, 0], [40, 60, 0, 0]])
    rule = find_rule("shares", counts, legend)
    assert str(rule) == "very rare path; rare roof; dominant field"
    assert rule.expected_copies(counts, legend).tolist() == [3, 6, 0.3, 2]


def test_the_rare_set_follows_from_the_legend():
    assert (resolve_rare_set(None, DEEPGLOBE), resolve_rare_set(None, legend_of("a", "b"))) == ("text", "shares")
    assert resolve_rare_set("shares", DEEPGLOBE) == "shares"
    with pytest.raises(UsageError, match="has no water"):
        resolve_rare_set("table1", legend_of("a", "b"))


def test_a_rule_of_ones_own():
    legend = Legend("town", tuple(LegendClass(i, name, (i, 2, 3)) for i, name in enumerate(("grass", "roof", "pond"))))
    rule = OversamplingRule(("pond",), ("roof",), "grass", keep=1.0, very_rare_copies=4, rare_copies=2, other_copies=1)
    counts = np.array([[9, 0, 1], [9, 1, 0], [9, 0, 0], [0, 0, 0]])
    assert rule.copies(counts, legend, 0).tolist() == [4, 2, 1, 1]


@pytest.mark.parametrize("options", [{"keep": 1.5}, {"dominant_share": -0.1}, {"rare_copies": 0}])
def test_values_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError):
        OversamplingRule(**options)
