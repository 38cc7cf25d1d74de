"""What a run begins with: another model, another legend, other bands, and how pixels are normalised."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import geoseg
from geoseg.errors import ModelError, UsageError
from geoseg.legend import DEEPGLOBE, Legend
from geoseg.models.segmenter import SegmenterConfig
from geoseg.models.storage import load, read_model_file
from geoseg.training.settings import TrainingSettings
from geoseg.training.start import normalisation, start

BRIEF = {"size": 32, "epochs": 1, "lr": 1e-9, "device": "cpu", "precision": "fp32"}
LAND, SEA = ({"code": 1, "name": "land", "color": "#00ff00"}, {"code": 2, "name": "sea", "color": "#0000ff"})
TWO = Legend.from_dict({"classes": [LAND, SEA], "ignore": []})


def test_a_run_starts_from_another_model(trained_run, sample_folder, tmp_path):
    model = geoseg.train(sample_folder, tmp_path / "run", init=trained_run, **BRIEF)
    before = load(trained_run)
    for name, value in before.network.named_parameters():
        torch.testing.assert_close(model.network.get_parameter(name), value, rtol=0, atol=1e-7)
    assert (model.config.norm, model.config.width) == ("batch", 4)
    origin = {"file": "model.safetensors", "weights_sha256": before.weights_sha256()}
    assert model.config.provenance["init"] == origin
    assert model.config.provenance["settings"]["init"] == str(trained_run)


def test_a_run_that_started_from_a_model_goes_on_without_it(trained_run, sample_folder, tmp_path):
    source = tmp_path / "source.safetensors"
    source.write_bytes((trained_run / "model.safetensors").read_bytes())
    geoseg.train(sample_folder, tmp_path / "whole", init=source, **(BRIEF | {"epochs": 2}))
    geoseg.train(sample_folder, tmp_path / "run", init=source, **BRIEF)
    source.unlink()
    geoseg.train(sample_folder, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True)
    whole, run = (read_model_file(tmp_path / name / "last.safetensors") for name in ("whole", "run"))
    assert whole[0] == run[0] and all(torch.equal(value, run[1][name]) for name, value in whole[1].items())


def test_other_classes_get_a_new_last_layer(trained_run, caplog):
    settings = TrainingSettings(width=4, norm="batch", init=str(trained_run))
    with caplog.at_level(logging.INFO, "geoseg"):
        begin = start(settings, 3, TWO)
    assert "urban" in caplog.text and "the classes here are land, sea" in caplog.text and "anew" in caplog.text
    before = load(trained_run).network.state_dict()
    after = begin.network.state_dict()
    assert after["head.weight"].shape[0] == 2
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith("head."))


def test_other_bands_are_refused(trained_run):
    settings = TrainingSettings(width=4, norm="batch", init=str(trained_run))
    with pytest.raises(ModelError, match=r"takes 3 band\(s\), the images give 4"):
        start(settings, 4, DEEPGLOBE)


@pytest.mark.parametrize("option", [{"width": 8}, {"norm": "group"}, {"encoder": "resnet18"}])
def test_another_network_is_refused(trained_run, sample_folder, tmp_path, option):
    (name,) = option
    with pytest.raises(UsageError, match=f"has the {name} .*leave --{name} out"):
        geoseg.train(sample_folder, tmp_path / "run", init=trained_run, **BRIEF, **option)
    with pytest.raises(ModelError, match="no such model"):
        geoseg.train(sample_folder, tmp_path / "run", init=tmp_path / "none.safetensors", **BRIEF)


def test_a_nearest_decoder_is_trained_and_goes_on_in_another_run(sample_folder, tmp_path):
    options = {"encoder": "test_resnet", "decoder": "nearest", "norm": "batch"}
    first = geoseg.train(sample_folder, tmp_path / "first", **options, **(BRIEF | {"lr": 1e-3}))
    assert first.config.decoder == "nearest" and first.network.head.weight.shape[2:] == (3, 3)
    second = geoseg.train(sample_folder, tmp_path / "second", init=tmp_path / "first", **BRIEF)
    assert second.config.provenance["settings"]["decoder"] == second.config.decoder == "nearest"
    for name, value in first.network.named_parameters():
        torch.testing.assert_close(second.network.get_parameter(name), value, rtol=0, atol=1e-7)
    with pytest.raises(UsageError, match="has the decoder nearest, not transposed; leave --decoder out"):
        geoseg.train(sample_folder, tmp_path / "third", init=tmp_path / "first", decoder="transposed", **BRIEF)
    resumed = geoseg.train(sample_folder, tmp_path / "first", epochs=2, device="cpu", precision="fp32", resume=True)
    assert resumed.config.decoder == "nearest"


@pytest.mark.parametrize(
    ("options", "bands", "mean", "std"),
    [
        ({}, 3, (0, 0, 0), (1, 1, 1)),
        ({"normalise": "imagenet"}, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ({"normalise": "imagenet", "encoder": "resnet34"}, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ({"normalise": "imagenet", "encoder": "test_vit"}, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ({"normalise": "imagenet"}, 1, (0.449,), (0.226,)),
        ({"normalise": "imagenet"}, 2, (0.485, 0.456), (0.229, 0.224)),
        ({"normalise": "imagenet"}, 5, (0.485, 0.456, 0.406, 0.485, 0.456), (0.229, 0.224, 0.225, 0.229, 0.224)),
    ],
)
def test_pixels_are_normalised_as_the_encoder_knows_them(options, bands, mean, std):
    found = normalisation(TrainingSettings(**options), bands)
    assert np.allclose(found, (mean, std))


def test_the_normalisation_is_part_of_the_model(sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", width=4, normalise="imagenet", **BRIEF)
    assert load(tmp_path / "run").config.mean == (0.485, 0.456, 0.406)
    model = geoseg.train(sample_folder, tmp_path / "next", init=tmp_path / "run", **BRIEF)
    assert model.config.std == (0.229, 0.224, 0.225)


def test_a_resumed_run_with_other_bands_is_refused():
    begun = SegmenterConfig(DEEPGLOBE, width=4)
    with pytest.raises(UsageError, match="begun with 3 bands, not 4"):
        start(TrainingSettings(width=4), 4, DEEPGLOBE, begun)


def test_the_recipe_trains_at_native_resolution_on_small_scenes(sample_folder, tmp_path):
    options = {"encoder": "test_resnet", "encoder_weights": "none", "steps": 1, "device": "cpu", "precision": "fp32"}
    model = geoseg.train(sample_folder, tmp_path / "run", preset="recommended", **options)
    assert (model.config.window, model.config.size) == (64, 64)
    assert model.config.provenance["setting"] == "custom"
    weights = [value for value in model.config.provenance["class_weights"].values() if value]
    assert max(weights) / min(weights) < 10
