"""geoseg export, stac and predict --stac; the messages that name the next command; python -m geoseg."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner, Result

import geoseg
from geoseg_cli.main import cli


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def scene(sample_folder: Path, tmp_path: Path) -> Path:
    """The sample's scene with the time at which it was taken."""
    path = tmp_path / "scene.tif"
    shutil.copy(sample_folder / "scene.tif", path)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2024-05-01 10:00:00")
    return path


def test_export_writes_both(trained_run, tmp_path, require_stac):
    onnx, item = tmp_path / "m.onnx", tmp_path / "m.json"
    done = run("export", trained_run, "--onnx", onnx, "--stac", item, "--datetime", "2023", "--bbox", "2,48,3,49")
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{onnx}: pixels uint8 (batch, 3, height, width) -> scores float32 (batch, 6, height")
    assert second == str(item)
    record = json.loads(item.read_text())
    require_stac(record)
    assert record["assets"]["onnx"]["href"] == "./m.onnx" and record["bbox"] == [2, 48, 3, 49]
    before = onnx.read_bytes()
    assert "exists; --overwrite" in run("export", trained_run, "--onnx", onnx, code=5).stderr
    item.unlink()
    item.mkdir()
    assert (
        "a folder is in the place"
        in run("export", trained_run, "--onnx", onnx, "--stac", item, "--overwrite", code=5).stderr
    )
    assert onnx.read_bytes() == before


def test_export_says_what_it_lacks(trained_run, tmp_path, monkeypatch):
    assert "say what to write: --onnx FILE.onnx" in run("export", trained_run, code=2).stderr
    item = tmp_path / "m.json"
    assert "--deepness without --onnx" in run("export", trained_run, "--stac", item, "--deepness", code=2).stderr
    assert "--bbox without --stac" in run("export", trained_run, "--onnx", "m.onnx", "--bbox", "1,2,3,4", code=2).stderr
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = run("export", trained_run, "--onnx", tmp_path / "m.onnx", code=2)
    assert "pip install 'geoseg[onnx]'" in done.stderr
    assert json.loads(run("export", trained_run, "--stac", item, "--json").stdout) == {"stac": {"path": str(item)}}


def test_predict_with_an_item_beside_the_map(scene, trained_run, tmp_path, require_stac):
    mask = tmp_path / "maps" / "scene.tif"
    words = ("predict", scene, "-o", f"{mask.parent}/", "--model", trained_run, "--device", "cpu", "--stac")
    done = run(*words)
    item = json.loads(mask.with_suffix(".json").read_text())
    require_stac(item)
    assert item["properties"]["datetime"] == "2024-05-01T10:00:00Z"
    assert item["links"][0]["href"] == "../scene.tif"
    assert f"next: geoseg score {mask} TRUTH" in done.stderr
    run(*words, "--overwrite", "--datetime", "2023", "-q")
    assert json.loads(mask.with_suffix(".json").read_text())["properties"]["start_datetime"].startswith("2023-01-01")


def test_predict_asks_for_the_time_before_any_work(sample_folder, trained_run, tmp_path):
    words = ("predict", sample_folder / "scene.tif", "-o", tmp_path / "m.tif", "--model", trained_run)
    assert "is of a time, and a map tells none" in run(*words, "--stac", code=2).stderr
    assert "--datetime is of the Items that --stac writes" in run(*words, "--datetime", "2024", code=2).stderr
    (tmp_path / "m.json").write_text("mine")
    assert "exists; --overwrite" in run(*words, "--stac", "--datetime", "2024", code=5).stderr
    assert not (tmp_path / "m.tif").exists() and (tmp_path / "m.json").read_text() == "mine"


def test_a_resumed_run_writes_the_items_that_lack_and_no_others(sample_folder, trained_run, tmp_path):
    scenes = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path in scenes:
        shutil.copy(sample_folder / "scene.tif", path)
    words = ("predict", *scenes, "-o", f"{tmp_path}/maps/", "--model", trained_run, "--device", "cpu", "-q")
    run(*words)
    (tmp_path / "maps/b.json").write_text("mine")
    items = ("--stac", "--datetime", "2024")
    assert "b.json: exists" in run(*words, *items, "--resume", code=5).stderr
    (tmp_path / "maps/b.json").unlink()
    run(*words, *items, "--resume")
    assert [json.loads((tmp_path / f"maps/{name}.json").read_text())["id"] for name in "ab"] == ["a", "b"]


def test_a_scene_without_a_place_is_refused_an_item_before_any_work(make_raster, trained_run, tmp_path):
    scene = make_raster(crs=None, transform=None)
    words = ("predict", scene, "-o", tmp_path / "m.tif", "--model", trained_run, "--stac", "--datetime", "2024")
    assert "scene.tif: has no place on Earth" in run(*words, code=3).stderr and not (tmp_path / "m.tif").exists()


def test_stac_of_a_map_that_is_there(scene, trained_run, tmp_path, monkeypatch, require_stac):
    monkeypatch.chdir(tmp_path)
    geoseg.predict("scene.tif", trained_run, "m.tif", device="cpu")
    # The map's tags name the scene, and the scene's its time.
    assert run("stac", "m.tif", "--model", trained_run).stdout == "m.json\n"
    item = json.loads(Path("m.json").read_text())
    require_stac(item)
    assert item["properties"]["datetime"] == "2024-05-01T10:00:00Z" and item["links"][0]["href"] == "./scene.tif"
    assert "exists; --overwrite" in run("stac", "m.tif", code=5).stderr
    printed = json.loads(run("stac", "m.tif", "-o", "n.json", "--datetime", "2024-05", "--json").stdout)
    assert printed == json.loads(Path("n.json").read_text())
    scene.unlink()
    assert "give the scene's with --datetime" in run("stac", "m.tif", "--overwrite", code=2).stderr


def test_the_next_command_is_told_unless_quiet(tmp_path):
    folder = tmp_path / "my data"
    words = ("sample", folder, "--scenes", 3, "--size", 32)
    assert f"next: geoseg train '{folder}' -o RUN" in run(*words).stderr
    assert run(*words[:1], tmp_path / "other", *words[2:], "-q").stderr == ""


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "geoseg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"geoseg, version {geoseg.__version__}\n"
