"""geoseg.job_status: how far a job is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.jobs.job import Job, JobScene, read_job
from geoseg.jobs.parts import Failure, Part, Parts
from geoseg.prediction.prediction import Prediction


@dataclass(frozen=True, eq=False)
class SceneStatus:
    """How far one scene is, and what was found so far."""

    entry: JobScene
    tasks: int
    parts: tuple[Part, ...]
    """Of the finished tasks."""
    failures: tuple[Failure, ...]
    pixels: int
    """Of the map, in finished parts."""

    @property
    def left(self) -> int:
        """Tasks that are neither finished nor failed."""
        return self.tasks - len(self.parts) - len(self.failures)

    @property
    def is_finished(self) -> bool:
        return len(self.parts) == self.tasks

    @property
    def percent(self) -> float:
        """Of the map's pixels."""
        return 100 * self.pixels / self.entry.grid.window.area

    @property
    def seconds(self) -> float:
        """That all finished tasks took together."""
        return sum(part.seconds for part in self.parts)

    @property
    def halo(self) -> float:
        """Windows that finished parts looked at beyond their share of the lattice's, as a part of that share."""
        lattice = self.entry.plan.lattice
        share = len(lattice) * self.pixels / self.entry.grid.window.area
        return sum(part.windows for part in self.parts) / share - 1 if share else 0.0

    def result(self, path: Path | None = None) -> Prediction:
        """What is known of the map from its finished parts, summed."""
        counts, hectares = np.zeros(256, np.int64), np.zeros(256)
        for part in self.parts:
            counts[list(part.counts)] += list(part.counts.values())
            if part.hectares:
                hectares[list(part.hectares)] += list(part.hectares.values())
        has_place = any(part.hectares is not None for part in self.parts)
        entry = self.entry
        return Prediction(path, entry.grid, entry.legend, counts, entry.plan, hectares if has_place else None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = self.result().to_dict()
        return {
            "scene": self.entry.name,
            "status": "finished" if self.is_finished else "failed" if self.failures else "unfinished",
            "tasks": self.tasks,
            "done": len(self.parts),
            "failed": len(self.failures),
            "left": self.left,
            "percent": round(self.percent, 2),
            "seconds": round(self.seconds, 3),
            "halo": round(self.halo, 4),
            "shape": found["shape"],
            "shares": found["shares"],
            "hectares": found["hectares"],
        }

    def to_text(self) -> str:
        """A line for the terminal, and one for each of the first failures."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"{self.entry.name}: {len(self.parts)} of {self.tasks} tasks done ({self.percent:.0f} %)"
            f"{failed}, {self.left} left; {self.seconds:.0f} s of work so far"
        )


@dataclass(frozen=True, eq=False)
class JobStatus:
    """How far a job is, scene by scene."""

    job: Job
    scenes: tuple[SceneStatus, ...]

    @property
    def is_finished(self) -> bool:
        return all(scene.is_finished for scene in self.scenes)

    @property
    def failures(self) -> list[Failure]:
        """Tasks that failed and were not finished since."""
        return [failure for scene in self.scenes for failure in scene.failures]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        failures = [
            {"task": one.task, "where": self.job.describe(one.task), "message": one.message, "attempts": one.attempts}
            | {"host": one.host}
            for one in self.failures
        ]
        return {
            "job": self.job.id,
            "finished": self.is_finished,
            "scenes": [scene.to_dict() for scene in self.scenes],
            "failures": failures,
        }

    def to_text(self, most: int = 10) -> str:
        """Lines for the terminal."""
        lines = [scene.to_text() for scene in self.scenes]
        for one in self.failures[:most]:
            lines.append(
                f"  task {one.task} ({self.job.describe(one.task)}) failed {one.attempts} time(s), the last on "
                f"{one.host}: {one.message}"
            )
        if len(self.failures) > most:
            lines.append(f"  and {len(self.failures) - most} more, in --json")
        return "\n".join(lines)


def job_status(folder: str | Path) -> JobStatus:
    """How far the job in a folder is, by its records; whether part files are whole is for runs and merging to check.

    Raises UsageError where there is no job.
    """
    job = read_job(folder)
    parts = Parts(folder, job)
    return JobStatus(job, tuple(scene_status(job, number, parts) for number in range(len(job.scenes))))


def scene_status(job: Job, scene: int, parts: Parts) -> SceneStatus:
    """How far one scene is."""
    tasks = job.tasks_of(scene)
    found = [parts.find(task.number) for task in tasks]
    failures = [parts.failure(task.number) for task, part in zip(tasks, found, strict=True) if part is None]
    done = tuple(part for part in found if part)
    pixels = sum(part.window.area for part in done)
    return SceneStatus(job.scenes[scene], len(tasks), done, tuple(filter(None, failures)), pixels)
