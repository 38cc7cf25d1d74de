"""Job: scenes that are decided on, cut into tasks that any machine can do; one JSON file in the job's folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import GeosegError, InputError, UsageError
from geoseg.grid import Grid, GroundControlPoint, Window
from geoseg.legend import Legend
from geoseg.prediction.plan import Plan

FORMAT = 1
JOB_FILE = "job.json"


@dataclass(frozen=True)
class Task:
    """Shards that lie below each other: what one call of ``run_task`` computes, and what one part file holds."""

    number: int
    """Place among all tasks of the job, from 0."""
    scene: int
    """Place of its scene in the job."""
    shards: tuple[int, ...]
    """Indices in the scene's plan, from the top down."""
    window: Window
    """Pixels of the map that the part holds."""
    windows: int
    """Windows of the lattice that meet it: the network sees each, if it holds data."""


@dataclass(frozen=True)
class JobScene:
    """One scene of a job, and all that its map needs beside its pixels; so merging needs no model."""

    stem: str
    """Name of its map without ending."""
    plan: Plan
    grid: Grid
    """Of the map."""
    legend: Legend
    tags: Mapping[str, str]
    """Provenance, as every map has it."""
    shards_per_task: int

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.plan.scene["name"]

    @property
    def factor(self) -> int:
        """Pixels of the map along a side of one that the plan is about."""
        return self.plan.scene.get("factor", 1)

    @cached_property
    def groups(self) -> list[tuple[int, ...]]:
        """The shards of each task, in the plan's order."""
        count = self.shards_per_task
        return [
            tuple(column[first : first + count])
            for column in self.plan.columns
            for first in range(0, len(column), count)
        ]

    def window_of(self, shards: tuple[int, ...]) -> tuple[Window, Window]:
        """The rectangle of some shards that lie below each other: in the plan's pixels, and in the map's."""
        first, last = self.plan.shards[shards[0]], self.plan.shards[shards[-1]]
        seen = Window(first.row, first.col, last.row_stop - first.row, first.width)
        scaled = Window(*(value * self.factor for value in (seen.row, seen.col, seen.height, seen.width)))
        return seen, scaled.intersect(self.grid.window)

    def windows_meeting(self, area: Window) -> int:
        """Windows of the lattice that meet a rectangle of the plan's pixels."""
        lattice = self.plan.lattice
        return len(lattice.rows_meeting(area)) * len(lattice.cols_meeting(area))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "stem": self.stem,
            "plan": json.loads(self.plan.to_json()),
            "grid": _grid_to_dict(self.grid),
            "legend": self.legend.to_dict(),
            "tags": dict(self.tags),
            "shards_per_task": self.shards_per_task,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> JobScene:
        """What ``to_dict`` gave, equal."""
        plan, grid = Plan.from_json(json.dumps(record["plan"])), _grid_from_dict(record["grid"])
        legend = Legend.from_dict(record["legend"])
        return cls(record["stem"], plan, grid, legend, record["tags"], record["shards_per_task"])


