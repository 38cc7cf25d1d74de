"""Plan: everything that decides a prediction, fixed before the first tile is read."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
import torch

from geoseg.errors import InputError, ModelError, ResourceError, UsageError
from geoseg.grid import Window
from geoseg.models.device import Precision, instruction_set, resolve_device, resolve_precision
from geoseg.models.inference import Engine, resolve_engine
from geoseg.models.segmenter import Segmenter, SegmenterConfig, blank_tiles
from geoseg.raster.coarse import MOST_READ
from geoseg.raster.regions import SIDE
from geoseg.raster.scene import READERS, SceneLike
from geoseg.raster.sieve import MappingUnit
from geoseg.raster.stretch import percentile_bounds
from geoseg.scaling import Bounds, Scaling, as_bounds, same_numbers
from geoseg.tiling import Lattice

log = logging.getLogger("geoseg")

FORMAT = 3
"""Version of the plan's JSON and of what it means: where the lattice lies and how tiles are blended."""
SHARD_SHAPE = 1024, 12288
"""(height, width) in pixels of a shard. The width bounds the buffers; the height is what an interruption can lose."""
MOST_ON_CUDA = 8
"""Tiles in one forward pass on a GPU, where they fit; on the CPU one at a time is as fast and takes least memory."""
SIEVED = 64
"""Bytes of work for each pixel of a tile in which patches are looked for."""
Scores = Literal["none", "top", "margin", "all"]
"""What is written beside the classes: the highest score, its lead over the second, or every class's score."""
LEAST_OVERLAP = 96
"""Pixels of a tile, as the network sees it, that neighbouring ones share at least where they have them to spare."""
WHOLE_SCENE_LIMIT = 4
"""How many times smaller than the scene a size may be that the whole scene is resampled to."""


@dataclass(frozen=True)
class Numerics:
    """What the logits depend on beside the pixels and the weights."""

    device: str
    """Device type: "cpu" or "cuda"."""
    instruction_set: str
    """The CPU's vector instructions or the GPU's name."""
    precision: Precision
    batch_shape: tuple[int, int, int]
    """(tiles, height, width) of every forward pass; short batches are filled up to it."""
    engine: Engine = "plain"
    torch: str = torch.__version__
    """Version of the library that computes."""


