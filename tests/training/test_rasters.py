"""Training on rasters of any dtype and number of bands, by name and number, with every scaling."""

from __future__ import annotations

import csv
import json
import logging
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file

import geoseg
from geoseg.ablation import evaluate
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.samples import Framing
from geoseg.errors import GeosegError, InputError, ModelError, UsageError
from geoseg.models.storage import load, read_model_file
from geoseg.raster.stretch import percentile_bounds
from geoseg.scaling import Scaling, of_statistics
from geoseg.training import validation

SMALL = {"width": 4, "norm": "batch", "window": 32, "epochs": 2, "lr": 1e-2, "device": "cpu", "precision": "fp32"}
SPLIT = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
CODES = np.array([10, 20, 30], np.uint8)
SIGNATURES = np.array([[200, 900, 1500], [800, 400, 600], [1200, 1500, 300], [900, 300, 800], [500, 600, 1000]])
"""What the three classes look like in each of five bands."""
KINDS = {
    "uint8": {},
    "uint16": {"scaling": "statistics"},
    "int16": {"scale": (-1500, 4000)},
    "int32": {"scale": [(-1500, 4000), (-900, 3000), (0, 2000), (-1, 2500), (-100, 2100)]},
    "float32": {},
    "float64": {"percentiles": (1, 99)},
}


def draw_scenes(dtype: str, bands: int = 5, seed: int = 0, stems: str = "abcd") -> dict:
    """Land of 3 classes in squares of 8 px, 37 x 53 px, seen in so many bands; a corner of no data."""
    random = np.random.default_rng(seed)
    scenes = {}
    for stem in stems:
        index = np.repeat(np.repeat(random.integers(0, 3, (5, 7)), 8, 0), 8, 1)[:37, :53]
        pixels = SIGNATURES[:bands, index] + random.normal(0, 120, (bands, 37, 53))
        pixels = {"uint8": pixels / 10, "int16": pixels - 600, "int32": pixels - 600}.get(dtype, pixels)
        if dtype.startswith("float"):
            pixels = pixels / 2000
            pixels[0, :4, :6] = np.nan
        else:
            limits = np.iinfo(dtype)
            pixels = pixels.clip(limits.min, limits.max)
        scenes[stem] = pixels.astype(dtype), CODES[index]
    return scenes


@pytest.fixture
def make_data(make_dataset):
    def make(dtype, *args, names=None, split=SPLIT, name="data", **options):
        root = make_dataset(draw_scenes(dtype, *args, **options), split, name)
        for stem, called in (names or {}).items():
            with rasterio.open(root / f"images/{stem}.tif", "r+") as dataset:
                dataset.descriptions = called
        return root

    return make


def tensors_of(run) -> dict[str, torch.Tensor]:
    return read_model_file(run / "last.safetensors")[1]


def assert_equal_tensors(first, second) -> None:
    a, b = tensors_of(first), tensors_of(second)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", KINDS)
def test_five_bands_of_any_dtype_are_learned_and_go_on_and_predict(make_data, tmp_path, dtype):
    root, options = make_data(dtype), SMALL | {"augment": True} | KINDS[dtype]
    model = geoseg.train(root, tmp_path / "whole", cache="none", **options)
    geoseg.train(root, tmp_path / "run", **(options | {"epochs": 1}))
    geoseg.train(root, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True)
    assert_equal_tensors(tmp_path / "whole", tmp_path / "run")
    config = load(tmp_path / "run").config
    assert (config.bands, config.dtype, config.band_numbers) == (5, dtype, (1, 2, 3, 4, 5))
    assert replace(config, provenance={}) == replace(model.config, provenance={})
    first, last = csv.DictReader((tmp_path / "run/history.csv").read_text().splitlines())
    assert float(last["train_loss"]) < float(first["train_loss"]) < 1.2
    found = geoseg.predict(root / "images/d.tif", model, device="cpu", precision="fp32")
    with rasterio.open(root / "images/d.tif") as dataset:
        assert np.array_equal(found.codes == 255, ~np.isfinite(dataset.read()).all(0))


