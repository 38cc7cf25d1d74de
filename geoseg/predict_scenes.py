"""Predicting what a command line names: several scenes, a default model, an output file or folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.datasets.dataset import is_synthetic
from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.grid import Grid
from geoseg.models.inference import for_inference
from geoseg.models.segmenter import Segmenter, blank_tiles
from geoseg.models.storage import load
from geoseg.prediction.journal import unfinished
from geoseg.prediction.plan import Plan, Scores
from geoseg.prediction.predict import open_scene, planned, predict, require_other_file
from geoseg.prediction.prediction import Prediction
from geoseg.raster.bands import Band
from geoseg.raster.coarse import source_of
from geoseg.raster.footprint import require_footprint
from geoseg.raster.scene import AnyRule, SceneLike
from geoseg.raster.writer import require_writable
from geoseg.source import Source
from geoseg.stac.item import is_item, require_item_place
from geoseg.stac.map_item import resolve_period, stac_item
from geoseg.training.run import newest_finished_run

log = logging.getLogger("geoseg")


Input = tuple[str | Path | Source, ...]
"""The files of one scene: a raster, the bands of a stack, or the places of a mosaic."""


@dataclass(frozen=True)
class PlannedScene:
    """What --dry-run tells of one scene."""

    scene: str
    """Its name."""
    output: Path
    plan: Plan
    grid: Grid
    """Of the scene, and of the map."""
    filled: int
    """Windows that are wanted and of which it is not known that they hold no data."""
    seconds: float
    """Estimated from one forward pass."""
    disk: int
    """Bytes that the outputs and the parts take at most."""

    @property
    def factor(self) -> int:
        """Pixels of the scene along a side of what is read as one."""
        return self.plan.scene.get("factor", 1)

    def summary(self) -> dict[str, Any]:
        """As JSON holds it."""
        plan = self.plan
        return {
            "scene": self.scene,
            "output": str(self.output),
            "shape": list(self.grid.shape),
            "gsd": self.grid.gsd,
            "factor": self.factor,
            "window": plan.lattice.side,
            "overlap": plan.lattice.overlap,
            "size": plan.size,
            "tiles": plan.forwarded,
            "windows": len(plan.lattice),
            "windows_with_data": self.filled,
            "repeated_work": round(plan.repeated_work, 4),
            "shards": len(plan.shards),
            "memory_bytes": plan.memory,
            "disk_bytes": self.disk,
            "seconds": round(self.seconds, 1),
            "numerics": asdict(plan.numerics),
        }

    def describe(self) -> str:
        """In a few lines for the terminal."""
        plan, lattice, numerics = self.plan, self.plan.lattice, self.plan.numerics
        height, width = self.grid.shape
        coarse = f", {self.factor} x {self.factor} of them read as one" if self.factor > 1 else ""
        return (
            f"{self.scene} -> {self.output}: {height} x {width} px (rows x columns){coarse}\n"
            f"  {plan.forwarded} tiles of {lattice.side} px seen at {plan.size} px, overlap {lattice.overlap} px: "
            f"{plan.repeated_work:.2f} pixels forwarded per pixel that is read\n"
            f"  {self.filled} of {len(lattice)} windows may hold data; {plan.memory / 2**20:.0f} MiB of buffers "
            f"beside the network's own; at most {self.disk / 2**20:,.0f} MiB on disk\n"
            f"  {numerics.device} ({numerics.instruction_set}), {numerics.precision}, {numerics.engine}, "
            f"batches of {numerics.batch_shape[0]}: about {_duration(self.seconds)}"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def predict_scenes(
    scenes: Sequence[str | Path | Source],
    output: str,
    model: Path | None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = False,
    bands: Sequence[Band] | None = None,
    stack: bool = False,
    mosaic: bool = False,
    nodata_rule: AnyRule = "all",
    scores: Scores = "none",
    scores_output: Path | None = None,
    stac: bool = False,
    datetime: str | None = None,
    **options: Any,
) -> Iterator[Prediction]:
    """Predict scenes one after the other, each into its own map, with one model; with ``stack`` they are files of one
    band each, and one scene.

    All outputs are checked before any work. With ``resume``, maps that are there are left as they are, and yielded not
    again. With ``mosaic`` the scenes are files of one. With ``stac`` each map gets a STAC Item beside it, of the time
    ``datetime``, as ``stac_item`` explains. ``options`` are those of predict. Raises as ``predict`` does.
    """
    inputs = resolve_inputs(scenes, output, stack, mosaic)
    if scores_output and len(inputs) > 1:
        raise UsageError("scores go to one file: predict one scene at a time")
    targets = resolve_outputs(inputs, output, overwrite or resume)
    segmenter = resolve_model(model, scenes)
    if stac:
        for files, target in zip(inputs, targets, strict=True):
            with open_scene(files, segmenter.config, bands, nodata_rule, mosaic, stack) as scene:
                require_item(scene, files, target, datetime, overwrite, resume)
    for files, target in zip(inputs, targets, strict=True):
        with open_scene(files, segmenter.config, bands, nodata_rule, mosaic, stack) as scene:
            if not scene.grid.georeferenced and not scene.grid.gcps:
                log.info("%s: has no georeference, so the map has none", scene.name)
            finished = resume and not overwrite and target.exists() and not unfinished(target)
            if finished:
                log.info("%s: is finished", target)
            else:
                result = predict(
                    scene,
                    segmenter,
                    target,
                    scores=scores,
                    scores_output=scores_output,
                    overwrite=overwrite,
                    resume=resume,
                    progress=progress,
                    **options,
                )
        if stac and not (finished and item_path(target).exists()):
            made_by, replace = segmenter.origin["path"], overwrite or resume
            stac_item(target, item_path(target), datetime=datetime, scenes=files, model=made_by, overwrite=replace)
        if not finished:
            yield result


def require_item(
    scene: SceneLike, files: Input, target: Path, datetime: str | None, overwrite: bool, resume: bool
) -> None:
    """Raise, before any work, UsageError where a scene tells no time, InputError where it has no place on Earth,
    OutputError where its map's Item cannot be written; what a stopped run wrote may be written anew."""
    resolve_period(datetime, [Source.of(file) for file in files], str(files[0]))
    require_footprint(scene.grid, scene.name)
    item = item_path(target)
    require_item_place(item, overwrite or (resume and is_item(item, target.stem)))


