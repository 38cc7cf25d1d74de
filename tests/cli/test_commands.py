"""The commands as typed, in one process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result

import geoseg
from geoseg_cli.main import cli


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_sample_train_predict_score(tmp_path: Path) -> None:
    data, folder, mask = tmp_path / "data", tmp_path / "run", tmp_path / "mask.tif"
    run("sample", data, "--scenes", 3, "--size", 48, "--seed", 5)
    trained = run("train", data, "-o", folder, "--loss", "focal", "--width", 4, "--epochs", 1)
    assert trained.stdout.strip() == str(folder)
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "last.safetensors", "history.csv", "config.toml", "report.json", "curves.png"
    }  # fmt: skip
    predicted = json.loads(run("predict", data / "scene.tif", "-o", mask, "--model", folder, "--json").stdout)
    assert sum(predicted["shares"].values()) == pytest.approx(1)
    report = json.loads(run("score", mask, data / "truth.tif", "--json").stdout)
    assert list(report["classes"]) == ["urban", "agriculture", "rangeland", "forest", "water", "barren"]
    with rasterio.open(mask) as dataset, rasterio.open(data / "scene.tif") as scene:
        assert (dataset.crs, dataset.transform, dataset.shape) == (scene.crs, scene.transform, scene.shape)
        assert ((dataset.read(1) == 255) == (scene.dataset_mask() == 0)).all()


def test_several_scenes_go_to_a_folder(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    scenes = [make_raster(name=name) for name in ("a.tif", "b.tif")]
    run("predict", *scenes, "-o", tmp_path / "one.tif", "--model", trained_run, code=2)
    result = run("predict", *scenes, "-o", f"{tmp_path}/maps/", "--model", trained_run, "--json")
    assert [Path(record["path"]).name for record in json.loads(result.stdout)] == ["a.tif", "b.tif"]
    assert sorted(path.name for path in (tmp_path / "maps").glob("*.tif")) == ["a.tif", "b.tif"]


def test_compare(make_raster: Callable[..., Path]) -> None:
    truth = np.arange(37 * 53, dtype=np.uint8).reshape(37, 53) % 3
    for stem in "xyz":
        make_raster(truth, f"truth/{stem}.tif")
        first, second = make_raster(np.roll(truth, 1), f"a/{stem}.tif"), make_raster(truth, f"b/{stem}.tif")
    words = ("compare", first.parent, second.parent, first.parent.parent / "truth", "--legend", "deepglobe")
    record = json.loads(run(*words, "--json", "--draws", 1500, "--seed", 4, "--level", 0.9, "-q").stdout)
    assert [record["resampling"][name] for name in ("draws", "seed", "level", "units")] == [1500, 4, 0.9, 3]
    assert (record["overall"]["mean_iou"]["b"], record["overall"]["mean_iou"]["p"]) == (1, 2 / 8)
    result = run(*words)
    assert "90 % interval" not in result.stdout and "95 % interval" in result.stdout
    assert "A: 3 pair(s)" in result.stderr
    assert "1000" in run(*words, "--draws", 10, code=2).stderr


def test_dry_run_writes_nothing(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    scene = make_raster(np.ones((3, 100, 90), np.uint8))
    words = ("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run, "--window", 40, "--overlap", 8)
    (record,) = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert (record["tiles"], record["window"], record["overlap"]) == (9, 40, 8)
    assert not (tmp_path / "map.tif").exists()
    assert "9 tiles of 40 px" in run(*words, "--dry-run").stdout


def test_info_of_a_data_folder_and_of_vectors(sample_folder: Path, tmp_path: Path) -> None:
    record = json.loads(run("info", sample_folder, "--json").stdout)
    assert (record["kind"], record["synthetic"], record["dtype"]) == ("data folder", True, "uint8")
    assert record["scenes"] == len(list(sample_folder.rglob("*_sat.jpg"))) and record["classes"]["4"] == "water"
    path = tmp_path / "fields.gpkg"
    shapes = shapely.to_wkb([shapely.box(3, 5, 7, 11), shapely.box(1, 2, 3, 4)])
    pyogrio.raw.write(
        path, shapes, [np.array(["a", "b"], object)], ["kind"], geometry_type="Polygon", crs="EPSG:32631", layer="maize"
    )
    layer = json.loads(run("info", path, "--json").stdout)["layer maize"]
    assert layer == {
        "geometry": "Polygon",
        "features": 2,
        "crs": "EPSG:32631",
        "extent": [1, 2, 7, 11],
        "fields": {"kind": "object"},
    }
    (tmp_path / "labels.gpkg").write_text("no")
    assert "is none of GeoPackage" in run("info", tmp_path / "labels.gpkg", code=3).stderr


def test_info(make_raster: Callable[..., Path], trained_run: Path) -> None:
    assert "37 x 53 px" in run("info", make_raster()).stdout
    record = json.loads(run("info", trained_run, "--json").stdout)
    assert record["kind"] == "model" and record["provenance"]["data"]["synthetic"] is True


def test_quiet_silences_messages(trained_run: Path, sample_folder: Path, tmp_path: Path) -> None:
    words = ("score", sample_folder / "truth.tif", sample_folder / "truth.tif")
    assert "same grid" in run(*words).stderr
    assert run(*words, "-q").stderr == "" and run("-q", *words).stderr == ""


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 9 TiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_exit_7(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(geoseg, "score", fails)
    assert "smaller --window" in run("score", "a.tif", "b.tif", code=7).stderr


def test_termination_is_exit_143(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(geoseg, "score", lambda *args, **options: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run("score", "a.tif", "b.tif", code=143)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_stats_prints_shares_as_text_and_json(sample_folder: Path) -> None:
    text = run("stats", sample_folder).stdout
    record = json.loads(run("stats", sample_folder, "--json").stdout)
    assert "agriculture" in text and "oversampling (rare set text)" in text
    assert sum(row["share"] for row in record["classes"]) == pytest.approx(1)
    assert json.loads(run("stats", sample_folder, "--rare-set", "table1", "--json").stdout)["rare_set"] == "table1"
