"""Predicting what a command line names: several scenes, a default model, an output file or folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from geoseg.datasets.dataset import is_synthetic
from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.grid import Grid
from geoseg.models.inference import for_inference
from geoseg.models.segmenter import Segmenter, TileBatch
from geoseg.models.storage import load
from geoseg.prediction.journal import unfinished
from geoseg.prediction.plan import Plan, Scores
from geoseg.prediction.predict import (
    Prediction,
    open_scene,
    planned,
    predict,
    require_other_file,
    resolve_bands,
    source_files,
)
from geoseg.raster.coarse import source_of
from geoseg.raster.scene import NodataRule
from geoseg.raster.writer import require_writable
from geoseg.training.run import newest_finished_run

log = logging.getLogger("geoseg")


@dataclass(frozen=True)
class PlannedScene:
    """What --dry-run tells of one scene."""

    scene: str
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
    scenes: Sequence[Path],
    output: str,
    model: Path | None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = False,
    mosaic: bool = False,
    bands: Sequence[int] | None = None,
    nodata_rule: NodataRule = "all",
    scores: Scores = "none",
    scores_output: Path | None = None,
    **options: Any,
) -> Iterator[Prediction]:
    """Predict scenes one after the other, each into its own map, with one model.

    All outputs are checked before any work. With ``resume``, maps that are there are left as they are, and yielded not
    again. With ``mosaic`` the scenes are files of one. ``options`` are those of predict. Raises as ``predict`` does.
    """
    sources = [tuple(scenes)] if mosaic else list(scenes)
    if scores_output and len(sources) > 1:
        raise UsageError("scores go to one file: predict one scene at a time")
    targets = resolve_outputs(sources, output, overwrite or resume)
    segmenter = resolve_model(model, scenes)
    for source, target in zip(sources, targets, strict=True):
        with open_scene(source, resolve_bands(bands, segmenter), nodata_rule, mosaic) as scene:
            if not scene.grid.georeferenced and not scene.grid.gcps:
                log.info("%s: has no georeference, so the map has none", scene.name)
            require_other_files(source, target)
            if resume and not overwrite and target.exists() and not unfinished(target):
                log.info("%s: is finished", target)
                continue
            yield predict(
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


def plan_scenes(
    scenes: Sequence[Path],
    output: str,
    model: Path | None,
    *,
    overwrite: bool = False,
    mosaic: bool = False,
    bands: Sequence[int] | None = None,
    resume: bool = False,
    nodata_rule: NodataRule = "all",
    **options: Any,
) -> list[PlannedScene]:
    """What ``predict_scenes`` would do."""
    sources = [tuple(scenes)] if mosaic else list(scenes)
    targets = resolve_outputs(sources, output, overwrite or resume, make_folder=False)
    segmenter = resolve_model(model, scenes)
    found = []
    for source, target in zip(sources, targets, strict=True):
        with planned(source, segmenter, bands, nodata_rule, mosaic=mosaic, **options) as (plan, scene, segmenter):
            filled = sum(scene.has_data(window) and scene.wants(window) for window in plan.lattice)
            share = filled / len(plan.lattice)
            seconds = estimate_seconds(plan, segmenter) * share
            grid = source_of(scene).grid
            disk = int(2 * (1 + plan.written_scores) * math.prod(grid.shape) * share)
            found.append(PlannedScene(scene.name, target, plan, grid, filled, seconds, disk))
    return found


def estimate_seconds(plan: Plan, segmenter: Segmenter) -> float:
    """Seconds that the forward passes of a plan take, by one on zeros; a compiled network is timed uncompiled."""
    numerics = plan.numerics
    engine = for_inference(segmenter, numerics.precision, "plain" if numerics.engine == "plain" else "folded")
    count, height, width = numerics.batch_shape
    pixels = torch.zeros(count, segmenter.config.bands, height, width, dtype=torch.uint8)
    batch = TileBatch(pixels, torch.ones(count, height, width, dtype=torch.bool)).to(segmenter.device)
    for _ in range(2):
        begun = time.perf_counter()
        engine(batch).sum().item()
        once = time.perf_counter() - begun
    return once * plan.forwarded / count * (8 if plan.tta else 1)


def resolve_model(model: Path | None, scenes: Sequence[Path]) -> Segmenter:
    """The model asked for; else that of the newest finished run, said, and refused if it learned invented land only."""
    if model is not None:
        return load(model)
    run = newest_finished_run()
    segmenter = load(run)
    log.info("model: %s (the newest finished run)", run)
    real = [path for path in scenes if not is_synthetic(path)]
    if segmenter.config.provenance.get("data", {}).get("synthetic") and real:
        raise ModelError(
            f"{run}: was trained on the synthetic sample and is not meant for {real[0]}; "
            f"train on real scenes, or insist with --model {run}"
        )
    return segmenter


def resolve_outputs(
    sources: Sequence[Path | tuple[Path, ...]], output: str, overwrite: bool, make_folder: bool = True
) -> list[Path]:
    """The map of each scene or mosaic: ``output`` itself for one, or in the folder that it is <stem>.tif or mosaic.tif.

    Raises UsageError for several scenes and one file, or two scenes of one stem; OutputError where one exists.
    """
    folder = output.endswith("/") or Path(output).is_dir()
    if not folder and len(sources) > 1:
        raise UsageError(
            f"{len(sources)} scenes need a folder for their maps: end -o with /, as in -o {output}/; or make one of "
            "them with --mosaic"
        )
    stems = ["mosaic" if isinstance(source, tuple) else source.stem for source in sources]
    targets = [Path(output) / f"{stem}.tif" for stem in stems] if folder else [Path(output)]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise UsageError(f"two scenes would be written to {sorted(twice)[0]}; predict them into two folders")
    if folder and make_folder:
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: cannot be made ({error.strerror})") from error
    for source, target in zip(sources, targets, strict=True):
        if target.parent.is_dir() or not folder:
            require_other_files(source, target)
            require_writable(target, overwrite)
    return targets


def require_other_files(source: Path | tuple[Path, ...], target: Path) -> None:
    """Raise UsageError where the map would take the place of a scene, or of a file of its mosaic."""
    for path in source_files(source):
        require_other_file(path, target)
