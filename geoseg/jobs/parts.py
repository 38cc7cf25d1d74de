"""Parts: what finished and failed tasks leave in a job's folder, the only memory that a job has."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from geoseg.ahead import read_ahead, reader_threads
from geoseg.errors import GeosegError, OutputError
from geoseg.files import disk_errors, is_alive, replace_file
from geoseg.grid import Window
from geoseg.jobs.job import Job, Task, sha256_of_record
from geoseg.legend import NODATA
from geoseg.raster.areas import AreaTally

PARTS = "parts"
"""The folder below that of the job."""
SIDECAR = ".aux.xml"
CHECKERS = 8
"""Threads that check part files: most wait for a disk on the network."""
OWN_FILE = re.compile(r"part-\d{6,}\.(tif(\.aux\.xml|\.ovr|\.msk)?|json|error\.json)|\.[0-9a-f]{32}\.partial")
OWN_FOLDER = re.compile(r"\.(?P<machine>.+)\.(?P<process>\d+)\.(?P<task>\d+)\.[0-9a-f]{8}")
"""Names that files and folders of geoseg have among the parts."""
ABANDONED = 24 * 3600
"""Seconds after which an unfinished part of another machine is nobody's."""


@dataclass(frozen=True)
class Part:
    """What a finished task found; the record beside its file, without which the file counts for nothing."""

    task: int
    window: Window
    """Pixels of the scene's map."""
    sha256: str | None
    """Of the part file; None where no pixel has data, and there is no file."""
    counts: dict[int, int]
    """Pixels of each code that is there, NODATA among them."""
    hectares: dict[int, float] | None
    """True area of each code; None where the grid has no place on Earth."""
    windows: int
    """Windows of the lattice that meet the part."""
    seconds: float
    host: str

    @classmethod
    def of(cls, task: Task, tally: AreaTally, sha256: str | None, seconds: float) -> Part:
        """The part of a task whose pixels were all counted."""
        codes, hectares = np.flatnonzero(tally.counts), tally.hectares
        return cls(
            task.number,
            task.window,
            sha256,
            {int(code): int(tally.counts[code]) for code in codes},
            None if hectares is None else {int(code): float(hectares[code]) for code in codes},
            task.windows,
            round(seconds, 3),
            socket.gethostname(),
        )

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Part:
        """What ``dataclasses.asdict`` gave, through JSON, which has no numbers for keys."""
        sums = {
            key: record[key] and {int(code): value for code, value in record[key].items()}
            for key in ("counts", "hectares")
        }
        return cls(**{**record, **sums, "window": Window(**record["window"])})


@dataclass(frozen=True)
class Failure:
    """What is known of a task that failed and was not finished since."""

    task: int
    message: str
    """In one line."""
    attempts: int
    host: str


