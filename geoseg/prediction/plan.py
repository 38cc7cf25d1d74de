"""Plan: everything that decides a prediction, fixed before the first tile is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from geoseg.errors import InputError, UsageError
from geoseg.grid import Window
from geoseg.models.device import Precision, instruction_set, resolve_device, resolve_precision
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.raster.scene import SceneLike
from geoseg.tiling import Lattice, shards

SHARD_SIDE = 8192
"""Side of a shard in pixels: bounds the width of the stitching buffer and the codes that wait to be written."""
BATCH_ON_CUDA = 4
"""Tiles in one forward pass on a GPU; on the CPU one at a time is as fast and takes the least memory."""
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


@dataclass(frozen=True)
class Plan:
    """A prediction, decided. Equal plans give bit-identical maps on the CPU, however the work is divided.

    Memory beside the network's own, in bytes, for S scored classes, B bands of one byte and a window of side w in a
    shard of width W: the stitching buffer 4 S w W, twice that while it rolls on; the codes of a shard, SHARD_SIDE
    squared; the tiles that wait, 6 (B + 1) w w; the scores of a batch of N, 12 N S w w; and while a window is resampled
    21 B w w. None of it grows with the scene.
    """

    scene: Mapping[str, Any]
    """What identifies the scene (SceneLike.describe)."""
    model: Mapping[str, Any]
    """Path and sha256 of the model file, both None for a model that was never saved."""
    lattice: Lattice
    """Windows in scene pixels."""
    size: int
    """Side in pixels that a whole window has as a tile, as the network sees it."""
    numerics: Numerics
    shard_side: int = SHARD_SIDE

    @cached_property
    def shards(self) -> list[Window]:
        """Rectangles of the output that one call of run_shard computes."""
        return shards(self.lattice.shape, self.shard_side)

    @property
    def window_shape(self) -> tuple[int, int]:
        """(height, width) of every window in scene pixels: the side, or the scene where that is smaller."""
        height, width = self.lattice.shape
        return min(self.lattice.side, height), min(self.lattice.side, width)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of every tile in pixels as the network sees it."""
        return scaled(self.window_shape, self.lattice.side, self.size)

    @property
    def forwarded(self) -> int:
        """Tiles that all shards forward together if none is empty."""
        lattice = self.lattice
        return sum(len(lattice.rows_meeting(shard)) * len(lattice.cols_meeting(shard)) for shard in self.shards)

    @property
    def repeated_work(self) -> float:
        """Pixels of all forwarded windows over pixels of the scene; 1 would be none twice."""
        return self.forwarded * math.prod(self.window_shape) / math.prod(self.lattice.shape)

    def memory(self, classes: int) -> int:
        """Bytes beside the network's own, by the formula above, for ``classes`` scored classes."""
        bands, window = len(self.scene["bands"]), math.prod(self.window_shape)
        width = min(self.shard_side, self.lattice.shape[1])
        codes = width * min(self.shard_side, self.lattice.shape[0])
        stitching = 8 * classes * self.window_shape[0] * width
        scores = 12 * self.numerics.batch_shape[0] * classes * window
        resampling = 21 * bands * window if self.tile_shape != self.window_shape else 0
        return stitching + codes + 6 * (bands + 1) * window + scores + resampling

    def to_json(self) -> str:
        """The plan as a JSON document; ``from_json`` reads it back, equal."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what ``to_json`` wrote; raises UsageError."""
        try:
            record = json.loads(text)
            lattice, numerics = record["lattice"], record["numerics"]
            lattice = Lattice(tuple(lattice["shape"]), lattice["side"], lattice["overlap"])
            numerics = Numerics(**{**numerics, "batch_shape": tuple(numerics["batch_shape"])})
            return cls(**{**record, "lattice": lattice, "numerics": numerics})
        except (ValueError, KeyError, TypeError) as error:
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
    batch_size: int | None = None,
    shard_side: int = SHARD_SIDE,
) -> Plan:
    """Decide a prediction.

    Args:
        window, size: as resolve_window explains; both None: as the model was trained.
        overlap: pixels of the scene that neighbouring windows share; None takes an eighth of the window.
        device, precision: as resolve_device and resolve_precision explain.
        batch_size: tiles per forward pass; None takes BATCH_ON_CUDA on a GPU and 1 on the CPU.

    Raises InputError where the scene does not fit the model, UsageError where the numbers contradict each other.
    """
    config = segmenter.config
    require_fit(scene, config)
    shape = scene.grid.shape
    side, size = resolve_window(shape, window, size, trained=(config.window, config.size), name=scene.name)
    overlap = side // 8 if overlap is None else overlap
    lattice = Lattice(shape, side, overlap if max(shape) > side else min(overlap, side - 1))
    torch_device = resolve_device(device)
    batch = _resolve_batch(batch_size, torch_device, lattice)
    numerics = Numerics(
        torch_device.type,
        instruction_set(torch_device),
        resolve_precision(precision, torch_device),
        (batch, *scaled((min(side, shape[0]), min(side, shape[1])), side, size)),
    )
    return Plan(scene.describe(), dict(segmenter.origin), lattice, size, numerics, shard_side)


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


def require_fit(scene: SceneLike, config: SegmenterConfig) -> None:
    """Raise InputError unless the scene's bands and dtype are those the model was trained on."""
    if len(scene.bands) != config.bands:
        many = len(scene.bands) > config.bands
        choice = ",".join(str(number) for number in config.band_numbers or range(1, config.bands + 1))
        remedy = f"choose them, for example --bands {choice}" if many else "take a raster that has them all"
        raise InputError(f"{scene.name}: has {len(scene.bands)} band(s), the model takes {config.bands}; {remedy}")
    if scene.dtype != config.dtype:
        raise InputError(
            f"{scene.name}: pixels are {scene.dtype}, the model takes {config.dtype}; scale the raster first, "
            "for example: gdal_translate -ot Byte -scale MIN MAX 0 255 IN.tif OUT.tif"
        )


def _resolve_batch(wanted: int | None, device: torch.device, lattice: Lattice) -> int:
    limit = wanted or (BATCH_ON_CUDA if device.type == "cuda" else 1)
    # A batch never crosses a row of the lattice; equal shares of a row leave the fewest places to fill up.
    across = len(lattice.cols)
    return math.ceil(across / math.ceil(across / limit))
