"""What each part of ``--preset recommended`` is worth on some data: the recipe, and the recipe with one part changed.

    python tests/benchmarks/recipe.py DATA [--seeds 3] [--steps 200] [--window 256] [--encoder E --weights FILE]

Every variant is trained with every seed for the same number of steps and tested on the test scenes of the data's split,
on their own grid, each in a folder of ``--work``. What is there is not trained again. A difference is a variant less the
recipe in pooled mean IoU, with the interval over resampled scenes and the p-value of ``geoseg compare``; the deviation
over seeds says how far another training would come out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from measure import table

import geoseg
import geoseg.training.settings
from geoseg.ablation.evaluate import NATIVE, Matrices, Tester, added
from geoseg.ablation.results import pool
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.splits import resolve_split
from geoseg.scoring.compare import compare_matrices
from geoseg.training.run import REPORT_FILE

RECIPE = "recommended"
PARTS: dict[str, dict[str, Any]] = {
    RECIPE: {},
    "random encoder": {"encoder_weights": "none", "encoder_lr": 1e-3},
    "pixels on 0 to 1": {"normalise": "none"},
    "decoder without norm": {"norm": "none"},
    "decoder with group norm": {"norm": "group"},
    "constant rate": {"schedule": "constant", "warmup": 0.0},
    "one rate for all": {"encoder_lr": 1e-3},
    "lower rates": {"lr": 3e-4, "encoder_lr": 3e-5},
    "Adam without decay": {"optimizer": "adam", "weight_decay": 0.0},
    "gradients not clipped": {"clip": 1e9},
    "average over few steps": {"ema": 1e-6},
    "equal class weights": {"class_weights": "none"},
    "median-frequency weights": {"class_weights": "median"},
    "no augmentation": {"augment": False},
    "whole scenes, resampled": {"window": None},
}
"""Options of training that depart from the recipe, by what they are called in the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("benchmark/recipe"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--window", type=int, default=256, help="also the side of whole scenes as the network sees them")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--weights", default="none", help="imagenet, none, or a safetensors file")
    parser.add_argument("--only", nargs="*", default=list(PARTS), metavar="PART", help="of the table")
    args = parser.parse_args()
    dataset = open_dataset(args.data)
    split = resolve_split(dataset, None)
    tester = Tester(split.test, dataset.legend, keep=frozenset())
    shared = {"preset": RECIPE, "encoder": args.encoder, "encoder_weights": args.weights, "window": args.window}
    shared |= {"steps": args.steps, "batch_size": args.batch_size}
    found: dict[str, list[Matrices]] = {name: [] for name in (RECIPE, *args.only)}
    seconds: dict[str, float] = {}
    for seed in range(args.seeds):
        for name in found:
            run = args.work / f"{name.replace(' ', '-').replace(',', '')}-seed{seed}"
            start = time.perf_counter()
            if not (run / REPORT_FILE).is_file():
                options = shared | PARTS[name]
                if options["window"] is None:
                    options = {**options, "window": None, "size": args.window}
                _train(args.data, run, seed, options)
            found[name].append(tester.test(run).matrices[NATIVE])
            seconds[name] = time.perf_counter() - start
            mean = pool(found[name][-1]).mean_iou()
            print(json.dumps({"part": name, "seed": seed, "mean IoU": round(mean, 4), "s": round(seconds[name])}), flush=True)
    scenes = {name: added(runs) for name, runs in found.items()}
    row = partial(_row, scenes[RECIPE], legend=dataset.legend)
    table(f"{args.data.name}, {json.dumps(shared)}", [row(name, found[name], scenes[name]) for name in found])


def _train(data: Path, run: Path, seed: int, options: dict[str, Any]) -> None:
    if options["window"] is None:
        # A preset's window cannot be taken back by an option that is None.
        recipe = geoseg.training.settings.PRESETS[RECIPE].to_dict()
        options = recipe | options | {"preset": None}
        del options["setting"], options["split"]
    geoseg.train(data, run, seed=seed, **{key: value for key, value in options.items() if value is not None and key != "seed"})


def _row(recipe: Matrices, name: str, runs: list[Matrices], scenes: Matrices, legend: geoseg.Legend) -> dict[str, Any]:
    means = [pool(run).mean_iou() for run in runs]
    row = {"variant": name, "mean IoU": statistics.mean(means)}
    row["sd over seeds"] = statistics.stdev(means) if len(means) > 1 else float("nan")
    if name == RECIPE:
        return row | {"difference": "", "95 %": "", "p": ""}
    figures = compare_matrices(recipe, scenes, legend, (RECIPE, name)).to_dict()["overall"]["mean_iou"]
    interval = f"{figures['low']:+.3f} to {figures['high']:+.3f}"
    return row | {"difference": figures["difference"], "95 %": interval, "p": figures["p"]}


if __name__ == "__main__":
    main()
