"""geoseg.plan_job: scenes are decided on and cut into tasks, once, for all who will compute them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError, UsageError
from geoseg.files import locked, replace_file
from geoseg.jobs.job import JOB_FILE, Job, JobScene, read_job
from geoseg.jobs.parts import empty_parts
from geoseg.models.segmenter import Segmenter
from geoseg.predict_scenes import Input, files_of_scenes, resolve_model
from geoseg.prediction.plan import SHARD_SHAPE, Plan
from geoseg.prediction.predict import open_scene, planned, provenance
from geoseg.raster.bands import Band
from geoseg.raster.coarse import source_of
from geoseg.raster.described import open_described
from geoseg.raster.scene import AnyRule
from geoseg.source import Source
from geoseg.tiling import BLOCK

log = logging.getLogger("geoseg")

PART = 8192
"""Side in pixels of the squares that tasks compute, unless told otherwise.

Windows that lie across a border are forwarded on both sides: of windows of w pixels, (1 + w / PART)^2 - 1 more work.
A task keeps no more in memory than ``Plan.memory`` says, whatever its height."""


def plan_job(
    scenes: Sequence[str | Path | Source] | str | Path | Source,
    folder: str | Path,
    model: str | Path | None = None,
    *,
    part: int = PART,
    overwrite: bool = False,
    bands: Sequence[Band] | None = None,
    stack: bool = False,
    mosaic: bool = False,
    nodata_rule: AnyRule = "all",
    **options: Any,
) -> Job:
    """Decide a prediction of one scene or of several, and write it down in a folder for those who will compute it.

    They open the scenes and the model by their absolute paths or URLs, so these must be the same for all of them. The
    plan is for the kind of processor or GPU that plans: others refuse the tasks, as their maps would differ.

    Args:
        scenes: raster files; with ``mosaic`` or ``stack`` they are one scene.
        bands, nodata_rule: as geoseg.predict takes them.
        folder: of the job; it is made. Planning the same once more changes nothing.
        model: a run folder or a model file; None: the newest finished run under ./runs.
        part: side in pixels of the squares that one task computes, a multiple of 512.
        overwrite: forget another job in the folder, with all its parts.
        options: of geoseg.predict, those that decide a plan.

    Raises OutputError where another job is in the folder, or files of others are where its parts go, and whatever
    geoseg.predict raises before its work.
    """
    if options.get("scores", "none") != "none":
        raise UsageError("a job writes classes only; scores are written by geoseg predict --scores")
    if part < BLOCK or part % BLOCK:
        raise UsageError(f"a part's side is a multiple of {BLOCK} px, got {part}")
    scenes = [scenes] if isinstance(scenes, (str, Path, Source)) else list(scenes)
    folder, inputs = Path(folder), files_of_scenes(scenes, stack, mosaic)
    stems = _stems(inputs)
    segmenter = resolve_model(Path(model) if model is not None else None, scenes)
    how = {"bands": bands, "nodata_rule": nodata_rule, "mosaic": mosaic, "stack": stack}
    job = Job(
        tuple(
            _plan_scene(files, stem, segmenter, part, how, options) for files, stem in zip(inputs, stems, strict=True)
        )
    )
    return _put(job, folder, overwrite)


def _plan_scene(
    files: Input, stem: str, segmenter: Segmenter, part: int, how: dict[str, Any], options: dict[str, Any]
) -> JobScene:
    with open_scene(files, segmenter.config, **how) as opened:
        if not opened.grid.georeferenced and not opened.grid.gcps:
            log.info("%s: has no georeference, so the map has none", opened.name)
        with planned(opened, segmenter, None, **options) as (plan, scene, segmenter):
            if plan.least_patch:
                raise UsageError(
                    "a task knows nothing of patches that go on in another part; leave the least area out, and give it "
                    "to geoseg vectorize"
                )
            plan, count = _with_shards(plan, part)
            _require_reopening(plan)
            return JobScene(stem, plan, source_of(scene).grid, segmenter.legend, provenance(plan, segmenter), count)


def _with_shards(plan: Plan, part: int) -> tuple[Plan, int]:
    """The plan with shards as wide as a part, and how many of them, one below the other, make one.

    They are lower than parts: what is read, computed and written at once stays small, and goes on at the same time.
    """
    side = max(part // plan.scene.get("factor", 1) // BLOCK * BLOCK, BLOCK)
    height = next(height for height in (SHARD_SHAPE[0], BLOCK) if side % height == 0)
    plan = replace(plan, shard_shape=(height, side)).with_even_batches(plan.numerics.batch_shape[0])
    return plan, side // height


def _require_reopening(plan: Plan) -> None:
    """Raise InputError or UsageError unless others find the scene and the model by what the plan remembers."""
    if not plan.model["path"]:
        raise UsageError("a job's workers load the model from its file; save it first")
    open_described(plan.scene)


def _stems(inputs: Sequence[Input]) -> list[str]:
    stems = [Source.of(files[0]).stem or "scene" for files in inputs]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UsageError(f"two scenes would be mapped to {twice[0]}.tif; plan them as two jobs")
    return stems


def _put(job: Job, folder: Path, overwrite: bool) -> Job:
    with locked(folder):
        if (folder / JOB_FILE).is_file() and not overwrite:
            there = read_job(folder)
            if job.with_batches_of(there).id != there.id:
                raise OutputError(
                    f"{folder}: holds another job (of other scenes, another model or other options); --overwrite "
                    "forgets it with its finished parts, or name another folder"
                )
            log.info("%s: the same job is planned there already", folder)
            return there
        empty_parts(folder, (folder / JOB_FILE).is_file())
        replace_file(folder / JOB_FILE, job.to_json().encode())
    return job
