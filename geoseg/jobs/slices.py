"""Which tasks are whose: one slice of a job, by hand or as an array job's scheduler says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from geoseg.errors import UsageError
from geoseg.jobs.job import Job, Task


@dataclass(frozen=True)
class Slice:
    """Number ``place`` of ``count`` slices, from 1."""

    place: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.place <= self.count:
            raise UsageError(f"--shard I/N is one of 1/N to N/N, got {self}")

    def __str__(self) -> str:
        return f"{self.place}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Read I/N; raises UsageError."""
        place, _, count = text.partition("/")
        if not place.strip().isdecimal() or not count.strip().isdecimal():
            raise UsageError(f"--shard I/N takes two whole numbers, such as 3/16, got {text!r}")
        return cls(int(place), int(count))

    def of(self, job: Job) -> list[Task]:
        """Its tasks, the largest first. All slices together have each task once, and about as much work."""
        return list(job.by_size[self.place - 1 :: self.count])


WHOLE = Slice(1, 1)


def slice_of_array(environment: Mapping[str, str] = os.environ) -> tuple[Slice, str] | None:
    """The slice of this element of a SLURM or an AWS Batch array, and whose word that is; None outside of arrays.

    Raises UsageError for a SLURM array of numbers at uneven distances, whose places cannot be told.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        number, least, step, count = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (("ID", "0"), ("MIN", "0"), ("STEP", "1"), ("COUNT", "1"))
        )
        place, rest = divmod(number - least, step)
        # Of --array=3,7,20 too many places would be counted, or 7 and 20 taken for neighbours.
        if rest or place >= count or _uneven(environment, least, step, count):
            raise UsageError(
                "the numbers of this SLURM array are at uneven distances; submit --array=1-N (finished parts are "
                "skipped whatever the array), or say --shard I/N"
            )
        return Slice(place + 1, count), "SLURM_ARRAY_TASK_ID"
    if "AWS_BATCH_JOB_ARRAY_INDEX" in environment:
        index, size = (environment.get(f"AWS_BATCH_JOB_ARRAY_{name}") for name in ("INDEX", "SIZE"))
        if size is None:
            raise UsageError("AWS_BATCH_JOB_ARRAY_SIZE is not set; say --shard I/N")
        return Slice(int(index) + 1, int(size)), "AWS_BATCH_JOB_ARRAY_INDEX"
    return None


def _uneven(environment: Mapping[str, str], least: int, step: int, count: int) -> bool:
    greatest = environment.get("SLURM_ARRAY_TASK_MAX")
    return greatest is not None and int(greatest) != least + step * (count - 1)
