"""run_task: the unit of work of a job, a plain function of a folder and a number."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import torch

from geoseg.ahead import reader_threads, write_behind
from geoseg.errors import GeosegError, OutputError, ResourceError, UsageError
from geoseg.jobs.job import Job, Task, read_job
from geoseg.jobs.parts import Failure, Part, Parts, has_data, sha256_of
from geoseg.prediction.native import native_results
from geoseg.prediction.predict import Pending, require_unchanged
from geoseg.prediction.shard import open_engine, open_planned, run_shards
from geoseg.raster.scene import SceneLike, reader_count
from geoseg.raster.writer import ClassRasterWriter
from geoseg.redaction import redact

_one_at_a_time = threading.Lock()
"""A process has one network and one open scene: threads that call ``run_task`` wait for each other."""


def run_task(folder: str | Path, number: int, job_id: str | None = None) -> Part:
    """Compute a task of the job in a folder and leave its part there; a part that is whole is left as it is.

    Any process on any machine may call it that sees the folder, the scenes and the model at their places, and calling
    it twice does no harm. The model and the scene stay open for the next call.

    Args:
        job_id: of the job that is meant; None takes what is planned there now.

    Raises InputError, ModelError, OutputError, ResourceError, UsageError, and remembers the failure in the folder;
    OutputError also where another job was planned there meanwhile.
    """
    job = read_job(folder)
    _require_same(folder, job_id or job.id)
    if not 0 <= number < len(job.tasks):
        raise UsageError(f"{folder}: has tasks 0 to {len(job.tasks) - 1}, none of the number {number}")
    parts = Parts(folder, job)
    with _one_at_a_time:
        if part := parts.find_whole(number):
            return part
        try:
            return _compute(job, job.tasks[number], parts)
        except Exception as error:
            _require_same(folder, job.id)
            parts.note_failure(number, in_one_line(error))
            if isinstance(error, torch.OutOfMemoryError):
                raise ResourceError(
                    f"{folder}: task {number}: out of device memory; plan again with a smaller --batch-size"
                ) from error
            raise


def _require_same(folder: str | Path, job_id: str) -> None:
    if read_job(folder).id != job_id:
        raise OutputError(f"{folder}: another job was planned there meanwhile; geoseg job run begins with that")


def failure_of(parts: Parts, number: int, error: BaseException) -> Failure | None:
    """What is known of a task that raised an error; None where another run has finished it meanwhile.

    Raises errors by which the other tasks would fail, too: OutputError and ResourceError.
    """
    if parts.find_whole(number):
        return None
    if isinstance(error, (OutputError, ResourceError)):
        raise error
    return parts.failure(number) or parts.note_failure(number, in_one_line(error))


def in_one_line(error: BaseException) -> str:
    """What a person reads of an error."""
    said = redact(" ".join(str(error).split()))[:300]
    return said if isinstance(error, GeosegError) else f"{type(error).__name__}: {said}"


def _compute(job: Job, task: Task, parts: Parts) -> Part:
    begun, entry = time.perf_counter(), job.scenes[task.scene]
    engine = open_engine(entry.plan)
    with _open_once(parts.folder, job.id, task.scene) as scene, parts.workplace(task.number) as folder:
        draft = folder / "part.tif"
        with (
            ClassRasterWriter(draft, entry.grid[task.window], entry.legend, entry.tags) as writer,
            reader_threads(reader_count(scene)) as readers,
            write_behind(lambda pending: _store(pending, scene, task, writer)) as hand_over,
            closing(run_shards(entry.plan, task.shards, scene, engine, readers)) as results,
        ):
            for pending in results:
                hand_over(pending)
        require_unchanged(entry.plan, scene)
        checksum = sha256_of(draft) if has_data(writer.tally) else None
        part = Part.of(task, writer.tally, checksum, time.perf_counter() - begun)
        parts.keep(part, draft)
        return part


def _store(pending: Pending, scene: SceneLike, task: Task, writer: ClassRasterWriter) -> None:
    for piece in native_results(pending(), scene):
        place = piece.window.relative_to(task.window)
        if piece.bands is None:
            writer.skip(place)
        else:
            writer.write(place, piece.codes)


@lru_cache(maxsize=2)
def _open_once(folder: Path, job: str, scene: int) -> SceneLike:
    """A scene of a job; many files take long to look into, so it is kept. Leaving it as a context closes its handles,
    and reading opens them again."""
    return open_planned(read_job(folder.parent).scenes[scene].plan)
