"""Samples: a function of seed, epoch and place; labels stay on their pixels; nothing is invented at borders."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from affine import Affine

from geoseg.datasets import samples as module
from geoseg.datasets.dataset import Pair, open_dataset
from geoseg.datasets.samples import Framing, LabelledScene, Sample, Samples, pad, resize
from geoseg.errors import GridMismatch, InputError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS

CODES = np.array([10, 20, 30, 0], np.uint8)


def class_at(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Index of the class at a pixel, NO_CLASS (code 0) in places; no shift leaves it as it is."""
    index = (row // 8 + 2 * (col // 8) + row * col // 64) % 4
    return np.where(index == 3, NO_CLASS, index).astype(np.uint8)


def telling_scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that hold their row, their column and 7; codes that follow from both."""
    row, col = np.indices((height, width))
    index = class_at(row, col)
    return np.stack([row, col, np.full_like(row, 7)]).astype(np.uint8), CODES[np.where(index == NO_CLASS, 3, index)]


@pytest.fixture
def scenes(make_dataset):
    shapes = {"a": (96, 128), "b": (40, 90), "c": (20, 12)}
    root = make_dataset({stem: telling_scene(*shape) for stem, shape in shapes.items()})
    dataset = open_dataset(root)
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs]


def assert_aligned(sample: Sample) -> None:
    """Every valid pixel, also the mean of a block of them, has the class of the row and column it holds."""
    rows, cols, valid = sample.pixels[0].astype(int), sample.pixels[1].astype(int), sample.valid
    assert np.array_equal(sample.index[valid], class_at(rows, cols)[valid])
    assert (sample.index[~valid] == NO_CLASS).all()


@pytest.mark.parametrize(("window", "size"), [(32, 32), (32, 16), (16, 16)])
def test_windows_keep_labels_and_pixels_together(scenes, window, size):
    samples = Samples(scenes, Framing(window, size), seed=1)
    factor = window // size
    for place in range(len(samples)):
        sample = samples.draw(0, place)
        assert sample.pixels.shape == (3, size, size) and sample.index.shape == sample.valid.shape == (size, size)
        assert_aligned(sample)
        first = sample.pixels[:2, 0, 0].astype(int)
        down, right = (sample.valid.any(axis).sum() for axis in (1, 0))
        assert np.array_equal(sample.pixels[0, :down, 0], first[0] + factor * np.arange(down))
        assert np.array_equal(sample.pixels[1, 0, :right], first[1] + factor * np.arange(right))


@pytest.mark.parametrize("factor", [1, 2])
def test_whole_scenes_keep_labels_and_pixels_together(scenes, factor):
    samples = Samples(scenes[:1], Framing(128, 128 // factor, whole=True))
    sample = samples.draw(0, 0)
    assert len(samples) == 1 and sample.index.shape == (128 // factor, 128 // factor)
    assert sample.valid.sum() == 96 * 128 // factor**2
    assert_aligned(sample)


@pytest.mark.parametrize("size", [23, 50, 97, 200])
def test_no_class_is_invented_between_others(make_dataset, size):
    codes = np.where(np.indices((128, 128)).sum(0) // 5 % 2, np.uint8(10), np.uint8(30))
    root = make_dataset({"a": (np.zeros((3, 128, 128), np.uint8), codes)})
    dataset = open_dataset(root)
    samples = Samples([LabelledScene(dataset.pairs[0], dataset.legend)], Framing(128, size, whole=True))
    assert set(np.unique(samples.draw(0, 0).index)) == {0, 2}


def test_samples_do_not_depend_on_who_asks_and_when(scenes):
    first, second = (Samples(scenes, Framing(16, 16), seed=4) for _ in "ab")
    places = list(range(len(first)))
    drawn = [first.draw(2, place) for place in places]
    second.draw(0, 3)
    for place in reversed(places):
        assert all(np.array_equal(a, b) for a, b in zip(second.draw(2, place), drawn[place], strict=True))


def corners(samples: Samples, epoch: int) -> list[tuple[int, int]]:
    return [tuple(samples.draw(epoch, place).pixels[:2, 0, 0].tolist()) for place in range(len(samples))]


def test_windows_differ_between_epochs_places_and_seeds(scenes):
    samples = Samples(scenes[:1], Framing(16, 16), seed=4)
    assert len(set(corners(samples, 0))) > 30
    everywhere = corners(samples, 0), corners(samples, 1), corners(Samples(scenes[:1], Framing(16, 16), seed=5), 0)
    for one in range(3):
        for other in range(one):
            assert sum(a == b for a, b in zip(everywhere[one], everywhere[other], strict=True)) < 3


def test_windows_reach_the_whole_scene_and_stay_inside(scenes):
    samples = Samples(scenes[:1], Framing(94, 94))
    found = {corner for epoch in range(60) for corner in corners(samples, epoch)}
    assert {row for row, _ in found} == {0, 1, 2}
    assert {col for _, col in found} >= {0, 34} and max(col for _, col in found) == 34


def test_an_epoch_has_as_many_windows_as_cover_the_scenes(scenes):
    assert len(Samples(scenes, Framing(32, 32))) == 3 * 4 + 2 * 3 + 1
    assert len(Samples(scenes, Framing(128, 64, whole=True))) == 3


def test_order_is_a_permutation_of_each_epoch(scenes):
    samples = Samples(scenes, Framing(16, 16), seed=2)
    other = Samples(scenes, Framing(16, 16), seed=3)
    orders = [samples.order(0).tolist(), samples.order(1).tolist(), other.order(0).tolist()]
    assert all(sorted(order) == list(range(len(samples))) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0] and orders[0] == samples.order(0).tolist()


def test_small_scenes_are_padded_below_and_right(scenes):
    sample = Samples(scenes[2:], Framing(32, 32)).draw(0, 0)
    assert sample.valid[:20, :12].all() and sample.valid.sum() == 20 * 12
    assert (sample.index[~sample.valid] == NO_CLASS).all()
    assert_aligned(sample)


def test_pad_leaves_a_full_sample_alone():
    sample = Sample(np.zeros((3, 4, 4)), np.ones((4, 4), bool), np.zeros((4, 4), np.uint8))
    assert pad(sample, 4) is sample


def test_invalid_pixels_have_no_class(make_dataset):
    import rasterio

    pixels, codes = telling_scene(20, 30)
    root = make_dataset({"a": (pixels, np.full_like(codes, 10))})
    with rasterio.open(root / "images/a.tif", "r+") as dataset:
        dataset.nodata = 7
        pixels[:, 5:9, 3:14] = 7
        dataset.write(pixels)
    dataset = open_dataset(root)
    sample, flaws = LabelledScene(dataset.pairs[0], dataset.legend).read()
    expected = np.zeros((20, 30), np.uint8)
    expected[(pixels == 7).all(0)] = NO_CLASS
    assert np.array_equal(sample.index, expected) and not any(flaws)


def test_resize_gives_no_class_where_less_than_half_is_valid():
    valid = np.ones((4, 4), bool)
    valid[:2, :2] = [[True, False], [False, False]]
    small = resize(Sample(np.full((1, 4, 4), 9, np.uint8), valid, np.ones((4, 4), np.uint8)), 4, 2)
    assert small.valid.tolist() == [[False, True], [True, True]]
    assert small.index.tolist() == [[NO_CLASS, 1], [1, 1]] and (small.pixels[0][small.valid] == 9).all()


@pytest.mark.parametrize(("name", "value"), [("LARGE_SCENE", 10), ("MEMORY", 0), ("MEMORY", 50_000)])
@pytest.mark.parametrize("framing", [Framing(32, 16), Framing(128, 64, whole=True)])
def test_what_does_not_fit_in_memory_gives_the_same_samples(scenes, monkeypatch, name, value, framing):
    kept = Samples(scenes, framing)
    expected = [kept.draw(0, place) for place in range(len(kept))]
    monkeypatch.setattr(module, name, value)
    read_again = Samples(scenes, framing)
    for place, sample in enumerate(expected):
        assert all(np.array_equal(a, b) for a, b in zip(read_again.draw(0, place), sample, strict=True))


@pytest.mark.parametrize("large", [1 << 26, 10])
def test_a_scene_to_predict_is_the_scene_with_its_classes(scenes, monkeypatch, large):
    monkeypatch.setattr(module, "LARGE_SCENE", large)
    scene, read_index = Samples(scenes, Framing(32, 32)).as_scene(1)
    window = Window(5, 11, 30, 70)
    pixels, valid = scene.read(window)
    assert scene.grid.shape == (40, 90) and valid.all()
    assert np.array_equal(read_index(window), class_at(*pixels[:2].astype(int)))


def test_a_whole_scene_is_predicted_as_it_is_trained(scenes):
    scene, read_index = Samples(scenes, Framing(128, 64, whole=True)).as_scene(0)
    assert scene.grid.shape == (48, 64)
    pixels, _ = scene.read()
    assert np.array_equal(read_index(scene.grid.window), class_at(*pixels[:2].astype(int)))


def test_labelled_scenes_travel_to_other_processes(scenes):
    again = pickle.loads(pickle.dumps(scenes[0]))
    assert np.array_equal(again.read()[0].index, scenes[0].read()[0].index)


def test_labels_of_another_size_are_refused(make_raster, make_dataset):
    legend = open_dataset(make_dataset({"a": telling_scene(8, 8)})).legend
    image, labels = make_raster(), make_raster(np.full((1, 37, 52), 10, np.uint8), "labels.tif")
    with pytest.raises(GridMismatch, match=r"labels\.tif .*is not on the grid of .*scene\.tif"):
        LabelledScene(Pair("a", image, labels), legend)


@pytest.mark.parametrize(("shift", "refused"), [(0.05, False), (0.5, True), (1.0, True)])
def test_shifted_labels_are_refused(make_raster, make_dataset, shift, refused):
    legend = open_dataset(make_dataset({"a": telling_scene(8, 8)})).legend
    transform = Affine(0.5, 0.0, 441_754.5 + 0.5 * shift, 0.0, -0.75, 5_417_386.25)
    pair = Pair("a", make_raster(), make_raster(np.full((1, 37, 53), 10, np.uint8), "labels.tif", transform=transform))
    if refused:
        with pytest.raises(InputError, match="is shifted against"):
            LabelledScene(pair, legend)
    else:
        LabelledScene(pair, legend)


def test_labels_without_a_georeference_lie_on_their_image(make_raster, make_dataset):
    legend = open_dataset(make_dataset({"a": telling_scene(8, 8)})).legend
    labels = make_raster(np.full((1, 37, 53), 10, np.uint8), "labels.tif", crs=None, transform=None)
    assert LabelledScene(Pair("a", make_raster(), labels), legend).grid.georeferenced
