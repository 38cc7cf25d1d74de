"""Ground resolution, areas and mosaics as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.features import rasterize

from geoseg.models.storage import load, save_segmenter
from geoseg_cli.main import cli

PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.5, 5_417_386.25)
MakeRaster = Callable[..., Path]


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def model(trained_run: Path, tmp_path: Path) -> Path:
    """A model of 0.5 m."""
    segmenter = load(trained_run)
    segmenter.config = replace(segmenter.config, gsd=0.5)
    save_segmenter(segmenter, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def scene(make_raster: MakeRaster) -> Path:
    pixels = np.random.default_rng(1).integers(1, 256, (3, 90, 120)).astype(np.uint8)
    return make_raster(pixels, transform=PLACE)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    shape = shapely.Point(PLACE @ (60, 40)).buffer(12)
    for layer in ("lot", "rest"):
        what = {"driver": "GPKG", "layer": layer, "geometry_type": "Polygon", "crs": "EPSG:32631"}
        pyogrio.raw.write(tmp_path / "area.gpkg", shapely.to_wkb([shape]), [], [], append=layer == "rest", **what)
    return tmp_path / "area.gpkg"


def test_match_gsd_gives_a_map_on_the_scene_s_grid(model: Path, make_raster: MakeRaster, tmp_path: Path) -> None:
    fine = make_raster(np.full((3, 301, 411), 90, np.uint8), transform=Affine(0.05, 0, 4e5, 0, -0.05, 5e6))
    plain = run("predict", fine, "-o", tmp_path / "plain.tif", "--model", model)
    assert "at 0.05 m per pixel and was trained at 0.5 m, 10.0 times as coarse" in plain.stderr
    planned = json.loads(
        run("predict", fine, "-o", tmp_path / "m.tif", "--model", model, "--match-gsd", "--dry-run", "--json").stdout
    )
    assert (planned[0]["factor"], planned[0]["shape"]) == (10, [301, 411])
    done = run("predict", fine, "-o", tmp_path / "m.tif", "--model", model, "--match-gsd", "--window", 320)
    assert "10 x 10 pixels read as one" in done.stderr and "trained at" not in done.stderr
    with rasterio.open(tmp_path / "m.tif") as made, rasterio.open(fine) as source:
        assert (made.transform, made.crs, made.shape) == (source.transform, source.crs, source.shape)
        assert json.loads(made.tags()["GEOSEG_SETTINGS"])["factor"] == 10


def test_gsd_of_a_picture(model: Path, make_raster: MakeRaster, tmp_path: Path) -> None:
    picture = make_raster(np.full((3, 40, 60), 90, np.uint8), "p.png", None, None, driver="PNG")
    words = ("predict", picture, "-o", tmp_path / "m.tif", "--model", model)
    assert "tells no ground resolution" in run(*words).stderr
    done = run(*words, "--overwrite", "--match-gsd", code=3)
    assert "name it with --gsd M" in done.stderr
    assert "5 x 5 pixels read as one" in run(*words, "--overwrite", "--match-gsd", "--gsd", 0.1).stderr
    run(*words, "--gsd", 0, code=2)


def test_a_model_without_a_resolution_matches_none(trained_run: Path, model: Path, scene: Path, tmp_path: Path) -> None:
    words = ("predict", scene, "-o", tmp_path / "m.tif", "--match-gsd", "--model")
    assert "train it with --gsd M" in run(*words, trained_run, code=4).stderr
    assert "leave --window or --size out" in run(*words, model, "--size", 32, "--window", 64, code=2).stderr


def test_aoi_and_bbox(model: Path, scene: Path, area: Path, tmp_path: Path) -> None:
    words = ("predict", scene, "--model", model, "--window", 32, "-o")
    done = run(*words, tmp_path / "a.tif", "--aoi", area, code=3)
    assert "2 layers with geometry (lot, rest)" in done.stderr and f"{area}:LAYER" in done.stderr
    run(*words, tmp_path / "a.tif", "--aoi", f"{area}:lot")
    shape = shapely.Point(PLACE @ (60, 40)).buffer(12)
    inside = rasterize([shape], (90, 120), transform=PLACE).astype(bool)
    whole = run(*words, tmp_path / "whole.tif", "--json")
    with rasterio.open(tmp_path / "a.tif") as part, rasterio.open(tmp_path / "whole.tif") as all_:
        assert np.array_equal(part.read(1), np.where(inside, all_.read(1), 255))
    assert json.loads(whole.stdout)["data"] == 90 * 120
    west, south, east, north = (*(PLACE @ (10, 30)), *(PLACE @ (50, 20)))
    box = json.loads(run(*words, tmp_path / "b.tif", "--bbox", f"{west},{south},{east},{north}", "--json").stdout)
    assert (box["data"], box["nodata"], box["shape"]) == (400, 90 * 120 - 400, [90, 120])
    dry = json.loads(
        run(*words, tmp_path / "d.tif", "--bbox", f"{west},{south},{east},{north}", "--dry-run", "--json").stdout
    )
    assert 0 < dry[0]["windows_with_data"] < dry[0]["windows"] and not (tmp_path / "d.tif").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--bbox", "-1,48,1,49", "--bbox-crs", "EPSG:4326"), 3, "misses"),
        (("--bbox", "2,1,1,2"), 2, "west below east"),
        (("--bbox", "1,2,3"), 2, "is not four numbers"),
        (("--bbox", "1,2,3,4", "--bbox-crs", "EPSG:0"), 2, "is no CRS"),
        (("--bbox-crs", "EPSG:4326"), 2, "--bbox-crs is of a --bbox"),
        (("--aoi", "none.gpkg"), 3, "none.gpkg: no such file"),
        (("--aoi", "none.gpkg", "--bbox", "1,2,3,4"), 2, "choose one"),
        (("--gsd", "-1"), 2, "--gsd"),
    ],
)
def test_what_cannot_be_is_one_line(model: Path, scene: Path, tmp_path: Path, options, code: int, said: str) -> None:
    done = run("predict", scene, "--model", model, "-o", tmp_path / "m.tif", *options, code=code)
    assert said in done.stderr and not (tmp_path / "m.tif").exists()


def test_mosaic(model: Path, make_raster: MakeRaster, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(1, 256, (3, 60, 140)).astype(np.uint8)
    whole = make_raster(pixels, "whole.tif", transform=PLACE)
    parts = [
        make_raster(pixels[:, :, first:stop], f"{first}.tif", transform=PLACE @ Affine.translation(first, 0))
        for first, stop in ((70, 140), (0, 75))
    ]
    words = ("predict", *parts, "--model", model, "--window", 32, "-o")
    assert "or make one of them with --mosaic" in run(*words, tmp_path / "map.tif", code=2).stderr
    record = json.loads(
        run(*words, tmp_path / "map.tif", "--mosaic", "--json", "--quicklook", tmp_path / "q.png").stdout
    )
    assert record["shape"] == [60, 140] and (tmp_path / "q.png").exists()
    run("predict", whole, "--model", model, "--window", 32, "-o", tmp_path / "one.tif")
    with rasterio.open(tmp_path / "map.tif") as mosaic, rasterio.open(tmp_path / "one.tif") as one:
        assert np.array_equal(mosaic.read(1), one.read(1)) and mosaic.transform == one.transform
    assert "a mosaic is one scene" in run(*words, f"{tmp_path}/maps/", "--mosaic", code=2).stderr
    assert "--stack joins the bands" in run(*words, tmp_path / "b.tif", "--mosaic", "--stack", code=2).stderr
    assert "is the scene itself" in run(*words, parts[1], "--mosaic", "--overwrite", code=2).stderr
    off = make_raster(pixels, "off.tif", transform=PLACE @ Affine.translation(140.3, 0))
    done = run("predict", *parts, off, "--mosaic", "-o", tmp_path / "n.tif", "--model", model, code=3)
    assert "off.tif: lies +0.30 px right" in done.stderr
    assert "2 others: 60 x 210" not in done.stderr


def test_train_records_the_resolution_that_is_said(make_dataset, tmp_path: Path, caplog) -> None:
    codes = np.tile(np.array([10, 20], np.uint8), (16, 8))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 16, 16), np.uint8)
    data = make_dataset({stem: (pixels, codes) for stem in "abcd"}, transform=None)
    words = ("train", data, "--width", 2, "--steps", 1, "--split", "50/50/0", "--batch-size", 2)
    run(*words, "-o", tmp_path / "run", "--gsd", 0.5)
    found = json.loads(run("info", tmp_path / "run", "--json").stdout)
    assert found["gsd"] == 0.5 and found["provenance"]["setting"] == "custom"
    run(*words, "-o", tmp_path / "none")
    assert json.loads(run("info", tmp_path / "none", "--json").stdout)["gsd"] is None
    run(*words, "-o", tmp_path / "wrong", "--gsd", -2, code=2)
    # The run goes on with what it was begun with.
    run("train", data, "-o", tmp_path / "run", "--resume", "--steps", 2)
    assert json.loads(run("info", tmp_path / "run", "--json").stdout)["gsd"] == 0.5
