"""geoseg.run_job: the tasks that are left, one after the other here, a slice of them, or on a cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from geoseg.errors import FailedParts, UsageError
from geoseg.jobs.job import Job, Task, read_job
from geoseg.jobs.parts import Failure, Parts
from geoseg.jobs.slices import WHOLE, Slice, slice_of_array
from geoseg.jobs.task import failure_of, run_task
from geoseg.prediction.shard import open_engine

log = logging.getLogger("geoseg")

NAMED = 3
"""Failures that an error names."""


@dataclass(frozen=True)
class JobRun:
    """What one call of run_job did."""

    tasks: int
    """That were its own."""
    computed: int
    finished_before: int
    """By earlier runs, and by others at the same time."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def to_text(self) -> str:
        """One line for the terminal."""
        before = f", {self.finished_before} were finished before" if self.finished_before else ""
        return f"{self.computed} of {self.tasks} task(s) computed in {self.seconds:.0f} s{before}"


def run_job(
    folder: str | Path,
    *,
    shard: str | None = None,
    dask: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory: str | None = None,
    progress: bool = False,
) -> JobRun:
    """Compute what is left of a job: tasks without a part, or whose part file was altered.

    All that is known of a job lies in its folder, so a run that was stopped, by whatever, goes on by the same call.

    Args:
        shard: "I/N", the I-th of N slices of the tasks, from 1. None takes that of a SLURM or an AWS Batch array where
            this process is part of one, else all tasks.
        dask: "local" for worker processes of this machine, or the address of a scheduler (docs/scale.md); needs
            geoseg[dask]. None computes in this process.
        workers: local Dask workers; None: one a GPU, and on CPUs one for four cores.
        threads: of the network in each process; None: the cores divided by the workers, and those of a cluster that is
            there already have what they were started with.
        memory: of a local worker, such as "8GiB", or "0.25" of the machine's; one that takes more is begun anew. None:
            an equal part of all.
        progress: show a bar on stderr.

    Raises FailedParts where tasks failed while the others were finished; ResourceError (disk, memory, device, a
    cluster that is gone), OutputError, ModelError and UsageError at once.
    """
    begun, job = time.perf_counter(), read_job(folder)
    if dask is None and (workers or memory):
        raise UsageError("--workers and --memory are of --dask local")
    if dask and shard:
        raise UsageError("--shard is for processes that know nothing of each other, --dask shares tasks out by itself")
    if dask and find_spec("distributed") is None:
        raise UsageError("--dask needs Dask: pip install 'geoseg[dask]'")
    parts, tasks = Parts(folder, job), _chosen(job, shard, dask).of(job)
    parts.sweep()
    whole = parts.find_all_whole(tasks)
    left = [task for task, part in zip(tasks, whole, strict=True) if part is None]
    _say_what_is_left(folder, parts, tasks, left)
    with tqdm(total=len(left), unit="task", disable=not progress, leave=False) as bar:
        if dask and left:
            from geoseg.jobs.dask import run_on_dask

            computed, failed = len(left), run_on_dask(folder, job, left, dask, workers, threads, memory, bar.update)
        else:
            computed, failed = _run_here(folder, job, left, threads, bar)
    if failed:
        raise FailedParts(_say_failed(folder, job, failed, len(tasks)))
    return JobRun(len(tasks), computed, len(tasks) - computed, round(time.perf_counter() - begun, 3))


def _chosen(job: Job, shard: str | None, dask: str | None) -> Slice:
    if shard is not None:
        return Slice.parse(shard)
    found = None if dask else slice_of_array()
    if found is None:
        return WHOLE
    log.info("slice %s of the tasks, as %s says", *found)
    return found[0]


def _run_here(
    folder: str | Path, job: Job, tasks: Sequence[Task], threads: int | None, bar: tqdm
) -> tuple[int, list[Failure]]:
    """Do tasks in this process; returns how many it finished, and those that failed."""
    if threads:
        torch.set_num_threads(threads)
    for scene in {task.scene for task in tasks}:
        # What cannot work at all should fail once, and not every task by it.
        open_engine(job.scenes[scene].plan)
    parts, computed, failed = Parts(folder, job), 0, []
    for task in _free_first(tasks, parts):
        try:
            run_task(folder, task.number, job.id)
            computed += 1
        except Exception as error:
            if failure := failure_of(parts, task.number, error):
                failed.append(failure)
        bar.update()
    return computed, failed


def _free_first(tasks: Sequence[Task], parts: Parts) -> Iterator[Task]:
    """The tasks as they come, but last those that another run is at, if it has not finished them by then."""
    busy = []
    for task in tasks:
        if parts.is_under_way(task.number):
            busy.append(task)
        else:
            yield task
    yield from (task for task in busy if parts.find_whole(task.number) is None)


def _say_what_is_left(folder: str | Path, parts: Parts, tasks: Sequence[Task], left: Sequence[Task]) -> None:
    if altered := sum(parts.find(task.number) is not None for task in left):
        log.warning("%s: %d finished part(s) were altered or lost; they are computed again", folder, altered)
    if len(left) < len(tasks):
        log.info("%s: %d of %d tasks were finished before", folder, len(tasks) - len(left), len(tasks))


def _say_failed(folder: str | Path, job: Job, failed: Sequence[Failure], tasks: int) -> str:
    first = "; ".join(f"task {one.task} ({job.describe(one.task)}): {one.message}" for one in failed[:NAMED])
    more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return (
        f"{folder}: {len(failed)} of {tasks} task(s) failed, the others are finished; {first}{more}. "
        "The same command tries the failed ones again"
    )
