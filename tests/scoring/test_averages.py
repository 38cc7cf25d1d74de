"""Averages of IoU: the published example, scenes by hand, torchmetrics, and weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError, UsageError
from geoseg.scoring.averages import AVERAGES, Figures, Scenes, average_iou, iou_name

TRUTH = np.array([[[0, 0], [1, 1]], [[1, 1], [2, 2]]], np.uint8)
PREDICTION = np.array([[[0, 0], [1, 2]], [[1, 1], [2, 1]]], np.uint8)
NAN = math.nan

BY_HAND = {
    "pooled": ([1, 3 / 5, 1 / 3, NAN], [1, 2, 2, 0]),
    "image": ([1, (1 / 2 + 2 / 3) / 2, (0 + 1 / 2) / 2, NAN], [1, 2, 2, 0]),
    "image-present": ([1, (1 / 2 + 2 / 3) / 2, 1 / 2, NAN], [1, 2, 1, 0]),
    "image-absent0": ([(1 + 0) / 2, (1 / 2 + 2 / 3) / 2, (0 + 1 / 2) / 2, NAN], [2, 2, 2, 2]),
    "image-absent1": ([(1 + 1) / 2, (1 / 2 + 2 / 3) / 2, (0 + 1 / 2) / 2, NAN], [2, 2, 2, 2]),
}
"""IoUs and scenes of the example above with a fourth class that is nowhere."""


def example(classes: int = 4) -> list[ConfusionMatrix]:
    return [ConfusionMatrix.from_pair(*pair, classes) for pair in zip(TRUTH, PREDICTION, strict=True)]


def matrices(scenes: int = 5, classes: int = 4) -> st.SearchStrategy[list[ConfusionMatrix]]:
    """Scenes that hold some of the classes each; the last class is ignored."""

    def draw(seed: int) -> list[ConfusionMatrix]:
        generator = np.random.default_rng(seed)
        tables = generator.integers(0, 20, (scenes, classes, classes + 1))
        tables *= generator.random((scenes, classes, 1)) < 0.5
        tables *= generator.random((scenes, 1, classes + 1)) < 0.7
        return [ConfusionMatrix(table, (classes - 1,)) for table in tables]

    return st.integers(0, 2**32 - 1).map(draw)


@pytest.mark.parametrize("average", AVERAGES)
def test_the_example_by_hand(average: str) -> None:
    found = average_iou(example(), average)
    iou, images = BY_HAND[average]
    assert found.iou == pytest.approx(iou, nan_ok=True) and found.images.tolist() == images
    assert found.mean == pytest.approx(np.mean(iou[:3]))


def test_an_ignored_class_has_no_average() -> None:
    scenes = [ConfusionMatrix(matrix.counts, (1,)) for matrix in example()]
    for average in AVERAGES:
        found = average_iou(scenes, average)
        assert np.isnan(found.iou[1]) and found.mean == pytest.approx(np.nanmean(found.iou))


def test_a_scene_without_scored_truth_counts_nowhere() -> None:
    blank = ConfusionMatrix(np.zeros((4, 5), int))
    for average in AVERAGES:
        with_it, without = average_iou([*example(), blank], average), average_iou(example(), average)
        np.testing.assert_array_equal(with_it.iou, without.iou)
        np.testing.assert_array_equal(with_it.images, without.images)


def test_torchmetrics_agrees_where_the_union_is_not_empty() -> None:
    segmentation = pytest.importorskip("torchmetrics.segmentation", reason="torchmetrics is the oracle")
    import torch

    generator = np.random.default_rng(4)
    truth = np.stack([generator.choice(generator.choice(5, 3, replace=False), (9, 13)) for _ in range(6)])
    prediction = np.where(generator.random(truth.shape) < 0.6, truth, generator.integers(0, 4, truth.shape))
    oracle = segmentation.MeanIoU(num_classes=5, per_class=True, input_format="index")
    oracle.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    pairs = zip(truth.astype(np.uint8), prediction.astype(np.uint8), strict=True)
    found = average_iou([ConfusionMatrix.from_pair(*pair, 5) for pair in pairs], "image")
    assert len(set(found.images)) > 1
    assert found.iou == pytest.approx(oracle.compute().numpy(), abs=1e-6)


@given(matrices())
def test_pooled_is_the_iou_of_the_sum(scenes: list[ConfusionMatrix]) -> None:
    pooled = sum(scenes, start=ConfusionMatrix.empty(4, (3,)))
    found = average_iou(scenes, "pooled")
    np.testing.assert_array_equal(found.iou, pooled.iou())
    assert float(found.mean) == pytest.approx(pooled.mean_iou(), nan_ok=True)


@given(matrices(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_a_weight_is_so_many_copies(scenes: list[ConfusionMatrix], weights: list[int]) -> None:
    copies = [scene for scene, weight in zip(scenes, weights, strict=True) for _ in range(weight)]
    for average in AVERAGES if copies else ():
        weighted, copied = average_iou(scenes, average, np.array(weights)), average_iou(copies, average)
        np.testing.assert_allclose(weighted.iou, copied.iou, rtol=1e-12)
        np.testing.assert_array_equal(weighted.images, copied.images)


@given(matrices())
def test_many_weightings_at_once_are_each_by_itself(scenes: list[ConfusionMatrix]) -> None:
    weights = np.random.default_rng(0).integers(0, 3, (7, 5)).astype(float)
    stack = Scenes.of(scenes)
    together = Figures.of(stack, weights)
    for place, row in enumerate(weights):
        alone = Figures.of(stack, row)
        for kind in ("overall", "per_class"):
            for name, values in getattr(alone, kind).items():
                np.testing.assert_allclose(getattr(together, kind)[name][place], values, rtol=1e-12, atol=1e-15)


def test_figures_hold_every_average_by_name() -> None:
    scenes = Scenes.of(example())
    figures = Figures.of(scenes, scenes.once)
    for average in AVERAGES:
        found = average_iou(scenes, average)
        np.testing.assert_array_equal(figures.per_class[iou_name(average)], found.iou)
        assert figures.overall[f"mean_{iou_name(average)}"] == found.mean
    assert iou_name("image-absent0") == "iou_image_absent0"


def test_an_unknown_average_is_refused() -> None:
    with pytest.raises(UsageError, match="no average 'micro'; there are pooled, image,"):
        average_iou(example(), "micro")


def test_scenes_are_of_one_legend() -> None:
    with pytest.raises(InputError, match="nothing was scored: no scene or block has truth of a class that counts"):
        Scenes.of([])
    with pytest.raises(InputError, match="of one legend"):
        Scenes.of([ConfusionMatrix.empty(3), ConfusionMatrix.empty(4)])