@dataclass(frozen=True)
class Plan:
    """A prediction, decided. Equal plans give bit-identical maps on the CPU, however the work is divided.

    Memory beside the network's own, in bytes, for S scored classes, B bands of b bytes, a window of side w that
    overlaps by v, and shards of height H and width W: the strips that later tiles touch, 8 S v W; the rows that are
    read, (B b + 1) (w + 512) (W + w), and chunks read ahead, 8 (B b + 1) 512 x 2048; four shards of codes and of
    written scores that wait for the writer, 4 (1 + written) H W; the scores of a batch of N, 12 N S w w, and of the
    block that is decided, 8 w w; and while a window is resampled 5 x 21 B w w, or 28 for 21 where a band has over 2
    bytes, or as many of the tile where that is larger; and where a coarse scene is read, 24 x 2^20 B b of its source
    and 12 x 2^20 (1 + written) to write. GDAL's cache (64 MiB) comes on top. None of it grows with the scene's height,
    nor with its width above 12288 px. Merging small patches, when all that is done and given back, takes SIEVED a pixel
    of a tile of 1024 x 1024, 12 a pixel of a row of the map, and 100 a patch of it, whose number is not known here.
    """

    scene: Mapping[str, Any]
    """What identifies the scene (SceneLike.describe)."""
    model: Mapping[str, Any]
    """Path and sha256 of the model file, both None for a model that was never saved, and sha256 of its weights."""
    lattice: Lattice
    """Windows in scene pixels."""
    size: int
    """Side in pixels that a whole window has as a tile, as the network sees it."""
    numerics: Numerics
    """Device kind, instruction set, precision, engine and the one batch shape."""
    classes: int
    """Number of scored classes."""
    pixel_bytes: int
    """Bytes of a pixel's bands."""
    shard_shape: tuple[int, int] = SHARD_SHAPE
    """(height, width) of the largest shard in pixels."""
    scores: Scores = "none"
    """What is written beside the classes: none, top, margin or all."""
    tta: bool = False
    """Whether each tile is seen in all eight rotations and reflections, and their scores averaged."""
    prior_tau: float = 0.0
    """Scores are divided by the training's class weight to this power before the class is chosen."""
    prior_weights: tuple[float, ...] = ()
    """Those weights, one for each scored class."""
    stretch: Bounds = ()
    """The scene's own bounds of the scaling, one pair a band; empty where the scaling is the model's."""
    min_area: float | None = None
    """Hectares below which a patch of the finished map becomes part of its largest neighbour; None for no such rule."""
    min_pixels: int | None = None
    """Likewise in pixels of the map. At most one of the two is given."""

    @cached_property
    def shards(self) -> list[Window]:
        """Rectangles of the output, each a unit of work with a result of its own, in the order they are written in."""
        return self.lattice.shards(self.shard_shape)

    @property
    def columns(self) -> list[list[int]]:
        """The indices of the shards that lie below each other, from the top down."""
        return [list(group) for _, group in groupby(range(len(self.shards)), lambda index: self.shards[index].col)]

    @property
    def window_shape(self) -> tuple[int, int]:
        """(height, width) of every window in scene pixels: the side, or the scene where that is smaller."""
        return self.lattice.window_shape

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of every tile in pixels as the network sees it."""
        return scaled(self.window_shape, self.lattice.side, self.size)

    @property
    def enlarges(self) -> bool:
        """True where tiles have more pixels than windows."""
        return self.size > self.lattice.side

    def with_batch(self, count: int) -> Plan:
        """The plan with batches of so many tiles."""
        shape = count, *self.numerics.batch_shape[1:]
        return replace(self, numerics=replace(self.numerics, batch_shape=shape))

    def with_even_batches(self, most: int) -> Plan:
        """The plan with batches of at most so many tiles.

        A batch never crosses a row of windows of a column of shards; equal shares of the longest row leave the fewest
        places to fill up.
        """
        across = max(len(self.lattice.cols_meeting(self.shards[column[0]])) for column in self.columns)
        return self.with_batch(math.ceil(across / math.ceil(across / most)))

    @property
    def forwarded(self) -> int:
        """Tiles that a local run forwards if none is empty: a column of shards shares its windows."""
        tops = (self.shards[column[0]] for column in self.columns)
        return len(self.lattice.rows) * sum(len(self.lattice.cols_meeting(top)) for top in tops)

    @property
    def repeated_work(self) -> float:
        """Pixels of all forwarded windows over pixels of the scene; 1 would be none twice."""
        return self.forwarded * math.prod(self.window_shape) / math.prod(self.lattice.shape)

    @property
    def written_scores(self) -> int:
        """Bands of scores beside the codes."""
        return {"none": 0, "top": 1, "margin": 1, "all": self.classes}[self.scores]

    @property
    def least_patch(self) -> MappingUnit | None:
        """The least patch of the finished map, None where patches may be of any size."""
        return MappingUnit.of(self.min_area, self.min_pixels)

    @property
    def memory(self) -> int:
        """Bytes beside the network's own, by the formula above."""
        classes, pixel = self.classes, self.pixel_bytes + 1
        (height, width), window = self.window_shape, math.prod(self.window_shape)
        shard_height, shard_width = (min(a, b) for a, b in zip(self.shard_shape, self.lattice.shape, strict=True))
        strips = 4 * classes * sum(_two_largest_overlaps(self.lattice)) * shard_width
        rows = pixel * ((height + 512) * (shard_width + width) + 8 * 512 * 2048)
        waiting = 4 * (1 + self.written_scores) * shard_height * shard_width
        scores = (12 * self.numerics.batch_shape[0] * classes + 8) * window
        bands, larger = len(self.scene["bands"]), max(window, math.prod(self.tile_shape))
        exact = 21 if self.pixel_bytes <= 2 * bands else 28
        resampling = 5 * exact * bands * larger if self.tile_shape != self.window_shape else 0
        # Of a coarse scene pieces of its source are read, and written in its stead.
        coarse = 6 * READERS * MOST_READ * self.pixel_bytes + 3 * (1 + self.written_scores) * 2048**2
        computing = strips + rows + waiting + scores + resampling + (coarse if "factor" in self.scene else 0)
        merging = SIEVED * SIDE**2 + 12 * self.lattice.shape[1] if self.least_patch else 0
        return int(max(computing, merging))

    def to_json(self) -> str:
        """The plan as a JSON document; ``from_json`` reads it back, equal."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what ``to_json`` wrote; raises UsageError."""
        try:
            record = json.loads(text)
            if record.pop("format") != FORMAT:
                raise ValueError("made by another version of geoseg")
            lattice, numerics = record["lattice"], record["numerics"]
            lattice = Lattice(tuple(lattice["shape"]), lattice["side"], lattice["overlap"])
            numerics = Numerics(**{**numerics, "batch_shape": tuple(numerics["batch_shape"])})
            pairs = {key: tuple(record[key]) for key in ("shard_shape", "prior_weights")}
            pairs["stretch"] = as_bounds(record.get("stretch", ()))
            return cls(**{**record, **pairs, "lattice": lattice, "numerics": numerics})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"not a plan ({error!r})") from error


