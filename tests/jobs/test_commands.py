"""geoseg job as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import geoseg
from geoseg_cli.main import cli


def run(*words: object, code: int = 0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def scene(make_raster):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 700, 530)).astype(np.uint8)
    return make_raster(pixels, tiled=True, nodata=0)


def test_plan_run_status_merge(scene, job_model, tmp_path):
    folder, how = tmp_path / "job", ("--model", job_model, "--window", 256, "--device", "cpu")
    planned = run("job", "plan", scene, "-o", folder, *how, "--part", 512)
    assert "4 task(s)" in planned.stdout and f"next: geoseg job run {folder}" in planned.stderr
    again = json.loads(run("job", "plan", scene, "-o", folder, *how, "--part", 512, "--json").stdout)
    assert again["tasks"] == 4 and again["scenes"][0]["window"] == 256
    assert "holds another job" in run("job", "plan", scene, "-o", folder, *how, code=5).stderr
    assert "0 of 4 tasks done" in run("job", "status", folder).stdout
    sliced = run("job", "run", folder, "--shard", "2/2", "--json")
    assert json.loads(sliced.stdout)["computed"] == 2 and f"next: geoseg job status {folder}" in sliced.stderr
    error = run("job", "merge", folder, "-o", tmp_path / "map.tif", code=2).stderr
    assert f"geoseg job run {folder}" in error and len(error.splitlines()) == 1
    last = run("job", "run", folder)
    assert "2 of 4 task(s) computed" in last.stdout and f"next: geoseg job merge {folder} -o MASK.tif" in last.stderr
    status = json.loads(run("job", "status", folder, "--json").stdout)
    assert status["finished"] and status["scenes"][0]["percent"] == 100
    (merged,) = json.loads(run("job", "merge", folder, "-o", tmp_path / "map.tif", "--json", "--co", "ZLEVEL=1").stdout)
    assert merged["done"] == 4 and merged["path"] == str(tmp_path / "map.tif")
    expected = geoseg.predict(scene, job_model, window=256, device="cpu")
    with rasterio.open(tmp_path / "map.tif") as made:
        assert np.array_equal(made.read(1), expected.codes)
    assert "ha)" in run("job", "merge", folder, "-o", tmp_path / "map.vrt").stdout


def test_several_scenes_are_merged_into_a_folder(scene, job_model, tmp_path):
    other = scene.with_name("other.tif")
    other.write_bytes(scene.read_bytes())
    run("job", "plan", scene, other, "-o", tmp_path / "job", "--model", job_model, "--device", "cpu")
    assert f"next: geoseg job merge {tmp_path}/job -o DIR/" in run("job", "run", tmp_path / "job").stderr


def test_failed_tasks_are_exit_6(scene, job_model, tmp_path):
    folder = tmp_path / "job"
    run("job", "plan", scene, "-o", folder, "--model", job_model, "--device", "cpu", "--part", 512)
    scene.unlink()
    error = run("job", "run", folder, code=6).stderr
    assert "4 of 4 task(s) failed" in error and "task 0 (scene.tif" in error and "and 1 more" in error
    assert "failed 1 time(s)" in run("job", "status", folder).stdout


def test_no_job(tmp_path):
    assert "holds no job" in run("job", "status", tmp_path, code=2).stderr
