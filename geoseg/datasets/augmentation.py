"""Augmentation (the paper's section 3.3): flips, rotation and colour jitter of whole batches, on their own device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.errors import UsageError
from geoseg.legend import NO_CLASS
from geoseg.models.normalisation import as_signed, exact_dtype, stretch_tensor
from geoseg.scaling import EIGHT_BITS, Scaling

AUGMENT_STREAM = 4
"""Keeps these draws apart from those of datasets.samples and datasets.oversampling."""
GREY = 0.299, 0.587, 0.114
"""Weights of red, green and blue in brightness (ITU-R BT.601); of other than three bands the mean is taken."""


class SampleBatch(NamedTuple):
    """Samples of one shape, stacked, on one device."""

    pixels: Tensor
    """(N, C, H, W) in the scenes' own dtype, raw digital numbers."""
    valid: Tensor
    """(N, H, W) bool, True where there is data."""
    index: Tensor
    """(N, H, W) uint8 class indices, NO_CLASS where there is nothing to learn; never a class where not valid."""
    stretch: Tensor | None = None
    """As TileBatch has it: of each sample's scene, where each is scaled by itself."""


@dataclass(frozen=True)
class Draw:
    """What happens to one sample. The defaults leave it as it is."""

    flip_columns: bool = False
    """Left and right change places."""
    flip_rows: bool = False
    """Top and bottom change places; both flips come before the rotation."""
    degrees: float = 0.0
    """Rotation about the middle, counter-clockwise as the picture is seen."""
    brightness: float = 1.0
    """Factor of the values."""
    contrast: float = 1.0
    """Factor of the distance to the sample's mean brightness."""
    saturation: float = 1.0
    """Factor of the distance to each pixel's own brightness."""
    hue: float = 0.0
    """Shift of the hue in turns."""

    @property
    def recolours(self) -> bool:
        return (self.brightness, self.contrast, self.saturation, self.hue) != (1, 1, 1, 0)


AS_IT_IS = Draw()


