"""geoseg import: what it says, what it writes, and that the other commands take it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from geoseg.models.encoder_unet import EncoderUNet
from geoseg.models.imported import Source
from geoseg_cli.main import cli


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network of three bands and seven classes, as smp would call them."""
    torch.manual_seed(2)
    network = EncoderUNet("test_resnet", 3, 7, "batch", "nearest")
    source = Source(Path(), {"encoder.model.": torch.ones(1)}, "tu-test_resnet")
    path = tmp_path_factory.mktemp("smp") / "weights.safetensors"
    save_file({source.name_of(name): value for name, value in network.state_dict().items()}, path)
    return path


def test_import_then_info_predict_and_train(weights: Path, sample_folder: Path, tmp_path: Path) -> None:
    model, mask = tmp_path / "m.safetensors", tmp_path / "mask.tif"
    words = ("import", weights, "-o", model, "--encoder", "tu-test_resnet", "--legend", "deepglobe")
    done = run(*words, "--normalise", "0.4,0.4,0.3/0.2,0.2,0.25", "--window", 64, "--gsd", 0.5)
    assert done.stdout.strip() == str(model)
    assert "mean 0.4, 0.4, 0.3, std 0.2, 0.2, 0.25" in done.stderr and "0 urban, 1 agriculture" in done.stderr
    record = json.loads(run("info", model, "--json").stdout)
    assert (record["encoder"], record["decoder"], record["window"], record["gsd"]) == (
        "test_resnet",
        "nearest",
        64,
        0.5,
    )
    assert record["provenance"]["imported"]["file"] == "weights.safetensors"
    assert "nearest" in run("info", model).stdout

    run("predict", sample_folder / "scene.tif", "-o", mask, "--model", model, "--device", "cpu")
    with rasterio.open(mask) as dataset, rasterio.open(sample_folder / "scene.tif") as scene:
        assert (dataset.crs, dataset.transform, dataset.shape) == (scene.crs, scene.transform, scene.shape)
        assert set(np.unique(dataset.read(1))) <= {0, 1, 2, 3, 4, 5, 255}
        trained = json.loads(dataset.tags()["GEOSEG_MODEL_TRAINING"])
    assert trained["imported"]["sha256"] == record["provenance"]["imported"]["sha256"]

    folder = tmp_path / "run"
    run("train", sample_folder, "-o", folder, "--init", model, "--steps", 1, "--size", 32, "--device", "cpu", "-q")
    trained = json.loads(run("info", folder, "--json").stdout)
    assert (trained["encoder"], trained["decoder"], trained["norm"]) == ("test_resnet", "nearest", "batch")
    assert trained["provenance"]["init"]["file"] == "m.safetensors"


def test_json_is_the_record(weights: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    words = ("import", weights, "-o", model, "--encoder", "tu-test_resnet", "--legend", "deepglobe", "-q", "--json")
    done = run(*words, "--normalise", "imagenet", "--raw", "--window", 96, "--size", 48, "--bands", "3,2,1")
    record = json.loads(done.stdout)
    assert (record["window"], record["size"], record["band_numbers"]) == (96, 48, [3, 2, 1]) and done.stderr == ""
    before = model.read_bytes()
    assert "--overwrite" in run(*words, "--normalise", "none", code=5).stderr
    assert model.read_bytes() == before
    run(*words, "--normalise", "none", "--overwrite")
    assert model.read_bytes() != before


@pytest.mark.parametrize("numbers", ["0.4,0.4,0.3", "0.4/0.2/0.1", "a/b", "/", "half"])
def test_a_normalisation_is_two_lists_of_numbers(weights: Path, tmp_path: Path, numbers: str) -> None:
    words = (
        "import",
        weights,
        "-o",
        tmp_path / "m.safetensors",
        "--encoder",
        "tu-test_resnet",
        "--legend",
        "deepglobe",
    )
    assert "numbers such as" in run(*words, "--normalise", numbers, code=2).stderr


@pytest.mark.parametrize(("left_out", "code"), [("--legend", 2), ("--normalise", 2), ("--encoder", 2), ("-o", 2)])
def test_what_no_file_tells_must_be_said(weights: Path, tmp_path: Path, left_out: str, code: int) -> None:
    options = {"-o": tmp_path / "m.safetensors", "--encoder": "tu-test_resnet", "--legend": "deepglobe"}
    options["--normalise"] = "none"
    words = [word for option, value in options.items() if option != left_out for word in (option, value)]
    assert left_out in run("import", weights, *words, code=code).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"\x80\x04N.")
    words = ("import", tmp_path / "model.pth", "-o", tmp_path / "m.safetensors", "--legend", "deepglobe")
    done = run(*words, "--normalise", "none", "--encoder", "resnet34", code=4)
    assert done.stderr.count("\n") == 1 and "save_model(model, 'FILE.safetensors')" in done.stderr
