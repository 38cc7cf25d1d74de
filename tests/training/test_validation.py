"""Validation: every pixel once, the same as geoseg.predict and geoseg.score."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.datasets.splits import resolve_split
from geoseg.legend import DEEPGLOBE
from geoseg.training.losses import loss_sum_of_log_p
from geoseg.training.validation import validate

LOCAL = {"device": "cpu", "precision": "fp32"}
WEIGHTS = torch.tensor([0.9, 0.2, 1.2, 0.9, 3.2, 1.1, 0.0])


def scenes_of(folder) -> list[LabelledScene]:
    return [LabelledScene(pair, DEEPGLOBE) for pair in open_dataset(folder).pairs]


@pytest.fixture(scope="module")
def window_run(sample_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("windows") / "run"
    options = {"width": 8, "norm": "group", "window": 24, "size": 16, "epochs": 3, "lr": 3e-2, "split": "50/50/0"}
    geoseg.train(sample_folder, run, **options, **LOCAL)
    return run


@pytest.mark.parametrize("large", [False, True])
def test_it_is_what_predict_and_score_find(window_run, sample_folder, tmp_path, monkeypatch, large):
    if large:
        monkeypatch.setattr("geoseg.datasets.samples.LARGE_SCENE", 10)
    model, scenes = geoseg.load(window_run), scenes_of(sample_folder)
    found = validate(model, Samples(scenes, Framing(24, 16)), WEIGHTS, 0.0, "fp32")
    total = ConfusionMatrix.empty(7, (6,))
    for scene in scenes:
        output = tmp_path / f"{scene.stem}.tif"
        geoseg.predict(scene.image, model, output, **LOCAL)
        matrices = geoseg.score(output, sample_folder / f"{scene.stem}_mask.png").matrices.values()
        total = sum(matrices, total)
    assert found.matrix == total and total.counts.sum() == 6 * 64 * 64
    assert (found.matrix.predicted > 0).sum() > 1


def test_history_holds_what_validation_finds(window_run, sample_folder):
    val = resolve_split(open_dataset(sample_folder), "50/50/0").val
    model = geoseg.load(window_run)
    scenes = [LabelledScene(pair, DEEPGLOBE) for pair in val]
    found = validate(model, Samples(scenes, Framing(24, 16)), WEIGHTS, 0.0, "fp32")
    with open(window_run / "history.csv", newline="") as file:
        rows = [float(row["val_mean_iou"]) for row in csv.DictReader(file)]
    assert len(val) == 3 and max(rows) == pytest.approx(found.matrix.mean_iou(), abs=1e-6)


def test_whole_scenes_are_validated_at_the_size_they_are_trained_at(trained_run, sample_folder):
    model, scenes = geoseg.load(trained_run), scenes_of(sample_folder)
    samples = Samples(scenes, Framing(64, 64, whole=True))
    expected = ConfusionMatrix.empty(7, (6,))
    for number in range(6):
        sample = samples.whole(number)
        codes = geoseg.predict(sample.pixels, model, **LOCAL).codes
        expected += ConfusionMatrix.from_pair(sample.index, codes, 7, (6,))
    assert validate(model, samples, WEIGHTS, 0.0, "fp32").matrix == expected


def test_whole_scenes_that_were_shrunk_are_one_tile(make_segmenter, sample_folder):
    model = make_segmenter(by_colour, window=64, size=32)
    validate(model, Samples(scenes_of(sample_folder)[:2], Framing(64, 32, whole=True)), WEIGHTS, 0.0, "fp32")
    assert model.network.calls == [(1, 3, 32, 32)] * 2


def by_colour(image: torch.Tensor) -> torch.Tensor:
    """Logits that follow from the pixel alone; unknown's are the largest."""
    weights = torch.linspace(-1, 1, 21).view(7, 3, 1, 1) / 30
    return torch.nn.functional.conv2d(image, weights) + torch.tensor([0.0, 0, 0, 0, 0, 0, 50])[:, None, None]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_loss_is_that_of_the_scored_classes(make_segmenter, sample_folder, gamma):
    scenes = scenes_of(sample_folder)
    found = validate(make_segmenter(by_colour, window=24), Samples(scenes, Framing(24, 24)), WEIGHTS, gamma, "fp32")
    total = weight = 0.0
    for scene in scenes:
        sample, _ = scene.read()
        log_p = by_colour(torch.from_numpy(sample.pixels).float()[None])[:, :6].double().log_softmax(1)
        index = np.where(sample.index == 6, 255, sample.index)
        sums = loss_sum_of_log_p(log_p, torch.from_numpy(index)[None], WEIGHTS[:6], gamma)
        total, weight = total + sums.total.item(), weight + sums.weight.item()
    assert found.loss == pytest.approx(total / weight, rel=1e-3)


def test_it_leaves_the_weights_alone(trained_run, sample_folder):
    model = geoseg.load(trained_run).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    validate(model, Samples(scenes_of(sample_folder)[:1], Framing(64, 64, whole=True)), WEIGHTS, 0.0, "fp32")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_prior_correction_that_fits_best_is_found_and_recorded(make_segmenter, sample_folder):
    weighted = WEIGHTS.log()[:, None, None].nan_to_num(neginf=0)
    scenes = scenes_of(sample_folder)[:3]
    samples = Samples(scenes, Framing(64, 64, whole=True))
    truth = [sample.index for sample in map(samples.whole, range(3))]

    def shifted(image):
        """The truth's own classes, uncertain by less than the class weights have shifted them."""
        right = torch.from_numpy(truth[len(model.network.calls) - 1].astype(np.int64)).clamp(max=6)
        return 0.8 * torch.nn.functional.one_hot(right, 7).permute(2, 0, 1)[None] + weighted

    model = make_segmenter(shifted, window=64)
    found = validate(model, samples, WEIGHTS, 0.0, "fp32")
    assert found.prior_tau > 0 and found.corrected[1.0].mean_iou() == 1 > found.matrix.mean_iou()
    assert found.corrected[found.prior_tau].mean_iou() == 1


def test_history_and_model_hold_the_tau_of_the_best_epoch(window_run):
    with open(window_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["val_mean_iou"]))
    assert geoseg.load(window_run).config.provenance["prior_tau"] == float(best["prior_tau"])
