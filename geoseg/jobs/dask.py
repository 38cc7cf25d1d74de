"""The tasks of a job on Dask: worker processes of this machine, or a cluster that is there already."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import torch
from dask.utils import parse_bytes
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, wait
from distributed.client import FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.utils import silence_logging_cmgr

from geoseg.ahead import usable_cpus
from geoseg.errors import GeosegError, ModelError, ResourceError, UsageError
from geoseg.jobs.job import Job, Task, read_job
from geoseg.jobs.parts import Failure, Parts
from geoseg.jobs.task import failure_of, run_task
from geoseg.prediction.shard import open_engine

LOCAL = "local"
RETRIES = 2
"""Times that a task is tried again, on any worker, after an error or a worker's death."""
PATIENCE = 300.0
"""Seconds without any worker after which a run gives up: on clusters they wait in queues, too."""
LOOK = 5.0
"""Seconds after which it is looked whether workers are there, while no task ends."""
CONNECT = 10.0
"""Seconds to reach a scheduler in."""
CORES = 4
"""Of a CPU, for one worker."""
CONFIG = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # A network that computes holds the interpreter for long; that is no reason to take a worker for dead.
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.multiprocessing-method": "spawn",
    # Dask has workers give memory back at once, by MALLOC_TRIM_THRESHOLD_, at which networks compute a fifth slower.
    "distributed.nanny.pre-spawn-environ": {},
    # Only terminating is left: a worker that is paused for memory which it keeps between tasks waits for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # Nobody sees it without a dashboard, and it takes the interpreter a hundred times a second.
    "distributed.worker.profile.enabled": False,
}
GONE = "is gone; what was finished is kept, and the same command goes on with it"

LOST = (CommClosedError, FuturesCancelledError, asyncio.CancelledError, OSError)
"""What is raised where the scheduler goes away."""

Advance = Callable[[int], object]


def run_on_dask(
    folder: str | Path,
    job: Job,
    tasks: Sequence[Task],
    address: str,
    workers: int | None,
    threads: int | None,
    memory: str | None,
    advance: Advance,
) -> list[Failure]:
    """Do tasks by workers; returns those that failed.

    Raises ResourceError where a task fails by the disk, the memory or the device, where the scheduler cannot be reached
    or goes away, and where no worker is there for PATIENCE seconds; UsageError.
    """
    if address != LOCAL:
        if ":" not in address:
            raise UsageError(f"--dask {address}: is neither local nor an address such as tcp://10.0.0.5:8786")
        if workers or memory:
            raise UsageError(
                "--workers and --memory are of --dask local; a cluster has the workers it was started with"
            )
        with _client_of(address, f"the Dask scheduler at {address}") as client:
            return _share_out(client, folder, job, tasks, threads, advance, address)
    on_gpu = job.scenes[tasks[0].scene].plan.numerics.device == "cuda"
    specs = worker_specs(workers, threads, memory, visible_gpus() if on_gpu else None)
    with dask.config.set(CONFIG), _cluster(specs) as cluster, _client_of(cluster, "the local Dask cluster") as client:
        return _share_out(client, folder, job, tasks, threads or _threads(len(specs)), advance, "the local cluster")