@dataclass(frozen=True)
class Job:
    """Scenes and their tasks. Equal jobs give the same maps, whoever does the tasks, however often."""

    scenes: tuple[JobScene, ...]

    @cached_property
    def id(self) -> str:
        """sha256 over the plans: models, inputs and settings."""
        plans = [[scene.stem, scene.shards_per_task, json.loads(scene.plan.to_json())] for scene in self.scenes]
        return sha256_of_record(plans)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, scene by scene, in the order of their shards."""
        found: list[Task] = []
        for number, scene in enumerate(self.scenes):
            for shards in scene.groups:
                seen, window = scene.window_of(shards)
                found.append(Task(len(found), number, shards, window, scene.windows_meeting(seen)))
        return tuple(found)

    @cached_property
    def by_size(self) -> tuple[Task, ...]:
        """The tasks, those first that take longest, by the pixels that the network sees."""
        return tuple(sorted(self.tasks, key=lambda task: (-self._work(task), task.number)))

    def tasks_of(self, scene: int) -> list[Task]:
        """The tasks of one scene."""
        return [task for task in self.tasks if task.scene == scene]

    def describe(self, number: int) -> str:
        """A task in words: its scene and where it lies there."""
        task = self.tasks[number]
        rows, cols = f"{task.window.row}-{task.window.row_stop}", f"{task.window.col}-{task.window.col_stop}"
        return f"{self.scenes[task.scene].name}, rows {rows}, columns {cols}"

    def with_batches_of(self, other: Job) -> Job:
        """The job with another one's batch sizes, which a GPU's free memory decides."""
        if len(self.scenes) != len(other.scenes):
            return self
        pairs = zip(self.scenes, other.scenes, strict=True)
        return Job(
            tuple(
                replace(scene, plan=scene.plan.with_batch(theirs.plan.numerics.batch_shape[0]))
                for scene, theirs in pairs
            )
        )

    def to_json(self) -> str:
        """The job as a JSON document; ``from_json`` reads it back, equal."""
        scenes = [scene.to_dict() for scene in self.scenes]
        record = {"format": FORMAT, "id": self.id, "sha256": sha256_of_record(scenes), "scenes": scenes}
        return json.dumps(record, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, name: str = JOB_FILE) -> Job:
        """Read what ``to_json`` wrote; raises InputError."""
        try:
            record = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError("made by another version of geoseg")
            if record["sha256"] != sha256_of_record(record["scenes"]) or not record["scenes"]:
                raise ValueError("altered since it was planned")
            job = cls(tuple(JobScene.from_dict(scene) for scene in record["scenes"]))
        except (ValueError, KeyError, TypeError, AttributeError, GeosegError) as error:
            raise InputError(f"{name}: not a job ({error}); plan it again with geoseg job plan --overwrite") from error
        return job

    def summary(self) -> dict[str, Any]:
        """What was planned, as JSON holds it."""
        scenes = [
            {
                "scene": scene.name,
                "shape": list(scene.grid.shape),
                "tasks": len(scene.groups),
                "window": scene.plan.lattice.side,
                "overlap": scene.plan.lattice.overlap,
                "size": scene.plan.size,
                "halo": round(self.halo_of(number), 4),
                "memory_bytes": scene.plan.memory,
            }
            for number, scene in enumerate(self.scenes)
        ]
        return {"job": self.id, "tasks": len(self.tasks), "scenes": scenes}

    def halo_of(self, scene: int) -> float:
        """Windows that tasks look at again, as a part of the scene's windows: those across their borders."""
        return sum(task.windows for task in self.tasks_of(scene)) / len(self.scenes[scene].plan.lattice) - 1

    def to_text(self, folder: str | Path) -> str:
        """A few lines for the terminal."""
        lines = [
            f"{scene.name}: {scene.grid.shape[0]} x {scene.grid.shape[1]} px (rows x columns), {len(scene.groups)} "
            f"task(s), {self.halo_of(number):.1%} of the windows seen again, {scene.plan.memory / 2**20:.0f} MiB of "
            "buffers beside the network's own"
            for number, scene in enumerate(self.scenes)
        ]
        return "\n".join([*lines, f"{folder}: {len(self.tasks)} task(s)"])

    def _work(self, task: Task) -> int:
        return task.windows * math.prod(self.scenes[task.scene].plan.tile_shape)


def read_job(folder: str | Path) -> Job:
    """The job in a folder; raises UsageError where there is none, InputError where it is damaged."""
    file = Path(folder) / JOB_FILE
    if not file.is_file():
        raise UsageError(f"{folder}: holds no job; plan one with geoseg job plan SCENE... -o {folder}")
    found = file.stat()
    # One of a mosaic lists all its files, and a worker asks for it with every task.
    return _read_once(file.absolute(), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)
def _read_once(file: Path, modified: int, size: int) -> Job:
    return Job.from_json(file.read_bytes(), str(file))


def sha256_of_record(record: Any) -> str:
    """Of a record's JSON, by which it is seen whether it was altered."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _grid_to_dict(grid: Grid) -> dict[str, Any]:
    return {
        # WKT 1 does not hold every CRS.
        "crs": grid.crs.to_wkt(version="WKT2_2019") if grid.crs else None,
        "transform": list(grid.transform)[:6],
        "shape": list(grid.shape),
        "gcps": [list(point) for point in grid.gcps],
        "rpcs": [list(pair) for pair in grid.rpcs],
    }


def _grid_from_dict(record: Mapping[str, Any]) -> Grid:
    return Grid(
        CRS.from_wkt(record["crs"]) if record["crs"] else None,
        Affine(*record["transform"]),
        tuple(record["shape"]),
        tuple(GroundControlPoint(*point) for point in record["gcps"]),
        tuple((name, value) for name, value in record["rpcs"]),
    )
