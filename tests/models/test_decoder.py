"""Decoders: how a step rises and joins its skip, how wide it is, which layer decides."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.decoder import DECODERS, NearestDecoder, TransposedDecoder
from geoseg.models.encoder_unet import EncoderUNet

SKIPS = 24, 16, 12, 8, 0


def features(channels: int, height: int, width: int) -> torch.Tensor:
    """(2, C, H, W), no two values alike."""
    count = 2 * channels * height * width
    return torch.arange(count, dtype=torch.float32).view(2, channels, height, width) / count


def skips() -> list[torch.Tensor | None]:
    """The skips of a deepest map of 2 x 3 px."""
    return [features(c, 2 * 2 ** (i + 1), 3 * 2 ** (i + 1)) - 1 if c else None for i, c in enumerate(SKIPS)]


def entering(decoder: nn.Module) -> list[torch.Tensor]:
    """What enters each block of a decoder."""
    seen: list[torch.Tensor] = []
    for block in decoder.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    return seen


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@torch.inference_mode()
def test_nearest_repeats_pixels_and_takes_the_skip_behind(norm):
    decoder = NearestDecoder(40, SKIPS, norm).eval()
    seen = entering(decoder)
    risen, joined = features(40, 2, 3), skips()
    found = decoder(risen, joined)
    for i, (block, skip) in enumerate(zip(decoder.blocks, joined, strict=True)):
        risen = risen.repeat_interleave(2, 2).repeat_interleave(2, 3)
        risen = risen if skip is None else torch.cat((risen, skip), 1)
        assert torch.equal(seen[i], risen)
        risen = block(risen)
    assert torch.equal(found, risen) and found.shape == (2, 16, 64, 96)


@torch.inference_mode()
def test_transposed_takes_the_skip_before_what_it_learned_to_enlarge():
    decoder = TransposedDecoder(40, SKIPS, "none").eval()
    seen = entering(decoder)
    deepest, joined = features(40, 2, 3), skips()
    assert decoder(deepest, joined).shape == (2, 16, 64, 96)
    assert [tuple(entered.shape[1:]) for entered in seen] == [
        (48, 4, 6), (32, 8, 12), (24, 16, 24), (16, 32, 48), (16, 64, 96)
    ]  # fmt: skip
    assert torch.equal(seen[0], torch.cat((joined[0], decoder.up[0](deepest)), 1))


def test_nearest_is_as_wide_for_every_encoder():
    for bottleneck in (40, 2048):
        blocks = NearestDecoder(bottleneck, SKIPS, "batch").blocks
        assert [block[0].out_channels for block in blocks] == [256, 128, 64, 32, 16]
        assert [block[0].in_channels for block in blocks] == [bottleneck + 24, 256 + 16, 128 + 12, 64 + 8, 32]


@pytest.mark.parametrize(("decoder", "side"), [("transposed", 1), ("nearest", 3)])
def test_each_decoder_has_its_own_head(decoder, side):
    made = DECODERS[decoder](40, SKIPS, "none")
    assert made.head(7).weight.shape == (7, 16, side, side)
    assert made.head(7)(torch.zeros(1, 16, 5, 9)).shape == (1, 7, 5, 9)


def test_nearest_on_resnet34_has_the_parameters_of_smp():
    network = EncoderUNet("resnet34", 3, 7, "batch", "nearest")
    assert sum(p.numel() for p in network.parameters()) == 24_437_239


@pytest.mark.parametrize("steps", [4, 6])
def test_nearest_needs_five_steps(steps):
    with pytest.raises(ModelError, match=f"has 5 steps, and the encoder needs {steps}"):
        NearestDecoder(64, [8] * steps, "batch")


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = EncoderUNet("test_resnet", 3, 7, "batch", "nearest")
    for module in network.modules():
        # timm begins with residual branches that are switched off.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    (network(torch.rand(2, 3, 64, 64)) * torch.randn(2, 7, 64, 64)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