def test_the_plain_net_learns_reflectances(make_data, tmp_path):
    root = make_data("float32")
    model = geoseg.train(root, tmp_path / "run", **(SMALL | {"epochs": 25}))
    found = geoseg.predict(root / "images/d.tif", model, tmp_path / "map.tif", device="cpu", precision="fp32")
    assert geoseg.score(found.path, root / "labels/d.tif", root / "legend.json").mean_iou > 0.8


def test_what_a_dtype_is_scaled_by_unless_told_otherwise(make_data, tmp_path, caplog):
    for dtype, expected in (("uint8", "range"), ("uint16", "statistics"), ("float32", "statistics")):
        caplog.clear()
        with caplog.at_level(logging.INFO, "geoseg"):
            config = geoseg.train(
                make_data(dtype, name=dtype), tmp_path / dtype / "run", **(SMALL | {"epochs": 1})
            ).config
        assert config.scaling.kind == expected
        said = f"pixels are {dtype}: scaled by mean and 3 standard deviations of the training pixels"
        assert (said in caplog.text) == (expected == "statistics")
        assert config.provenance["settings"]["scaling"] is None
    record = tomllib.loads((tmp_path / "float32/run/config.toml").read_text())
    assert "scaling" not in record["train"]


def test_statistics_are_those_of_the_training_pixels(make_data, tmp_path):
    root = make_data("float32")
    config = geoseg.train(root, tmp_path / "run", **(SMALL | {"epochs": 1})).config
    pixels = [rasterio.open(root / f"images/{stem}.tif").read().reshape(5, -1).astype(np.float64) for stem in "ab"]
    together = np.concatenate([p[:, np.isfinite(p).all(0)] for p in pixels], 1)
    known = of_statistics(together.mean(1), together.std(1))
    np.testing.assert_allclose(config.scaling.bounds, known.bounds, rtol=1e-12)
    np.testing.assert_allclose(config.fill, together.mean(1), rtol=1e-12)
    assert config.scaling.kind == "statistics"


def test_with_percentiles_each_scene_is_seen_on_its_own_range(make_dataset, tmp_path):
    """Powers of two change no digit: scenes of other gains and offsets teach the very same network."""
    scenes = draw_scenes("float64")
    scenes = {stem: (np.round(pixels * 1024) / 1024, codes) for stem, (pixels, codes) in scenes.items()}
    changed = {
        stem: (pixels * gain + offset, codes)
        for (stem, (pixels, codes)), gain, offset in zip(scenes.items(), (2, 0.25, 4, 1), (0, 2, -4, 8), strict=True)
    }
    options = SMALL | {"scaling": "percentile", "percentiles": (0, 100), "augment": True}
    for name, drawn in (("plain", scenes), ("changed", changed)):
        root = make_dataset(drawn, SPLIT, name)
        geoseg.train(root, tmp_path / f"{name}-run", **options)
    assert_equal_tensors(tmp_path / "plain-run", tmp_path / "changed-run")
    first, second = (load(tmp_path / f"{name}-run").config for name in ("plain", "changed"))
    assert first.scaling == second.scaling == Scaling("percentile", percentiles=(0, 100))
    np.testing.assert_allclose(first.fill, second.fill, rtol=1e-9)
    assert 0.2 < min(first.fill) < max(first.fill) < 0.8


@pytest.mark.parametrize("options", [{"percentiles": (5, 95)}, {"scaling": "statistics"}])
def test_validation_finds_what_prediction_and_score_find(make_data, tmp_path, options):
    root = make_data("uint16")
    model = geoseg.train(root, tmp_path / "run", **SMALL, **options)
    found = geoseg.predict(root / "images/c.tif", model, tmp_path / "map.tif", device="cpu", precision="fp32")
    score = geoseg.score(found.path, root / "labels/c.tif", root / "legend.json")
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["model"]["val_mean_iou"] == round(float(score.mean_iou), 6)


