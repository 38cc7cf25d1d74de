"""Segmenter: a network with all that its input and output mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError, ModelError
from geoseg.legend import Legend
from geoseg.models.decoder import DECODERS, DecoderName, Norm
from geoseg.models.unet import UNet

PLAIN = "plain"
"""The encoder of the paper's own U-Net; any other name is timm's."""


@dataclass(frozen=True)
class SegmenterConfig:
    """What a segmenter is: stored with its weights, and enough to build it again."""

    legend: Legend
    encoder: str = PLAIN
    """PLAIN for the paper's U-Net, or the name of a timm encoder."""
    bands: int = 3
    """Number of input bands."""
    band_numbers: tuple[int, ...] = ()
    """Which bands of the training rasters they were, from 1; empty where that was not recorded."""
    dtype: str = "uint8"
    """numpy name of the pixels' dtype; another dtype would need a declared scaling."""
    scale: float = 1 / 255
    """Pixels are multiplied by this, and then ..."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """... less the mean and ..."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """... divided by the standard deviation of each band, both on the scaled range."""
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Band means of the training pixels, raw digital numbers: what stands in for invalid pixels."""
    width: int = 64
    """Channels of the plain U-Net's first block."""
    norm: Norm = "none"
    """Normalisation in the plain U-Net, and in the decoder of the others."""
    decoder: DecoderName = "transposed"
    """The paper's decoder, as every plain U-Net has it, or segmentation-models-pytorch's."""
    window: int = 1024
    """Side of a window in scene pixels, as trained."""
    size: int = 1024
    """Side of a tile, the window as the network sees it, as trained."""
    gsd: float | None = None
    """Ground sampling distance of the training scenes in metres per pixel, None where they carry none."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained: data, settings, versions."""

    def __post_init__(self) -> None:
        per_band = {len(self.mean), len(self.std), len(self.fill)}
        if per_band != {self.bands}:
            raise ModelError(f"normalisation for {sorted(per_band)} bands in a model of {self.bands}")
        numbers = (self.scale, *self.mean, *self.std, *self.fill)
        if not np.isfinite(numbers).all() or min(self.std) <= 0:
            raise ModelError("the model's normalisation is not finite, or its standard deviation not above 0")
        if not isinstance(self.encoder, str) or self.norm not in ("none", "batch", "group"):
            raise ModelError(f"the model's encoder {self.encoder!r} or norm {self.norm!r} is none that geoseg knows")
        if self.decoder not in DECODERS or (self.encoder, self.decoder) == (PLAIN, "nearest"):
            raise ModelError(f"the model's decoder {self.decoder!r} is none that geoseg knows for {self.encoder}")
        if self.band_numbers and len(self.band_numbers) != self.bands:
            raise ModelError(f"{len(self.band_numbers)} band numbers for {self.bands} bands")
        if self.dtype != "uint8":
            raise ModelError(f"models of {self.dtype} pixels are not supported; train on uint8 rasters")
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise ModelError(f"the ground sampling distance is above 0, got {self.gsd} m")
        if min(self.window, self.size, self.width) < 1:
            raise ModelError(f"window {self.window}, size {self.size} and width {self.width} are at least 1")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(replace(self, provenance={})) | {
            "legend": self.legend.to_dict(),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SegmenterConfig:
        """Read back what ``to_dict`` gave; raises ModelError."""
        try:
            per_band = {name: tuple(float(v) for v in record[name]) for name in ("mean", "std", "fill")}
            numbers = tuple(int(n) for n in record.get("band_numbers", ()))
            whole = {**record, **per_band, "band_numbers": numbers, "provenance": dict(record["provenance"])}
            return cls(**{**whole, "legend": Legend.from_dict(record["legend"])})
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise ModelError(f"the model's record cannot be read ({error}); was it made by a newer geoseg?") from error


class TileBatch(NamedTuple):
    """All that a segmenter sees of a batch of tiles."""

    pixels: Tensor
    """(N, C, H, W) in the scenes' own dtype, raw digital numbers."""
    valid: Tensor
    """(N, H, W) bool, True where there is data."""

    def to(self, device: torch.device) -> TileBatch:
        """The same batch on a device."""
        return TileBatch(*(part.to(device, non_blocking=True) for part in self))


class Segmenter(nn.Module):
    """Network, legend and normalisation in one: raw pixels in, logits out."""

    fill: Tensor
    gain: Tensor
    offset: Tensor

    def __init__(self, config: SegmenterConfig, network: nn.Module | None = None) -> None:
        """A segmenter of the network that the config describes: ``network`` where it is built already."""
        super().__init__()
        self.config = config
        self.origin: Mapping[str, str | None] = {"path": None, "sha256": None, "weights": None}
        """Path and sha256 of the file that the weights are from, and the weights' own sha256."""
        self.network = network or build_network(
            config.encoder, config.bands, config.legend, config.width, config.norm, config.decoder
        )
        mean, std = np.array(config.mean), np.array(config.std)
        # (pixel * scale - mean) / std, in two steps instead of three.
        for name, values in (("fill", config.fill), ("gain", config.scale / std), ("offset", -mean / std)):
            values = torch.tensor(np.asarray(values), dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def legend(self) -> Legend:
        """The classes of the outputs, in their order."""
        return self.config.legend

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.fill.device

    def weights_sha256(self) -> str:
        """sha256 of the weights as they are now, in hexadecimal."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def forward(self, tiles: TileBatch) -> Tensor:
        """(N, K, H, W) logits of a batch of any size, K the legend's classes, the ignored ones included.

        Invalid pixels enter as the band means. Sides that the network's stride does not divide are padded at the lower
        and right border with the outermost pixels, and the logits cropped again.
        """
        pixels = torch.where(tiles.valid[:, None], tiles.pixels, self.fill)
        image = pixels.mul_(self.gain).add_(self.offset)
        height, width = image.shape[-2:]
        beyond = (0, -width % self.network.stride, 0, -height % self.network.stride)
        if any(beyond):
            image = F.pad(image, beyond, mode="replicate")
        dtype = next(self.network.parameters(), image).dtype
        return self.network(image.to(dtype, memory_format=torch.channels_last))[..., :height, :width]


def build_network(
    encoder: str,
    bands: int,
    legend: Legend,
    width: int = 64,
    norm: Norm = "none",
    decoder: DecoderName = "transposed",
) -> nn.Module:
    """The plain U-Net or one on a timm encoder, with an output for each class of the legend; raises ModelError.

    ``width`` is of the plain U-Net, ``decoder`` of the other.
    """
    if encoder == PLAIN:
        return UNet(bands, len(legend), width, norm)
    from geoseg.models.encoder_unet import EncoderUNet

    return EncoderUNet(encoder, bands, len(legend), norm, decoder)
