"""A Landsat 8 scene, uint16 and a file a band: a model is trained on chips of it and predicts the stack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from rasterio.windows import Window

import geoseg
from geoseg_cli.main import cli

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "landsat8"
BANDS = [FOLDER / f"LC80460282016177LGN00_B{number}.TIF" for number in (4, 3, 2)]
CHIPS = [(300, 300), (600, 300), (300, 700), (900, 900), (700, 700), (500, 900)]
BRIEF = ("--width", 4, "--norm", "batch", "--window", 64, "--epochs", 6, "--lr", 1e-2, "--split", "70/15/15")
BRIEF = (*BRIEF, "--device", "cpu", "--precision", "fp32")

pytestmark = pytest.mark.skipif(not BANDS[0].exists(), reason="the rasters in ../shared/data are not there")


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chips of 160 px, labelled by the brightness of red; and the labels of the whole scene."""
    root = tmp_path_factory.mktemp("landsat")
    for folder in ("images", "labels"):
        (root / "chips" / folder).mkdir(parents=True)
    with rasterio.open(BANDS[0]) as dataset:
        profile = {"driver": "GTiff", "crs": dataset.crs, "transform": dataset.transform}
    pixels = np.concatenate([rasterio.open(path).read() for path in BANDS])
    red = pixels[0]
    codes = np.where(red < np.median(red[red > 0]), 10, 20).astype(np.uint8)
    codes[red == 0] = 0
    for number, (row, col) in enumerate(CHIPS):
        window = Window(col, row, 160, 160)
        place = profile | {"width": 160, "height": 160}
        place["transform"] = rasterio.windows.transform(window, profile["transform"])
        part = slice(row, row + 160), slice(col, col + 160)
        shape = {"count": 3, "dtype": "uint16", "nodata": 0}
        with rasterio.open(root / f"chips/images/{number}.tif", "w", **place, **shape) as dataset:
            dataset.write(pixels[:, *part])
        with rasterio.open(root / f"chips/labels/{number}.tif", "w", **place, count=1, dtype="uint8") as dataset:
            dataset.write(codes[None, *part])
    classes = [{"code": 10, "name": "dark", "color": "#00ff00"}, {"code": 20, "name": "bright", "color": "#dc0000"}]
    (root / "chips/legend.json").write_text(json.dumps({"classes": classes, "ignore": [0]}))
    shape = {"count": 1, "dtype": "uint8", "height": red.shape[0], "width": red.shape[1]}
    with rasterio.open(root / "truth.tif", "w", **profile, **shape) as dataset:
        dataset.write(codes[None])
    return root


@pytest.mark.parametrize("scaling", [("--scale", "5000,20000"), ()])
def test_a_model_of_16_bits_maps_a_stack_of_bands(data: Path, tmp_path: Path, scaling: tuple[str, ...]) -> None:
    model, mask = tmp_path / "run", tmp_path / "mask.tif"
    said = run("train", data / "chips", "-o", model, *BRIEF, *scaling).stderr
    assert bool(scaling) != ("pixels are uint16: scaled by mean and 3 standard deviations" in said)
    run("predict", "--stack", *BANDS, "-o", mask, "--model", model, "--window", 256)
    with rasterio.open(mask) as found, rasterio.open(BANDS[0]) as red:
        assert (found.crs, found.transform, found.shape) == (red.crs, red.transform, red.shape)
    report = geoseg.score(mask, data / "truth.tif", data / "chips/legend.json")
    assert report.mean_iou > (0.75 if scaling else 0.55)


def test_percentiles_of_the_stack_are_told_of_its_undeclared_nodata(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "run"
    run("train", data / "chips", "-o", model, *BRIEF, "--scaling", "percentile")
    words = ("predict", "--stack", *BANDS, "--model", model, "--window", 256, "--dry-run", "-o", tmp_path / "mask.tif")
    said = run(*words).stderr
    assert "of the pixels are 0 in all bands" in said and "--nodata 0" in said
    declared = []
    for path in BANDS:
        with rasterio.open(path) as dataset:
            profile = dataset.profile | {"nodata": 0}
            pixels = dataset.read()
        declared.append(tmp_path / path.name)
        with rasterio.open(declared[-1], "w", **profile) as dataset:
            dataset.write(pixels)
    result = run("predict", "--stack", *declared, "--model", model, "--window", 256, "-o", tmp_path / "mask.tif")
    assert "are 0 in all bands" not in result.stderr
    said_so = tmp_path / "said.tif"
    run(
        "predict",
        "--stack",
        *BANDS,
        "--nodata",
        0,
        "--nodata-rule",
        "any",
        "--model",
        model,
        "--window",
        256,
        "-o",
        said_so,
    )
    with rasterio.open(said_so) as one, rasterio.open(tmp_path / "mask.tif") as other:
        assert np.array_equal(one.read(), other.read()) and 255 in one.read()
    assert geoseg.score(tmp_path / "mask.tif", data / "truth.tif", data / "chips/legend.json").mean_iou > 0.55