def make_plan(
    scene: SceneLike,
    segmenter: Segmenter,
    *,
    window: int | None = None,
    size: int | None = None,
    overlap: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    batch_size: int | None = None,
    shard_shape: tuple[int, int] = SHARD_SHAPE,
    scores: Scores = "none",
    tta: bool = False,
    prior_correction: float | str | None = None,
    stretch: Bounds | None = None,
    min_area: float | None = None,
    min_pixels: int | None = None,
) -> Plan:
    """Decide a prediction.

    Args:
        window, size: as resolve_window explains; both None: as the model was trained.
        overlap: pixels of the scene that neighbouring windows share; None as default_overlap explains.
        device, precision, engine: as resolve_device, resolve_precision and resolve_engine explain.
        batch_size: tiles per forward pass; None takes as many as fit on a GPU, up to MOST_ON_CUDA, and 1 on the CPU.
        scores: what is kept beside the classes.
        tta: see each tile in all eight rotations and reflections.
        prior_correction: the power tau, "auto" for the one that validation found, None for no correction. See
            resolve_prior.
        stretch: what become 0 and 1 where the model scales each raster by itself; None looks it up in the scene.
        min_area, min_pixels: hectares, or pixels, below which a patch of the finished map becomes part of its largest
            neighbour, as Sieve explains; None for neither leaves patches of any size.

    Raises InputError where the scene does not fit the model or has no areas to compare with, ModelError where the model
    lacks what is asked for, UsageError where the numbers contradict each other.
    """
    config = segmenter.config
    require_fit(scene, config)
    shape = scene.grid.shape
    side, size = resolve_window(shape, window, size, trained=(config.window, config.size), name=scene.name)
    overlap = default_overlap(side, size) if overlap is None else overlap
    lattice = Lattice(shape, side, overlap if max(shape) > side else min(overlap, side - 1))
    torch_device = resolve_device(device)
    tile_shape = scaled((min(side, shape[0]), min(side, shape[1])), side, size)
    precision = resolve_precision(precision, torch_device)
    numerics = Numerics(
        torch_device.type,
        instruction_set(torch_device),
        precision,
        (1, *tile_shape),
        resolve_engine(engine, segmenter, torch_device),
    )
    tau, weights = resolve_prior(prior_correction, config)
    if unit := MappingUnit.of(min_area, min_pixels):
        unit.require_place(scene.grid, scene.name)
    plan = Plan(
        scene.describe(),
        model_identity(segmenter),
        lattice,
        size,
        numerics,
        classes=len(config.legend.scored),
        pixel_bytes=len(scene.bands) * np.dtype(scene.dtype).itemsize,
        shard_shape=tuple(shard_shape),
        scores=scores,
        tta=tta,
        prior_tau=tau,
        prior_weights=weights,
        stretch=resolve_stretch(scene, config, stretch),
        min_area=min_area,
        min_pixels=min_pixels,
    )
    fitting = _tiles_that_fit(segmenter, tile_shape) if batch_size is None and torch_device.type == "cuda" else 1
    return plan.with_even_batches(batch_size or fitting)


