"""What feeding the network costs: images a second of ``geoseg.train`` against the same steps fed otherwise.

    python tests/benchmarks/train.py [--size 640] [--steps 12] [--option encoder plain] [--torchgeo ENV/bin/python] ...

Each row is a fresh process. The first four are the real loop of ``geoseg.train``, with its batches replaced but in the
first:

    geoseg     as it is, from the cache (and once more with the cache empty, decoding included)
    resident   one batch on the device, again and again: the steps alone
    plain      a DataLoader with no workers that decodes and resizes each scene when it is its turn
    tuned      a DataLoader with a worker a core, pinned memory and prefetching, JPEGs decoded at half their size
    by hand    a loop as people write it: that network with the paper's decoder as torch makes it, autocast, AdamW, that
               plain DataLoader
    torchgeo   its SemanticSegmentationTask (U-Net on ResNet-34) under Lightning's Trainer, that plain DataLoader; in
               the Python of an environment with torchgeo and lightning

SYNTHETIC scenes of 2448 px in the DeepGlobe layout are made once in ``--work``. Read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import in_fresh_process, peak_mib, table
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import geoseg
from geoseg.datasets import feed
from geoseg.datasets.augmentation import SampleBatch
from geoseg.datasets.synthetic import draw_scene
from geoseg.legend import DEEPGLOBE
from geoseg.models.device import autocast, resolve_device, resolve_precision
from geoseg.models.segmenter import build_network
from geoseg.training.trainer import Trainer

SIDE = 2448
WARM = 3
"""Steps that do not count."""


def scenes(folder: Path, count: int) -> Path:
    """A data folder of ``count`` scenes of SIDE px, all of one land that is rolled; made once."""
    data = folder / f"pairs-{count}"
    if data.exists():
        return data
    unfinished = data.with_suffix(".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pixels, codes = draw_scene((SIDE, SIDE), 1, 0)
    colours = np.array([entry.colour for entry in DEEPGLOBE.classes], np.uint8)[codes]
    for number in range(count):
        moved = partial(np.roll, shift=(131 * number, 257 * number), axis=(0, 1))
        Image.fromarray(moved(pixels.transpose(1, 2, 0))).save(unfinished / f"{number}_sat.jpg", quality=90)
        Image.fromarray(moved(colours)).save(unfinished / f"{number}_mask.png")
    unfinished.rename(data)
    return data


class Pairs(Dataset):
    """Scenes decoded with Pillow when they are asked for."""

    def __init__(self, data: Path, size: int, length: int, draft: bool) -> None:
        self.images = sorted(data.glob("*_sat.jpg"))
        self.size, self.length, self.draft = size, length, draft
        self.index = np.full(256, 255, np.uint8)
        for number, entry in enumerate(DEEPGLOBE.classes):
            self.index[_bits(np.array(entry.colour))] = number

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        path = self.images[place % len(self.images)]
        image = Image.open(path)
        if self.draft:
            image.draft("RGB", (self.size, self.size))
        pixels = np.array(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR))
        mask = Image.open(path.with_name(path.name.replace("_sat.jpg", "_mask.png")))
        colours = np.asarray(mask.resize((self.size, self.size), Image.Resampling.NEAREST))
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(self.index[_bits(colours)])


def _bits(colours: np.ndarray) -> np.ndarray:
    return (colours >= 128) @ np.array([4, 2, 1])


def loader_batches(data: Path, workers: int, draft: bool, steps: int, self: feed.Feed, _, places, size: int):
    """Instead of ``Feed.batches``."""
    pairs = Pairs(data, self.samples.framing.size, steps * size, draft)
    tuned = {"num_workers": workers, "persistent_workers": True, "prefetch_factor": 4} if workers else {}
    for pixels, index in DataLoader(pairs, size, pin_memory=bool(workers) and self.device.type == "cuda", **tuned):
        parts = pixels, torch.ones(index.shape, dtype=torch.bool), index
        yield SampleBatch(*(part.to(self.device, non_blocking=True) for part in parts))


def same_batch(first, self: feed.Feed, epoch: int, places, size: int):
    """Instead of ``Feed.batches``: the first batch for ever."""
    batch = next(first(self, epoch, places, size))
    while True:
        yield batch


def measure(data: str, fed: str, steps: int, cache: str, **options) -> dict:
    """Images a second of a training run whose batches come from ``fed``."""
    instead = {
        "resident": partial(same_batch, feed.Feed.batches),
        "plain": partial(loader_batches, Path(data), 0, False, steps),
        "tuned": partial(loader_batches, Path(data), os.cpu_count(), True, steps),
    }
    if fed in instead:
        feed.Feed.batches = lambda *args: instead[fed](*args)
    marks, step = [], Trainer._step

    def marked(*args):
        found = step(*args)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        return found

    Trainer._step = marked
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        geoseg.train(data, Path(folder) / "run", split="100/0/0", steps=steps, cache=cache, **options)
    return _figures(fed, marks, options["batch_size"] * (steps - WARM), begun)


def float_pairs(data: str, size: int, batch_size: int, steps: int) -> DataLoader:
    """Batches as other tools take them: float pixels on 0 to 1, and class numbers; 255 has none."""

    def collate(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        pixels, index = (torch.stack(part) for part in zip(*pairs, strict=True))
        return {"image": pixels.float() / 255, "mask": index.long()}

    return DataLoader(Pairs(Path(data), size, steps * batch_size, False), batch_size, collate_fn=collate)


def by_hand(loader: DataLoader, encoder: str, norm: str, device: torch.device, precision: str) -> list[float]:
    """When each step of a loop ended, as it is written by hand."""
    network = build_network(encoder, 3, DEEPGLOBE, 64, norm).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    marks = []
    for batch in loader:
        pixels, index = batch["image"].to(device), batch["mask"].to(device)
        with autocast(device, precision):
            loss = torch.nn.functional.cross_entropy(network(pixels).float(), index, ignore_index=255)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        marks.append(time.perf_counter())
    return marks


def by_torchgeo(loader: DataLoader, device: torch.device, precision: str) -> list[float]:
    """When each step of torchgeo's task ended, under Lightning."""
    from lightning.pytorch import Callback
    from lightning.pytorch import Trainer as LightningTrainer
    from torchgeo.trainers import SemanticSegmentationTask

    marks = []

    class Mark(Callback):
        def on_train_batch_end(self, *_) -> None:
            marks.append(time.perf_counter())

    class Task(SemanticSegmentationTask):
        # Its own rule waits for a validation loss.
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    task = Task(model="unet", backbone="resnet34", weights=None, num_classes=len(DEEPGLOBE), ignore_index=255)
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    kind = "bf16-mixed" if precision == "bf16" else "32-true"
    trainer = LightningTrainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=1,
        precision=kind,
        callbacks=[Mark()],
        **quiet,
    )
    trainer.fit(task, loader)
    return marks


