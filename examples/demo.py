"""The main job on the synthetic sample, command by command: sample, train, predict, score, pictures.

    python examples/demo.py [FOLDER] [--scenes N] [--size PX] [--epochs N] [--check]

Everything is written below FOLDER (default: demo). The land is invented; the figures say nothing about real land.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import geoseg

MARGIN_OVER_MAJORITY = 0.25
"""How much better than the majority class the demo's mean IoU is meant to be."""


def main() -> None:
    options = parse_arguments()
    folder = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    data, run, map_path = folder / "data", folder / "run", folder / "map.tif"
    start = time.monotonic()

    geoseg_command("sample", data, "--scenes", options.scenes, "--size", options.size)
    network = ("--encoder", "resnet34", "--encoder-weights", "none", "--norm", "batch")
    schedule = ("--window", options.size // 2, "--epochs", options.epochs, "--batch-size", 8, "--lr", 5e-4)
    geoseg_command("train", data, "-o", run, *network, *schedule)
    geoseg_command("predict", data / "scene.tif", "-o", map_path, "--model", run, "--window", options.size)
    geoseg_command("score", map_path, data / "truth.tif")

    report = geoseg.score(map_path, data / "truth.tif")
    (folder / "score.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    beside = ("--scene", data / "scene.tif", "--truth", data / "truth.tif")
    geoseg_command("plot", map_path, *beside, "-o", folder / "map.png", "--dpi", 200)
    conclude(report, folder, time.monotonic() - start)
    if options.check and report.mean_iou < report.majority_baseline[1] + MARGIN_OVER_MAJORITY:
        sys.exit("the margin over the majority baseline was missed")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--scenes", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--check", action="store_true", help="exit 1 where the margin over the baseline is missed")
    return parser.parse_args()


def geoseg_command(*words: object) -> None:
    """Run ``geoseg`` as a user types it, and show the command."""
    command = [str(word) for word in words]
    print("\n$ geoseg", *command, flush=True)
    subprocess.run([sys.executable, "-m", "geoseg_cli", *command], check=True)


def conclude(report: geoseg.Report, folder: Path, seconds: float) -> None:
    majority, baseline = report.majority_baseline
    print(f"\nmean IoU on the held-out scene   {report.mean_iou:.4f}")
    print(f"majority baseline (all {majority}) {baseline:.4f}; meant to be at least {MARGIN_OVER_MAJORITY} below")
    print(f"\n{folder}/data        scenes, masks and split; scene.tif and truth.tif (synthetic)")
    print(f"{folder}/run         the model, its history and settings")
    print(f"{folder}/map.tif     the map, ready for QGIS: colours, class names, overviews")
    print(f"{folder}/map.png     scene, truth, map and errors side by side")
    print(f"{folder}/score.json  the score as JSON\n\ndone in {seconds:.0f} s")


if __name__ == "__main__":
    main()
