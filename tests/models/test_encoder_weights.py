"""Pretrained encoder weights: whole or not at all, from safetensors only, never a silent random start."""

from __future__ import annotations

import pickle

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from geoseg.errors import ModelError, UsageError
from geoseg.models.encoder_unet import EncoderUNet
from geoseg.models.encoder_weights import load_encoder_weights
from geoseg.models.unet import UNet


def state_of(encoder: str = "resnet10t") -> dict[str, torch.Tensor]:
    """Weights of a whole timm model, its classifier included, unlike those of any other seed."""
    torch.manual_seed(11)
    return {name: value.clone() for name, value in timm.create_model(encoder).state_dict().items()}


@pytest.fixture
def weights_file(tmp_path):
    def write(state: dict[str, torch.Tensor], name: str = "weights.safetensors"):
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def network():
    torch.manual_seed(5)
    return EncoderUNet("resnet10t", 3, 7)


def start_of(network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_untouched(network, start):
    assert all(torch.equal(value, start[name]) for name, value in network.state_dict().items())


def assert_encoder_holds(network: EncoderUNet, state: dict[str, torch.Tensor]) -> None:
    """Every tensor of the encoder is that of ``state``, whose names may have dots where the encoder has underscores."""
    by_plain = {name.replace(".", "").replace("_", ""): value for name, value in state.items()}
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, by_plain[name.replace(".", "").replace("_", "")]), name


@pytest.mark.parametrize("encoder", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_a_file_in_timms_naming_fills_the_encoder(encoder, weights_file):
    state, network = state_of(encoder), EncoderUNet(encoder, 3, 7)
    decoder = start_of(network.decoder)
    load_encoder_weights(network, encoder, str(weights_file(state)))
    assert_encoder_holds(network, state)
    assert_untouched(network.decoder, decoder)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34"])
def test_a_file_in_torchvisions_naming_fills_a_resnet(encoder, weights_file):
    torch.manual_seed(12)
    state = getattr(torchvision.models, encoder)(weights=None).state_dict()
    network = EncoderUNet(encoder, 3, 7)
    load_encoder_weights(network, encoder, str(weights_file(state)))
    assert "fc.weight" in state
    assert_encoder_holds(network, state)


def test_a_file_without_the_classifier_is_enough(network, weights_file):
    state = {name: value for name, value in state_of().items() if not name.startswith("fc.")}
    load_encoder_weights(network, "resnet10t", str(weights_file(state)))
    assert_encoder_holds(network, state)


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_the_first_convolution_is_adapted_to_the_bands_by_timms_rule(bands, weights_file):
    """Of one band the sum over red, green and blue; else these in turn, so that their sum keeps its size."""
    state, network = state_of(), EncoderUNet("resnet10t", bands, 7)
    load_encoder_weights(network, "resnet10t", str(weights_file(state)))
    first = state["conv1.0.weight"]
    adapted = next(p for p in network.encoder.parameters() if p.ndim == 4)
    assert adapted.shape == (first.shape[0], bands, *first.shape[2:])
    in_turn = torch.stack([first[:, band % 3] for band in range(bands)], 1) * 3 / bands
    torch.testing.assert_close(adapted, first.sum(1, keepdim=True) if bands == 1 else in_turn)
    assert torch.equal(network.encoder.state_dict()["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"])


def without_one(state):
    del state["layer2.0.conv1.weight"]
    return state


def wrong_shape(state):
    return state | {"layer2.0.conv1.weight": torch.zeros(3, 3, 3, 3)}


def not_a_number(state):
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    return state


def infinite(state):
    state["bn1.bias"][0] = float("inf")
    return state


def of_another_encoder(state):
    return state_of("resnet18")


@pytest.mark.parametrize("spoil", [without_one, wrong_shape, not_a_number, infinite, of_another_encoder])
def test_weights_that_do_not_fit_are_refused_whole(network, weights_file, spoil):
    path, start = weights_file(spoil(state_of())), start_of(network)
    with pytest.raises(ModelError, match=r"weights\.safetensors") as caught:
        load_encoder_weights(network, "resnet10t", str(path))
    assert caught.value.exit_code == 4
    assert_untouched(network, start)


def test_the_missing_tensor_is_named(network, weights_file):
    with pytest.raises(ModelError, match=r"lacks 1 of .* layer2\.0\.conv1\.weight"):
        load_encoder_weights(network, "resnet10t", str(weights_file(without_one(state_of()))))


def test_a_file_cut_short_is_refused(network, weights_file):
    path = weights_file(state_of())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_encoder_weights(network, "resnet10t", str(path))


class Marker:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.pt", "weights.bin"])
def test_a_pickle_is_never_loaded(network, tmp_path, name):
    marker = tmp_path / "marker"
    for zipped in (False, True):
        with open(tmp_path / name, "wb") as file:
            (torch.save if zipped else pickle.dump)(Marker(marker), file)
        with pytest.raises(ModelError) as caught:
            load_encoder_weights(network, "resnet10t", str(tmp_path / name))
        assert caught.value.exit_code == 4
        assert not marker.exists()


def test_a_missing_file_is_named(network, tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors: no such file"):
        load_encoder_weights(network, "resnet10t", str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("no tag"), ConnectionError("reset")])
def test_an_unreachable_hub_is_said_with_the_remedy(network, monkeypatch, error):
    def unreachable(*args, **options):
        raise error

    start = start_of(network)
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ModelError, match=r"could not be fetched.*--encoder-weights FILE\.safetensors.*none") as caught:
        load_encoder_weights(network, "resnet10t", "imagenet")
    assert str(error) in str(caught.value) and "\n" not in str(caught.value)
    assert_untouched(network, start)


def test_imagenet_asks_timm_for_pretrained_weights(network, monkeypatch):
    asked, pretrained = {}, EncoderUNet("resnet10t", 3, 7).encoder

    def create(encoder, **options):
        asked.update(options, encoder=encoder)
        return pretrained

    monkeypatch.setattr(timm, "create_model", create)
    load_encoder_weights(network, "resnet10t", "imagenet")
    assert asked == {"encoder": "resnet10t", "pretrained": True, "features_only": True, "in_chans": 3}
    assert_untouched(network.encoder, pretrained.state_dict())


def test_none_leaves_the_random_start(network, monkeypatch):
    start = start_of(network)
    monkeypatch.setattr(timm, "create_model", None)
    load_encoder_weights(network, "resnet10t", "none")
    assert_untouched(network, start)


@pytest.mark.parametrize("weights", ["imagenet", "some.safetensors"])
def test_the_plain_unet_has_no_pretrained_weights(weights):
    with pytest.raises(UsageError, match="plain U-Net"):
        load_encoder_weights(UNet(width=4), "plain", weights)
