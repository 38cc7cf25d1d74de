"""geoseg design and geoseg area as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import geoseg
from geoseg.points import write_points
from geoseg_cli.main import cli

MakeRaster = Callable[..., Path]
LEGEND = {
    "classes": [{"code": 10, "name": "meadow", "color": "#00ff00"}, {"code": 20, "name": "roof", "color": "#dc0000"}]
}


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def map_path(make_raster: MakeRaster) -> Path:
    codes = np.where(np.arange(37 * 53).reshape(37, 53) % 7 < 5, 10, 20).astype(np.uint8)
    path = make_raster(codes, "map.tif")
    (path.parent / "legend.json").write_text(json.dumps(LEGEND))
    return path


@pytest.mark.parametrize("key", [[], ["--key", "key.csv"]])
def test_from_a_map_to_areas(map_path: Path, key: list[str]) -> None:
    folder = map_path.parent
    key = [folder / word if word.endswith(".csv") else word for word in key]
    legend, points = ("--legend", folder / "legend.json"), folder / "points.gpkg"
    words = ("design", map_path, "-o", points, *legend, *key, "--min-per-class", 20, "--seed", 3)
    assert "80 points to label" in run(*words, "--size", 80).stdout
    run(*words, "--size", 80, code=5)
    record = json.loads(run(*words, "--target-se", 0.05, "--expected-ua", "roof=0.9", "--overwrite", "--json").stdout)
    shares = [part["hectares"] for part in record["strata"].values()]
    expected = (sum(w * s for w, s in zip(shares, (0.4, 0.3), strict=True)) / sum(shares) / 0.05) ** 2
    assert record["points"] == np.ceil(expected) and record["seed"] == 3
    assert "no class" in run("area", map_path, "--sample", points, *legend, *key, code=3).stderr
    sample = geoseg.read_points(points)
    names = np.where(np.arange(len(sample)) % 5 == 0, "roof", "meadow").astype(object)
    write_points(sample.with_columns(reference=names), points)
    result = run("area", map_path, "--sample", points, *legend, *key, "--level", 0.9)
    assert all(words in result.stdout for words in ("overall accuracy", "Olofsson et al. 2014", "90 % +-"))
    record = json.loads(run("area", map_path, "--sample", points, *legend, *key, "--json", "-q").stdout)
    assert sum(c["area_ha"]["value"] for c in record["classes"].values()) == pytest.approx(sum(shares))


def test_from_counts(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("map,a,b,pixels\na,45,5,1000\nb,2,48,3000\n")
    record = json.loads(run("area", "--counts", tmp_path / "counts.csv", "--pixel-ha", 0.01, "--json").stdout)
    assert record["classes"]["a"]["area_ha"]["value"] == pytest.approx(10 * 0.9 + 30 * 0.04)
    assert "one sample" not in run("area", "--counts", tmp_path / "counts.csv", "--pixel-ha", 0.01).stderr


@pytest.mark.parametrize(
    "words",
    [[], ["map.tif"], ["--sample", "p.gpkg"], ["map.tif", "--sample", "p.gpkg", "--counts", "c.csv"],
     ["map.tif", "--sample", "p.gpkg", "--pixel-ha", "1"], ["map.tif", "--sample", "p.gpkg", "--level", "95"]],
)  # fmt: skip
def test_what_contradicts_itself_is_a_usage_error(words: list[str]) -> None:
    run("area", *words, code=2)


@pytest.mark.parametrize(
    "words", [[], ["--size", "60", "--target-se", "0.1"], ["--size", "60", "--expected-ua", "roof"]]
)
def test_a_design_needs_one_size(map_path: Path, words: list[str]) -> None:
    legend = ("--legend", map_path.parent / "legend.json")
    run("design", map_path, "-o", map_path.parent / "points.csv", *legend, *words, code=2)


def test_a_seed_below_0_is_a_usage_error(map_path: Path) -> None:
    words = ("design", map_path, "-o", map_path.parent / "points.csv", "--legend", map_path.parent / "legend.json")
    assert "--seed" in run(*words, "--size", 120, "--seed", -1, code=2).stderr


@pytest.mark.parametrize(
    "option",
    [["--legend", "deepglobe"], ["--label-field", "reference"], ["--stratum-field", "s"], ["--drop-unlabelled"]],
)
def test_options_of_a_map_are_refused_with_counts(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "counts.csv").write_text("map,a,b,area_ha\na,45,5,1000\nb,2,48,3000\n")
    result = run("area", "--counts", tmp_path / "counts.csv", *option, code=2)
    assert f"{option[0]} is for MAP and --sample" in result.stderr


def test_a_mask_as_sample_is_exit_3(map_path: Path) -> None:
    result = run("area", map_path, "--sample", map_path, "--legend", map_path.parent / "legend.json", code=3)
    assert "geoseg score" in result.stderr