@pytest.mark.parametrize("framing", [{"window": 32}, {"window": None, "size": 24}])
def test_validation_takes_the_percentiles_of_the_files(make_data, tmp_path, monkeypatch, framing):
    """Not those of what training sees of them, which are others where that is smaller."""
    plans, make_plan = [], validation.make_plan
    monkeypatch.setattr(
        validation, "make_plan", lambda *args, **options: plans.append(make_plan(*args, **options)) or plans[-1]
    )
    root = make_data("uint16")
    geoseg.train(root, tmp_path / "run", **(SMALL | framing | {"percentiles": (5, 95), "epochs": 1}))
    with geoseg.Scene(root / "images/c.tif") as scene:
        assert [plan.stretch for plan in plans] == [percentile_bounds(scene, (5, 95))]


def test_the_ablation_s_small_scenes_have_the_percentiles_of_the_files(make_data, tmp_path, monkeypatch):
    root, found, predict = make_data("uint16"), [], evaluate.predict
    monkeypatch.setattr(
        evaluate, "predict", lambda *args, **options: found.append(predict(*args, **options)) or found[-1]
    )
    geoseg.train(root, tmp_path / "run", **(SMALL | {"window": None, "size": 24, "percentiles": (5, 95), "epochs": 1}))
    dataset = open_dataset(root)
    side = geoseg.load(tmp_path / "run").config.window
    tester = evaluate.Tester(
        dataset.part(("d",)), dataset.legend, Framing(side, 24, whole=True), frozenset(), "cpu", "fp32"
    )
    tested = tester.test(tmp_path / "run")
    assert tested.matrices.keys() == {"native", "network"}
    with geoseg.Scene(root / "images/d.tif") as scene:
        assert [one.plan.stretch for one in found] == [percentile_bounds(scene, (5, 95))] * 2
    assert [one.plan.tile_shape for one in found] == [(17, 24)] * 2


def test_resampled_windows_and_whole_scenes_of_16_bits(make_data, tmp_path):
    root = make_data("uint16")
    for number, framing in enumerate(({"window": 32, "size": 20}, {"window": None, "size": 30})):
        options = SMALL | framing | {"epochs": 1, "percentiles": (2, 98)}
        for cache in (tmp_path / "cache", tmp_path / "cache", "none"):
            geoseg.train(
                root,
                tmp_path / f"run{number}-{cache == 'none'}-{len(list(tmp_path.iterdir()))}",
                cache=cache,
                **options,
            )
        first, *others = sorted(tmp_path.glob(f"run{number}-*"))
        for other in others:
            assert_equal_tensors(first, other)


