"""Settings: the paper's rows, what departs from them, what is refused."""

from __future__ import annotations

import json

import pytest

from geoseg.errors import UsageError
from geoseg.training.settings import PRESETS, SETTINGS, TrainingSettings, resolve_settings


def test_baseline_is_the_papers():
    settings = resolve_settings()
    assert settings == SETTINGS["baseline"] and settings.setting == "baseline"
    assert (settings.loss, settings.encoder, settings.norm, settings.width) == ("ce", "plain", "none", 64)
    assert (settings.epochs, settings.batch_size, settings.lr, settings.focusing) == (30, 2, 1e-4, 0.0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("focal", {"loss": "focal"}),
        ("augment", {"augment": True, "oversample": True}),
        ("resnet34", {"encoder": "resnet34", "encoder_weights": "imagenet"}),
    ],
)
def test_other_rows_change_one_thing(name, changes):
    settings, baseline = resolve_settings(name).to_dict(), resolve_settings().to_dict()
    assert {k: v for k, v in settings.items() if baseline[k] != v} == {"setting": name, **changes}


@pytest.mark.parametrize(
    ("setting", "options", "name"),
    [
        (None, {"lr": 1e-3}, "custom"),
        ("focal", {"gamma": 3.0}, "custom"),
        ("baseline", {"loss": "focal"}, "focal"),
        (None, {"encoder": "resnet34", "encoder_weights": "imagenet"}, "resnet34"),
        ("resnet34", {"encoder_weights": "none"}, "custom"),
        ("focal", {"loss": "ce"}, "baseline"),
        (None, {"augment": True}, "custom"),
        (None, {"augment": True, "oversample": True}, "augment"),
        ("augment", {"rare_set": "table1"}, "custom"),
        ("augment", {"augment": False, "oversample": False}, "baseline"),
        ("focal", {"epochs": 30, "batch_size": 2}, "focal"),
        (None, {"seed": 7, "split": "glnet"}, "baseline"),
        (None, {"window": None, "size": None}, "baseline"),
        (None, {"steps": 10}, "custom"),
        (None, {"schedule": "cosine"}, "custom"),
        ("resnet34", {"decoder": "nearest"}, "custom"),
        ("resnet34", {"decoder": "transposed"}, "resnet34"),
        (None, {"ema": 0.99}, "custom"),
        (None, {"accumulate": 2}, "custom"),
        (None, {"scaling": "statistics"}, "custom"),
        (None, {"scale": (0, 10000)}, "custom"),
    ],
)
def test_a_name_is_kept_only_by_its_own_values(setting, options, name):
    assert resolve_settings(setting, **options).setting == name


def test_the_preset_keeps_its_name_by_its_own_values():
    assert resolve_settings(preset="recommended") == PRESETS["recommended"]
    assert resolve_settings(preset="recommended", seed=3, lr=1e-3).setting == "recommended"
    changed = resolve_settings(preset="recommended", encoder_weights="none")
    assert (changed.setting, changed.ema, changed.encoder_weights) == ("custom", 0.999, "none")
    with pytest.raises(UsageError, match="choose one"):
        resolve_settings("focal", preset="recommended")
    with pytest.raises(UsageError, match="'best': there is recommended"):
        resolve_settings(preset="best")


def test_options_override_the_setting():
    settings = resolve_settings("focal", lr=1e-3, seed=4, width=8, epochs=None)
    assert (settings.lr, settings.seed, settings.width, settings.epochs, settings.loss) == (1e-3, 4, 8, 30, "focal")


@pytest.mark.parametrize("focal", [True, False])
def test_focusing_is_gamma_for_the_focal_loss_only(focal):
    options = {"loss": "focal", "gamma": 3.0} if focal else {"loss": "ce"}
    assert resolve_settings(**options).focusing == (3.0 if focal else 0.0)


@pytest.mark.parametrize(
    "options",
    [{"gamma": 3.0}, {"encoder": "resnet34", "width": 8}, {"rare_set": "table1"}, {"decoder": "nearest"}],
)
def test_options_that_would_do_nothing_are_refused(options):
    with pytest.raises(UsageError, match=f"--{list(options)[-1].replace('_', '-')} is of "):
        resolve_settings(**options)


def test_an_unknown_setting_lists_those_there_are():
    with pytest.raises(UsageError, match=r"'paper'.*baseline, focal"):
        resolve_settings("paper")


@pytest.mark.parametrize("option", ["learning_rate", "setting_", "device"])
def test_an_unknown_option_is_named(option):
    with pytest.raises(UsageError, match=f"unknown training option '{option}'; there are accumulate"):
        resolve_settings(**{option: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": -1}, "--batch-size"),
        ({"lr": 0.0}, "--lr"),
        ({"lr": float("nan")}, "--lr"),
        ({"window": 0}, "--window"),
        ({"size": -5}, "--size"),
        ({"steps": 0}, "--steps"),
        ({"width": 0}, "--width"),
        ({"accumulate": 0}, "--accumulate"),
        ({"lr": float("inf")}, "--lr"),
        ({"encoder": "resnet18", "encoder_lr": 0.0}, "--encoder-lr is larger"),
        ({"encoder_lr": 1e-4}, "--encoder-lr is of a timm encoder"),
        ({"clip": 0.0}, "--clip"),
        ({"patience": 0}, "--patience"),
        ({"weight_decay": -0.1}, "--weight-decay is 0 or more"),
        ({"warmup": float("nan")}, "--warmup is 0 or more"),
        ({"ema": 1.0}, "--ema is a decay"),
        ({"ema": 0.0}, "--ema is a decay"),
        ({"init": "run", "normalise": "imagenet"}, "--init brings its weights, scaling and normalisation"),
        ({"class_weights": "log"}, "--class-weights is one of median, sqrt, none"),
        ({"optimizer": "sgd"}, "--optimizer is one of adam, adamw"),
        ({"schedule": "step"}, "--schedule is one of constant, cosine"),
        ({"loss": "dice"}, "--loss is one of ce, focal"),
        ({"oversample": True, "rare_set": "water"}, "--rare-set is one of text, table1, shares"),
        ({"encoder": "resnet34", "decoder": "bilinear"}, "--decoder is one of transposed, nearest"),
        ({"norm": "layer"}, "--norm is one of none, batch, group"),
        ({"gamma": 0.5}, "gamma"),
    ],
)
def test_values_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        resolve_settings(**options)


def test_settings_survive_json():
    settings = resolve_settings("focal", window=64, size=32, seed=3)
    assert TrainingSettings(**json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_scaling_is_known_by_its_values_and_survives_json():
    for options, kind in (
        ({"scale": [(0, 1), (2, 5)]}, "range"),
        ({"scale": (0, 10000)}, "range"),
        ({"percentiles": [1, 99]}, "percentile"),
        ({"scaling": "statistics"}, "statistics"),
        ({}, None),
    ):
        settings = resolve_settings(**options)
        assert settings.scaling_kind == kind
        assert TrainingSettings(**json.loads(json.dumps(settings.to_dict()))) == settings
    assert resolve_settings(scale=(0, 10000)).scale == ((0.0, 10000.0),)
