"""geoseg.merge_job: the parts of a finished job as maps, and what was found, scene by scene."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.ahead import read_ahead, reader_threads
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.files import replace_file, require_place
from geoseg.grid import Window
from geoseg.jobs.job import Job, read_job
from geoseg.jobs.parts import Part, Parts
from geoseg.jobs.status import SceneStatus, scene_status
from geoseg.prediction.prediction import Prediction
from geoseg.raster.index import is_index, write_index
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ClassRasterWriter, require_local, require_writable
from geoseg.source import Source

log = logging.getLogger("geoseg")

SUMMARY = "summary.json"
ROWS = 2048
"""Rows of a part that are read at once, a multiple of a block's."""
READERS = 4


@dataclass(frozen=True, eq=False)
class Merged:
    """The map of one scene of a job."""

    result: Prediction
    """Its areas are summed from the parts."""
    status: SceneStatus

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return self.result.to_dict() | {
            key: value for key, value in self.status.to_dict().items() if key not in ("shape", "shares", "hectares")
        }

    def to_text(self) -> str:
        """Lines for the terminal."""
        return f"{self.result.to_text()}\n  {self.status.to_text()}"


def merge_job(
    folder: str | Path,
    output: str | Path,
    *,
    cog: bool = False,
    creation_options: Mapping[str, str] | None = None,
    overwrite: bool = False,
    allow_unfinished: bool = False,
) -> list[Merged]:
    """Make the maps of a job from its parts, each checked against its checksum.

    A .tif has the pixels, names, colours, overviews and tags that geoseg.predict writes; parts are read and written one
    after the other. A .vrt or .gti.gpkg only names the parts, which must stay. Into a folder each scene gets a .tif,
    and a summary of all is written beside them.

    Args:
        output: MASK.tif, MASK.vrt, MASK.gti.gpkg, or a folder; several scenes need a folder.
        cog: write Cloud Optimised GeoTIFFs.
        creation_options: of the .tif, as geoseg.predict takes them.
        allow_unfinished: merge what is finished, and leave the rest nodata.

    Raises UsageError for an unfinished job, InputError for parts that were altered, OutputError, ResourceError.
    """
    job = read_job(folder)
    parts = Parts(folder, job)
    targets, summary = _targets(job, parts, str(output), overwrite)
    if (cog or creation_options) and any(map(is_index, targets)):
        raise UsageError("--cog and --co are of a .tif; a .vrt or .gti.gpkg only names the parts")
    statuses = [scene_status(job, number, parts) for number in range(len(job.scenes))]
    if not allow_unfinished:
        _require_finished(folder, statuses)
    _require_whole(folder, job, parts, statuses)
    if summary:
        _make_folder(summary.parent)
    merged = []
    for status, target in zip(statuses, targets, strict=True):
        _merge_scene(status, parts, target, overwrite, cog, creation_options or {})
        merged.append(Merged(status.result(target), status))
    if summary:
        replace_file(summary, json.dumps([one.to_dict() for one in merged], indent=1).encode())
    return merged


def _targets(job: Job, parts: Parts, output: str, overwrite: bool) -> tuple[list[Path], Path | None]:
    """The map of each scene, and where the summary goes; all can be written."""
    require_local(output)
    is_folder = output.endswith("/") or Path(output).is_dir()
    if not is_folder and len(job.scenes) > 1:
        raise UsageError(f"{len(job.scenes)} scenes need a folder for their maps: end -o with /, as in -o {output}/")
    if not is_folder:
        target = Path(output)
        if is_index(target):
            require_place(target, overwrite)
        else:
            require_writable(target, overwrite)
        _require_other_files(job, parts, target)
        return [target], None
    targets = [Path(output) / f"{scene.stem}.tif" for scene in job.scenes]
    if Path(output).is_dir():
        for target in targets:
            require_writable(target, overwrite)
            _require_other_files(job, parts, target)
        require_place(Path(output) / SUMMARY, overwrite)
    return targets, Path(output) / SUMMARY