def default_overlap(side: int, size: int) -> int:
    """Pixels of the scene that windows share unless told otherwise: an eighth of the window, but enough to hide seams.

    Within about 48 px of a tile's border a network of 32-fold downsampling sees too much padding (docs/performance.md),
    so neighbours share at least twice as many pixels of a tile; and at most a quarter of it.
    """
    return max(size // 8, min(LEAST_OVERLAP, size // 4)) * side // size


def resolve_prior(asked: float | str | None, config: SegmenterConfig) -> tuple[float, tuple[float, ...]]:
    """(tau, class weights of the scored classes): what undoes the shift of the prior that weighting the loss made.

    A model trained with class weights w fits p ~ w p(class given pixel); dividing by w ** tau undoes it, wholly at 1.
    "auto" takes the tau with the best mean IoU in the training's validation.
    Raises ModelError where the model's record has no weights or no tau, UsageError for a tau outside 0 to 2.
    """
    if asked is None:
        return 0.0, ()
    trained = config.provenance
    if "class_weights" not in trained:
        raise ModelError("the model's record holds no class weights of its training; leave --prior-correction out")
    weights = tuple(float(trained["class_weights"][config.legend.names[i]]) for i in config.legend.scored)
    if asked == "auto":
        if "prior_tau" not in trained:
            raise ModelError("the model's record holds no tau found by validation; name one: --prior-correction 0.5")
        asked = trained["prior_tau"]
    if isinstance(asked, str) or not 0 <= asked <= 2:
        raise UsageError(f'the prior correction is "auto" or a tau between 0 and 2, got {asked!r}')
    # A class that no training pixel had has the weight 0 and was never learned: it stays as it is.
    return float(asked), tuple(weight if weight > 0 else 1.0 for weight in weights)


def model_identity(segmenter: Segmenter) -> dict[str, str | None]:
    """What a plan remembers a model by: its weights, and the file they are from if they are still those of the file."""
    weights = segmenter.weights_sha256()
    unchanged = segmenter.origin.get("weights") == weights
    return {key: segmenter.origin[key] if unchanged else None for key in ("path", "sha256")} | {"weights": weights}


def resolve_window(
    shape: tuple[int, int], window: int | None, size: int | None, trained: tuple[int, int], name: str
) -> tuple[int, int]:
    """(window, size): the side in scene pixels that is read at once, and the side that the network sees of it.

    Both given: each window is resampled to the size. A window alone: seen as it is. A size alone: the window is the
    whole scene. Neither: as ``trained``.
    """
    if window is None and size is None:
        return trained
    if min(value for value in (window, size) if value is not None) < 1:
        raise UsageError(f"window and size are at least 1 px, got {window} and {size}")
    if window is not None:
        return window, size or window
    longest = max(shape)
    if longest > WHOLE_SCENE_LIMIT * size:
        raise UsageError(
            f"{name}: {longest} px in one tile of {size} px would lose too much; "
            f"slide a window with --window {WHOLE_SCENE_LIMIT * size} --size {size}, or take a larger --size"
        )
    return longest, size


def scaled(shape: tuple[int, int], side: int, size: int) -> tuple[int, int]:
    """``shape`` in tile pixels where ``side`` scene pixels become ``size``; at least 1 x 1."""
    height, width = ((2 * length * size + side) // (2 * side) for length in shape)
    return max(height, 1), max(width, 1)


def _two_largest_overlaps(lattice: Lattice) -> list[int]:
    """Rows that a row of windows shares with the one above it, at their most, and with the one below."""
    height = lattice.window_shape[0]
    return sorted(first + height - second for first, second in pairwise(lattice.rows))[-2:]


def require_fit(scene: SceneLike, config: SegmenterConfig) -> None:
    """Raise InputError unless the scene has as many bands as the model takes, of pixels that mean the same."""
    if len(scene.bands) != config.bands:
        many = len(scene.bands) > config.bands
        choice = ",".join(str(number) for number in config.band_numbers or range(1, config.bands + 1))
        remedy = f"choose them, for example --bands {choice}" if many else "take a raster that has them all"
        raise InputError(f"{scene.name}: has {len(scene.bands)} band(s), the model takes {config.bands}; {remedy}")
    if np.dtype(scene.dtype).kind not in "iuf":
        raise InputError(f"{scene.name}: pixels are {scene.dtype}, not whole numbers or floats")
    if not config.scaling.per_raster and not same_numbers(scene.dtype, config.dtype):
        raise InputError(
            f"{scene.name}: pixels are {scene.dtype}, the model takes {config.dtype} scaled by {config.scaling}; "
            f"{_remedy(config.dtype)}, or train with --scaling percentile, which takes any dtype"
        )


def _remedy(dtype: str) -> str:
    if dtype == "uint8":
        return "scale the raster first, for example: gdal_translate -ot Byte -scale MIN MAX 0 255 IN.tif OUT.tif"
    return f"take a raster of {dtype} as in training"


def resolve_stretch(scene: SceneLike, config: SegmenterConfig, given: Bounds | None = None) -> Bounds:
    """The bounds of a scene where the model scales each raster by itself, looked up unless given; else none.

    Raises UsageError where bounds are given that the model has no use for, or not one pair a band.
    """
    if not config.scaling.per_raster:
        if given:
            raise UsageError(f"the model scales every raster alike, by {config.scaling}; leave the stretch out")
        return ()
    if given is not None:
        return Scaling("range", as_bounds(given)).of_bands(config.bands)
    found = percentile_bounds(scene, config.scaling.percentiles)
    pairs = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in found)
    log.info("%s: scaled by %s: %s", scene.name, config.scaling, pairs)
    return found


@torch.inference_mode()
def _tiles_that_fit(segmenter: Segmenter, tile_shape: tuple[int, int]) -> int:
    """As many tiles as two thirds of the GPU's free memory hold, by what one takes; at least 1."""
    device = segmenter.device
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    segmenter(blank_tiles(segmenter.config, 1, tile_shape).to(device))
    one = max(torch.cuda.max_memory_allocated(device) - before, 1)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST_ON_CUDA, int(free * 2 / 3) // one))


def with_half_the_batch(plan: Plan) -> Plan:
    """The plan for a device whose memory did not hold its batch; raises ResourceError for a batch of one."""
    count, height, width = plan.numerics.batch_shape
    if count == 1:
        raise ResourceError(
            f"{plan.numerics.device}: a single tile of {height} x {width} px does not fit into its memory; "
            "take a smaller --window or --size"
        )
    return plan.with_batch(count // 2)
