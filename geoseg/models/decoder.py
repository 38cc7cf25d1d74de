"""Decoders: from an encoder's deepest features back to full resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError, UsageError

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


class TransposedDecoder(nn.Module):
    """The paper's: a step is a transposed convolution, the skip of its size before it (where there is one), and two
    convolutions; it gives as many channels as its skip has.

    Args:
        bottleneck: channels of the deepest features.
        skips: for each step the channels of its skip (0: none), the deepest first.
    """

    def __init__(self, bottleneck: int, skips: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.up = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for skip in skips:
            # Half of the step before where there is no skip.
            width = skip or max(bottleneck // 2, 16)
            self.up.append(nn.ConvTranspose2d(bottleneck, width, 2, stride=2))
            self.blocks.append(convolutions(width + skip, width, norm))
            bottleneck = width
        self.width = bottleneck

    def forward(self, deepest: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """``deepest`` (N, C, h, w) and the skips, deepest first, None where a step has none."""
        features = deepest
        for up, block, skip in zip(self.up, self.blocks, skips, strict=True):
            features = up(features)
            features = block(features if skip is None else torch.cat((skip, features), 1))
        return features

    def head(self, classes: int) -> nn.Conv2d:
        """The layer that decides: 1 x 1."""
        return nn.Conv2d(self.width, classes, 1)


class NearestDecoder(nn.Module):
    """That of segmentation-models-pytorch: a step repeats each pixel twice in both directions, takes the skip of its
    size behind (where there is one), and convolves twice; its widths are the same for every encoder.

    Args and ``forward`` as TransposedDecoder. Raises ModelError for another number of steps than WIDTHS has.
    """

    WIDTHS = 256, 128, 64, 32, 16

    def __init__(self, bottleneck: int, skips: Sequence[int], norm: Norm) -> None:
        super().__init__()
        if len(skips) != len(self.WIDTHS):
            raise ModelError(f"the nearest decoder has {len(self.WIDTHS)} steps, and the encoder needs {len(skips)}")
        self.blocks = nn.ModuleList(
            convolutions(channels + skip, width, norm)
            for channels, skip, width in zip((bottleneck, *self.WIDTHS), skips, self.WIDTHS, strict=False)
        )

    def forward(self, deepest: Tensor, skips: Sequence[Tensor | None]) -> Tensor:
        """As the other decoder's."""
        features = deepest
        for block, skip in zip(self.blocks, skips, strict=True):
            features = nn.functional.interpolate(features, scale_factor=2, mode="nearest")
            features = block(features if skip is None else torch.cat((features, skip), 1))
        return features

    def head(self, classes: int) -> nn.Conv2d:
        """The layer that decides: 3 x 3."""
        return nn.Conv2d(self.WIDTHS[-1], classes, 3, padding=1)


DECODERS = {"transposed": TransposedDecoder, "nearest": NearestDecoder}
DecoderName = Literal["transposed", "nearest"]