class Parts:
    """The part files and records of a job.

    Any number of machines may use one folder at a time: each writes in a folder of its own and renames when all is
    done. A record holds the id of its job, so parts of another plan are never taken.
    """

    def __init__(self, folder: str | Path, job: Job) -> None:
        self.job, self.folder = job, Path(folder) / PARTS

    def raster(self, number: int) -> Path:
        """The part file of a task."""
        return self.folder / f"part-{number:06d}.tif"

    def find(self, number: int) -> Part | None:
        """The record of a finished task; whether its file is whole is not looked at."""
        record = self._read(self._record(number))
        return record and Part.from_dict(record)

    def find_whole(self, number: int) -> Part | None:
        """The record of a finished task whose file is there, as it was written."""
        part = self.find(number)
        if part is None or part.sha256 is None:
            return part
        with suppress(OSError):
            return part if sha256_of(self.raster(number)) == part.sha256 else None
        return None

    def find_all_whole(self, tasks: Iterable[Task]) -> list[Part | None]:
        """The same of several tasks."""
        with reader_threads(CHECKERS) as checkers:
            return list(read_ahead(checkers, (partial(self.find_whole, task.number) for task in tasks), 2 * CHECKERS))

    def failure(self, number: int) -> Failure | None:
        """What an unfinished task failed by, the last time."""
        record = self._read(self._error(number))
        return record and Failure(**record)

    def keep(self, part: Part, draft: Path) -> None:
        """Make a part count: its file is put in its place first, then its record."""
        raster = self.raster(part.task)
        with disk_errors(raster):
            for ending in ("", SIDECAR):
                target = raster.with_name(raster.name + ending)
                if part.sha256 is None:
                    target.unlink(missing_ok=True)
                else:
                    os.replace(draft.with_name(draft.name + ending), target)
        self._write(self._record(part.task), asdict(part))
        self._error(part.task).unlink(missing_ok=True)

    def note_failure(self, number: int, message: str) -> Failure:
        """Remember by what a task failed; where even that cannot be written, it is lost."""
        before = self.failure(number)
        failure = Failure(number, message, 1 + (before.attempts if before else 0), socket.gethostname())
        with suppress(GeosegError):
            self._write(self._error(number), asdict(failure))
        return failure

    @contextmanager
    def workplace(self, number: int) -> Iterator[Path]:
        """A folder of its own for one task, removed afterwards."""
        folder = self.folder / f".{machine()}.{os.getpid()}.{number}.{uuid4().hex[:8]}"
        with disk_errors(self.folder):
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes of this machine left, and others long ago."""
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder}: is gone; plan the job again with --overwrite")
        for left in self._workplaces():
            ours, process = left["machine"] == machine(), int(left["process"])
            folder = self.folder / left.string
            with suppress(OSError):
                if not is_alive(process) if ours else time.time() - folder.stat().st_mtime > ABANDONED:
                    shutil.rmtree(folder, ignore_errors=True)

    def is_under_way(self, number: int) -> bool:
        """True where a process seems to be at a task."""
        return any(int(one["task"]) == number for one in self._workplaces())

    def _workplaces(self) -> list[re.Match[str]]:
        return [found for name in os.listdir(self.folder) if (found := OWN_FOLDER.fullmatch(name))]

    def _record(self, number: int) -> Path:
        return self.raster(number).with_suffix(".json")

    def _error(self, number: int) -> Path:
        return self.raster(number).with_suffix(".error.json")

    def _write(self, file: Path, record: dict[str, Any]) -> None:
        # JSON turns numbers that are keys into texts, which are sorted otherwise.
        record = json.loads(json.dumps({"job": self.job.id, **record}))
        replace_file(file, json.dumps(record | {"checksum": sha256_of_record(record)}).encode())

    def _read(self, file: Path) -> dict[str, Any] | None:
        """A record of this job; None where there is none, or one that was altered."""
        try:
            record = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or record.pop("checksum", None) != sha256_of_record(record):
            return None
        return record if record.pop("job") == self.job.id else None


def empty_parts(folder: Path, planned: bool) -> None:
    """Make the place for a new job's parts in a folder, without those of a job that was planned there.

    Raises OutputError, with all files where they were, where there are any that are not of such parts.
    """
    place = folder / PARTS
    with disk_errors(place):
        place.mkdir(exist_ok=True)
        found = sorted(place.iterdir())
        if strange := [path for path in found if not planned or not _is_own(path)]:
            raise OutputError(f"{place}: holds {strange[0].name}, of no job here; move it away, or name another folder")
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_own(path: Path) -> bool:
    is_folder = path.is_dir() and not path.is_symlink()
    return bool((OWN_FOLDER if is_folder else OWN_FILE).fullmatch(path.name))


def has_data(tally: AreaTally) -> bool:
    """True where any pixel that was counted has a class."""
    return bool(tally.counts[:NODATA].any())


def machine() -> str:
    """This machine or container, within which a process has its number to itself: names of hosts are not unique."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    return socket.gethostname()


def sha256_of(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
