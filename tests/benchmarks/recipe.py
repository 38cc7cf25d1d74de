"""What each part of ``--preset recommended`` is worth on some data: the recipe, and the recipe with one part changed.

    python tests/benchmarks/recipe.py DATA [--seeds 3] [--steps 200] [--window 256] [--encoder E --weights FILE]
    python tests/benchmarks/recipe.py DATA --parts --encoders resnet18 convnext_atto ...

Every variant is trained with every seed for the same number of steps and tested on the test scenes of the split, on
their own grid, each in a folder of ``--work``. What is there is not trained again. A difference is a variant less the
recipe in pooled mean IoU, with the interval over resampled scenes and the p-value of ``geoseg compare``; the deviation
over seeds says how far another training would come out. Encoders start at random, and so does the recipe that they are
compared with, unless ``--weights`` are given.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from measure import table

import geoseg
from geoseg.ablation.evaluate import NATIVE, Matrices, Tester, added
from geoseg.ablation.results import pool
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.splits import resolve_split
from geoseg.scoring.compare import compare_matrices
from geoseg.training.run import REPORT_FILE
from geoseg.training.settings import PRESETS

RECIPE = "recommended"
RANDOM = {"encoder_weights": "none", "encoder_lr": None}
PARTS: dict[str, dict[str, Any]] = {
    "random encoder": RANDOM,
    "pixels on 0 to 1": {"normalise": "none"},
    "decoder without norm": {"norm": "none"},
    "decoder with group norm": {"norm": "group"},
    "constant rate": {"schedule": "constant", "warmup": 0.0},
    "one rate for all": {"encoder_lr": None},
    "lower rates": {"lr": 3e-4, "encoder_lr": 3e-5},
    "Adam without decay": {"optimizer": "adam", "weight_decay": 0.0},
    "gradients not clipped": {"clip": None},
    "no moving average": {"ema": None},
    "equal class weights": {"class_weights": "none"},
    "median-frequency weights": {"class_weights": "median"},
    "no region term": {"region_loss": "none"},
    "Dice": {"region_loss": "dice"},
    "Lovász": {"region_loss": "lovasz"},
    "crops by class": {"balance_crops": True},
    "crops evenly": {"balance_crops": False},
    "Dice and crops by class": {"region_loss": "dice", "balance_crops": True},
    "Lovász and crops by class": {"region_loss": "lovasz", "balance_crops": True},
    "equal weights and crops by class": {"class_weights": "none", "balance_crops": True},
    "warm-up and constant rate": {"schedule": "constant"},
    "no augmentation": {"augment": False},
    "whole scenes, resampled": {"window": None, "balance_crops": False},
}
"""Options of training that depart from the recipe, by what they are called in the table; some are the recipe itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("benchmark/recipe"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument(
        "--window", type=int, default=256, help="also the side of whole scenes as the network sees them"
    )
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--weights", default="none", help="imagenet, none, or a safetensors file")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), metavar="PART", help="variants; none: only encoders")
    parser.add_argument("--encoders", nargs="*", default=[], metavar="TIMM", help="other encoders to try, from random")
    args = parser.parse_args()
    shared = {"encoder": args.encoder, "encoder_weights": args.weights, "window": args.window}
    shared |= {"steps": args.steps, "batch_size": args.batch_size} | (RANDOM if args.weights == "none" else {})
    variants = {RECIPE: {}} | {name: PARTS[name] for name in args.parts}
    variants |= {f"encoder {name}": {"encoder": name} | RANDOM for name in args.encoders}
    settings = {name: PRESETS[RECIPE].to_dict() | shared | part for name, part in variants.items()}
    distinct = {name: one for name, one in settings.items() if name == RECIPE or one != settings[RECIPE]}

    dataset = open_dataset(args.data)
    tester = Tester(resolve_split(dataset, None).test, dataset.legend, keep=frozenset())
    found: dict[str, list[Matrices]] = {name: [] for name in distinct}
    for seed in range(args.seeds):
        for name, options in distinct.items():
            run = args.work / f"{re.sub(r'[ ,.]+', '-', name)}-seed{seed}"
            if not (run / REPORT_FILE).is_file():
                geoseg.train(args.data, run, **_given(options, args.window, seed))
            found[name].append(tester.test(run).matrices[NATIVE])
            print(json.dumps({"variant": name, "seed": seed, "mean IoU": _mean(found[name][-1])}), flush=True)
    row = partial(_row, added(found[RECIPE]), legend=dataset.legend)
    table(
        f"{args.data.name}, {args.seeds} seeds, {json.dumps(shared)}", [row(name, runs) for name, runs in found.items()]
    )


def _given(options: dict[str, Any], side: int, seed: int) -> dict[str, Any]:
    """As geoseg.train takes them: what is None there stays as in the baseline, which has none of these."""
    options = options | {"seed": seed, "size": None if options["window"] else side}
    return {name: value for name, value in options.items() if value is not None and name != "setting"}


def _row(recipe: Matrices, name: str, runs: list[Matrices], legend: geoseg.Legend) -> dict[str, Any]:
    means = [_mean(run) for run in runs]
    row = {"variant": name, "mean IoU": statistics.mean(means)}
    row["sd over seeds"] = statistics.stdev(means) if len(means) > 1 else ""
    if name == RECIPE:
        return row | {"difference": "", "95 %": "", "p": ""}
    figures = compare_matrices(recipe, added(runs), legend, (RECIPE, name)).to_dict()["overall"]["mean_iou"]
    interval = f"{figures['low']:+.3f} to {figures['high']:+.3f}"
    return row | {"difference": figures["difference"], "95 %": interval, "p": figures["p"]}


def _mean(run: Matrices) -> float:
    return round(float(pool(run).mean_iou()), 4)


if __name__ == "__main__":
    main()
