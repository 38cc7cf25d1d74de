"""Any raster in, as typed: dtypes, bands by name, stacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

from geoseg_cli.main import cli

MakeRaster = Callable[..., Path]
BRIEF = ("--width", 2, "--norm", "batch", "--window", 32, "--epochs", 1, "--device", "cpu", "--precision", "fp32")


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four uint16 scenes of 4 bands with names, 40 x 48 px."""
    root = tmp_path_factory.mktemp("any") / "data"
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for stem in "abcd":
        index = np.repeat(np.repeat(random.integers(0, 2, (5, 6)), 8, 0), 8, 1)
        pixels = (random.normal(900, 90, (4, *index.shape)) + 800 * index).astype(np.uint16)
        shape = {"driver": "GTiff", "height": 40, "width": 48}
        with rasterio.open(root / f"images/{stem}.tif", "w", count=4, dtype="uint16", **shape) as dataset:
            dataset.write(pixels)
            dataset.descriptions = ("B02", "B03", "B04", "B08")
        with rasterio.open(root / f"labels/{stem}.tif", "w", count=1, dtype="uint8", **shape) as dataset:
            dataset.write((index[None] + 1).astype(np.uint8))
    names = ((1, "dark", "#000000"), (2, "bright", "#ffffff"))
    classes = [{"code": code, "name": name, "color": colour} for code, name, colour in names]
    (root / "legend.json").write_text(json.dumps({"classes": classes, "ignore": []}))
    (root / "split.json").write_text(json.dumps({"train": ["a", "b"], "val": ["c"], "test": ["d"]}))
    return root


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any-run") / "run"
    run("train", data, "-o", folder, "--bands", "B04,B03,B02", "--percentiles", "2,98", *BRIEF)
    return folder


@pytest.fixture
def stack(data: Path, make_raster: MakeRaster) -> list[Path]:
    """Red, green and blue of a scene, a file each."""
    with rasterio.open(data / "images/d.tif") as dataset:
        return [
            make_raster(dataset.read(number), f"{name}.tif") for number, name in ((3, "red"), (2, "green"), (1, "blue"))
        ]


def test_info_says_what_a_model_takes(model: Path, data: Path) -> None:
    record = json.loads(run("info", model, "--json").stdout)
    assert (record["bands"], record["band_numbers"], record["band_names"]) == (3, [3, 2, 1], ["B04", "B03", "B02"])
    assert (record["dtype"], record["scaling"]) == (
        "uint16",
        {"kind": "percentile", "bounds": [], "percentiles": [2, 98]},
    )
    assert "gsd" in record and "scaling " in run("info", model).stdout
    raster = json.loads(run("info", data / "images/a.tif", "--json").stdout)
    assert (raster["band_names"], raster["dtype"]) == (["B02", "B03", "B04", "B08"], "uint16")
    assert raster["colours"][0] == "gray" and raster["gsd"] is None and raster["nodata"] is None


def test_info_of_a_nan_nodata_is_json(make_raster: MakeRaster) -> None:
    path = make_raster(np.ones((2, 5, 7), np.float32), nodata=np.nan)
    assert json.loads(run("info", path, "--json").stdout)["nodata"] == "nan"


def test_a_stack_is_predicted_as_the_raster_with_its_bands(
    data: Path, model: Path, stack: list[Path], tmp_path: Path
) -> None:
    whole, found = tmp_path / "whole.tif", tmp_path / "mask.tif"
    run("predict", data / "images/d.tif", "-o", whole, "--model", model)
    result = run(
        "predict", "--stack", *stack, "-o", found, "--model", model, "--json", "--quicklook", tmp_path / "q.png"
    )
    assert json.loads(result.stdout)["path"] == str(found) and (tmp_path / "q.png").exists()
    with rasterio.open(whole) as known, rasterio.open(found) as dataset, rasterio.open(stack[0]) as red:
        assert np.array_equal(known.read(1), dataset.read(1))
        assert (dataset.crs, dataset.transform) == (red.crs, red.transform)
        assert dataset.tags()["GEOSEG_INPUT"] == "red.tif + green.tif + blue.tif"
    again = tmp_path / "again.tif"
    run("predict", *stack[::-1], "--stack", "--bidx", "3,2,1", "-o", again, "--model", model)
    by_name = tmp_path / "named.tif"
    run("predict", *stack[::-1], "--stack", "--bands", "red,green,blue", "-o", by_name, "--model", model)
    with rasterio.open(found) as known:
        for path in (again, by_name):
            with rasterio.open(path) as dataset:
                assert np.array_equal(known.read(1), dataset.read(1))