def item_path(class_raster: Path) -> Path:
    """Where the STAC Item of a map is written."""
    return class_raster.with_suffix(".json")


def plan_scenes(
    scenes: Sequence[str | Path | Source],
    output: str,
    model: Path | None,
    *,
    overwrite: bool = False,
    bands: Sequence[Band] | None = None,
    stack: bool = False,
    mosaic: bool = False,
    resume: bool = False,
    nodata_rule: AnyRule = "all",
    **options: Any,
) -> list[PlannedScene]:
    """What ``predict_scenes`` would do."""
    inputs = resolve_inputs(scenes, output, stack, mosaic)
    targets = resolve_outputs(inputs, output, overwrite or resume, make_folder=False)
    model = resolve_model(model, scenes)
    found = []
    for files, target in zip(inputs, targets, strict=True):
        with (
            open_scene(files, model.config, bands, nodata_rule, mosaic, stack) as opened,
            planned(opened, model, None, **options) as (plan, scene, segmenter),
        ):
            filled = sum(scene.has_data(window) and scene.wants(window) for window in plan.lattice)
            share = filled / len(plan.lattice)
            seconds = estimate_seconds(plan, segmenter) * share
            grid = source_of(scene).grid
            # Each band once as parts and once as the map; a map whose small patches are merged in between, too.
            copies = 2 * (1 + plan.written_scores) + bool(plan.least_patch)
            disk = int(copies * math.prod(grid.shape) * share)
            found.append(PlannedScene(scene.name, target, plan, grid, filled, seconds, disk))
    return found


