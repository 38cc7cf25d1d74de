"""run_shard: the unit of work. Read tiles, forward them, stitch their scores, decide the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

from geoseg.ahead import batches, reader_threads
from geoseg.errors import InputError, ModelError, UsageError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, NODATA, Legend
from geoseg.models.device import instruction_set, pinned, resolve_device, to_host
from geoseg.models.inference import InferenceEngine, for_inference
from geoseg.models.normalisation import TileBatch, as_signed, stretch_tensor
from geoseg.models.segmenter import Segmenter
from geoseg.models.storage import load, model_sha256
from geoseg.prediction.plan import Numerics, Plan, Scores, model_identity
from geoseg.prediction.stitching import ScoredBlock, Stitcher, rank
from geoseg.prediction.tiles import Tile, read_tiles
from geoseg.raster.described import open_described
from geoseg.raster.scene import SceneLike
from geoseg.raster.writer import SCORE_STEPS

Advance = Callable[[int], object]


@dataclass(frozen=True, eq=False)
class ShardResult:
    """What run_shard computed."""

    index: int
    window: Window
    """Where the shard is in the scene."""
    bands: np.ndarray | None
    """(1 + written scores, height, width) uint8: codes of the legend, then scores in 1/254; NODATA where the scene has
    no data. None where the whole shard has none."""

    @property
    def codes(self) -> np.ndarray:
        """(height, width) uint8 codes of the legend, NODATA where the scene has no data."""
        return np.full(self.window.shape, NODATA, np.uint8) if self.bands is None else self.bands[0]


class Decided(NamedTuple):
    """A block whose classes are chosen, on the device."""

    bands: Tensor
    """(1 + written scores, height, width) uint8: class indices, NO_CLASS where there is no data, then scores."""
    finite: Tensor
    """() bool, False where a score of a valid pixel is not a number."""


class Finished(NamedTuple):
    """A decided block on its way to the host; both calls wait for it."""

    window: Window
    bands: Callable[[], np.ndarray]
    finite: Callable[[], np.ndarray]


def run_shard(
    plan: Plan,
    index: int,
    *,
    scene: SceneLike | None = None,
    segmenter: Segmenter | None = None,
) -> ShardResult:
    """Compute shard ``index`` of a plan alone: a pure function of the plan, the scene's pixels and the model's weights.

    Args:
        scene, segmenter: given where they are open already (or live in memory only); else opened from the plan, which
            checks that neither file has changed.

    Raises InputError and ModelError where the scene or the model is not the plan's any more, UsageError where this
    machine cannot keep the plan's numerics.
    """
    engine = open_engine(plan) if segmenter is None else engine_of(plan, segmenter)
    with open_planned(plan) if scene is None else scene as opened, reader_threads() as readers:
        return next(run_shards(plan, [index], opened, engine, readers))()


def engine_of(plan: Plan, segmenter: Segmenter) -> InferenceEngine:
    """The segmenter, made ready as the plan says; raises ModelError or UsageError where it is not the plan's."""
    identity = model_identity(segmenter)
    if identity["weights"] != plan.model["weights"]:
        raise ModelError(f"the plan was made for the model {plan.model['path']}, not for {identity['path']}")
    return _made_ready(segmenter, plan.numerics)


def open_engine(plan: Plan) -> InferenceEngine:
    """The engine of a plan's own model file, which this process loads once.

    Raises ModelError where the file is not the plan's any more, UsageError where the model was never saved or this
    machine cannot keep the plan's numerics.
    """
    if not plan.model.get("path"):
        raise UsageError("the plan's model was never saved; hand it to run_shard")
    return _open_once(plan.model["path"], plan.model["sha256"], plan.numerics)


def run_shards(
    plan: Plan,
    indices: Sequence[int],
    scene: SceneLike,
    engine: InferenceEngine,
    readers: ThreadPoolExecutor,
    advance: Advance | None = None,
) -> Iterator[Callable[[], ShardResult]]:
    """Compute shards that lie below each other, forwarding the windows that they share once.

    What is yielded waits for the device when it is called, which may be on another thread. Shards of which it is known
    that they hold no data, or of which nothing is wanted, are not read. ``advance`` is called with the number of pixels
    that are done.
    """
    filled = {index: scene.has_data(plan.shards[index]) and scene.wants(plan.shards[index]) for index in indices}
    for has_data, group in groupby(indices, key=filled.__getitem__):
        if has_data:
            yield from _run_filled(plan, list(group), scene, engine, readers, advance)
            continue
        for index in group:
            shard = plan.shards[index]
            if advance:
                advance(shard.area)
            yield partial(ShardResult, index, shard, None)


