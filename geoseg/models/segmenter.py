"""Segmenter: a network with all that its input and output mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError, ModelError, UsageError
from geoseg.legend import Legend
from geoseg.models.decoder import DECODERS, DecoderName, Norm
from geoseg.models.normalisation import Normalisation, TileBatch, stretch_tensor
from geoseg.models.unet import UNet
from geoseg.scaling import EIGHT_BITS, Scaling

MOST = {"bands": 65_535, "width": 4096, "size": 65_536}
"""What no honest record goes beyond: GDAL's bands, channels, and a tile that fills 4 GiB a channel in uint8."""
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
    band_names: tuple[str, ...] = ()
    """What the training rasters call them; empty where they have no names, or not the same ones."""
    dtype: str = "uint8"
    """numpy name of the training pixels' dtype."""
    scaling: Scaling = EIGHT_BITS
    """How raw pixels become 0 to 1; and then ..."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """... less the mean and ..."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """... divided by the standard deviation of each band, both on the scaled range."""
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Band means of the training pixels, which stand in for invalid ones: raw digital numbers, or on the scaled range
    where each raster is scaled by itself."""
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
        if not np.isfinite((*self.mean, *self.std, *self.fill)).all() or min(self.std) <= 0:
            raise ModelError("the model's normalisation is not finite, or its standard deviation not above 0")
        if not isinstance(self.encoder, str) or self.norm not in ("none", "batch", "group"):
            raise ModelError(f"the model's encoder {self.encoder!r} or norm {self.norm!r} is none that geoseg knows")
        if self.decoder not in DECODERS or (self.encoder, self.decoder) == (PLAIN, "nearest"):
            raise ModelError(f"the model's decoder {self.decoder!r} is none that geoseg knows for {self.encoder}")
        for what in ("band_numbers", "band_names"):
            if getattr(self, what) and len(getattr(self, what)) != self.bands:
                raise ModelError(f"{len(getattr(self, what))} {what.replace('_', ' ')} for {self.bands} bands")
        if np.dtype(self.dtype).kind not in "iuf":
            raise ModelError(f"models of {self.dtype} pixels are not supported; train on whole numbers or floats")
        if self.scaling.bounds:
            self.scaling.of_bands(self.bands)
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise ModelError(f"the ground sampling distance is above 0, got {self.gsd} m")
        if min(self.window, self.size, self.width) < 1:
            raise ModelError(f"window {self.window}, size {self.size} and width {self.width} are at least 1")
        for what, most in MOST.items():
            if getattr(self, what) > most:
                raise ModelError(f"the model's {what} of {getattr(self, what)} is beyond {most}, the most geoseg takes")

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
            bands = {
                "band_numbers": tuple(int(n) for n in record.get("band_numbers", ())),
                "band_names": tuple(str(n) for n in record.get("band_names", ())),
            }
            whole = _with_scaling(record) | per_band | bands | {"provenance": dict(record["provenance"])}
            return cls(**(whole | {"legend": Legend.from_dict(record["legend"])}))
        except (KeyError, TypeError, ValueError, AttributeError, InputError, UsageError) as error:
            raise ModelError(f"the model's record cannot be read ({error}); was it made by a newer geoseg?") from error


def _with_scaling(record: Mapping[str, Any]) -> dict[str, Any]:
    """A config's record with its scaling; until there was one, pixels were multiplied by a "scale"."""
    rest = {key: value for key, value in record.items() if key not in ("scale", "scaling")}
    if "scaling" in record:
        return rest | {"scaling": Scaling.from_dict(record["scaling"])}
    return rest | {"scaling": Scaling("range", ((0.0, 1 / record["scale"]),))}


class Segmenter(nn.Module):
    """Network, legend and normalisation in one: raw pixels in, logits out."""

    def __init__(self, config: SegmenterConfig, network: nn.Module | None = None) -> None:
        """A segmenter of the network that the config describes: ``network`` where it is built already."""
        super().__init__()
        self.config = config
        self.origin: Mapping[str, str | None] = {"path": None, "sha256": None, "weights": None}
        """Path and sha256 of the file that the weights are from, and the weights' own sha256."""
        self.network = network or build_network(
            config.encoder, config.bands, config.legend, config.width, config.norm, config.decoder
        )
        self.normalisation = Normalisation(
            config.scaling, getattr(torch, config.dtype), config.mean, config.std, config.fill
        )
        self.to(memory_format=torch.channels_last)

    @property
    def legend(self) -> Legend:
        """The classes of the outputs, in their order."""
        return self.config.legend

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.normalisation.fill.device

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
        image = self.normalisation(tiles)
        height, width = image.shape[-2:]
        beyond = (0, -width % self.network.stride, 0, -height % self.network.stride)
        # In an exported graph sides are no numbers yet; a padding of 0 changes nothing.
        if torch.compiler.is_exporting() or any(beyond):
            image = F.pad(image, beyond, mode="replicate")
        dtype = next(self.network.parameters(), image).dtype
        return self.network(image.to(dtype, memory_format=torch.channels_last))[..., :height, :width]


def blank_tiles(config: SegmenterConfig, count: int, shape: tuple[int, int]) -> TileBatch:
    """Tiles of zeros, all valid, as a network is tried on."""
    pixels = torch.zeros(count, config.bands, *shape, dtype=getattr(torch, config.dtype))
    stretch = None
    if config.scaling.per_raster:
        stretch = stretch_tensor([((0.0, 1.0),) * config.bands] * count, pixels.dtype)
    return TileBatch(pixels, torch.ones(count, *shape, dtype=torch.bool), stretch)


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
