"""geoseg.predict: the local loop over the shards of a plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import geoseg
from geoseg.ahead import reader_thread
from geoseg.errors import UsageError
from geoseg.grid import Grid
from geoseg.legend import NODATA, Legend
from geoseg.models.device import resolve_device
from geoseg.models.segmenter import Segmenter
from geoseg.models.storage import load
from geoseg.prediction.plan import SHARD_SIDE, Plan, make_plan
from geoseg.prediction.shard import run_shard
from geoseg.raster.scene import ArrayScene, NodataRule, Scene, SceneLike
from geoseg.raster.writer import ClassRasterWriter, require_writable


@dataclass(frozen=True, eq=False)
class Prediction:
    """A class map and how it came about."""

    path: Path | None
    """The GeoTIFF, None where none was asked for."""
    grid: Grid
    legend: Legend
    counts: np.ndarray
    """(256,) int64 pixels of each code."""
    plan: Plan
    _codes: np.ndarray | None = None

    @cached_property
    def codes(self) -> np.ndarray:
        """(H, W) uint8 codes of the legend, NODATA (255) where there is no data; read from ``path`` if there is one."""
        if self._codes is not None:
            return self._codes
        with Scene(self.path) as scene:
            return scene.read()[0][0]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels with data that each predicted class has."""
        total = self.counts[:NODATA].sum()
        scored = (self.legend.classes[index] for index in self.legend.scored)
        return {c.name: float(self.counts[c.code] / total) if total else float("nan") for c in scored}

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        shares = {name: None if np.isnan(share) else share for name, share in self.shares.items()}
        pixels = {"data": int(self.counts[:NODATA].sum()), "nodata": int(self.counts[NODATA])}
        return {
            "path": str(self.path) if self.path else None,
            "shape": list(self.grid.shape),
            **pixels,
            "shares": shares,
        }

    def to_text(self) -> str:
        """One line for the terminal: where the map is, and the classes' shares, the largest first."""
        shares = sorted(self.shares.items(), key=lambda item: -item[1])
        named = ", ".join(f"{name} {share:.1%}" for name, share in shares if share > 0)
        return f"{self.path}: {named or 'no pixel with data'}"


def predict(
    scene: str | Path | np.ndarray | SceneLike,
    model: str | Path | Segmenter,
    output: str | Path | None = None,
    *,
    window: int | None = None,
    size: int | None = None,
    overlap: int | None = None,
    bands: Sequence[int] | None = None,
    nodata_rule: NodataRule = "all",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    shard_side: int = SHARD_SIDE,
    overwrite: bool = False,
    progress: bool = False,
) -> Prediction:
    """Label every pixel of a scene.

    Args:
        scene: a raster file, an array (C, H, W) or (H, W), or a Scene.
        model: a run folder, a model file, or a Segmenter.
        output: the GeoTIFF to write, on the scene's own grid; None keeps the codes in memory.
        window, size, overlap: sides in pixels, as make_plan explains.
        bands: band numbers from 1 of a raster file; None takes all but alpha, or those the model was trained on where
            they were chosen. Arrays and Scenes are taken as they are.
        progress: show a bar on stderr.

    Raises InputError, ModelError, OutputError (before any work), ResourceError, UsageError.
    """
    if output is not None:
        require_writable(output, overwrite)
    is_file = isinstance(scene, (str, Path))
    if bands is not None and not is_file:
        raise UsageError("bands are chosen from a raster file; slice an array, or make a Scene with bands")
    if output is not None and is_file:
        require_other_file(scene, output)
    segmenter = model if isinstance(model, Segmenter) else load(model)
    segmenter = segmenter.to(resolve_device(device))
    with evaluating(segmenter), open_scene(scene, resolve_bands(bands, segmenter), nodata_rule) as opened:
        plan = make_plan(
            opened,
            segmenter,
            window=window,
            size=size,
            overlap=overlap,
            device=device,
            precision=precision,
            batch_size=batch_size,
            shard_side=shard_side,
        )
        return run_locally(plan, opened, segmenter, output, overwrite, progress)


def run_locally(
    plan: Plan,
    scene: SceneLike,
    segmenter: Segmenter,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Prediction:
    """Run all shards of a plan in this process, one after the other, into a GeoTIFF or an array."""
    legend = segmenter.legend
    total = sum(shard.height for shard in plan.shards)
    with tqdm(total=total, unit="row", disable=not progress, leave=False) as bar, reader_thread() as reader:
        results = (
            run_shard(plan, index, scene=scene, segmenter=segmenter, reader=reader, advance=bar.update)
            for index in range(len(plan.shards))
        )
        if output is not None:
            with ClassRasterWriter(output, scene.grid, legend, provenance(plan, segmenter), overwrite) as writer:
                for result in results:
                    writer.write(result.window, result.codes)
            return Prediction(Path(output), scene.grid, legend, writer.counts, plan)
        codes = np.empty(plan.lattice.shape, np.uint8)
        for result in results:
            codes[result.window.slices] = result.codes
    return Prediction(None, scene.grid, legend, np.bincount(codes.ravel(), minlength=256), plan, codes)


def open_scene(
    scene: str | Path | np.ndarray | SceneLike, bands: Sequence[int] | None = None, nodata_rule: NodataRule = "all"
) -> SceneLike:
    """A scene from whatever stands for one."""
    if isinstance(scene, (str, Path)):
        return Scene(scene, bands, nodata_rule)
    return ArrayScene(scene) if isinstance(scene, np.ndarray) else scene


def provenance(plan: Plan, segmenter: Segmenter) -> dict[str, str]:
    """Tags that say how a class raster was made: no clock and no duration, so that equal runs give equal files."""
    settings = {"lattice": asdict(plan.lattice), "size": plan.size, "numerics": asdict(plan.numerics)}
    trained = segmenter.config.provenance
    return {
        "GEOSEG_VERSION": geoseg.__version__,
        "GEOSEG_MODEL": Path(plan.model["path"]).name if plan.model["path"] else "in memory",
        "GEOSEG_MODEL_SHA256": plan.model["sha256"] or "none",
        "GEOSEG_MODEL_TRAINING": json.dumps({key: trained[key] for key in ("setting", "data") if key in trained}),
        "GEOSEG_INPUT": plan.scene["name"],
        "GEOSEG_SETTINGS": json.dumps(settings, sort_keys=True),
    }


def require_other_file(scene: str | Path, output: str | Path) -> None:
    """Raise UsageError where the output is the scene itself, under whatever name."""
    if Path(output).exists() and Path(scene).exists() and Path(scene).samefile(output):
        raise UsageError(f"{output}: is the scene itself; give the map another name")


@contextmanager
def evaluating(segmenter: Segmenter) -> Iterator[None]:
    """The segmenter in evaluation mode for the length of a block, then in the mode it was in."""
    was_training = segmenter.training
    segmenter.eval()
    try:
        yield
    finally:
        segmenter.train(was_training)


def resolve_bands(bands: Sequence[int] | None, segmenter: Segmenter) -> Sequence[int] | None:
    """The bands asked for; else the model's own where it was trained on chosen ones; else None, for all but alpha."""
    trained = segmenter.config.band_numbers
    return trained if bands is None and trained != tuple(range(1, len(trained) + 1)) else bands
