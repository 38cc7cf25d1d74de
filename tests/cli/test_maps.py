"""geoseg vectorize, geoseg restyle and predict's options for whole maps, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pyogrio
import pytest
import rasterio
from click.testing import CliRunner, Result

from geoseg_cli.main import cli

BRIGHT = {
    "classes": [
        {"code": 10 * code, "name": name, "color": f"#{code + 1:02x}0000"}
        for code, name in enumerate(("urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown"))
    ],
    "ignore": [60],
}


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def map_path(sample_folder: Path) -> Path:
    """A class raster of seven classes."""
    return sample_folder / "truth.tif"


def test_a_prediction_without_small_patches(sample_folder: Path, trained_run: Path, tmp_path: Path) -> None:
    words = ("--model", trained_run, "--device", "cpu", "--precision", "fp32", "--min-area", 0.01, "--qml")
    done = run("predict", sample_folder / "scene.tif", "-o", tmp_path / "map.tif", *words)
    assert "patches below 0.01 ha were merged" in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_a_map_as_polygons(map_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "polygons.gpkg"
    done = run("vectorize", map_path, "-o", output, "--simplify", 2)
    assert "polygons" in done.stdout and "hectares" in done.stdout
    run("vectorize", map_path, "-o", output, code=5)
    record = json.loads(run("vectorize", map_path, "-o", output, "--overwrite", "--json", "-q").stdout)
    assert pyogrio.read_info(output, layer="polygons")["features"] == sum(
        one["features"] for one in record["classes"].values()
    )
    largest = max(record["classes"], key=lambda name: record["classes"][name]["pixels"])
    words = ("--classes", f"{largest}, unknown", "--connectivity", 8, "--layer", "land", "--min-pixels", 5)
    record = json.loads(run("vectorize", map_path, "-o", tmp_path / "a.fgb", *words, "--json").stdout)
    assert set(record["classes"]) == {largest, "unknown"} and record["layer"] == "land"


def test_the_map_s_table_and_the_polygons_agree(map_path: Path, tmp_path: Path) -> None:
    record = json.loads(run("vectorize", map_path, "-o", tmp_path / "polygons.gpkg", "--json", "-q").stdout)
    sidecar = Path(f"{map_path}.aux.xml").read_text()
    for one in record["classes"].values():
        assert f"<F>{one['pixels']}</F><F>{one['hectares']:.6f}</F>" in sidecar


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--classes", "roof"], 2), (["--min-area", "0"], 2), (["--min-area", "1", "--min-pixels", "3"], 2),
     (["--connectivity", "6"], 2), (["--legend", "missing.json"], 3)],
)  # fmt: skip
def test_vectorize_refuses(map_path: Path, tmp_path: Path, words: list[str], code: int) -> None:
    run("vectorize", map_path, "-o", tmp_path / "polygons.gpkg", *words, code=code)
    assert not list(tmp_path.iterdir())


def test_a_map_in_another_legend(map_path: Path, tmp_path: Path) -> None:
    (tmp_path / "bright.json").write_text(json.dumps(BRIGHT))
    words = ("restyle", map_path, "--legend", tmp_path / "bright.json", "-o", tmp_path / "bright.tif", "--qml")
    assert "to 10" in run(*words).stdout
    run(*words, code=5)
    record = json.loads(run(*words, "--overwrite", "--json").stdout)
    assert record["legend"] == "bright" and record["codes"].get("1", 10) == 10
    with rasterio.open(tmp_path / "bright.tif") as new, rasterio.open(map_path) as old:
        assert (new.read(1)[old.read(1) != 255] == 10 * old.read(1)[old.read(1) != 255]).all()
    done = run("restyle", tmp_path / "bright.tif")
    assert "codes as before" in done.stdout and "bright.qml: is left as it was" in done.stderr


def test_a_dry_run_takes_the_options(sample_folder: Path, trained_run: Path, tmp_path: Path) -> None:
    words = ("--model", trained_run, "--device", "cpu", "--min-area", 0.01, "--qml", "--dry-run", "--json")
    (record,) = json.loads(run("predict", sample_folder / "scene.tif", "-o", tmp_path / "map.tif", *words).stdout)
    assert record["tiles"] and not list(tmp_path.iterdir())
