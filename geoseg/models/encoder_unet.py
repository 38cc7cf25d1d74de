"""A U-Net on any timm encoder with feature maps (the paper's section 3.4: ResNet-34)."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.models.decoder import DECODERS, DecoderName, Norm


class EncoderUNet(nn.Module):
    """Skips at every stride below the deepest that the encoder has; ResNet-34: 2, 4, 8, 16, and 32 as bottleneck.

    Steps of the decoder without a skip (the last one to full resolution) only upsample and convolve.
    """

    def __init__(
        self, encoder: str, bands: int, classes: int, norm: Norm = "none", decoder: DecoderName = "transposed"
    ) -> None:
        super().__init__()
        self.bands = bands
        self.encoder = _features_only(encoder, bands)
        channels = dict(zip(self.encoder.feature_info.reduction(), self.encoder.feature_info.channels(), strict=True))
        self.stride = max(channels)
        _require_any_size(self.encoder, encoder, bands, self.stride)
        self._skip_strides = _halvings(self.stride)
        if len(channels) < 2 or set(channels) - {self.stride, *self._skip_strides}:
            raise ModelError(
                f"encoder {encoder!r}: feature maps at strides {sorted(channels)}, not several powers of two"
            )
        skips = [channels.get(stride, 0) for stride in self._skip_strides]
        self.decoder = DECODERS[decoder](channels[self.stride], skips, norm)
        self.head = self.decoder.head(classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) normalised image to (N, classes, H, W) logits; H and W multiples of ``stride``."""
        by_stride = dict(zip(self.encoder.feature_info.reduction(), self.encoder(image), strict=True))
        skips = [by_stride.get(stride) for stride in self._skip_strides]
        return self.head(self.decoder(by_stride[self.stride], skips))


def _features_only(encoder: str, bands: int) -> nn.Module:
    if encoder not in timm.list_models():
        close = ", ".join(timm.list_models(f"*{encoder.split('.')[0][:8]}*")[:6]) or "see timm.list_models()"
        raise ModelError(f"encoder {encoder!r}: timm has none of that name ({close})")
    try:
        return timm.create_model(encoder, pretrained=False, features_only=True, in_chans=bands)
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        raise ModelError(f"encoder {encoder!r}: gives no feature maps at several strides ({error})") from error


def _require_any_size(network: nn.Module, encoder: str, bands: int, stride: int) -> None:
    """Some encoders are built for one image size, pad what they see or put channels last, and show it only at work."""
    network.eval()
    try:
        with torch.no_grad():
            found = [tuple(maps.shape[1:]) for maps in network(torch.zeros(1, bands, stride, 2 * stride))]
    except (AssertionError, RuntimeError) as error:
        raise ModelError(f"encoder {encoder!r}: takes images of one size only ({error})") from error
    network.train()
    told = zip(network.feature_info.channels(), network.feature_info.reduction(), strict=True)
    expected = [(channels, stride // by, 2 * stride // by) for channels, by in told]
    if found != expected:
        raise ModelError(f"encoder {encoder!r}: its feature maps are {found} (C, H, W), and not {expected}")


def _halvings(stride: int) -> list[int]:
    """32 -> [16, 8, 4, 2, 1]."""
    return [stride // 2**step for step in range(1, stride.bit_length())]
