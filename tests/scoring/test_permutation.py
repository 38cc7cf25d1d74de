"""The paired test: enumeration by itertools, the null, drawn exchanges, and Holm's steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from geoseg.confusion import ConfusionMatrix
from geoseg.scoring import intervals
from geoseg.scoring.permutation import SignFlip, holm, sign_flip

SHARES = np.array([0.6, 0.4])
Pair = tuple[list[ConfusionMatrix], list[ConfusionMatrix]]


def pair(generator: np.random.Generator, scenes: int, better: float = 0.0) -> Pair:
    """Two maps of one truth each scene: rates of errors drawn alike for both, then less by ``better`` in the second."""
    maps: Pair = ([], [])
    for _ in range(scenes):
        truth = generator.multinomial(500, generator.dirichlet(3 * SHARES))
        for matrices, gain in zip(maps, (0.0, better), strict=True):
            right = generator.binomial(truth, np.minimum(generator.beta(6, 3, 2) + gain, 1))
            wrong = truth - right
            matrices.append(ConfusionMatrix(np.array([[right[0], wrong[0]], [wrong[1], right[1]]])))
    return maps


def by_itertools(first: list[ConfusionMatrix], second: list[ConfusionMatrix]) -> list[float]:
    """p of mean IoU, pixel accuracy and both IoUs, every exchange summed up scene by scene."""
    empty = ConfusionMatrix.empty(2)

    def differences(exchanged: tuple[bool, ...]) -> np.ndarray:
        pairs = [(b, a) if swap else (a, b) for a, b, swap in zip(first, second, exchanged, strict=True)]
        a, b = (sum(side, start=empty) for side in zip(*pairs, strict=True))
        figures = ([m.mean_iou(), m.pixel_accuracy(), *m.iou()] for m in (a, b))
        return -np.subtract(*figures)

    found = differences((False,) * len(first))
    every = np.array([differences(swaps) for swaps in itertools.product((False, True), repeat=len(first))])
    return (np.abs(every) >= np.abs(found) - 1e-12).mean(0).tolist()


def p_values(test: SignFlip) -> list[float]:
    return [test.mean_iou, test.pixel_accuracy, *test.iou]


@pytest.mark.parametrize("scenes", [1, 2, 7])
def test_few_scenes_are_enumerated(scenes: int) -> None:
    maps = pair(np.random.default_rng(scenes), scenes, better=0.05)
    test = sign_flip(*maps)
    assert p_values(test) == pytest.approx(by_itertools(*maps))
    assert (test.exact, test.exchanges, test.smallest) == (True, 2**scenes, 2 ** (1 - scenes))


def test_a_map_better_in_every_scene_has_the_smallest_p() -> None:
    first, second = pair(np.random.default_rng(0), 6)
    ordered = [sorted(both, key=lambda m: m.pixel_accuracy()) for both in zip(first, second, strict=True)]
    test = sign_flip(*zip(*ordered, strict=True))
    assert test.pixel_accuracy == test.smallest == 2 / 64


def test_scenes_in_which_the_maps_agree_tell_nothing() -> None:
    first, second = pair(np.random.default_rng(1), 4)
    same, _ = pair(np.random.default_rng(2), 30)
    test = sign_flip(same + first, same + second)
    assert (test.differing, test.exact, test.exchanges, test.smallest) == (4, True, 16, 1 / 8)
    few = same[:3] + first, same[:3] + second
    assert p_values(sign_flip(*few)) == pytest.approx(by_itertools(*few))
    itself = sign_flip(same, same)
    assert p_values(itself) == [1, 1, 1, 1] and itself.smallest == 1


def test_12_scenes_are_enumerated_and_13_drawn() -> None:
    maps = pair(np.random.default_rng(3), 13)
    assert sign_flip(maps[0][:12], maps[1][:12]).exchanges == 4096
    drawn = sign_flip(*maps, draws=1500)
    assert (drawn.exact, drawn.exchanges, drawn.smallest) == (False, 1500, 1 / 1501)
    assert sign_flip(*maps, draws=100_000).smallest == 2**-12


def test_drawn_exchanges_come_close_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = pair(np.random.default_rng(4), 10, better=0.06)
    exact = sign_flip(*maps)
    monkeypatch.setattr("geoseg.scoring.permutation.MOST_ENUMERATED", 9)
    drawn = sign_flip(*maps, draws=20_000)
    assert 0.001 < exact.mean_iou < 0.5
    assert p_values(drawn) == pytest.approx(p_values(exact), abs=0.012)


def test_drawn_p_values_are_never_0() -> None:
    maps = pair(np.random.default_rng(5), 30, better=0.4)
    assert sign_flip(*maps, draws=1000).mean_iou == 1 / 1001


def test_a_seed_gives_the_same_p_and_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = pair(np.random.default_rng(6), 20)
    whole = p_values(sign_flip(*maps, draws=1000, seed=3))
    assert p_values(sign_flip(*maps, draws=1000, seed=4)) != whole
    monkeypatch.setattr(intervals, "DRAWN_BYTES", 8 * 20 * 7)
    assert p_values(sign_flip(*maps, draws=1000, seed=3)) == whole


@pytest.mark.parametrize(("scenes", "repetitions"), [(8, 400), (20, 300)])
def test_p_is_uniform_where_the_maps_are_alike(scenes: int, repetitions: int) -> None:
    """Kolmogorov's distance to the uniform distribution stays below its 0.1 % point, 1.95 / sqrt(n), and the grid."""
    found = [
        p_values(sign_flip(*pair(np.random.default_rng([scenes, seed]), scenes), draws=400))[:2]
        for seed in range(repetitions)
    ]
    for p in np.sort(np.array(found), axis=0).T:
        share = np.arange(1, repetitions + 1) / repetitions
        assert np.abs(share - p).max() < 1.95 / math.sqrt(repetitions) + 2.0 ** (1 - scenes)


def test_a_class_without_truth_is_not_tested() -> None:
    def with_third(matrices: list[ConfusionMatrix], wrong: int) -> list[ConfusionMatrix]:
        padded = [np.pad(m.counts[:, :2], ((0, 1), (0, 2))) for m in matrices]
        return [ConfusionMatrix(table + np.array([[0, 0, wrong, 10 - wrong], [0] * 4, [0] * 4])) for table in padded]

    first, second = pair(np.random.default_rng(7), 5)
    test = sign_flip(with_third(first, 4), with_third(second, 1))
    assert np.isnan([test.iou[2], test.iou_holm[2]]).all() and not np.isnan(test.iou[:2]).any()


def test_an_ignored_class_is_not_tested() -> None:
    maps = [[ConfusionMatrix(m.counts, (0,)) for m in matrices] for matrices in pair(np.random.default_rng(8), 5)]
    test = sign_flip(*maps)
    assert np.isnan(test.iou[0]) and test.iou_holm[1] == test.iou[1]


def test_where_nothing_is_scored_there_is_nothing_to_test() -> None:
    maps = [[ConfusionMatrix(m.counts, (0, 1)) for m in matrices] for matrices in pair(np.random.default_rng(8), 3)]
    test = sign_flip(*maps)
    assert np.isnan(p_values(test)).all() and (test.differing, test.smallest) == (0, 1)


def test_holm_by_hand() -> None:
    p = np.array([0.04, math.nan, 0.01, 0.03, 0.5])
    # Sorted: .01 * 4, .03 * 3, .04 * 2 (not below the one before), .5 * 1.
    assert holm(p) == pytest.approx([0.09, math.nan, 0.04, 0.09, 0.5], nan_ok=True)
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert np.isnan(holm(np.array([math.nan]))).all()
