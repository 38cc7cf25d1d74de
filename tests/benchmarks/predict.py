"""What prediction costs against its parts alone, how much memory it takes, and whether it survives being killed.

    python tests/benchmarks/predict.py speed --model RUN --side 4096
    python tests/benchmarks/predict.py pointwise | memory | kills | sparse

Tables go to stdout as Markdown. Scenes and a trained model are made once in ``--work``. Machines are shared and noisy:
read the ratios within one table. ``agreement.py`` asks what shortcuts change in the map, ``peers.py`` compares with
other tools.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from materials import POINTWISE, large_scene, segmenter, sparse_scene, trained_model
from measure import Row, in_fresh_process, peak_mib, rate, seconds, table

import geoseg
from geoseg.ahead import read_ahead, reader_threads
from geoseg.grid import Window
from geoseg.legend import Legend
from geoseg.models.segmenter import TileBatch
from geoseg.prediction.plan import Plan, make_plan
from geoseg.prediction.predict import evaluating
from geoseg.prediction.shard import engine_of
from geoseg.prediction.tiles import CHUNKS_AHEAD, chunk_windows, part_read
from geoseg.raster.scene import Scene, reader_count
from geoseg.raster.writer import ClassRasterWriter


def speed(scene: str, model: str, **options: Any) -> Row:
    """Mpx/s, in unique scene pixels, of reading, writing and the network alone, and of the whole, in this process."""
    network = segmenter(model)
    with Scene(scene) as opened, tempfile.TemporaryDirectory() as folder, evaluating(network):
        output = Path(folder, "map.tif")
        plan = make_plan(opened, network, **options)
        megapixels = float(np.prod(plan.lattice.shape)) / 1e6
        engine, batch = engine_of(plan, network), one_batch(opened, plan)
        forwarded = plan.repeated_work * np.prod(plan.tile_shape) / np.prod(plan.window_shape)
        forward = partial(rate, lambda: engine(batch), batch.valid.numel() / 1e6)
        before = forward()
        whole = megapixels / seconds(lambda: geoseg.predict(opened, network, output, **options))
        alone = {
            "read": megapixels / seconds(lambda: read_alone(opened, plan)),
            "write": megapixels / write_alone(output, plan, network.legend),
            "network": float((before + forward()) / 2 / forwarded),
        }
    return {
        "scene Mpx": megapixels,
        **{f"{name} alone": value for name, value in alone.items()},
        "predict": whole,
        "predict / slowest part": whole / min(alone.values()),
        "forwarded / scene px": float(forwarded),
    }


def one_batch(scene: Scene, plan: Plan) -> TileBatch:
    """The scene's first tile as a batch on the plan's device."""
    pixels, valid = scene.read(next(iter(plan.lattice)), plan.tile_shape)
    count = plan.numerics.batch_shape[0]
    batch = TileBatch(*(torch.from_numpy(np.stack([part] * count)) for part in (pixels, valid)))
    return batch.to(torch.device(plan.numerics.device))


def read_alone(scene: Scene, plan: Plan) -> None:
    """Read what the plan's shards need, by as many threads as a prediction takes."""
    tops = [plan.shards[column[0]] for column in plan.columns]
    parts = [part_read(plan, Window(0, top.col, plan.lattice.shape[0], top.width)) for top in tops]
    windows = [window for part in parts for window in chunk_windows(part, scene)]
    with reader_threads(reader_count(scene)) as readers:
        for _ in read_ahead(readers, (partial(scene.read, window) for window in windows), CHUNKS_AHEAD):
            pass


def write_alone(map_path: Path, plan: Plan, legend: Legend) -> float:
    """Seconds to write a finished map again: blocks, overviews, reading back."""
    with Scene(map_path) as scene:
        parts = [(shard, scene.read(shard)[0][0]) for shard in plan.shards]
        grid = scene.grid

    def write() -> None:
        with ClassRasterWriter(map_path.with_name("again.tif"), grid, legend) as writer:
            for shard, codes in parts:
                writer.write(shard, codes)

    return seconds(write)


def memory(scene: str, model: str, **options: Any) -> Row:
    """Peak resident memory in MiB: with the model loaded, after one forward pass, after the prediction."""
    network = segmenter(model)
    with Scene(scene) as opened, tempfile.TemporaryDirectory() as folder, evaluating(network):
        plan = make_plan(opened, network, **options)
        loaded = peak_mib()
        engine_of(plan, network)(one_batch(opened, plan))
        forwarded = peak_mib()
        geoseg.predict(opened, network, Path(folder, "map.tif"), **options)
    return {
        "side": plan.lattice.shape[0],
        "loaded": loaded,
        "one forward pass": forwarded,
        "prediction": peak_mib(),
        "above one pass": peak_mib() - forwarded,
        "plan says": plan.memory / 2**20,
    }