def _run_filled(
    plan: Plan,
    indices: Sequence[int],
    scene: SceneLike,
    engine: InferenceEngine,
    readers: ThreadPoolExecutor,
    advance: Advance | None,
) -> Iterator[Callable[[], ShardResult]]:
    first, last = plan.shards[indices[0]], plan.shards[indices[-1]]
    part = Window(first.row, first.col, last.row_stop - first.row, first.width)
    finished: list[Finished] = []
    left, without_data = list(indices), part.area
    divisors = _divisors(plan, engine.device)
    for block in scored_blocks(plan, part, scene, engine, readers):
        # Blocks come row of the lattice by row: all above this one is decided.
        while plan.shards[left[0]].row_stop <= block.window.row:
            yield partial(_collect, plan, left[0], engine.legend, finished)
            finished = [one for one in finished if one.window.row_stop > plan.shards[left[0]].row_stop]
            left.pop(0)
        decided = decide(block, engine.legend, divisors, plan.scores)
        finished.append(Finished(block.window, to_host(decided.bands), to_host(decided.finite)))
        if advance:
            advance(block.window.area)
        without_data -= block.window.area
    for index in left:
        yield partial(_collect, plan, index, engine.legend, finished)
    if advance and without_data:
        advance(without_data)


def _collect(plan: Plan, index: int, legend: Legend, finished: Sequence[Finished]) -> ShardResult:
    shard = plan.shards[index]
    # What no tile covers has no data.
    bands = np.full((1 + plan.written_scores, *shard.shape), NO_CLASS, np.uint8)
    for block in finished:
        if not block.finite():
            name = plan.scene["name"]
            raise ModelError(f"the model's output is not finite on {name}; is the model damaged? try --precision fp32")
        inside = block.window.intersect(shard)
        if inside:
            bands[:, *inside.relative_to(shard).slices] = block.bands()[:, *inside.relative_to(block.window).slices]
    bands[0] = legend.encode(bands[0])
    return ShardResult(index, shard, bands if (bands[0] != NODATA).any() else None)


def decide(block: ScoredBlock, legend: Legend, divisors: Tensor | None = None, written: Scores = "none") -> Decided:
    """The class with the highest score, and the scores that are written, as shares of their sum.

    Args:
        divisors: (S,) what the scores are divided by first, as the plan's prior correction says.
    """
    scores = block.scores if divisors is None else block.scores / divisors[:, None, None]
    ranking = rank(scores, legend.scored, second=written == "margin")
    index = ranking.index.masked_fill_(~block.valid, NO_CLASS)
    planes = _written(scores, ranking, written)
    bands = index[None]
    if planes is not None:
        steps = (planes / scores.sum(0) * SCORE_STEPS).round_().to(torch.uint8).masked_fill_(~block.valid, NODATA)
        bands = torch.cat((bands, steps))
    return Decided(bands, torch.isfinite(ranking.best.sum()))


def _written(scores: Tensor, ranking, written: Scores) -> Tensor | None:
    if written == "none":
        return None
    if written == "all":
        return scores
    return (ranking.best - ranking.second if written == "margin" else ranking.best)[None]


def _divisors(plan: Plan, device: torch.device) -> Tensor | None:
    if not plan.prior_tau:
        return None
    return torch.tensor(plan.prior_weights, device=device) ** plan.prior_tau


def scored_blocks(
    plan: Plan, part: Window, scene: SceneLike, engine: InferenceEngine, readers: ThreadPoolExecutor
) -> Iterator[ScoredBlock]:
    """The stitched scores of a part of the scene, row of the lattice by row, as they become final.

    The scores are those of ``engine.legend.scored``, in that order; ignored classes are never predicted. Windows
    without data give nothing.
    """
    stitcher = Stitcher(part, plan.lattice, plan.classes, engine.device)
    with closing(read_tiles(plan, part, scene, readers)) as tiles:
        for _, of_row in groupby(tiles, key=lambda tile: tile.window.row):
            for batch in batches(of_row, plan.numerics.batch_shape[0]):
                for tile, scores in zip(batch, tile_scores(batch, plan, engine), strict=False):
                    block = stitcher.add(tile.window, scores, torch.from_numpy(tile.valid).to(engine.device))
                    if block:
                        yield block


