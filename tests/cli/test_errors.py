"""Bad input gets one line, the right exit code, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def run_geoseg(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geoseg_cli", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def require_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("geoseg: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    for part in parts:
        assert part in errors[0]


def test_missing_scene(trained_run: Path, tmp_path: Path) -> None:
    done = run_geoseg("predict", tmp_path / "no.tif", "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 3, "no.tif", "no such file")
    assert list(tmp_path.iterdir()) == []


def test_unreadable_scene(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    done = run_geoseg("predict", tmp_path / "text.tif", "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 3, "text.tif", "cannot be opened as a raster")


def test_truncated_scene_leaves_no_map(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (3, 300, 300), np.uint8)
    scene = make_raster(noise, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    scene.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    done = run_geoseg("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 3, "scene.tif", "damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_wrong_band_count(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    scene = make_raster(np.ones((4, 9, 9), np.uint8), photometric="minisblack")
    done = run_geoseg("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 3, "4 band(s)", "--bands 1,2,3")
    done = run_geoseg("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run, "--bands", "4,2,1")
    assert done.returncode == 0, done.stderr


def test_wrong_dtype(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    scene = make_raster(np.full((3, 9, 9), 300, np.uint16))
    done = run_geoseg("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 3, "uint16", "gdal_translate")


def test_existing_output_stays(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"precious")
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "map.tif", "--model", trained_run)
    require_one_line(done, 5, "map.tif", "--overwrite")
    assert (tmp_path / "map.tif").read_bytes() == b"precious"


def test_output_folder_missing(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "no" / "map.tif", "--model", trained_run)
    require_one_line(done, 5, "no such folder")


def test_output_is_the_scene(make_raster: Callable[..., Path], trained_run: Path) -> None:
    scene = make_raster()
    before = scene.read_bytes()
    done = run_geoseg("predict", scene, "-o", scene, "--model", trained_run, "--overwrite")
    require_one_line(done, 2, "is the scene itself")
    assert scene.read_bytes() == before


def test_missing_model(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "map.tif", "--model", tmp_path / "no")
    require_one_line(done, 4, "no such model")


def test_no_run_to_take(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "map.tif", cwd=tmp_path)
    require_one_line(done, 4, "geoseg train", "--model")


def test_model_of_the_synthetic_sample_is_not_taken_by_default(
    make_raster: Callable[..., Path], trained_run: Path, sample_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "runs" / "a")
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "map.tif", cwd=tmp_path)
    require_one_line(done, 4, "synthetic", "--model")
    done = run_geoseg("predict", sample_folder / "scene.tif", "-o", tmp_path / "map.tif", cwd=tmp_path)
    assert done.returncode == 0 and "newest finished run" in done.stderr


def test_pickle_is_never_loaded(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04N.")
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "map.tif", "--model", tmp_path / "model.pt")
    require_one_line(done, 4, "never loaded")


def test_unreachable_imagenet_weights(sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    done = run_geoseg("train", sample_folder, "-o", tmp_path / "run", "--setting", "resnet34")
    require_one_line(done, 4, "ImageNet weights", "--encoder-weights")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_unknown_colours_in_a_mask(sample_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "labels").mkdir()
    Image.new("RGB", (40, 30), (9, 9, 9)).save(data / "images" / "a.png")
    Image.new("RGB", (40, 30), (1, 2, 3)).save(data / "labels" / "a.png")
    classes = '[{"code": 0, "name": "a", "color": "#000000"}, {"code": 1, "name": "b", "color": "#ffffff"}]'
    (data / "legend.json").write_text(f'{{"classes": {classes}}}')
    done = run_geoseg("train", data, "-o", tmp_path / "run", "--split", "100/0/0")
    require_one_line(done, 3, "a.png", "1200 pixels", "#010203")


def test_sizes_that_cannot_be_aligned(make_raster: Callable[..., Path]) -> None:
    nowhere = {"crs": None, "transform": None}
    first = make_raster(np.zeros((40, 30), np.uint8), "a.tif", **nowhere)
    second = make_raster(np.zeros((43, 30), np.uint8), "b.tif", **nowhere)
    done = run_geoseg("score", first, second)
    require_one_line(done, 3, "40 x 30", "43 x 30")


def test_scene_too_large_for_one_size(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    scene = make_raster(np.ones((3, 20, 600), np.uint8))
    done = run_geoseg("predict", scene, "-o", tmp_path / "map.tif", "--model", trained_run, "--size", 128)
    require_one_line(done, 2, "--window 512 --size 128")


def test_missing_device(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    done = run_geoseg("predict", make_raster(), "-o", tmp_path / "m.tif", "--model", trained_run, "--device", "cuda:99")
    require_one_line(done, 7, "cuda:99")


def test_run_folder_is_not_overwritten(sample_folder: Path, trained_run: Path) -> None:
    before = (trained_run / "model.safetensors").read_bytes()
    done = run_geoseg("train", sample_folder, "-o", trained_run)
    require_one_line(done, 5, "--resume")
    assert (trained_run / "model.safetensors").read_bytes() == before


def test_sample_does_not_write_into_a_full_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run_geoseg("sample", tmp_path, "--scenes", 1, "--size", 32)
    require_one_line(done, 5, "not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run_geoseg("score", tmp_path / "a.tif", tmp_path / "b.tif", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "InputError" in done.stderr


def test_closed_stdout_ends_quietly(make_raster: Callable[..., Path]) -> None:
    raster = make_raster(np.zeros((8, 8), np.uint8))
    words = f"{sys.executable} -m geoseg_cli info {raster} | true"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert done.stderr == ""


def test_a_bare_environment(make_raster: Callable[..., Path], trained_run: Path, tmp_path: Path) -> None:
    """No home, no UTF-8, another time zone, a folder that cannot be written to as the working one."""
    scene, output = make_raster(name="scène ü.tif"), tmp_path / "карта.tif"
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "OMP_NUM_THREADS": "1"}
    (tmp_path / "here").mkdir(mode=0o500)
    words = ["predict", scene, "-o", output, "--model", trained_run]
    command = [sys.executable, "-m", "geoseg_cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path / "here", env=bare, timeout=120)
    assert done.returncode == 0, done.stderr
    assert output.is_file() and list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("words", [("predict",), ("frob",), ("score", "a.tif"), ("train", "--loss", "dice")])
def test_usage(words: tuple[str, ...]) -> None:
    assert run_geoseg(*words).returncode == 2