def resolve_inputs(
    scenes: Sequence[str | Path | Source], output: str, stack: bool = False, mosaic: bool = False
) -> list[Input]:
    """The files of each scene: one, or with ``stack`` or ``mosaic`` all of them.

    Raises UsageError for both, and for one scene of many files into a folder.
    """
    if (stack or mosaic) and (output.endswith("/") or Path(output).is_dir()):
        what = "stack" if stack else "mosaic"
        raise UsageError(f"{output}: a {what} is one scene; name the file of its map with -o MASK.tif")
    return files_of_scenes(scenes, stack, mosaic)


def files_of_scenes(scenes: Sequence[str | Path | Source], stack: bool = False, mosaic: bool = False) -> list[Input]:
    """The files of each scene: one, or with ``stack`` or ``mosaic`` all of them. Raises UsageError for both."""
    if stack and mosaic:
        raise UsageError(
            "--stack joins the bands of one place, --mosaic places; make a .vrt of each place's bands first"
        )
    return [tuple(scenes)] if stack or mosaic else [(file,) for file in scenes]


def estimate_seconds(plan: Plan, segmenter: Segmenter) -> float:
    """Seconds that the forward passes of a plan take, by one on zeros; a compiled network is timed uncompiled."""
    numerics = plan.numerics
    engine = for_inference(segmenter, numerics.precision, "plain" if numerics.engine == "plain" else "folded")
    count, height, width = numerics.batch_shape
    batch = blank_tiles(segmenter.config, count, (height, width)).to(segmenter.device)
    for _ in range(2):
        begun = time.perf_counter()
        engine(batch).sum().item()
        once = time.perf_counter() - begun
    return once * plan.forwarded / count * (8 if plan.tta else 1)


def resolve_model(model: Path | None, scenes: Sequence[str | Path | Source]) -> Segmenter:
    """The model asked for; else that of the newest finished run, said, and refused if it learned invented land only."""
    if model is not None:
        return load(model)
    run = newest_finished_run()
    segmenter = load(run)
    log.info("model: %s (the newest finished run)", run)
    real = [scene for scene in map(Source.of, scenes) if not (scene.local and is_synthetic(scene))]
    if segmenter.config.provenance.get("data", {}).get("synthetic") and real:
        raise ModelError(
            f"{run}: was trained on the synthetic sample and is not meant for {real[0]}; "
            f"train on real scenes, or insist with --model {run}"
        )
    return segmenter


def resolve_outputs(inputs: Sequence[Input], output: str, overwrite: bool, make_folder: bool = True) -> list[Path]:
    """The map of each scene: ``output`` itself for one, <folder>/<stem>.tif of its first file where it is a folder.

    Raises UsageError for several scenes and one file, or two scenes of one stem; OutputError where one exists.
    """
    folder = output.endswith("/") or Path(output).is_dir()
    if not folder and len(inputs) > 1:
        raise UsageError(
            f"{len(inputs)} scenes need a folder for their maps: end -o with /, as in -o {output}/; or make one of "
            "them with --mosaic"
        )
    sources = [Source.of(files[0]) for files in inputs]
    if unnamed := [source for source in sources if folder and not source.stem]:
        raise UsageError(f"{unnamed[0]}: ends in no file's name to call the map by; give -o a file")
    targets = [Path(output) / f"{source.stem}.tif" for source in sources] if folder else [Path(output)]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise UsageError(f"two scenes would be written to {sorted(twice)[0]}; predict them into two folders")
    if folder and make_folder:
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: cannot be made ({error.strerror})") from error
    for files, target in zip(inputs, targets, strict=True):
        if target.parent.is_dir() or not folder:
            for file in files:
                require_other_file(file, target)
            require_writable(target, overwrite)
    return targets
