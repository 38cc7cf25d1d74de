"""Labels from vector files as typed: every command that takes them, and what it says where they do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from click.testing import CliRunner, Result

from geoseg_cli.main import cli

SMALL = "--width", 2, "--size", 16, "--device", "cpu", "--precision", "fp32"


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def root(make_dataset: Callable[..., Path], make_vector: Callable[..., Path]) -> Path:
    """Scenes that share their ground, with one layer of polygons for all, and maps of them."""
    random = np.random.default_rng(0)
    codes = random.choice([10, 20, 30], (10, 14)).repeat(4, 0).repeat(4, 1)[:37, :53].astype(np.uint8)
    root = make_dataset({stem: (random.integers(0, 256, (3, 37, 53), np.uint8), codes) for stem in "abc"})
    with rasterio.open(root / "labels/a.tif") as dataset:
        found = list(rasterio.features.shapes(dataset.read(1), transform=dataset.transform))
    shutil.move(root / "labels", root / "maps")
    shapes = [shapely.geometry.shape(shape) for shape, _ in found]
    make_vector(shapes, [int(value) for _, value in found], "data/labels.gpkg", layer="land", nr=range(len(found)))
    make_vector([shapely.Point(0, 0)], [10], "data/labels.gpkg", layer="other")
    return root


def test_score_and_compare(root: Path) -> None:
    words = root / "labels.gpkg", "--legend", root / "legend.json", "--label-field", "kind", "--label-layer", "land"
    record = json.loads(run("score", root / "maps/a.tif", *words, "--json").stdout)
    assert record["mean_iou"] == 1 and record["scored_pixels"] == 37 * 53
    page = root / "report.html"
    run("score", root / "maps", *words, "--report", page, "--images", root / "images", "-q")
    assert page.read_text().count("<img") > 6
    run("score", root / "maps", *words, "--report", root / "other.html", "--images", root / "images/a.tif", code=2)
    assert "mean IoU (pooled)" in run("compare", root / "maps", root / "maps", *words, "-q").stdout
    assert run("score", root / "maps/a.tif", words[0], "--legend", words[2], "-q", code=3).stderr == (
        f"geoseg: {words[0]}: has 2 layers with geometry (land, other); name one with --label-layer\n"
    )


def test_train_stats_and_ablate(root: Path, tmp_path: Path) -> None:
    which = "--label-field", "kind", "--label-layer", "land"
    stats = json.loads(run("stats", root, *which, "--split", "100/0/0", "--json").stdout)
    assert [row["pixels"] > 0 for row in stats["classes"]] == [True] * 3 and stats["without_class_pixels"] == 0
    folder = tmp_path / "run"
    run("train", root, "-o", folder, *which, *SMALL, "--epochs", 1, "--split", "100/0/0", "-q")
    assert json.loads((folder / "report.json").read_text())["data"]["labels"] == {"name": "kind", "layer": "land"}
    run("train", root, "-o", folder, *which, "--device", "cpu", "--precision", "fp32", "--epochs", 2, "--resume", "-q")
    words = "--settings", "baseline", "--seeds", 1, "--fixed-steps", 1, "--split", "34/33/33"
    run("ablate", root, "-o", tmp_path / "ablation", *which, *words, *SMALL, "-q")
    assert (tmp_path / "ablation/ablation.html").is_file()
    assert "which field holds the classes" in run("train", root, "-o", tmp_path / "x", *which[2:], "-q", code=3).stderr
    assert not (tmp_path / "x").exists()