def worker_specs(
    workers: int | None, threads: int | None, memory: str | None, gpus: Sequence[str] | None
) -> dict[int, dict[str, Any]]:
    """Worker processes as SpecCluster takes them: each computes one task at a time.

    Args:
        workers: how many; None: one a GPU, or one for CORES cores.
        threads: of the network in each; None: an equal part of the cores.
        memory: of each, a size such as "8GiB" or, up to 1, a part of the machine's; None: an equal part.
        gpus: what CUDA_VISIBLE_DEVICES calls each GPU; None on CPUs.

    Raises UsageError for more workers than GPUs and for what is no size, ResourceError for no GPU.
    """
    if gpus is not None and not gpus:
        raise ResourceError("the job was planned for GPUs, and there is none here; plan it for the CPU: --device cpu")
    count = workers or (len(gpus) if gpus else max(1, usable_cpus() // CORES))
    if gpus and count > len(gpus):
        raise UsageError(f"--workers {count}: there are {len(gpus)} GPU(s), and each worker takes one for itself")
    limit = _memory_limit(memory) if memory else 1 / count
    # Dask gives its workers one thread unless told.
    variables = {"OMP_NUM_THREADS": str(threads or _threads(count)), "OMP_WAIT_POLICY": "PASSIVE"}
    return {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": limit,
                "env": variables | ({"CUDA_VISIBLE_DEVICES": gpus[number]} if gpus else {}),
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
            },
        }
        for number in range(count)
    }


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs of this process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _threads(workers: int) -> int:
    return max(1, usable_cpus() // workers)


def _memory_limit(said: str) -> int | float:
    """Bytes, or a part of the machine's memory, as Dask tells them apart."""
    with suppress(ValueError):
        if 0 < float(said) <= 1:
            return float(said)
    with suppress(ValueError, OverflowError):
        if (size := parse_bytes(said)) > 1:
            return size
    raise UsageError(
        f"--memory {said}: is a size such as 8GiB, or a part of the machine's memory such as 0.25; without it each "
        "worker has an equal part"
    )


@contextmanager
def _cluster(specs: dict[int, dict[str, Any]]) -> Iterator[SpecCluster]:
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "host": "127.0.0.1", "port": 0}}
    with SpecCluster(workers=specs, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster:
        yield cluster


@contextmanager
def _client_of(where: str | SpecCluster, name: str) -> Iterator[Client]:
    # geoseg says itself what went wrong.
    with silence_logging_cmgr(logging.CRITICAL):
        try:
            client = Client(where, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ResourceError(f"{name}: cannot be reached ({error}); is it running?") from error
        try:
            with client.as_current():
                yield client
        finally:
            # A scheduler that is gone answers to nothing.
            with suppress(Exception):
                client.close(timeout=5)


def _share_out(
    client: Client,
    folder: str | Path,
    job: Job,
    tasks: Sequence[Task],
    threads: int | None,
    advance: Advance,
    name: str,
) -> list[Failure]:
    parts, crew, waiting, failed = Parts(folder, job), _Crew(client, name), deque(tasks), []
    running: dict[Future, Task] = {}
    # Of a key that it has seen a scheduler gives the result of then.
    run, where = uuid4().hex[:8], str(Path(folder).absolute())
    try:
        while waiting or running:
            present = crew.count()
            # One for each worker: of several that one has when it dies, Dask blames all.
            while waiting and len(running) < present:
                task = waiting.popleft()
                key = f"geoseg-{run}-{task.number}"
                words = where, task.number, job.id, threads
                running[client.submit(_work, *words, key=key, retries=RETRIES)] = task
            for future in _finished(running):
                task = running.pop(future)
                if failure := _failure_of(future, task, parts):
                    failed.append(failure)
                advance(1)
    except LOST as error:
        raise ResourceError(f"{name}: {GONE}") from error
    finally:
        if running:
            with suppress(Exception):
                client.cancel(list(running), force=True)
    return failed


def _work(folder: str, number: int, job_id: str, threads: int | None) -> GeosegError | None:
    """What a worker does: a task; returns what no other try would mend."""
    if threads:
        torch.set_num_threads(threads)
    if (job := read_job(folder)).id == job_id:
        try:
            open_engine(job.scenes[job.tasks[number].scene].plan)
        except (ModelError, UsageError) as error:
            return error
    run_task(folder, number, job_id)
    return None


class _Crew:
    """The workers of a cluster, as they come, go and pause for want of memory."""

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name, self._seen = client, name, time.monotonic()

    def count(self) -> int:
        """Workers that take tasks now, or are at one.

        Raises ResourceError where there was none for PATIENCE seconds, or no scheduler.
        """
        while True:
            if self.client.status != "running":
                raise ResourceError(f"{self.name}: {GONE}")
            workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
            if count := sum(map(_is_at_work, workers)):
                self._seen = time.monotonic()
                return count
            if time.monotonic() - self._seen > PATIENCE:
                raise ResourceError(f"{self.name}: {_say_missing(len(workers))}, and run this again")
            time.sleep(min(LOOK, PATIENCE) / 10)


def _is_at_work(worker: dict[str, Any]) -> bool:
    return worker["status"] == "running" or worker["metrics"].get("task_counts", {}).get("executing", 0) > 0


def _say_missing(paused: int) -> str:
    if paused:
        return (
            f"its {paused} worker(s) take no tasks, for want of memory, for {PATIENCE:.0f} s; start such of a larger "
            "--memory-limit"
        )
    return f"has had no worker for {PATIENCE:.0f} s; start some"


def _finished(running: dict[Future, Task]) -> set[Future]:
    """Those that ended, after LOOK seconds none, perhaps."""
    if not running:
        return set()
    try:
        return set(wait(list(running), timeout=LOOK, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return set()


def _failure_of(future: Future, task: Task, parts: Parts) -> Failure | None:
    """Why a task that ended is not finished; raises GeosegError where others would fail by the same."""
    if future.status in ("cancelled", "lost"):
        raise CommClosedError
    error = future.exception()
    if error is None:
        if unusable := future.result():
            raise unusable
        return None
    if isinstance(error, KilledWorker):
        said = f"{1 + error.allowed_failures} workers died while they computed it, perhaps for want of memory"
        return parts.note_failure(task.number, said)
    return failure_of(parts, task.number, error)
