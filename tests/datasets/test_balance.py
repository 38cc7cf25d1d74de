"""Balance: classes evenly, pixels of a class evenly over all scenes, and windows that hold them."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets import balance as module
from geoseg.datasets import samples as samples_module
from geoseg.datasets.balance import Balance
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.datasets.survey import survey
from geoseg.errors import UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS
from geoseg.training.settings import TrainingSettings

SHAPE = 37, 53


def indices() -> list[np.ndarray]:
    """Three scenes: class 1 in a corner of one, 3 pixels of class 2 in one and 1 in another, class 0 elsewhere."""
    scenes = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    scenes[0][:5, :4] = 1
    scenes[1][36, [0, 25, 52]] = 2
    scenes[2][0, 52] = 2
    scenes[2][10:] = NO_CLASS
    return scenes


def counts(scenes: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.bincount(index.ravel(), minlength=256)[:3] for index in scenes])


def whole(scenes: list[np.ndarray]):
    return lambda number: [(Window(0, 0, *SHAPE), scenes[number])]


def test_classes_are_drawn_evenly_and_the_pixels_of_a_class_too():
    scenes = indices()
    balance, random = Balance(counts(scenes)), np.random.default_rng(0)
    drawn = [balance.draw(random, whole(scenes)) for _ in range(3000)]
    classes = np.array([scenes[number][pixel] for number, pixel in drawn])
    assert np.allclose(np.bincount(classes) / 3000, 1 / 3, atol=0.03)
    of_rare = {(n, *pixel): 0 for n, pixel in drawn if scenes[n][pixel] == 2}
    for number, pixel in drawn:
        if scenes[number][pixel] == 2:
            of_rare[(number, *pixel)] += 1
    assert of_rare.keys() == {(1, 36, 0), (1, 36, 25), (1, 36, 52), (2, 0, 52)}
    assert np.allclose(np.array(list(of_rare.values())) / (classes == 2).sum(), 1 / 4, atol=0.05)


def test_a_class_or_scene_of_zeros_is_never_drawn():
    scenes = indices()
    without = counts(scenes)
    without[:, 0] = 0
    without[1] = 0
    balance, random = Balance(without), np.random.default_rng(0)
    assert {(n, int(scenes[n][p])) for n, p in (balance.draw(random, whole(scenes)) for _ in range(200))} == {
        (0, 1),
        (2, 2),
    }


def test_remembered_pixels_are_an_even_draw_of_all_parts(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 50)
    index = np.zeros(SHAPE, np.uint8)
    parts = [(Window(row, 0, 1, SHAPE[1]), index[row : row + 1]) for row in range(SHAPE[0])]
    rows = np.concatenate([module._remembered(number, parts)[0][:, 0] for number in range(40)])
    assert len(rows) == 40 * 50
    assert abs(rows.mean() - 18) < 1
    assert set(rows) == set(range(37))


@pytest.fixture
def labelled(make_dataset):
    codes = np.array([10, 20, 30], np.uint8)
    pixels = np.zeros((3, *SHAPE), np.uint8)
    drawn = {
        str(number): (pixels, codes[np.where(index == NO_CLASS, 0, index)]) for number, index in enumerate(indices())
    }
    dataset = open_dataset(make_dataset(drawn))
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs], dataset.legend


@pytest.mark.parametrize("large", [False, True])
def test_every_other_window_holds_a_class_drawn_evenly(labelled, monkeypatch, large):
    scenes, legend = labelled
    if large:
        monkeypatch.setattr(samples_module, "LARGE_SCENE", 1)
        monkeypatch.setattr(samples_module, "READ_SIDE", 16)
    found = survey(scenes, legend).scene_counts
    plain = Samples(scenes, Framing(8, 8), seed=3)
    balanced = Samples(scenes, Framing(8, 8), seed=3, balance=found)
    assert len(balanced) == len(plain)
    shows = {name: 0 for name in ("plain", "balanced")}
    for epoch in range(4):
        for place in range(len(plain)):
            for name, samples in (("plain", plain), ("balanced", balanced)):
                number, window = samples.cut_at(epoch, place)
                assert 0 <= window.row <= SHAPE[0] - 8 and 0 <= window.col <= SHAPE[1] - 8
                assert (window.height, window.width) == (8, 8)
                shows[name] += bool((samples.draw(epoch, place).index == 2).any())
                assert (number, window) == samples.cut_at(epoch, place)
    total = 4 * len(plain)
    assert shows["plain"] < 0.1 * total
    # One third of the half that is balanced, and what the others meet by chance.
    assert 0.12 * total < shows["balanced"] < 0.26 * total


def test_scenes_that_oversampling_dropped_stay_out(labelled):
    scenes, legend = labelled
    found = survey(scenes, legend).scene_counts
    samples = Samples(scenes, Framing(8, 8), copies=[0, 2, 0], balance=found)
    assert {samples.cut_at(0, place)[0] for place in range(len(samples))} == {1}


def test_whole_scenes_cannot_be_balanced():
    with pytest.raises(UsageError, match="--window"):
        TrainingSettings(balance_crops=True)
