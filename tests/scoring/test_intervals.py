"""Bootstrap intervals: their coverage, their seeds, their memory, and where there is none."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest

from geoseg import metrics
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import UsageError
from geoseg.legend import Legend, LegendClass
from geoseg.scoring import intervals as module
from geoseg.scoring.averages import AVERAGES, Figures, Scenes, average_iou
from geoseg.scoring.intervals import Intervals, Resampling, bootstrap, bootstrap_difference

CITY = Legend(
    "city",
    tuple(
        LegendClass(code, name, (code, 0, 0)) for code, name in ((5, "cloud"), (10, "roof"), (20, "road"), (30, "tree"))
    ),
    ignore=(5,),
)
SHARES = np.array([0.6, 0.3, 0.1])
RATES = np.array([[0.8, 0.1, 0.1, 0.0], [0.2, 0.7, 0.0, 0.1], [0.3, 0.2, 0.5, 0.0]])
"""Of the truth of each class: the shares predicted as each class, and not at all."""


def simulated(generator: np.random.Generator, scenes: int, rates: np.ndarray = RATES) -> list[ConfusionMatrix]:
    """Scenes of 4000 px whose shares of classes and rates of errors differ as a Dirichlet distribution has it."""
    found = []
    for _ in range(scenes):
        truth = generator.multinomial(4000, generator.dirichlet(2 * SHARES))
        rows = [generator.multinomial(n, generator.dirichlet(6 * r + 1e-9)) for n, r in zip(truth, rates, strict=True)]
        found.append(ConfusionMatrix(np.stack(rows)))
    return found


def bounds(intervals: Intervals) -> list[float]:
    overall = [(interval.low, interval.high) for interval in intervals.overall.values()]
    classes = [(interval.low, interval.high) for values in intervals.per_class.values() for interval in values]
    return [end for ends in overall + classes for end in ends]


def test_intervals_cover_the_population_s_value() -> None:
    """200 draws of 40 scenes: 95 % intervals hold the value of all scenes that could be in 88 to 98 % of them."""
    population = metrics.overall(SHARES[:, None] * RATES)
    names = ("mean_iou", "pixel_accuracy", "kappa", "quantity_disagreement")
    hits = dict.fromkeys(names, 0)
    for seed in range(200):
        found = bootstrap(simulated(np.random.default_rng(seed), 40), seed=seed).overall
        for name in names:
            hits[name] += found[name].low <= population[name] <= found[name].high
    assert all(0.88 <= count / 200 <= 0.98 for count in hits.values()), hits


def test_percentiles_are_those_of_scenes_drawn_one_by_one() -> None:
    scenes = simulated(np.random.default_rng(1), 6)
    found = bootstrap(scenes, draws=1000, seed=9, level=0.8)
    drawn = []
    for weights in np.random.Generator(np.random.PCG64(9)).multinomial(6, [1 / 6] * 6, size=1000):
        picked = [scene for scene, weight in zip(scenes, weights, strict=True) for _ in range(weight)]
        pooled = sum(picked, start=ConfusionMatrix.empty(3))
        drawn.append((pooled.mean_iou(), pooled.kappa(), float(average_iou(picked, "image-present").mean)))
    for name, values in zip(("mean_iou", "kappa", "mean_iou_image_present"), np.transpose(drawn), strict=True):
        interval = found.overall[name]
        assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(values, (10, 90))))


def test_the_estimates_are_the_scenes_own_figures() -> None:
    scenes = simulated(np.random.default_rng(2), 5)
    found, stack = bootstrap(scenes), Scenes.of(scenes)
    own = Figures.of(stack, stack.once)
    assert {name: interval.estimate for name, interval in found.overall.items()} == pytest.approx(
        {name: float(value) for name, value in own.overall.items()}
    )
    assert {f"mean_iou_{average.replace('-', '_')}" for average in AVERAGES[1:]} <= set(found.overall)
    for name, values in own.per_class.items():
        assert [interval.estimate for interval in found.per_class[name]] == pytest.approx(values)
        assert all(interval.low <= interval.estimate <= interval.high for interval in found.per_class[name])


def test_a_seed_gives_the_same_intervals_and_another_others() -> None:
    scenes = simulated(np.random.default_rng(3), 8)
    assert bounds(bootstrap(scenes, seed=5)) == bounds(bootstrap(scenes, seed=5))
    assert bounds(bootstrap(scenes, seed=5)) != bounds(bootstrap(scenes, seed=6))


def test_draws_in_parts_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = simulated(np.random.default_rng(3), 8)
    whole = bounds(bootstrap(scenes))
    monkeypatch.setattr(module, "DRAWN_BYTES", 8 * 12 * 37)
    assert bounds(bootstrap(scenes)) == pytest.approx(whole)


def test_memory_is_bounded() -> None:
    scenes = [ConfusionMatrix(np.full((3, 3), 7)) for _ in range(20_000)]
    tracemalloc.start()
    bootstrap(scenes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 20_000 * 1000, "less than the weights of all draws would take"


def test_a_wider_level_has_wider_intervals() -> None:
    scenes = simulated(np.random.default_rng(4), 12)
    narrow, wide = (bootstrap(scenes, level=level).overall["mean_iou"] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_resamples_without_a_class_are_left_out_and_counted() -> None:
    """Two of three scenes hold the second class: (1/3)^3 of the resamples do not, and their precision is NaN too."""
    with_it, without = ConfusionMatrix(np.array([[5, 1], [2, 3]])), ConfusionMatrix(np.array([[9, 0], [0, 0]]))
    found = bootstrap([with_it, with_it, without], draws=20_000)
    for name in ("iou", "precision", "recall", "f1"):
        assert found.per_class[name][1].undefined == pytest.approx(1 / 27, abs=0.005)
    assert found.per_class["recall"][1].low == found.per_class["recall"][1].high == 3 / 5
    assert found.overall["mean_iou"].undefined == 0 and found.holding == (3, 2)


def test_one_scene_has_no_interval_and_says_so() -> None:
    found = bootstrap(simulated(np.random.default_rng(5), 1))
    assert np.isnan(bounds(found)).all() and not math.isnan(found.overall["mean_iou"].estimate)
    assert found.notes == ("1 scene: how figures vary over scenes is unknown, so there is no interval",)


def test_scenes_without_scored_truth_are_not_drawn() -> None:
    scenes = simulated(np.random.default_rng(11), 7)
    blank = [ConfusionMatrix.empty(3)] * 5
    assert bounds(bootstrap(blank[:3] + scenes + blank)) == bounds(bootstrap(scenes))
    nothing = bootstrap(blank)
    assert np.isnan(bounds(nothing)).all() and nothing.overall["mean_iou"].undefined == 1


def test_a_class_of_one_scene_has_no_interval() -> None:
    one, other = ConfusionMatrix(np.array([[5, 1], [2, 3]])), ConfusionMatrix(np.array([[7, 2], [0, 0]]))
    found = bootstrap([one, other])
    assert math.isnan(found.per_class["iou"][1].low) and not math.isnan(found.per_class["iou"][0].low)


def test_few_scenes_are_said_to_be_few() -> None:
    scenes = simulated(np.random.default_rng(6), 20)
    assert bootstrap(scenes[:19]).notes == ("19 scenes are few: intervals of so few come out too narrow",)
    assert bootstrap(scenes).notes == ()


def test_blocks_are_flagged_and_have_no_averages_over_images() -> None:
    found = bootstrap(simulated(np.random.default_rng(7), 30), block=512)
    assert found.resampling.unit == "blocks of 512 px" and "blocks near each other are alike" in found.notes[0]
    assert not [name for name in (*found.overall, *found.per_class) if "image" in name]
    assert "1 block of 512 px" in bootstrap(simulated(np.random.default_rng(7), 1), block=512).notes[0]


def test_the_difference_is_paired() -> None:
    """A map that is a little better in every scene is told apart though the scenes differ far more."""
    first = simulated(np.random.default_rng(8), 25)
    second = [ConfusionMatrix(m.counts + np.pad(np.diag(m.counts[:, 3]), ((0, 0), (0, 1)))
                              - np.pad(m.counts[:, 3:], ((0, 0), (3, 0)))) for m in first]  # fmt: skip
    found = bootstrap_difference(first, second, Resampling()).overall["pixel_accuracy"]
    one, other = (bootstrap(scenes).overall["pixel_accuracy"] for scenes in (first, second))
    assert found.estimate == pytest.approx(other.estimate - one.estimate)
    assert 0 < found.low < found.estimate < found.high and one.high > other.low
    backward = bootstrap_difference(second, first, Resampling()).overall["pixel_accuracy"]
    assert (backward.low, backward.high) == pytest.approx((-found.high, -found.low))


def test_a_map_does_not_differ_from_itself() -> None:
    scenes = simulated(np.random.default_rng(9), 5)
    assert set(bounds(bootstrap_difference(scenes, scenes, Resampling()))) == {0.0}


def test_json_holds_every_figure_and_null_for_nan() -> None:
    tables = np.random.default_rng(10).integers(1, 50, (3, 4, 5))
    tables[:, 3] = 0
    record = bootstrap([ConfusionMatrix(table, CITY.ignored) for table in tables], seed=4).to_dict(CITY)
    record = json.loads(json.dumps(record, allow_nan=False))
    assert (record["unit"], record["units"], record["seed"], record["draws"]) == ("scenes", 3, 4, 1000)
    assert list(record["classes"]) == ["roof", "road", "tree"]
    assert record["classes"]["tree"]["units_with_truth"] == 0
    assert record["classes"]["tree"]["iou"] == {"estimate": 0, "low": None, "high": None, "undefined": 0}
    low, estimate, high = (record["overall"]["mean_iou"][name] for name in ("low", "estimate", "high"))
    assert low <= estimate <= high


@pytest.mark.parametrize(
    ("options", "said"),
    [({"draws": 999}, "at least 1000 draws"), ({"level": 1}, "between 0 and 1"), ({"level": 0}, "between 0 and 1"),
     ({"seed": -1}, "seed is >= 0"), ({"block": 0}, "block >= 1 px")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        bootstrap(simulated(np.random.default_rng(0), 2), **options)
    assert caught.value.exit_code == 2
