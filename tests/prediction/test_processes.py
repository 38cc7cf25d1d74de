"""What happens to a prediction's process: killed anywhere, interrupted, out of disk, beside another; and its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geoseg
from geoseg.prediction.journal import unfinished

AT_A_CALL = """
import importlib, os, signal, sys, time
from geoseg_cli.main import cli

where, number, what, *sys.argv[1:] = sys.argv[1:]
names = where.split(".")
owner = importlib.import_module(".".join(name for name in names if name.islower() and name != names[-1]))
owner = getattr(owner, names[-2], owner)
call, made = getattr(owner, names[-1]), []

def stop(*args, **kwargs):
    made.append(args)
    if len(made) == int(number):
        if what == "hold":
            print("holding", flush=True)
            time.sleep(60)
        os.kill(os.getpid(), getattr(signal, what))
        time.sleep(1)
    return call(*args, **kwargs)

setattr(owner, names[-1], stop)
cli()
"""
"""Runs geoseg, and sends itself a signal just before a call of a function; "hold" waits there instead."""

WITH_SMALL_FILES = """
import resource, sys
from geoseg_cli.main import cli

limit, *sys.argv[1:] = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
cli()
"""
JOURNAL, WRITER = "geoseg.prediction.journal", "geoseg.raster.writer"
POINTS = {
    "before the plan is written": (f"{JOURNAL}.Journal._append", 1),
    "after the first part, before its line": (f"{JOURNAL}.Journal._append", 2),
    "between two shards": (f"{JOURNAL}.Journal.add", 3),
    "before the overviews": (f"{WRITER}.RasterWriter._build_overviews", 1),
    "within the overviews": (f"{WRITER}.RasterWriter._build_level", 2),
    "before the map is read back": (f"{WRITER}.RasterWriter._verify", 1),
    "before the map is flushed": (f"{WRITER}._flush", 2),
    "before the map is put in its place": ("os.replace", 1),
    "between the map and its sidecar": ("os.replace", 2),
    "before the parts are forgotten": ("shutil.rmtree", 1),
}
SHAPE = 4200, 90


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """Three shards, one below the other."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    pixels = np.random.default_rng(0).integers(1, 255, (3, *SHAPE), np.uint8)
    shape = {"count": 3, "height": SHAPE[0], "width": SHAPE[1], "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, **shape) as dataset:
        dataset.write(pixels)
    return path


@pytest.fixture(scope="module")
def whole(scene: Path, trained_run: Path) -> bytes:
    """The map that an undisturbed run makes."""
    path = scene.with_name("whole.tif")
    geoseg.predict(scene, trained_run, path)
    return path.read_bytes()


def start(script: str, *before: object, scene: Path, model: Path, output: Path, options=()) -> subprocess.Popen:
    words = [*before, "predict", scene, "--model", model, "-o", output, *options]
    command = [sys.executable, "-c", script, *(str(word) for word in words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def resume(scene: Path, model: Path, output: Path) -> None:
    geoseg.predict(scene, model, output, resume=True, overwrite=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_a_run_leaves_the_old_map_or_the_new_one_and_goes_on(
    point: str, scene: Path, trained_run: Path, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "map.tif"
    output.write_bytes(b"the old map")
    where, number = POINTS[point]
    place = {"scene": scene, "model": trained_run, "output": output}
    killed = start(AT_A_CALL, where, number, "SIGKILL", **place, options=["--overwrite"])
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, errors
    put_in_place = point in ("between the map and its sidecar", "before the parts are forgotten")
    assert output.read_bytes() == (whole if put_in_place else b"the old map")
    resume(scene, trained_run, output)
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["map.tif", "map.tif.aux.xml"]


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_cleans_up_and_says_how_to_go_on(
    number: str, code: int, scene: Path, trained_run: Path, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "map.tif"
    place = {"scene": scene, "model": trained_run, "output": output}
    stopped = start(AT_A_CALL, f"{JOURNAL}.Journal.add", 2, number, **place)
    _, errors = stopped.communicate(timeout=120)
    assert stopped.returncode == code, errors
    assert f"to go on: geoseg predict {scene} --model {trained_run} -o {output} --resume" in errors
    assert names(tmp_path) == [".map.tif.geoseg"] and unfinished(output)
    resume(scene, trained_run, output)
    assert output.read_bytes() == whole


def test_a_second_process_is_refused(scene: Path, trained_run: Path, tmp_path: Path) -> None:
    place = {"scene": scene, "model": trained_run, "output": tmp_path / "map.tif"}
    first = start(AT_A_CALL, f"{JOURNAL}.Journal.add", 2, "hold", **place)
    try:
        assert first.stdout.readline() == "holding\n"
        second = start("from geoseg_cli.main import cli; cli()", **place, options=["--resume"])
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 5 and "is being written by another process" in errors
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize("share", [0.001, 0.2, 0.8])
def test_a_full_disk_leaves_no_map_and_what_was_finished(
    share: float, scene: Path, trained_run: Path, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "map.tif"
    place = {"scene": scene, "model": trained_run, "output": output}
    full = start(WITH_SMALL_FILES, int(share * len(whole)), **place)
    _, errors = full.communicate(timeout=120)
    assert full.returncode == 7 and "disk full?" in errors and "Traceback" not in errors
    assert not output.exists() and not list(tmp_path.glob(".*partial*"))
    resume(scene, trained_run, output)
    assert output.read_bytes() == whole


def test_a_stale_sidecar_is_replaced(scene: Path, trained_run: Path, tmp_path: Path) -> None:
    output, sidecar = tmp_path / "map.tif", tmp_path / "map.tif.aux.xml"
    for path in (output, sidecar, tmp_path / "map.tif.ovr"):
        path.write_text("of another map")
    geoseg.predict(scene, trained_run, output, overwrite=True)
    assert "<Category>urban</Category>" in sidecar.read_text()
    assert names(tmp_path) == ["map.tif", "map.tif.aux.xml"]


PEAK = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
import geoseg
from materials import POINTWISE, segmenter
from measure import peak_mib
from geoseg.raster.scene import ArrayScene

network = segmenter(POINTWISE)
options = {"window": 512, "size": 512, "overlap": 64, "shard_shape": (512, 1024), "precision": "fp32"}
geoseg.predict(np.ones((3, 600, 600), np.uint8), network, sys.argv[2], overwrite=True, **options)
before = peak_mib()
result = geoseg.predict(sys.argv[3], network, sys.argv[2], overwrite=True, **options)
print(json.dumps([peak_mib() - before, result.plan.memory / 2**20]))
"""


def test_memory_does_not_grow_with_the_scene_and_stays_within_what_the_plan_says(tmp_path: Path) -> None:
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    peaks = []
    # What geoseg holds is asked for, not what glibc keeps of it for reuse, which differs from run to run.
    returning = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "2"}
    # The smaller one fills GDAL's cache, too; both are an equal number of pixels more than a multiple of the step.
    for height in (22_000, 22_000 + 100 * 448):
        path = tmp_path / f"{height}.tif"
        shape = {"count": 3, "height": height, "width": 1024, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, **shape) as dataset:
            dataset.write(np.full((3, height, 1024), 7, np.uint8))
        command = [sys.executable, "-c", PEAK, str(benchmarks), str(tmp_path / "map.tif"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | returning)
        peaks.append(json.loads(done.stdout))
    (small, planned), (large, planned_again) = peaks
    cache = 64
    assert planned == planned_again
    assert large <= planned + cache and large <= 1.1 * small, peaks