def measure_other(data: str, fed: str, steps: int, size: int, batch_size: int, precision: str, **options) -> dict:
    """Images a second of another tool's loop."""
    device = resolve_device("auto")
    precision, begun = resolve_precision(precision, device), time.perf_counter()
    loader = float_pairs(data, size, batch_size, steps)
    if fed == "torchgeo":
        marks = by_torchgeo(loader, device, precision)
    else:
        marks = by_hand(loader, options["encoder"], options["norm"], device, precision)
    return _figures(fed, marks, batch_size * (steps - WARM), begun)


def _figures(fed: str, marks: list[float], images: int, begun: float) -> dict:
    return {
        "fed by": fed,
        "images/s": images / (marks[-1] - marks[WARM - 1]),
        "until the first step, s": marks[0] - begun,
        "peak MiB": round(peak_mib()),
    }


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[2].startswith("{"):
        task = {"measure": measure, "other": measure_other}[sys.argv[1]]
        print(json.dumps(task(**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmark"), help="scenes and their cache")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--size", type=int, default=640, help="side in pixels that scenes are resampled to")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--option", nargs=2, action="append", default=[], metavar=("NAME", "JSON"), help="of training")
    parser.add_argument("--torchgeo", metavar="PYTHON", help="of an environment with torchgeo and lightning")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(geoseg.__file__).parents[1])
    data, cache = scenes(args.work, args.scenes), args.work / "scene-cache"
    options = {"encoder": "resnet34", "encoder_weights": "none", "norm": "batch", "batch_size": args.batch_size}
    options |= {"precision": "auto"}
    options |= {name: _value(text) for name, text in args.option} | {"size": args.size, "steps": args.steps}
    script = Path(__file__).resolve()
    run = partial(in_fresh_process, script, "measure", data=data, cache=cache, **options)
    other = {"by hand": sys.executable} | ({"torchgeo": args.torchgeo} if args.torchgeo else {})
    calls = {fed: partial(run, fed=fed) for fed in ("resident", "geoseg", "plain", "tuned")}
    calls |= {
        fed: partial(in_fresh_process, script, "other", python, data=data, fed=fed, **options)
        for fed, python in other.items()
    }
    shutil.rmtree(cache, ignore_errors=True)
    rows = [run(fed="geoseg") | {"fed by": "geoseg, cache empty"}]
    found = [[call() for call in calls.values()] for _ in range(args.repeats)]
    rows += [_median([row[place] for row in found]) for place in range(len(calls))]
    table(f"Training, {json.dumps(options)}", rows)
    rates = np.array([[row["images/s"] for row in repeat] for repeat in found])
    ratios = rates[:, 1:2] / rates
    rows = [
        {"geoseg to": fed, "median": float(np.median(of)), "least": float(of.min()), "most": float(of.max())}
        for fed, of in zip(calls, ratios.T, strict=True)
        if fed != "geoseg"
    ]
    table("Ratios within a repeat", rows)


def _median(rows: list[dict]) -> dict:
    figures = [name for name, value in rows[0].items() if not isinstance(value, str)]
    return rows[0] | {name: float(np.median([row[name] for row in rows])) for name in figures}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
