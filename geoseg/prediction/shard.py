"""run_shard: the unit of work. Read tiles, forward them, stitch their scores, decide the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.ahead import batches, read_ahead, reader_thread
from geoseg.errors import InputError, ModelError, UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS
from geoseg.models.device import autocast, instruction_set, resolve_device
from geoseg.models.segmenter import Segmenter, TileBatch
from geoseg.models.storage import load, model_sha256
from geoseg.prediction.plan import Plan
from geoseg.prediction.stitching import ScoredRows, Stitcher, most_likely
from geoseg.raster.resample import area
from geoseg.raster.scene import SceneLike, open_described

Advance = Callable[[int], object]


@dataclass(frozen=True, eq=False)
class ShardResult:
    """What run_shard computed."""

    index: int
    window: Window
    """Where the shard is in the scene."""
    codes: np.ndarray
    """(height, width) uint8 codes of the legend, NODATA where the scene has no data."""


class Tile(NamedTuple):
    """A window as it was read."""

    window: Window
    pixels: np.ndarray
    """(C, h, w) as the network sees it: resampled where the plan says so."""
    seen: np.ndarray
    """(h, w) bool, valid of ``pixels``."""
    valid: np.ndarray
    """(height, width) bool, valid of the window at the scene's own resolution."""


def run_shard(
    plan: Plan,
    index: int,
    *,
    scene: SceneLike | None = None,
    segmenter: Segmenter | None = None,
    reader: ThreadPoolExecutor | None = None,
    advance: Advance | None = None,
) -> ShardResult:
    """Compute shard ``index`` of a plan: a pure function of the plan, the scene's pixels and the model's weights.

    Args:
        scene, segmenter: given where they are open already (or live in memory only); else opened from the plan, which
            checks that neither file has changed.
        reader: the thread that reads, where one serves several shards.
        advance: called with the number of scene rows that are done.

    Raises InputError and ModelError where the scene or the model is not the plan's any more, UsageError where this
    machine cannot keep the plan's numerics.
    """
    shard = plan.shards[index]
    if scene is None or reader is None:
        with scene or _open_scene(plan) as opened, reader or reader_thread() as thread:
            return run_shard(plan, index, scene=opened, segmenter=segmenter, reader=thread, advance=advance)
    segmenter = _open_segmenter(plan) if segmenter is None else segmenter
    if segmenter.origin != plan.model:
        raise ModelError(f"the plan was made for the model {plan.model['path']}, not for {segmenter.origin['path']}")
    _require_numerics(plan, segmenter)
    codes = np.empty(shard.shape, np.uint8)
    for rows in scored_rows(plan, shard, scene, segmenter, reader):
        codes[rows.window.relative_to(shard).slices] = segmenter.legend.encode(decide(rows, segmenter))
        if advance:
            advance(rows.window.height)
    return ShardResult(index, shard, codes)


def decide(rows: ScoredRows, segmenter: Segmenter) -> np.ndarray:
    """(height, width) uint8 class indices: the class with the highest score, NO_CLASS where there is no data."""
    scored = torch.tensor(segmenter.legend.scored, dtype=torch.uint8, device=rows.scores.device)
    index = scored[most_likely(rows.scores).int()]
    return index.masked_fill_(~rows.valid, NO_CLASS).cpu().numpy()


def scored_rows(
    plan: Plan, shard: Window, scene: SceneLike, segmenter: Segmenter, reader: ThreadPoolExecutor
) -> Iterator[ScoredRows]:
    """The stitched scores of a shard's rows, from the first to the last, as they become final.

    The scores are those of ``segmenter.legend.scored``, in that order; ignored classes are never predicted. What is
    yielded lives in a buffer that is reused: take what you need before the next.
    """
    lattice = plan.lattice
    classes = len(segmenter.legend.scored)
    stitcher = Stitcher(shard, plan.window_shape, lattice.overlap, classes, segmenter.device)
    rows = lattice.rows_meeting(shard)
    windows = (window for row in rows for window in lattice.windows_of_row(row, shard))
    with closing(read_ahead(reader, (partial(_read_tile, scene, plan, window) for window in windows))) as tiles:
        by_row = groupby(tiles, key=lambda tile: tile.window.row)
        for (_, of_row), following in zip(by_row, (*rows[1:], shard.row_stop), strict=True):
            filled = (tile for tile in of_row if tile.valid.any())
            for batch in batches(filled, plan.numerics.batch_shape[0]):
                for tile, scores in zip(batch, tile_scores(batch, plan, segmenter), strict=False):
                    stitcher.add(tile.window, scores, torch.from_numpy(tile.valid).to(segmenter.device))
            yield from stitcher.rows_until(following)


@torch.inference_mode()
def tile_scores(tiles: Iterable[Tile], plan: Plan, segmenter: Segmenter) -> Tensor:
    """(N, S, height, width) float32 scores of up to N tiles on the scene's own resolution, N the plan's batch."""
    batch = _collate(tiles, plan).to(segmenter.device)
    with autocast(segmenter.device, plan.numerics.precision):
        logits = segmenter(batch)
    # Contiguous planes: every later step works class by class.
    logits = logits[:, list(segmenter.legend.scored)].float().contiguous()
    if not torch.isfinite(logits).all():
        name = plan.scene["name"]
        raise ModelError(f"the model's output is not finite on {name}; is the model damaged? try --precision fp32")
    if plan.window_shape != plan.tile_shape:
        logits = F.interpolate(logits, plan.window_shape, mode="bilinear", align_corners=False)
    return logits.softmax(1)


def _read_tile(scene: SceneLike, plan: Plan, window: Window) -> Tile:
    pixels, valid = scene.read(window)
    return Tile(window, *area(pixels, valid, plan.tile_shape), valid)


def _collate(tiles: Iterable[Tile], plan: Plan) -> TileBatch:
    tiles = list(tiles)
    count, height, width = plan.numerics.batch_shape
    pixels = np.zeros((count, len(tiles[0].pixels), height, width), tiles[0].pixels.dtype)
    valid = np.zeros((count, height, width), bool)
    for place, tile in enumerate(tiles):
        pixels[place], valid[place] = tile.pixels, tile.seen
    return TileBatch(torch.from_numpy(pixels), torch.from_numpy(valid))


def _open_scene(plan: Plan) -> SceneLike:
    scene = open_described(plan.scene)
    if scene.describe() != plan.scene:
        raise InputError(f"{scene.name}: has changed since the plan was made; make a new plan")
    return scene


@lru_cache(maxsize=2)
def _load_once(path: str, sha256: str, device: str) -> Segmenter:
    if model_sha256(path) != sha256:
        raise ModelError(f"{path}: is not the model that the plan was made for")
    return load(path, resolve_device(device))


def _open_segmenter(plan: Plan) -> Segmenter:
    if not plan.model.get("path"):
        raise UsageError("the plan's model was never saved; hand it to run_shard")
    return _load_once(plan.model["path"], plan.model["sha256"], plan.numerics.device)


def _require_numerics(plan: Plan, segmenter: Segmenter) -> None:
    here = (segmenter.device.type, instruction_set(segmenter.device))
    planned = (plan.numerics.device, plan.numerics.instruction_set)
    if here != planned:
        raise UsageError(
            f"the plan was made for {' with '.join(planned)}, this is {' with '.join(here)}; plan again here"
        )
