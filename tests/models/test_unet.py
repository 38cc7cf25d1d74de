"""The paper's U-Net: its number of parameters, its normalisations, its sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.errors import UsageError
from geoseg.models.unet import UNet


@pytest.mark.parametrize(
    ("bands", "classes", "width", "expected"),
    [
        (3, 7, 64, 31_032_135),
        (3, 7, 32, 7_760_295),
        (3, 7, 16, 1_941_207),
        (5, 7, 16, 1_941_207 + 2 * 9 * 16),
        (3, 9, 16, 1_941_207 + 2 * 17),
    ],
)
def test_number_of_parameters(bands, classes, width, expected):
    with torch.device("meta"):
        network = UNet(bands, classes, width)
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize(("norm", "layer"), [("none", None), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_norm_stands_after_every_convolution_of_a_block(norm, layer):
    network = UNet(width=8, norm=norm)
    found = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))]
    assert len(found) == (18 if layer else 0) and all(isinstance(m, layer) for m in found)
    in_blocks = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(in_blocks) == 18 and all((m.bias is None) == bool(layer) for m in in_blocks)


def test_unknown_norm_is_refused():
    with pytest.raises(UsageError, match="'layer'"):
        UNet(norm="layer")


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 32)])
def test_logits_are_as_large_as_the_image(norm, height, width):
    assert UNet(2, 5, width=4, norm=norm).eval()(torch.rand(2, 2, height, width)).shape == (2, 5, height, width)


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_gradient_reaches_every_parameter(norm):
    torch.manual_seed(0)
    network = UNet(width=8, norm=norm)
    (network(torch.rand(2, 3, 32, 32)) * torch.randn(2, 7, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_skips_are_joined_at_their_own_size():
    network = UNet(width=4)
    seen = []
    for block in network.decoder.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[1:])))
    network(torch.rand(1, 3, 32, 48))
    assert seen == [(64, 4, 6), (32, 8, 12), (16, 16, 24), (8, 32, 48)]