@torch.inference_mode()
def tile_scores(tiles: Sequence[Tile], plan: Plan, engine: InferenceEngine) -> Tensor:
    """(N, S, height, width) float32 scores of up to N tiles on the scene's own resolution, N the plan's batch."""
    batch = _collate(tiles, plan, engine.device).to(engine.device)
    if not plan.tta:
        return _softmax(engine(batch), plan, engine)
    views = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]
    total = None
    for turns, mirrored in views:
        pixels, valid = (_turn(part, turns, mirrored) for part in (as_signed(batch.pixels), batch.valid))
        seen = batch._replace(pixels=pixels.view(batch.pixels.dtype), valid=valid)
        scores = _softmax(_turn_back(engine(seen), turns, mirrored), plan, engine)
        total = scores if total is None else total.add_(scores)
    return total.div_(len(views))


def _softmax(logits: Tensor, plan: Plan, engine: InferenceEngine) -> Tensor:
    # Contiguous planes: every later step works class by class.
    logits = _planes(logits, engine.legend.scored).to(torch.float32, memory_format=torch.contiguous_format)
    if plan.window_shape != plan.tile_shape:
        # Antialiased, where a window is smaller than its tile: a pixel gets the mean of what lies in it.
        logits = F.interpolate(logits, plan.window_shape, mode="bilinear", align_corners=False, antialias=plan.enlarges)
    return logits.softmax(1)


def _planes(logits: Tensor, scored: tuple[int, ...]) -> Tensor:
    first, stop = scored[0], scored[-1] + 1
    # A view where it can be one.
    return logits[:, first:stop] if stop - first == len(scored) else logits[:, list(scored)]


def _turn(values: Tensor, turns: int, mirrored: bool) -> Tensor:
    values = values.flip(-1) if mirrored else values
    return torch.rot90(values, turns, (-2, -1))


def _turn_back(values: Tensor, turns: int, mirrored: bool) -> Tensor:
    values = torch.rot90(values, -turns, (-2, -1))
    return values.flip(-1) if mirrored else values


def _collate(tiles: Sequence[Tile], plan: Plan, device: torch.device) -> TileBatch:
    count, height, width = plan.numerics.batch_shape
    pixels = np.zeros((count, len(tiles[0].pixels), height, width), tiles[0].pixels.dtype)
    valid = np.zeros((count, height, width), bool)
    for place, tile in enumerate(tiles):
        pixels[place], valid[place] = tile.pixels, tile.seen
    pixels, valid = (pinned(torch.from_numpy(part), device) for part in (pixels, valid))
    return TileBatch(pixels, valid, stretch_tensor([plan.stretch] * count, pixels.dtype) if plan.stretch else None)


def open_planned(plan: Plan) -> SceneLike:
    """The scene of a plan; raises InputError where it, or the area of it that is wanted, has changed since."""
    scene = open_described(plan.scene)
    if (now := scene.describe()) != plan.scene:
        area, planned = now.get("area"), plan.scene.get("area")
        changed = scene.name if area == planned else area["name"]
        raise InputError(f"{changed}: has changed since the plan was made; make a new plan")
    return scene


@lru_cache(maxsize=2)
def _open_once(path: str, sha256: str, numerics: Numerics) -> InferenceEngine:
    if model_sha256(path) != sha256:
        raise ModelError(f"{path}: is not the model that the plan was made for")
    return _made_ready(load(path, resolve_device(numerics.device)), numerics)


def _made_ready(segmenter: Segmenter, numerics: Numerics) -> InferenceEngine:
    here = (segmenter.device.type, instruction_set(segmenter.device))
    planned = (numerics.device, numerics.instruction_set)
    if here != planned:
        raise UsageError(
            f"the plan was made for {' with '.join(planned)}, this is {' with '.join(here)}; plan again here"
        )
    if numerics.torch != torch.__version__:
        raise UsageError(f"the plan was made with torch {numerics.torch}, this is {torch.__version__}; plan again here")
    return for_inference(segmenter, numerics.precision, numerics.engine)
