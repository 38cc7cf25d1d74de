"""The U-Net on timm encoders: where its skips are, which encoders it takes."""

from __future__ import annotations

import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models.encoder_unet import EncoderUNet


def decoder_inputs(network: EncoderUNet, image: torch.Tensor) -> list[tuple[int, ...]]:
    """(C, H, W) of what enters each step of the decoder, the skip joined."""
    seen = []
    for block in network.decoder.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[1:])))
    network(image)
    return seen


@pytest.fixture(scope="module")
def resnet34():
    return EncoderUNet("resnet34", 3, 7).eval()


def test_resnet34_has_skips_at_2_4_8_16_and_its_bottleneck_at_32(resnet34):
    assert resnet34.stride == 32
    seen = decoder_inputs(resnet34, torch.rand(1, 3, 64, 96))
    assert seen == [(256 + 256, 4, 6), (128 + 128, 8, 12), (64 + 64, 16, 24), (64 + 64, 32, 48), (32, 64, 96)]


def test_resnet34_gives_logits_at_the_size_of_the_image(resnet34):
    assert resnet34(torch.rand(2, 3, 64, 32)).shape == (2, 7, 64, 32)


def test_decoder_has_no_norm_unless_asked():
    def norms(norm):
        decoder = EncoderUNet("resnet10t", 3, 7, norm).decoder
        return {type(module) for module in decoder.modules()} & {torch.nn.BatchNorm2d, torch.nn.GroupNorm}

    assert norms("none") == set()
    assert norms("batch") == {torch.nn.BatchNorm2d} and norms("group") == {torch.nn.GroupNorm}


@pytest.mark.parametrize("encoder", ["convnext_atto", "efficientnet_lite0", "mobilenetv3_small_050"])
def test_other_encoders_with_feature_maps(encoder):
    network = EncoderUNet(encoder, 3, 7).eval()
    assert network(torch.rand(1, 3, 64, 96)).shape == (1, 7, 64, 96)


def test_an_encoder_that_begins_at_stride_4_has_two_steps_without_a_skip():
    network = EncoderUNet("convnext_atto", 3, 7)
    assert [skip for skip in decoder_inputs(network, torch.rand(1, 3, 64, 64))][-2:] == [(20, 32, 32), (16, 64, 64)]


@pytest.mark.parametrize("bands", [1, 5])
def test_any_number_of_bands(bands):
    assert EncoderUNet("resnet10t", bands, 4).eval()(torch.rand(1, bands, 32, 64)).shape == (1, 4, 32, 64)


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = EncoderUNet("resnet10t", 3, 7)
    for module in network.modules():
        # timm begins with residual branches that are switched off.
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    (network(torch.rand(2, 3, 64, 64)) * torch.randn(2, 7, 64, 64)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_unknown_encoder_names_close_ones():
    with pytest.raises(ModelError, match=r"'resnet34x': timm has none of that name \(.*resnet34") as caught:
        EncoderUNet("resnet34x", 3, 7)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("encoder", ["", "nothing_like_it", "../resnet34"])
def test_names_that_timm_does_not_have(encoder):
    with pytest.raises(ModelError, match="timm has none of that name"):
        EncoderUNet(encoder, 3, 7)


@pytest.mark.parametrize(
    ("encoder", "maps"), [("test_mambaout", r"\(8, 16, 16\)"), ("mobilevitv2_050", r"\(256, 2, 2\)")]
)
def test_encoders_with_channels_last_or_padding_of_their_own_are_refused(encoder, maps):
    with pytest.raises(ModelError, match=f"encoder '{encoder}': its feature maps are .*{maps}"):
        EncoderUNet(encoder, 3, 7)


@pytest.mark.parametrize("encoder", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_encoders_of_one_stride_or_one_image_size_are_refused(encoder):
    with pytest.raises(ModelError, match=f"encoder '{encoder}'"):
        EncoderUNet(encoder, 3, 7)