def test_a_dry_run_of_a_stack(model: Path, stack: list[Path], tmp_path: Path) -> None:
    words = ("predict", "--stack", *stack, "-o", tmp_path / "mask.tif", "--model", model, "--dry-run", "--json")
    (record,) = json.loads(run(*words).stdout)
    assert record["scene"] == "red.tif + green.tif + blue.tif" and record["tiles"] == 4
    assert not (tmp_path / "mask.tif").exists()


def test_what_a_stack_refuses(model: Path, stack: list[Path], make_raster: MakeRaster, tmp_path: Path) -> None:
    words = ("predict", "--stack", *stack, "--model", model, "-o")
    assert "a stack is one scene" in run(*words, f"{tmp_path}/maps/", code=2).stderr
    assert "blue.tif: is the scene itself" in run(*words, stack[2], "--overwrite", code=2).stderr
    before = stack[1].read_bytes()
    make_raster(np.ones((40, 47), np.uint16), "blue.tif")
    result = run(*words, tmp_path / "mask.tif", code=3)
    assert "blue.tif (40 x 47 px" in result.stderr and "another size than" in result.stderr
    assert "has 2 band(s), the model takes 3" in run(
        "predict", "--stack", *stack[:2], "--model", model, "-o", tmp_path / "mask.tif", code=3
    ).stderr  # fmt: skip
    assert not (tmp_path / "mask.tif").exists() and stack[1].read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bands", "1,,2"), "separated by commas"),
        (("--bands", "0,1"), "numbered from 1"),
        (("--bands", "-1"), "numbered from 1"),
        (("--scale", "5"), "two numbers"),
        (("--scale", "a,b"), "two numbers"),
        (("--percentiles", "1,2,3"), "two numbers"),
        (("--scaling", "guess"), "not one of"),
        (("--scale", "3,1"), "the lower first"),
        (("--scaling", "percentile", "--scale", "0,1"), "--scale is of --scaling range"),
        (("--scaling", "range"), "--scale LOW,HIGH"),
    ],
)
def test_options_that_cannot_be(data: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    assert said in run("train", data, "-o", tmp_path / "run", *words, *BRIEF, code=2).stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_band_lists_what_there_is(data: Path, model: Path, tmp_path: Path) -> None:
    words = ("predict", data / "images/d.tif", "-o", tmp_path / "mask.tif", "--model", model)
    result = run(*words, "--bands", "B04,B03,B05", code=3)
    assert "has no band 'B05'" in result.stderr and '4 "B08"' in result.stderr


def test_another_dtype_is_refused_with_both_remedies(data: Path, trained_run: Path, tmp_path: Path) -> None:
    words = ("predict", data / "images/d.tif", "-o", tmp_path / "mask.tif", "--model", trained_run, "--bands", "3,2,1")
    said = run(*words, code=3).stderr
    assert "pixels are uint16, the model takes uint8" in said
    assert "gdal_translate -ot Byte" in said and "--scaling percentile" in said


def test_scales_a_band_and_negative_ones(data: Path, tmp_path: Path) -> None:
    words = ("train", data, "-o", tmp_path / "run", "--bands", "1,4", "--scale", "-100,3000", "--scale", "0,2500")
    run(*words, *BRIEF)
    record = json.loads(run("info", tmp_path / "run", "--json").stdout)
    assert record["scaling"]["bounds"] == [[-100, 3000], [0, 2500]] and record["scaling"]["kind"] == "range"


def test_stats_of_four_bands_of_16_bits(data: Path) -> None:
    record = json.loads(run("stats", data, "--bands", "B08,B02", "--json").stdout)
    assert sum(row["pixels"] for row in record["classes"]) == 2 * 40 * 48


def test_an_ablation_of_four_bands_of_16_bits(data: Path, tmp_path: Path) -> None:
    words = ("ablate", data, "-o", tmp_path / "out", "--settings", "baseline,focal", "--seeds", 1, "--epochs", 1)
    words = (
        *words,
        "--width",
        2,
        "--norm",
        "batch",
        "--size",
        24,
        "--scaling",
        "percentile",
        "--bands",
        "B04,B03,B02,B08",
    )
    record = json.loads(run(*words, "--device", "cpu", "--precision", "fp32", "--json").stdout)
    assert {run["setting"] for run in record["runs"]} == {"baseline", "focal"} and not record["failed"]