def test_oversampling_of_four_bands(make_dataset, tmp_path):
    scenes = {stem: (pixels, codes // 10) for stem, (pixels, codes) in draw_scenes("uint16", 4).items()}
    root = make_dataset(scenes, SPLIT)
    options = SMALL | {"legend": "deepglobe", "augment": True, "oversample": True, "epochs": 1}
    assert geoseg.train(root, tmp_path / "run", **options).config.bands == 4
    assert geoseg.stats(root, legend="deepglobe").found.counts.sum() == 2 * 37 * 53


def test_a_timm_encoder_of_five_bands_from_a_file(make_data, tmp_path):
    import timm

    torch.manual_seed(2)
    state = {name: value.contiguous() for name, value in timm.create_model("resnet10t").state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    options = {"encoder": "resnet10t", "encoder_weights": str(tmp_path / "weights.safetensors")}
    options |= {"normalise": "imagenet", "norm": "batch", "window": 32, "epochs": 1, "lr": 1e-9}
    model = geoseg.train(make_data("uint16"), tmp_path / "run", **options, device="cpu", precision="fp32")
    first = load_file(tmp_path / "weights.safetensors")["conv1.0.weight"]
    adapted = next(p for p in model.network.encoder.parameters() if p.ndim == 4)
    in_turn = torch.stack([first[:, band % 3] for band in range(5)], 1) * 3 / 5
    torch.testing.assert_close(adapted.detach(), in_turn, rtol=0, atol=1e-6)
    assert model.config.mean == (0.485, 0.456, 0.406, 0.485, 0.456)


# Bands by name

NAMES = ("B2", "B3", "B4", "B8", "B11")


def test_names_are_kept_and_found_in_a_raster_of_another_order(make_data, make_raster, tmp_path, caplog):
    root = make_data("uint16", names=dict.fromkeys("abcd", NAMES))
    model = geoseg.train(root, tmp_path / "run", bands=("b4", "B3", "B2"), **SMALL)
    assert model.config.band_names == ("B4", "B3", "B2") and model.config.band_numbers == (3, 2, 1)
    known = geoseg.predict(root / "images/d.tif", model, device="cpu", precision="fp32")
    with rasterio.open(root / "images/d.tif") as dataset:
        other = make_raster(dataset.read([5, 3, 1, 2]), "other.tif")
    with rasterio.open(other, "r+") as dataset:
        dataset.descriptions = ("B11", "B4", "B2", "B3")
    with caplog.at_level(logging.INFO, "geoseg"):
        found = geoseg.predict(other, model, device="cpu", precision="fp32")
    assert np.array_equal(found.codes, known.codes) and "bands are taken by name" in caplog.text
    # The run goes on with the same bands.
    geoseg.train(root, tmp_path / "run", epochs=3, device="cpu", precision="fp32", resume=True)
    geoseg.train(root, tmp_path / "whole", bands=(3, 2, 1), **(SMALL | {"epochs": 3}))
    assert_equal_tensors(tmp_path / "run", tmp_path / "whole")


def test_scenes_of_another_order_are_refused_unless_bands_are_chosen(make_data, make_dataset, tmp_path):
    scenes = draw_scenes("uint16")
    plain = make_dataset(scenes, SPLIT, "plain")
    scenes["b"] = scenes["b"][0][[4, 1, 2, 3, 0]], scenes["b"][1]
    root = make_dataset(scenes, SPLIT)
    for stem in "abcd":
        with rasterio.open(root / f"images/{stem}.tif", "r+") as dataset:
            dataset.descriptions = ("B11", "B3", "B4", "B8", "B2") if stem == "b" else NAMES
    options = SMALL | {"epochs": 1}
    with pytest.raises(InputError, match=r"b\.tif: its bands are B11, B3.* those of .*a\.tif B2, B3.*--bands"):
        geoseg.train(root, tmp_path / "run", **options)
    by_name = geoseg.train(root, tmp_path / "named", bands=NAMES, **options)
    assert by_name.config.band_names == NAMES
    geoseg.train(plain, tmp_path / "plain-run", **(options | {"epochs": 2}))
    geoseg.train(root, tmp_path / "named", epochs=2, device="cpu", precision="fp32", resume=True)
    assert_equal_tensors(tmp_path / "named", tmp_path / "plain-run")
    assert geoseg.train(root, tmp_path / "numbered", bands=(1, 2, 3, 4, 5), **options).config.band_names == ()


# What is refused, before any work


@pytest.mark.parametrize(
    ("dtype", "options", "error", "said"),
    [
        (
            "uint16",
            {"scaling": "range"},
            UsageError,
            "--scaling range needs the range of uint16 pixels: --scale LOW,HIGH",
        ),
        ("uint16", {"scale": [(0, 1), (0, 2)]}, UsageError, "bounds of 2 bands for 5"),
        ("uint16", {"scale": (9, 3)}, UsageError, "the lower first"),
        ("uint16", {"scaling": "statistics", "scale": (0, 1)}, UsageError, "--scale is of --scaling range"),
        (
            "uint16",
            {"scaling": "range", "percentiles": (2, 98)},
            UsageError,
            "--percentiles is of --scaling percentile",
        ),
        ("uint16", {"percentiles": (98, 2)}, UsageError, "0 to 100"),
        ("uint16", {"scaling": "guess"}, UsageError, "--scaling is one of range, statistics, percentile, got 'guess'"),
        ("uint16", {"bands": (1, 9)}, InputError, r"a\.tif: has bands 1 to 5, not 9"),
        ("uint16", {"bands": ("nir",)}, InputError, r"a\.tif: has no band 'nir'; its bands are 1 "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make_data, tmp_path, dtype, options, error, said):
    with pytest.raises(error, match=said) as found:
        geoseg.train(make_data(dtype), tmp_path / "run", **SMALL, **options)
    assert "\n" not in str(found.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("stem", ["b", "c"])
def test_scenes_that_differ_are_refused(make_dataset, tmp_path, stem):
    for number, (dtype, bands, said) in enumerate(
        (("int16", 5, "pixels are int16, those of"), ("uint16", 4, "4 and 5"))
    ):
        scenes = draw_scenes("uint16") | draw_scenes(dtype, bands, stems=stem)
        root = make_dataset(scenes, SPLIT, f"data{number}")
        with pytest.raises(InputError, match=rf"{stem}\.tif.*{said}"):
            geoseg.train(root, tmp_path / "run", **SMALL)


def test_alpha_is_refused(make_dataset, tmp_path):
    root = make_dataset(draw_scenes("uint8", 4), SPLIT)
    for stem in "abcd":
        with rasterio.open(root / f"images/{stem}.tif", "r+") as dataset:
            dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
    with pytest.raises(InputError, match=r"a\.tif: band 4 is its alpha"):
        geoseg.train(root, tmp_path / "run", **SMALL, bands=(1, 4))
    assert geoseg.train(root, tmp_path / "run", **(SMALL | {"epochs": 1})).config.bands == 3


def test_a_constant_band_is_said_and_divides_by_nothing(make_dataset, tmp_path, caplog):
    scenes = draw_scenes("uint16")
    for pixels, _ in scenes.values():
        pixels[3] = 7
    with caplog.at_level(logging.WARNING, "geoseg"):
        config = geoseg.train(make_dataset(scenes, SPLIT), tmp_path / "run", **(SMALL | {"epochs": 1})).config
    assert config.scaling.bounds[3] == (6.5, 7.5)
    assert "band 4 is the same in all training pixels" in caplog.text


def test_another_model_brings_its_scaling(make_data, tmp_path):
    root = make_data("uint16")
    before = geoseg.train(root, tmp_path / "first", **(SMALL | {"epochs": 1, "scale": (0, 3000)}))
    rest = {"window": 32, "epochs": 1, "device": "cpu", "precision": "fp32", "init": tmp_path / "first"}
    other = make_data("int32", name="other")
    after = geoseg.train(other, tmp_path / "next", **rest)
    assert after.config.scaling == before.config.scaling == Scaling("range", ((0.0, 3000.0),))
    geoseg.train(other, tmp_path / "next", **(rest | {"init": None, "window": None, "epochs": 2}), resume=True)
    assert load(tmp_path / "next").config.scaling == before.config.scaling
    with pytest.raises(UsageError, match=r"leave .*--scaling out"):
        geoseg.train(root, tmp_path / "third", **rest, scaling="statistics")
    with pytest.raises(ModelError, match="takes uint16 pixels, the images have float32"):
        geoseg.train(make_data("float32", name="floats"), tmp_path / "fourth", **rest)


def test_resuming_with_another_scaling_is_refused(make_data, tmp_path):
    root = make_data("uint16")
    geoseg.train(root, tmp_path / "run", **(SMALL | {"epochs": 1}))
    with pytest.raises(GeosegError, match="was begun with another scal"):
        geoseg.train(root, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True, scale=(0, 9000))


def test_a_run_of_before_there_were_scalings_goes_on(sample_folder, tmp_path):
    options = SMALL | {"size": 16}
    geoseg.train(sample_folder, tmp_path / "whole", **options)
    geoseg.train(sample_folder, tmp_path / "run", **(options | {"epochs": 1}))
    for name in ("last", "model"):
        record, tensors = read_model_file(tmp_path / f"run/{name}.safetensors")
        config = record["config"] | {"scale": 1 / 255}
        for new in ("scaling", "band_names"):
            del config[new]
        for new in ("scaling", "scale", "percentiles"):
            del config["provenance"]["settings"][new]
        text = json.dumps(record | {"config": config})
        save_file(tensors, tmp_path / f"run/{name}.safetensors", {"geoseg": text})
    geoseg.train(sample_folder, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True)
    assert_equal_tensors(tmp_path / "run", tmp_path / "whole")