def kills(scene: str, model: str, count: int, seed: int) -> Row:
    """Kill predictions at random times, ``count`` times in all, resume each to its end, compare the bytes."""
    draw, command = random.Random(seed), [sys.executable, "-m", "geoseg_cli", "predict", scene, "--model", model, "-q"]
    with tempfile.TemporaryDirectory() as folder:
        whole, output = Path(folder, "whole.tif"), Path(folder, "map.tif")
        duration = seconds(lambda: subprocess.run([*command, "-o", str(whole)], check=True))
        killed = resumed_with_parts = finished = 0
        while killed < count:
            output.write_bytes(b"an older map")
            while not _ends_by_itself([*command, "-o", str(output), "--resume", "--overwrite"], draw, duration):
                killed += 1
                if output.read_bytes() != b"an older map":
                    raise SystemExit("the older map was touched")
                resumed_with_parts += any(output.with_name(f".{output.name}.geoseg").glob("part-*"))
            if output.read_bytes() != whole.read_bytes():
                raise SystemExit("a resumed map differs from an undisturbed one")
            finished += 1
        left = ", ".join(sorted(path.name for path in Path(folder).iterdir()))
    return {
        "killed": killed,
        "with parts to resume from": resumed_with_parts,
        "maps, same bytes": finished,
        "left": left,
    }


def _ends_by_itself(command: list[str], draw: random.Random, duration: float) -> bool:
    running = subprocess.Popen(command)
    try:
        if running.wait(draw.uniform(0.2, 1) * duration):
            raise SystemExit(f"{command} ended with {running.returncode}")
        return True
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.wait()
        return False


def sparse(scene: str, model: str, **options: Any) -> Row:
    """A large scene that is nearly all empty: seconds to plan and to predict, and what the map takes."""
    network = segmenter(model)
    with Scene(scene) as opened, tempfile.TemporaryDirectory() as folder, evaluating(network):
        output = Path(folder, "map.tif")
        planning = seconds(lambda: make_plan(opened, network, **options))
        predicting = seconds(lambda: geoseg.predict(opened, network, output, **options))
        return {
            "side": opened.grid.shape[0],
            "plan s": planning,
            "predict s": predicting,
            "scene MB": Path(scene).stat().st_size / 1e6,
            "map MB": output.stat().st_size / 1e6,
            "peak MiB": peak_mib(),
        }


TASKS = {"speed": speed, "memory": memory, "kills": kills, "sparse": sparse}


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[2].startswith("{"):
        print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "pointwise", "memory", "kills", "sparse", "all"])
    parser.add_argument("--work", type=Path, default=Path("benchmark"), help="scenes and the model")
    parser.add_argument("--model", help="a run or model file; default: one is trained in --work")
    parser.add_argument("--side", type=int, help="of the scene in pixels")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown")
    parser.add_argument("--count", type=int, default=5, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--option", nargs=2, action="append", default=[], help="of geoseg.predict: NAME JSON")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    options = {name: json.loads(value) for name, value in args.option}
    run = partial(in_fresh_process, Path(__file__).resolve())
    model = args.model or (None if args.what in ("pointwise", "sparse") else str(trained_model(args.work)[0]))

    def asked(*names: str) -> bool:
        return args.what in (*names, "all")

    if asked("speed"):
        scene = large_scene(args.work, args.side or 4096)
        rows = [run("speed", scene=scene, model=model, **options) for _ in range(args.runs)]
        table("Speed, Mpx/s of the scene", [*rows, middle(rows)])
    if asked("pointwise"):
        scene = large_scene(args.work, args.side or 12288)
        rows = [run("speed", scene=scene, model=POINTWISE, **options) for _ in range(args.runs)]
        table("Speed with a 1 x 1 network, Mpx/s of the scene", [*rows, middle(rows)])
    if asked("memory"):
        sides = [args.side] if args.side else [8192, 24576]
        rows = [run("memory", scene=large_scene(args.work, side), model=POINTWISE, **options) for side in sides]
        table("Peak memory with a 1 x 1 network, MiB", rows)
        rows = [run("memory", scene=large_scene(args.work, side), model=model, **options) for side in (4096, 12288)]
        table("Peak memory with the model, MiB", rows)
    if asked("kills"):
        scene = large_scene(args.work, args.side or 6144)
        table("Random kills", [run("kills", scene=scene, model=model, count=args.count, seed=args.seed)])
    if asked("sparse"):
        scene = sparse_scene(args.work, args.side or 300_000)
        table("A sparse scene", [run("sparse", scene=scene, model=args.model or POINTWISE, **options)])


def middle(rows: list[Row]) -> Row:
    """The median of each figure."""
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


if __name__ == "__main__":
    main()
