"""The paper's U-Net (section 3.1) and the parts it shares with the U-Net on a timm encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from geoseg.errors import UsageError

Norm = Literal["none", "batch", "group"]


def convolutions(channels_in: int, channels_out: int, norm: Norm) -> nn.Sequential:
    """Twice a 3 x 3 convolution, the normalisation (the paper has none) and a ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers.append(nn.Conv2d(channels, channels_out, 3, padding=1, bias=norm == "none"))
        layers += _normalisation(channels_out, norm)
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _normalisation(channels: int, norm: Norm) -> list[nn.Module]:
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        return [nn.GroupNorm(math.gcd(32, max(channels // 4, 1)), channels)]
    raise UsageError(f'the norm is "none", "batch" or "group", got {norm!r}')


class Decoder(nn.Module):
    """From the deepest features back to full resolution, doubling the size at each step.

    A step is a transposed convolution, the concatenation of the skip of its size (where there is one), and two
    convolutions.

    Args:
        bottleneck: channels of the deepest features.
        skips: for each step the channels of its skip (0: none), the deepest first.
        widths: for each step the channels it gives.
    """

    def __init__(self, bottleneck: int, skips: Sequence[int], widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.up = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for channels, skip, width in zip((bottleneck, *widths), skips, widths, strict=False):
            self.up.append(nn.ConvTranspose2d(channels, width, 2, stride=2))
            self.blocks.append(convolutions(width + skip, width, norm))

    def forward(self, deepest: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """``deepest`` (N, C, h, w) and the skips, deepest first, None where a step has none."""
        features = deepest
        for up, block, skip in zip(self.up, self.blocks, skips, strict=True):
            features = up(features)
            features = block(features if skip is None else torch.cat((skip, features), 1))
        return features


class UNet(nn.Module):
    """The U-Net of section 3.1: four encoder blocks, a bottleneck, a mirrored decoder, a 1 x 1 head.

    At width 64 with 3 bands, 7 classes and no norm it has 31,032,135 parameters.
    """

    stride = 16
    """Height and width of the input are multiples of this."""

    def __init__(self, bands: int = 3, classes: int = 7, width: int = 64, norm: Norm = "none") -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            convolutions(before, after, norm) for before, after in zip((bands, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        up = widths[-2::-1]
        self.decoder = Decoder(widths[-1], skips=up, widths=up, norm=norm)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) normalised image to (N, classes, H, W) logits; H and W multiples of ``stride``."""
        features, skips = image, []
        for block in self.encoder:
            features = block(features if not skips else self.pool(features))
            skips.append(features)
        deepest = skips.pop()
        return self.head(self.decoder(deepest, skips[::-1]))
