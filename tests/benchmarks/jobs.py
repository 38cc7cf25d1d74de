"""What a job costs beside the work itself: Dask against processes of their own, planning, merging, borders, scheduling.

    python tests/benchmarks/jobs.py                       # all, with scenes and a model made in ./benchmark
    python tests/benchmarks/jobs.py --side 16384 --part 4096 --threads 4 --runs 5

Tables go to stdout as Markdown. Machines are shared and noisy: read the ratios within one table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from distributed import Client
from materials import large_scene
from measure import Row, rate, seconds, table

import geoseg
import geoseg.jobs.dask as on_dask
from geoseg.jobs.job import Job, read_job
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import save_segmenter

GEOSEG = (sys.executable, "-m", "geoseg_cli")
TRIVIAL = 1000
"""Tasks that do nothing, to see what the scheduler takes for each."""


def untrained_model(folder: Path) -> Path:
    """A ResNet-34 U-Net of random weights, which computes as long as a trained one; made once."""
    path = folder / "untrained.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        shape = {"encoder": "resnet34", "norm": "batch", "window": 1024, "size": 1024}
        config = SegmenterConfig(DEEPGLOBE, mean=(0.4,) * 3, std=(0.2,) * 3, fill=(100.0,) * 3, **shape)
        save_segmenter(Segmenter(config), path)
    return path


def planned(scene: Path, model: Path, folder: Path, part: int) -> Job:
    shutil.rmtree(folder, ignore_errors=True)
    return geoseg.plan_job(scene, folder, model, part=part)


def by_processes(folder: Path, count: int, threads: int) -> None:
    """As an array job runs it: each process has its slice and knows of no other."""
    words = [*GEOSEG, "job", "run", folder, "--threads", threads, "-q"]
    running = [
        subprocess.Popen([str(word) for word in (*words, "--shard", f"{place}/{count}")], stdout=subprocess.DEVNULL)
        for place in range(1, count + 1)
    ]
    if any([process.wait() for process in running]):
        raise SystemExit("a slice failed")


def by_dask(folder: Path, count: int, threads: int) -> None:
    words = [*GEOSEG, "job", "run", folder, "--dask", "local", "--workers", count, "--threads", threads, "-q"]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def compare(scene: Path, model: Path, work: Path, part: int, workers: int, threads: int, first: bool) -> Row:
    """Seconds of the same work by processes of their own and by Dask's workers, from the first import to the end."""
    taken = {}
    ways = [("processes", by_processes), ("dask", by_dask)]
    for name, way in ways if first else ways[::-1]:
        folder = work / f"job-{name}"
        job = planned(scene, model, folder, part)
        taken[name] = seconds(partial(way, folder, workers, threads))
    status = geoseg.job_status(folder)
    (computed,) = (one.seconds for one in status.scenes)
    return {
        "tasks": len(job.tasks),
        "processes s": taken["processes"],
        "dask s": taken["dask"],
        "processes / dask": taken["processes"] / taken["dask"],
        "in tasks s": computed,
    }


def around(scene: Path, model: Path, work: Path, part: int, threads: int) -> Row:
    """Planning and merging beside one process that computes all, and the same map by geoseg.predict."""
    folder = work / "job-alone"
    torch.set_num_threads(threads)
    planning = seconds(lambda: planned(scene, model, folder, part))
    running = seconds(lambda: geoseg.run_job(folder))
    output = work / "merged"
    merging = {
        ending: seconds(lambda ending=ending: geoseg.merge_job(folder, f"{output}.{ending}", overwrite=True))
        for ending in ("tif", "vrt", "gti.gpkg")
    }
    begun = perf_counter()
    predicted = geoseg.predict(scene, model, work / "predicted.tif", overwrite=True)
    predicting = perf_counter() - begun
    if Path(f"{output}.tif").read_bytes() != (work / "predicted.tif").read_bytes():
        require_same_pixels(Path(f"{output}.tif"), work / "predicted.tif")
    job = read_job(folder)
    return {
        "Mpx": job.scenes[0].grid.window.area / 1e6,
        "plan s": planning,
        "run s": running,
        "merge .tif s": merging["tif"],
        "merge .vrt s": merging["vrt"],
        "merge .gti.gpkg s": merging["gti.gpkg"],
        "(plan + .tif) / run": (planning + merging["tif"]) / running,
        "(plan + .vrt) / run": (planning + merging["vrt"]) / running,
        "predict s": predicting,
        "run / predict": running / predicting,
        "windows seen again": job.halo_of(0),
        "in predict": predicted.plan.forwarded / len(predicted.plan.lattice) - 1,
    }


def require_same_pixels(one: Path, other: Path) -> None:
    with geoseg.Scene(one) as first, geoseg.Scene(other) as second:
        if not np.array_equal(first.read_values(), second.read_values()):
            raise SystemExit("the job's map differs from that of geoseg.predict")


def scheduling(folder: Path) -> Row:
    """Milliseconds for each task that does nothing, from submitting to hearing of its end."""
    job, specs = read_job(folder), on_dask.worker_specs(2, 1, None, None)
    on_dask._work = nothing
    with on_dask.dask.config.set(on_dask.CONFIG), on_dask._cluster(specs) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        tasks = [job.tasks[0]] * TRIVIAL
        taken = seconds(lambda: share_out_numbered(client, folder, job, tasks))
    return {"tasks": TRIVIAL, "ms a task": 1000 * taken / TRIVIAL}


def share_out_numbered(client: Client, folder: Path, job: Job, tasks: list) -> None:
    numbered = [replace(task, number=number) for number, task in enumerate(tasks)]
    on_dask._share_out(client, folder, job, numbered, None, lambda count: None, "the local cluster")


def nothing(folder: str, number: int, job_id: str, threads: int | None) -> None:
    return None


def merging_rate(work: Path, runs: int) -> Row:
    """Mpx/s of merging alone, and of checking part files, for the formulae of docs/scale.md."""
    folder, output = work / "job-alone", work / "merged.tif"
    job = read_job(folder)
    megapixels = job.scenes[0].grid.window.area / 1e6
    return {
        "merge .tif Mpx/s": rate(partial(geoseg.merge_job, folder, output, overwrite=True), megapixels),
        "merge --cog Mpx/s": rate(partial(geoseg.merge_job, folder, output, cog=True, overwrite=True), megapixels),
        "part file MB": sum(p.stat().st_size for p in (folder / "parts").glob("*.tif")) / 1e6 / len(job.tasks),
        "record bytes": (folder / "parts/part-000000.json").stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmark"), help="scenes, the model, jobs")
    parser.add_argument("--model", type=Path, help="a run or model file; default: an untrained ResNet-34 U-Net")
    parser.add_argument("--side", type=int, default=8192, help="of the scene in pixels")
    parser.add_argument("--part", type=int, default=2048, help="side of the parts in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--threads", type=int, default=max(1, on_dask.usable_cpus() // 2), help="of the network in each"
    )
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    scene, model = large_scene(args.work, args.side), args.model or untrained_model(args.work)
    both = partial(compare, scene, model, args.work, args.part, args.workers, args.threads)
    rows = [both(first=number % 2 == 0) for number in range(args.runs)]
    table(f"{args.workers} workers, {args.threads} thread(s) each", [*rows, middle(rows)])
    table("Around the run, one process", [around(scene, model, args.work, args.part, args.threads)])
    table("Merging", [merging_rate(args.work, args.runs)])
    table("Scheduling", [scheduling(args.work / "job-alone")])


def middle(rows: list[Row]) -> Row:
    """The median of each figure."""
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


if __name__ == "__main__":
    main()
