"""The examples run on a small sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(name: str, *words: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_array_to_map(sample_folder: Path, trained_run: Path) -> None:
    said = run_example("array_to_map.py", sample_folder / "scene.tif", trained_run, 11, 13, 37, 53)
    assert "37 x 53 px" in said and "agriculture" in said


def test_score_folders(sample_folder: Path, trained_run: Path, tmp_path: Path) -> None:
    said = run_example("score_folders.py", sample_folder, trained_run, tmp_path / "maps")
    assert "majority baseline" in said and list((tmp_path / "maps").glob("*.tif"))


def test_demo(tmp_path: Path) -> None:
    said = run_example("demo.py", tmp_path / "demo", "--scenes", 3, "--size", 64, "--epochs", 1)
    assert "mean IoU on the held-out scene" in said and "majority baseline" in said
    with Image.open(tmp_path / "demo" / "map.png") as picture:
        assert picture.width > 1200 and len(picture.getcolors(1 << 24)) > 50