def _require_other_files(job: Job, parts: Parts, target: Path) -> None:
    """Raise UsageError where a map would take the place of a file that the job reads, or stand among its parts."""
    if target.parent.resolve() == parts.folder.resolve():
        raise UsageError(f"{target}: is a place of the job's own parts; put the map elsewhere")
    if not target.exists():
        return
    for file in (file for scene in job.scenes for file in _files_of(scene.plan.scene)):
        if Source.of(file).local and os.path.exists(file) and os.path.samefile(file, target):
            raise UsageError(f"{target}: is the scene itself; give the map another name")


def _files_of(record: Mapping[str, Any]) -> Iterator[str]:
    """The files that a scene's description names."""
    if "path" in record:
        yield record["path"]
    for inner in (*record.get("files", ()), *([record["source"]] if "source" in record else [])):
        yield from _files_of(inner)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


def _require_finished(folder: str | Path, statuses: Sequence[SceneStatus]) -> None:
    missing, failed = sum(s.left for s in statuses), sum(len(s.failures) for s in statuses)
    if not missing and not failed:
        return
    named = next(status for status in statuses if not status.is_finished)
    what = f"{missing + failed} of {sum(s.tasks for s in statuses)} task(s) are not finished"
    reason = f", {failed} of them failed ({named.failures[0].message})" if failed and named.failures else ""
    raise UsageError(
        f"{folder}: {what}{reason}, the first of {named.entry.name}; go on with: geoseg job run {folder}, "
        "or merge what is there with --partial"
    )


def _require_whole(folder: str | Path, job: Job, parts: Parts, statuses: Sequence[SceneStatus]) -> None:
    found = [job.tasks[part.task] for status in statuses for part in status.parts]
    whole = parts.find_all_whole(found)
    altered = [task.number for task, part in zip(found, whole, strict=True) if part is None]
    if altered:
        raise InputError(
            f"{parts.raster(altered[0])}: {len(altered)} part file(s), this one the first, were altered or lost since "
            f"they were finished; compute them again with: geoseg job run {folder}"
        )


def _merge_scene(
    status: SceneStatus, parts: Parts, target: Path, overwrite: bool, cog: bool, options: Mapping[str, str]
) -> None:
    entry = status.entry
    # In row order, as rows of the raster follow each other in the file.
    in_order = sorted(status.parts, key=lambda part: part.window)
    if is_index(target):
        files = [(parts.raster(part.task), part.window) for part in in_order if part.sha256]
        write_index(target, entry.grid, entry.legend, files, entry.tags, status.result(), overwrite)
        return
    with (
        ClassRasterWriter(target, entry.grid, entry.legend, entry.tags, overwrite, cog=cog, options=options) as writer,
        reader_threads(READERS) as readers,
    ):
        for part in in_order:
            if part.sha256 is None:
                writer.skip(part.window)
        for window, codes in read_ahead(readers, _reads(in_order, parts)):
            writer.write(window, codes)
        for task in _unfinished(status, in_order):
            writer.skip(task)


def _reads(in_order: Sequence[Part], parts: Parts) -> Iterator[Callable[[], tuple[Window, np.ndarray]]]:
    for part in in_order:
        if part.sha256:
            for row in range(0, part.window.height, ROWS):
                inside = Window(row, 0, min(ROWS, part.window.height - row), part.window.width)
                yield partial(_read, parts.raster(part.task), part.window, inside)


def _read(file: Path, window: Window, inside: Window) -> tuple[Window, np.ndarray]:
    """Some rows of a part, and where they lie in the scene."""
    with Scene(file) as scene:
        place = Window(window.row + inside.row, window.col, inside.height, inside.width)
        return place, scene.read_values(inside)[0]


def _unfinished(status: SceneStatus, done: Sequence[Part]) -> Iterator[Window]:
    found = {part.window for part in done}
    yield from (window for group in status.entry.groups if (window := status.entry.window_of(group)[1]) not in found)
