"""Journal: the finished shards of one prediction, kept beside its output so that a run that was stopped can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import OutputError, UsageError
from geoseg.files import disk_errors
from geoseg.prediction.plan import Plan
from geoseg.prediction.shard import ShardResult

log = logging.getLogger("geoseg")
JOURNAL = "journal.jsonl"
EMPTY = hashlib.sha256(b"").hexdigest()
"""Checksum of a shard without data, which has no part file."""


class Journal:
    """A folder ``.NAME.geoseg`` beside the output: the plan, a part file for each finished shard, and their checksums.

    A context manager that holds the output's lock, so that two runs never write one output. Leaving it without an error
    removes the folder; leaving it with an error keeps what is finished.

    Args:
        output: the map that is being made.
        plan: what this run would do.
        resume: go on with what an earlier run finished, if its plan was the same.

    Raises, when entered: OutputError where another process holds the lock, or an unfinished run is there and ``resume``
    was not asked for; UsageError where its plan was another; ResourceError.
    """

    def __init__(self, output: str | Path, plan: Plan, resume: bool = False, overwrite: bool = False) -> None:
        self.output = Path(output)
        self.folder = self.output.with_name(f".{self.output.name}.geoseg")
        self.plan, self._resume, self._overwrite = plan, resume, overwrite
        self._parts: dict[int, str] = {}
        """sha256 of each part file."""

    def __enter__(self) -> Journal:
        with disk_errors(self.output):
            self._lock = _locked(self.folder, self.output)
            try:
                self._begin()
            except BaseException:
                self._unlock()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not self._parts:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def __contains__(self, index: int) -> bool:
        return index in self._parts

    @property
    def complete(self) -> bool:
        """True where every shard is finished: a run that was stopped while it put the map in its place."""
        return len(self._parts) == len(self.plan.shards)

    def add(self, result: ShardResult) -> None:
        """Keep a finished shard: its part file first, then the line that makes it count."""
        data = b"" if result.bands is None else zlib.compress(np.ascontiguousarray(result.bands), 1)
        checksum = hashlib.sha256(data).hexdigest()
        with disk_errors(self.output):
            if data:
                self._part(result.index).write_bytes(data)
            self._append({"shard": result.index, "sha256": checksum})
        self._parts[result.index] = checksum

    def load(self, index: int) -> ShardResult:
        """A shard that was finished before."""
        shard = self.plan.shards[index]
        if self._parts[index] == EMPTY:
            return ShardResult(index, shard, None)
        bands = np.frombuffer(zlib.decompress(self._part(index).read_bytes()), np.uint8)
        return ShardResult(index, shard, bands.reshape(1 + self.plan.written_scores, *shard.shape))

    def restart(self, plan: Plan) -> None:
        """Forget all parts: they were made under another plan."""
        self.plan, self._parts = plan, {}
        with disk_errors(self.output):
            for path in self.folder.glob("part-*"):
                path.unlink()
            (self.folder / JOURNAL).unlink(missing_ok=True)
            self._append({"plan": json.loads(plan.to_json())})

    def _begin(self) -> None:
        lines = _read_lines(self.folder / JOURNAL)
        parts = {line["shard"]: line["sha256"] for line in lines[1:] if "shard" in line}
        if not lines or not parts:
            return self.restart(self.plan)
        if not self._resume and not self._overwrite:
            raise OutputError(
                f"{self.output}: an unfinished run of {len(parts)} shard(s) is there; --resume continues it, "
                "--overwrite begins again"
            )
        if not self._resume:
            return self.restart(self.plan)
        self.plan = _agreed(lines[0].get("plan"), self.plan, self.output)
        self._parts = {index: checksum for index, checksum in parts.items() if self._is_whole(index, checksum)}
        altered = len(parts) - len(self._parts)
        if altered:
            log.warning("%s: %d finished part(s) were altered or lost; they are computed again", self.output, altered)
        log.info("%s: %d of %d shards were finished before", self.output, len(self._parts), len(self.plan.shards))

    def _is_whole(self, index: int, checksum: str) -> bool:
        path = self._part(index)
        return checksum == EMPTY or (path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == checksum)

    def _part(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}"

    def _append(self, line: dict[str, Any]) -> None:
        with open(self.folder / JOURNAL, "a", encoding="utf-8") as file:
            # A line that was cut by a kill must not swallow this one.
            file.write(("\n" if file.tell() else "") + json.dumps(line))

    def _unlock(self) -> None:
        os.close(self._lock)


def unfinished(output: Path) -> bool:
    """True where a run into ``output`` was stopped and left parts, or is running."""
    return (output.with_name(f".{output.name}.geoseg") / JOURNAL).is_file()


def _locked(folder: Path, output: Path) -> int:
    """The descriptor of the folder's lock file, locked until it is closed."""
    while True:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that held it may have removed the folder between the two calls.
            if os.path.samestat(os.stat(folder / "lock"), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise OutputError(f"{output}: is being written by another process; wait for it") from error
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _agreed(record: dict[str, Any] | None, plan: Plan, output: Path) -> Plan:
    """The plan to go on with: the earlier one, its batch included. Raises UsageError where it was another."""
    try:
        earlier = Plan.from_json(json.dumps(record))
    except UsageError as error:
        raise UsageError(f"{output}: {error}; --overwrite begins again") from error
    wanted = plan.with_batch(earlier.numerics.batch_shape[0])
    before, now = (json.loads(p.to_json()) for p in (earlier, wanted))
    differing = sorted(key for key in now if before.get(key) != now[key])
    if differing:
        raise UsageError(
            f"{output}: the unfinished run had another {', '.join(differing)}; "
            "resume with the same scene, model and options, or begin again with --overwrite"
        )
    return earlier
