"""Oversampling: the paper's rule on presence vectors like those of its training part."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets.oversampling import RULES, OversamplingRule
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
    with pytest.raises(UsageError, match=r"legend 'roofs' has no rangeland: use --no-oversample"):
        RULES["text"].copies(np.ones((2, 2), int), legend, 0)
    assert not RULES["text"].fits(legend) and RULES["text"].fits(DEEPGLOBE)


def test_a_rule_of_ones_own():
    legend = Legend("town", tuple(LegendClass(i, name, (i, 2, 3)) for i, name in enumerate(("grass", "roof", "pond"))))
    rule = OversamplingRule(("pond",), ("roof",), "grass", keep=1.0, very_rare_copies=4, rare_copies=2, other_copies=1)
    counts = np.array([[9, 0, 1], [9, 1, 0], [9, 0, 0], [0, 0, 0]])
    assert rule.copies(counts, legend, 0).tolist() == [4, 2, 1, 1]


@pytest.mark.parametrize("options", [{"keep": 1.5}, {"dominant_share": -0.1}, {"rare_copies": 0}])
def test_values_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError):
        OversamplingRule(**options)