@dataclass(frozen=True)
class Augmentation:
    """How strongly samples are changed. The paper gives the kinds and 30 degrees; docs/paper.md has the reasons."""

    flip: float = 0.5
    """Probability of each of the two flips."""
    rotate: float = 0.7
    """Probability of a rotation."""
    degrees: float = 30.0
    """Its angle is uniform within plus and minus this."""
    brightness: float = 0.3
    """Its factor is uniform within 1 plus and minus this; likewise ..."""
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.04
    """Its shift is uniform within plus and minus this, in turns."""

    def __post_init__(self) -> None:
        for name, most in (("flip", 1), ("rotate", 1), ("degrees", 180), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"augmentation: {name} is 0 to {most}, got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"augmentation: {name} is 0 to 1, got {getattr(self, name)}")

    def draw(self, seed: int, epoch: int, place: int) -> Draw:
        """What happens to the sample at a place of an epoch: a function of the three alone."""
        # All are drawn, needed or not, so that leaving one out changes no other.
        chance = np.random.default_rng((AUGMENT_STREAM, seed, epoch, place)).random(8)
        evenly = 2 * chance - 1
        return Draw(
            flip_columns=bool(chance[0] < self.flip),
            flip_rows=bool(chance[1] < self.flip),
            degrees=float(self.degrees * evenly[3]) if chance[2] < self.rotate else 0.0,
            brightness=float(1 + self.brightness * evenly[4]),
            contrast=float(1 + self.contrast * evenly[5]),
            saturation=float(1 + self.saturation * evenly[6]),
            hue=float(self.hue * evenly[7]),
        )


def augment(batch: SampleBatch, draws: Sequence[Draw], scaling: Scaling = EIGHT_BITS) -> SampleBatch:
    """The batch with one draw applied to each sample; the same whatever else is in the batch.

    Rotation takes bilinear means of the valid pixels and the nearest classes, within the sample's own frame. What it
    brings in from outside is not valid and has no class. Colours change on the range 0 to 1 of the scaling and are
    clipped to it, saturation and hue only where there are three bands. Pixels keep their dtype, whole numbers rounded.
    A sample whose draw is AS_IT_IS is not touched.
    """
    dtype = batch.pixels.dtype
    moved, valid, index = (part.clone() for part in (as_signed(batch.pixels), batch.valid, batch.index))
    for axis, rows in ((-1, _where(d.flip_columns for d in draws)), (-2, _where(d.flip_rows for d in draws))):
        for part in (moved, valid, index):
            part[rows] = part[rows].flip(axis)
    if turned := _where(d.degrees != 0 for d in draws):
        parts = SampleBatch(moved[turned].view(dtype), valid[turned], index[turned])
        rotated = _rotate(parts, [draws[row].degrees for row in turned])
        moved[turned], valid[turned], index[turned] = as_signed(rotated.pixels), rotated.valid, rotated.index
    if recoloured := _where(d.recolours for d in draws):
        chosen = [draws[row] for row in recoloured]
        bounds = _bounds(batch, scaling, recoloured)
        changed = _recolour(moved[recoloured].view(dtype), valid[recoloured], chosen, *bounds)
        moved[recoloured] = as_signed(changed)
    return SampleBatch(moved.view(dtype), valid, index, batch.stretch)


def area_lost(degrees: float) -> float:
    """Share of a square that a rotation turns out of its own frame: 1 - 2 / (1 + |sin| + |cos|)."""
    angle = math.radians(degrees)
    return 1 - 2 / (1 + abs(math.sin(angle)) + abs(math.cos(angle)))


def mean_area_lost(degrees: float, steps: int = 10_000) -> float:
    """Mean of ``area_lost`` over angles uniform within plus and minus ``degrees``: 0.0932 for 30."""
    return float(np.mean([area_lost(degrees * (step + 0.5) / steps) for step in range(steps)]))


def _where(flags: Iterable[bool]) -> list[int]:
    return [row for row, flag in enumerate(flags) if flag]


def _bounds(batch: SampleBatch, scaling: Scaling, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(low, high - low) of the samples ``rows``, to be broadcast over their pixels."""
    dtype, device = batch.pixels.dtype, batch.pixels.device
    if len(scaling.bounds) == 1:
        # Numbers on the host: a GPU divides by them in another way than by numbers of its own.
        low, high = torch.tensor(scaling.bounds[0], dtype=exact_dtype(dtype))
        return low, high - low
    stretch = batch.stretch[rows] if scaling.per_raster else stretch_tensor([scaling.bounds], dtype).to(device)
    low, high = stretch[..., None, None].unbind(1)
    return low, high - low


def _rotate(batch: SampleBatch, degrees: Sequence[float]) -> SampleBatch:
    dtype = batch.pixels.dtype
    grid = _source_positions(batch.valid.shape, degrees, batch.pixels.device)
    weight = batch.valid[:, None].to(exact_dtype(dtype))
    values = torch.where(batch.valid[:, None], batch.pixels.to(weight.dtype), 0)
    parts = torch.cat([values, weight], 1)
    moved = F.grid_sample(parts, grid.to(weight.dtype), "bilinear", "zeros", align_corners=False)
    weight = moved[:, -1:]
    pixels = _rounded(moved[:, :-1] / weight.clamp(min=1e-6), dtype)
    valid = weight[:, 0] >= 0.5
    # Outside is 0: counted down from NO_CLASS that is where there is no class.
    from_no_class = (NO_CLASS - batch.index)[:, None].float()
    index = NO_CLASS - F.grid_sample(from_no_class, grid, "nearest", "zeros", align_corners=False)[:, 0]
    index = torch.where(valid, index.to(torch.uint8), NO_CLASS)
    return SampleBatch(torch.where(valid[:, None], pixels, 0), valid, index)


def _source_positions(shape: Sequence[int], degrees: Sequence[float], device: torch.device) -> Tensor:
    """(N, H, W, 2) where each pixel comes from, (x, y) as grid_sample has them: -1 to 1 over the sample."""
    _, height, width = shape
    angles = np.radians(degrees)
    cos, sin = (_each(values, device) for values in (np.cos(angles), np.sin(angles)))
    y = (torch.arange(height, device=device) - (height - 1) / 2).view(1, -1, 1)
    x = (torch.arange(width, device=device) - (width - 1) / 2).view(1, 1, -1)
    return torch.stack([(cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height)], -1)


def _recolour(pixels: Tensor, valid: Tensor, draws: Sequence[Draw], low: Tensor, span: Tensor) -> Tensor:
    image = ((pixels.to(low.dtype) - low) / span).float()
    device = image.device
    brightness, contrast, saturation, hue = (
        _each([getattr(draw, name) for draw in draws], device)[:, None]
        for name in ("brightness", "contrast", "saturation", "hue")
    )
    image = (image * brightness).clamp(0, 1)
    image = _mix(image, _mean_grey(image, valid), contrast)
    if image.shape[1] == 3:
        image = _mix(image, _grey(image), saturation)
        image = _shift_hue(image, hue[:, 0])
    return _rounded(image.to(low.dtype) * span + low, pixels.dtype)


def _mix(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (other + factor * (image - other)).clamp(0, 1)


def _grey(image: Tensor) -> Tensor:
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    red, green, blue = (GREY[band] * image[:, band : band + 1] for band in range(3))
    return red + green + blue


def _mean_grey(image: Tensor, valid: Tensor) -> Tensor:
    """(N, 1, 1, 1) mean brightness of the valid pixels of each sample."""
    # Whole numbers: their sum is the same in whatever order, and so in batches of any size.
    steps = torch.where(valid, (_grey(image)[:, 0] * 65536).round(), 0).long().sum((1, 2))
    return (steps / 65536 / valid.sum((1, 2)).clamp(min=1)).view(-1, 1, 1, 1)


def _shift_hue(image: Tensor, turns: Tensor) -> Tensor:
    """(N, 3, H, W) RGB on [0, 1] with its hue shifted by (N, 1, 1) turns, by way of hue, chroma and value."""
    (red, green, blue), value = image.unbind(1), image.amax(1)
    chroma = value - image.amin(1)
    divisor = torch.where(chroma > 0, chroma, 1)
    of_green, of_blue = (blue - red) / divisor + 2, (red - green) / divisor + 4
    hue = torch.where(value == red, (green - blue) / divisor, torch.where(value == green, of_green, of_blue))
    sixths = [(hue + 6 * turns + start) % 6 for start in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in sixths], 1)


def _each(values: Sequence[float] | np.ndarray, device: torch.device) -> Tensor:
    """(N, 1, 1) float32, one value a sample."""
    return torch.tensor(np.asarray(values), dtype=torch.float32, device=device).view(-1, 1, 1)


def _rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values as pixels of a dtype."""
    if dtype.is_floating_point:
        return values.to(dtype)
    limits = torch.iinfo(dtype)
    return (values + 0.5).floor().clamp(limits.min, limits.max).to(dtype)
