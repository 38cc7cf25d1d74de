"""Normalisation: raw pixels of a batch of tiles as the numbers that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.errors import UsageError
from geoseg.scaling import Bounds, Scaling

SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


class TileBatch(NamedTuple):
    """All that a segmenter sees of a batch of tiles."""

    pixels: Tensor
    """(N, C, H, W) in the scenes' own dtype, raw digital numbers."""
    valid: Tensor
    """(N, H, W) bool, True where there is data."""
    stretch: Tensor | None = None
    """(N, 2, C) low and high of each band of each tile's raster, as ``stretch_tensor`` makes it, where the scaling is
    per raster; None where it is the model's own."""

    def to(self, device: torch.device) -> TileBatch:
        """The same batch on a device."""
        return TileBatch(*(part if part is None else part.to(device, non_blocking=True) for part in self))


def as_signed(pixels: Tensor) -> Tensor:
    """The same bits, to be moved: of unsigned numbers of over 8 bits torch does little but convert them."""
    return pixels.view(SIGNED.get(pixels.dtype, pixels.dtype))


def stretch_tensor(bounds: Sequence[Bounds], dtype: torch.dtype) -> Tensor:
    """(N, 2, C) low and high of each band of N tiles or samples whose pixels are of ``dtype``."""
    return torch.tensor(bounds, dtype=exact_dtype(dtype)).transpose(1, 2)


def exact_dtype(dtype: torch.dtype) -> torch.dtype:
    """In what pixels are reckoned with until they are near 0: float32, or float64 for those that it would round."""
    return torch.float64 if dtype.itemsize > 2 and dtype != torch.float32 else torch.float32


class Normalisation(nn.Module):
    """(clip((x - low) / (high - low), 0, 1) - mean) / std of the pixels x of each band, the invalid ones filled.

    Args:
        dtype: of the pixels, as a rule; others are normalised as well.
        mean, std: of each band, on the scaled range.
        fill: in place of invalid pixels: raw digital numbers, or on the scaled range where that is per raster.
    """

    fill: Tensor
    low: Tensor
    span: Tensor
    gain: Tensor
    offset: Tensor

    def __init__(
        self, scaling: Scaling, dtype: torch.dtype, mean: Sequence[float], std: Sequence[float], fill: Sequence[float]
    ) -> None:
        super().__init__()
        self.per_raster = scaling.per_raster
        low, high = np.array(((0.0, 1.0),) if scaling.per_raster else scaling.of_bands(len(mean))).T
        self._bounds = float(low.max()), float(high.min())
        self._shifts = bool(low.any())
        span, std = high - low, np.array(std)
        # x / span / std - mean / std of what x is above low: two steps over the pixels in place of four.
        for name, values in (("gain", 1 / span / std), ("offset", -np.array(mean) / std)):
            self._keep(name, values, torch.float32)
        for name, values in (("fill", np.array(fill)), ("low", low), ("span", span)):
            self._keep(name, values, exact_dtype(dtype))

    def forward(self, tiles: TileBatch) -> Tensor:
        """(N, C, H, W) float32.

        Raises UsageError where the scaling is per raster and the tiles do not bring the bounds of theirs.
        """
        low, span, fill, gain = self._of_rasters(tiles.stretch) if self.per_raster else self._own(tiles.pixels.dtype)
        image = torch.where(tiles.valid[:, None], tiles.pixels.to(fill.dtype), fill)
        if self.per_raster or self._shifts:
            image.sub_(low)
        if self.per_raster or not self._holds(tiles.pixels.dtype):
            torch.minimum(image.clamp_(min=0), span, out=image)
        return image.to(gain.dtype).mul_(gain).add_(self.offset)

    def _own(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        parts = self.low, self.span, self.fill
        if exact_dtype(dtype) == torch.float64:
            parts = tuple(part.double() for part in parts)
        return *parts, self.gain

    def _of_rasters(self, stretch: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if stretch is None:
            raise UsageError("the model scales each raster by its own percentiles: the tiles need their stretch")
        low, high = stretch[..., None, None].unbind(1)
        span = high - low
        return low, span, low + self.fill * span, (self.gain / span).to(self.gain.dtype)

    def _holds(self, dtype: torch.dtype) -> bool:
        """True where no value of a dtype lies outside of the bounds."""
        if dtype.is_floating_point:
            return False
        limits, (low, high) = torch.iinfo(dtype), self._bounds
        return low <= limits.min and limits.max <= high

    def _keep(self, name: str, values: np.ndarray, dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype).view(1, -1, 1, 1), persistent=False)
