"""Models of segmentation-models-pytorch: the same logits as smp itself, or a refusal that names what does not fit."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file, save_model

import geoseg
from geoseg.errors import InputError, ModelError, OutputError, UsageError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.models.encoder_unet import EncoderUNet
from geoseg.models.imported import import_model, resolve_normalisation
from geoseg.models.inference import for_inference
from geoseg.models.segmenter import TileBatch
from geoseg.models.storage import load
from geoseg.scaling import EIGHT_BITS

LAYERS = {"0": "conv1.0", "1": "conv1.1", "3": "conv2.0", "4": "conv2.1"}
"""What smp calls the layers of a block of the decoder, by what geoseg calls them."""
FIVE = Legend("five", tuple(LegendClass(10 * i, name, (i, i, i)) for i, name in enumerate("abcde", 1)))
TWO = Legend("two", (LegendClass(0, "else", (0, 0, 0)), LegendClass(9, "roof", (255, 0, 0))))
MEANS, DEVIATIONS = (0.31, 0.32, 0.28, 0.45), (0.11, 0.12, 0.13, 0.2)
FOUR_BANDS = {"legend": FIVE, "normalise": (MEANS, DEVIATIONS)}


def shaken(network: torch.nn.Module, seed: int = 4) -> torch.nn.Module:
    """The network in evaluation mode with batch norms that are not as they begin, each unlike the others."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=random)
                module.running_var.uniform_(0.7, 1.4, generator=random)
                module.weight.uniform_(0.6, 1.1, generator=random)
                module.bias.normal_(0, 0.1, generator=random)
    return network.eval()


def random_batch(bands: int, height: int = 37, width: int = 53) -> TileBatch:
    random = torch.Generator().manual_seed(8)
    pixels = torch.randint(0, 256, (2, bands, height, width), generator=random, dtype=torch.uint8)
    return TileBatch(pixels, torch.rand(2, height, width, generator=random) > 0.2)


@torch.inference_mode()
def logits_of(network: torch.nn.Module, batch: TileBatch, mean=0.0, std=1.0, top=255) -> torch.Tensor:
    """What smp's network gives: pixels normalised, 0 where there is no data, filled up to a multiple of 32 px."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    image = (batch.pixels.float() / top - mean) / std * batch.valid[:, None]
    height, width = image.shape[-2:]
    return network(F.pad(image, (0, -width % 32, 0, -height % 32), "replicate"))[..., :height, :width]


@torch.inference_mode()
def found_by(model, batch: TileBatch) -> torch.Tensor:
    return model(TileBatch(batch.pixels.clone(), batch.valid))


# smp itself as the oracle.


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "tu-test_resnet", "tu-test_convnext"])
def test_logits_are_those_of_smp(encoder, tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(3)
    network = shaken(smp.Unet(encoder, encoder_weights=None, in_channels=4, classes=5))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = import_model(tmp_path / "weights.safetensors", tmp_path / "m.safetensors", encoder=encoder, **FOUR_BANDS)
    batch = random_batch(4)
    expected = logits_of(network, batch, MEANS, DEVIATIONS)
    assert expected.std() > 0.03
    torch.testing.assert_close(found_by(model, batch), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found_by(model, batch), logits_of(network, batch), atol=1e-2)


def test_what_smp_saves_itself_says_its_encoder(tmp_path, caplog):
    smp = pytest.importorskip("segmentation_models_pytorch")
    network = shaken(smp.Unet("tu-test_resnet", encoder_weights=None, classes=7))
    network.save_pretrained(tmp_path / "saved")
    with caplog.at_level(logging.INFO, "geoseg"):
        model = import_model(
            tmp_path / "saved/model.safetensors", tmp_path / "m.safetensors", legend="deepglobe", normalise="none"
        )
    assert model.config.encoder == "test_resnet" and "0 urban, 1 agriculture" in caplog.text
    batch = random_batch(3)
    torch.testing.assert_close(found_by(model, batch), logits_of(network, batch), rtol=1e-5, atol=1e-5)


def test_what_the_remedy_saves_is_read(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    network = shaken(smp.Unet("tu-test_resnet", encoder_weights=None, in_channels=4, classes=5))
    task = torch.nn.Module()
    # As torchgeo and Lightning modules have it, and in the layout in which many train.
    task.model = network.to(memory_format=torch.channels_last)
    task.criterion = torch.nn.CrossEntropyLoss(torch.ones(5))
    save_model(task, tmp_path / "weights.safetensors")
    model = import_model(
        tmp_path / "weights.safetensors", tmp_path / "m.safetensors", encoder="tu-test_resnet", **FOUR_BANDS
    )
    batch = random_batch(4)
    expected = logits_of(network, batch, MEANS, DEVIATIONS)
    torch.testing.assert_close(found_by(model, batch), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"decoder_attention_type": "scse"}, "attention1"),
        ({"aux_params": {"classes": 3}}, "classification_head"),
        ({"decoder_use_norm": False}, r"lacks decoder\.blocks\.0\.conv1\.1\.bias.* has beyond it .*conv1\.0\.bias"),
        ({"encoder_depth": 4, "decoder_channels": (256, 128, 64, 32)}, r"lacks .*decoder\.blocks\.4|layer4|stages"),
        ({"decoder_channels": (128, 64, 32, 16, 8)}, r"conv1\.0\.weight has the shape \(128, .* \(256, "),
    ],
    ids=["attention", "auxiliary head", "no norm", "depth", "widths"],
)
def test_unets_of_another_shape_are_refused(options, named, tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    network = smp.Unet("tu-test_resnet", encoder_weights=None, classes=5, **options)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=rf"weights\.safetensors.*({named})"):
        import_model(
            tmp_path / "weights.safetensors", tmp_path / "m.safetensors", encoder="tu-test_resnet", legend=FIVE,
            normalise="none",
        )  # fmt: skip
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("architecture", ["UnetPlusPlus", "FPN", "Linknet"])
def test_other_architectures_are_refused(architecture, tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch")
    network = getattr(smp, architecture)("tu-test_resnet", encoder_weights=None, classes=5)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"not an smp\.Unet on tu-test_resnet as geoseg reads it"):
        import_model(
            tmp_path / "weights.safetensors", tmp_path / "m.safetensors", encoder="tu-test_resnet", legend=FIVE,
            normalise="none",
        )  # fmt: skip


# Without smp: files in its naming, made of geoseg's network.


def in_smps_naming(network: EncoderUNet) -> dict[str, torch.Tensor]:
    """The tensors of a network as smp calls them where its encoder is one of timm's."""
    named = {}
    for name, value in network.state_dict().items():
        part, *rest = name.split(".")
        if part == "decoder":
            rest[2] = LAYERS[rest[2]]
        theirs = {"encoder": "encoder.model", "decoder": "decoder", "head": "segmentation_head.0"}[part]
        named[".".join((theirs, *rest))] = value.clone()
    return named


@pytest.fixture(scope="module")
def network() -> EncoderUNet:
    torch.manual_seed(5)
    return shaken(EncoderUNet("test_resnet", 3, 7, "batch", "nearest"))


@pytest.fixture
def importing(network, tmp_path):
    """Write tensors to a file and import it; None takes one out."""

    def make(changes=None, name="weights.safetensors", prefix="", metadata=None, state=None, **options):
        tensors = {prefix + key: value for key, value in (state or in_smps_naming(network)).items()} | (changes or {})
        kept = {key: value for key, value in tensors.items() if value is not None}
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_file(kept, tmp_path / name, metadata)
        given = {"legend": DEEPGLOBE, "normalise": "none", "encoder": "tu-test_resnet"} | options
        return import_model(tmp_path / name, tmp_path / "m.safetensors", **given)

    return make


def test_bands_by_name_are_the_model_s_own(network, importing, tmp_path):
    importing(normalise="none", bands=("B04", "B03", "B02"))
    config = load(tmp_path / "m.safetensors").config
    assert (config.band_names, config.band_numbers) == (("B04", "B03", "B02"), ())


def test_what_is_imported_is_a_model_like_any_other(network, importing, tmp_path):
    model = importing(normalise="imagenet", window=256, size=128, gsd=0.25, bands=(3, 2, 1))
    loaded = load(tmp_path / "m.safetensors")
    assert loaded.config == model.config and loaded.weights_sha256() == model.weights_sha256() and not model.training
    config = model.config
    assert (config.encoder, config.decoder, config.norm) == ("test_resnet", "nearest", "batch")
    assert (config.window, config.size, config.gsd, config.band_numbers) == (256, 128, 0.25, (3, 2, 1))
    # What this encoder was pretrained with, according to timm.
    assert config.mean == config.std == (0.5, 0.5, 0.5) and config.fill == (127.5, 127.5, 127.5)
    digest = hashlib.sha256((tmp_path / "weights.safetensors").read_bytes()).hexdigest()
    assert config.provenance["imported"] == {
        "from": "segmentation-models-pytorch",
        "file": "weights.safetensors",
        "sha256": digest,
        "encoder": "tu-test_resnet",
    }
    assert str(tmp_path) not in json.dumps(config.to_dict())
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_the_folded_network_computes_the_same(importing):
    model, batch = importing(), random_batch(3)
    folded = for_inference(model, "fp32", "folded")(TileBatch(batch.pixels.clone(), batch.valid))
    torch.testing.assert_close(folded, found_by(model, batch), rtol=1e-4, atol=1e-5)


def test_an_image_is_predicted(importing):
    model = importing()
    pixels = np.random.default_rng(3).integers(1, 255, (3, 37, 53), np.uint8)
    batch = TileBatch(torch.tensor(pixels)[None], torch.ones(1, 37, 53, dtype=torch.bool))
    expected = found_by(model, batch)[0, :6].argmax(0).numpy()
    found = geoseg.predict(pixels, model, device="cpu", precision="fp32", engine="plain").codes
    assert len(np.unique(expected)) > 1 and (found == expected).all()


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod.", "module."])
def test_the_network_within_a_lightning_module_is_found(importing, network, prefix, caplog):
    beside = {"criterion.weight": torch.ones(7), "mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)}
    model = importing(beside, prefix=prefix)
    assert "left out, as not of the network: criterion.weight, mean, std" in caplog.text
    assert torch.equal(model.network.head.weight, network.head.weight)


def test_other_tensors_beside_the_network_are_refused(importing):
    with pytest.raises(ModelError, match=r"beside the network in 'model\.': calibration\.temperature$"):
        importing({"calibration.temperature": torch.ones(1)}, prefix="model.")
    with pytest.raises(ModelError, match=r"beside the network in 'model\.': meaning\.weight$"):
        importing({"meaning.weight": torch.ones(1)}, prefix="model.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.model.layer2.0.conv1.weight": None}, r"lacks encoder\.model\.layer2\.0\.conv1\.weight; .*nothing$"),
        ({"encoder.model.more.weight": torch.ones(2)}, r"lacks nothing; has beyond it encoder\.model\.more\.weight$"),
        ({"decoder.blocks.0.conv1.0.weight": torch.ones(3)}, r"blocks\.0\.conv1\.0\.weight has the shape \(3,\), in"),
        ({"segmentation_head.0.weight": torch.ones(7, 8, 3, 3)}, r"shape \(7, 8, 3, 3\), .* \(7, 16, 3, 3\)"),
        ({"segmentation_head.0.weight": torch.ones(())}, r"segmentation_head\.0\.weight has the shape \(\)"),
        ({"segmentation_head.0.bias": torch.ones(6)}, r"segmentation_head\.0\.bias has the shape \(6,\)"),
        ({"segmentation_head.0.bias": torch.full((7,), torch.nan)}, r"head\.0\.bias holds values that are not finite"),
        ({"encoder.model.conv1.0.weight": torch.ones(4)}, r"encoder\.model\.conv1\.0\.weight has the shape \(4,\)"),
        ({"segmentation_head.0.weight": None}, r"holds no smp\.Unet"),
        ({"model.segmentation_head.0.weight": torch.ones(1)}, r"is there 2 times"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(importing, tmp_path, changes, message):
    with pytest.raises(ModelError, match=rf"weights\.safetensors: .*{message}") as caught:
        importing(changes)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert not (tmp_path / "m.safetensors").exists()


def test_many_tensors_are_listed_in_part(importing):
    with pytest.raises(ModelError, match=r"lacks encoder\.\S+, encoder\.\S+, encoder\.\S+ and \d+ more; has beyond"):
        importing(encoder="tu-resnet18")


def test_an_encoder_that_timm_does_not_have_is_refused(importing):
    with pytest.raises(ModelError, match="'nothing': timm has none"):
        importing(encoder="tu-nothing")


@pytest.mark.parametrize("encoder", ["densenet121", "mit_b0", "timm-efficientnet-b0"])
def test_smps_own_encoders_that_are_not_timms_are_refused(importing, network, encoder):
    state = {name.replace("encoder.model.", "encoder."): value for name, value in in_smps_naming(network).items()}
    with pytest.raises(
        ModelError, match=f"of smp's own encoders resnet18, .* are read, not {encoder}; and all tu- ones"
    ):
        importing(state=state, encoder=encoder)


@pytest.mark.parametrize("encoder", ["tu-test_resnet.r160_in1k", "test_resnet"])
def test_a_tag_and_a_prefix_are_no_part_of_an_architecture(importing, encoder):
    assert importing(encoder=encoder).config.encoder == "test_resnet"


# What smp's save_pretrained says beside the weights.

SAVED = {"encoder_name": "tu-test_resnet", "decoder_interpolation": "nearest", "decoder_use_norm": "batchnorm"}


@pytest.mark.parametrize(
    ("record", "options", "error", "message"),
    [
        (SAVED, {"encoder": "resnet34"}, UsageError, "config.json says tu-test_resnet, not resnet34"),
        (SAVED | {"decoder_interpolation": "bilinear"}, {}, ModelError, "says decoder_interpolation 'bilinear'; only"),
        (SAVED | {"decoder_use_norm": "inplace"}, {}, ModelError, "says decoder_use_norm 'inplace'; only 'batchnorm'"),
        ("no JSON", {}, ModelError, "config.json: cannot be read"),
        ({"another": "file"}, {}, UsageError, "which encoder has it"),
        ([], {}, UsageError, "which encoder has it"),
    ],
)
def test_a_config_that_contradicts_is_refused(importing, tmp_path, record, options, error, message):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/config.json").write_text(record if isinstance(record, str) else json.dumps(record))
    with pytest.raises(error, match=message):
        importing(name="saved/model.safetensors", **{"encoder": None, **options})


@pytest.mark.parametrize("name", ["model.safetensors", "weights.safetensors"])
def test_a_config_is_that_of_a_model_safetensors_alone(importing, tmp_path, name):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/config.json").write_text(json.dumps(SAVED))
    if name == "model.safetensors":
        assert importing(name=f"saved/{name}", encoder=None).config.encoder == "test_resnet"
    else:
        with pytest.raises(UsageError, match="which encoder has it"):
            importing(name=f"saved/{name}", encoder=None)


# Classes.


def narrowed(network, outputs: int) -> dict[str, torch.Tensor]:
    state = in_smps_naming(network)
    return state | {name: value[:outputs] for name, value in state.items() if name.startswith("segmentation_head")}


def test_outputs_may_leave_out_what_the_legend_ignores(importing, network, caplog):
    with caplog.at_level(logging.INFO, "geoseg"):
        model = importing(state=narrowed(network, 6))
    batch = random_batch(3)
    found, whole = found_by(model, batch), logits_of(network, batch)
    assert DEEPGLOBE.ignored == (6,) and (found[:, 6] == 0).all()
    torch.testing.assert_close(found[:, :6], whole[:, :6], rtol=1e-5, atol=1e-5)
    assert "6 output(s)" in caplog.text and "5 barren\n" in caplog.text


def test_an_ignored_class_amid_the_others_shifts_those_after_it(importing, network):
    legend = Legend("amid", (TWO.classes[0], LegendClass(5, "cloud", (9, 9, 9)), TWO.classes[1]), ignore=(5,))
    model, batch = importing(state=narrowed(network, 2), legend=legend), random_batch(3)
    found, whole = found_by(model, batch), logits_of(network, batch)
    torch.testing.assert_close(found[:, [0, 2]], whole[:, :2], rtol=1e-5, atol=1e-5)
    assert (found[:, 1] == 0).all()


def test_one_output_is_the_second_of_two_classes(importing, network, caplog):
    with caplog.at_level(logging.INFO, "geoseg"):
        state = narrowed(network, 1)
        state["segmentation_head.0.bias"] -= logits_of(network, random_batch(3))[:, 0].median()
        model = importing(state=state, legend=TWO)
    assert "classes: roof where the sigmoid is above 0.5, else else" in caplog.text
    batch = random_batch(3)
    found, one = found_by(model, batch), logits_of(network, batch)[:, 0]
    one = one - one.median()
    torch.testing.assert_close(found.softmax(1)[:, 1], one.sigmoid(), rtol=1e-5, atol=1e-5)
    assert ((found.argmax(1) == 1) == (one > 0)).float().mean() > 0.999


@pytest.mark.parametrize(
    ("outputs", "legend", "message"),
    [
        (5, DEEPGLOBE, "has 5 output.s., the legend 'deepglobe' 7 classes, 6 without what it ignores; write a legend"),
        (1, DEEPGLOBE, "has 1 output"),
        (3, TWO, "has 3 output.s., the legend 'two' 2 classes; write"),
    ],
)
def test_another_number_of_classes_is_refused(importing, network, outputs, legend, message):
    with pytest.raises(ModelError, match=message):
        importing(state=narrowed(network, outputs), legend=legend)


def test_a_legend_that_is_not_there(importing):
    with pytest.raises(InputError, match=r"none\.json: no such legend"):
        importing(legend="none.json")


# Pixels.


@pytest.mark.parametrize(
    ("normalise", "raw", "mean", "std", "top"),
    [
        ("none", False, 0.0, 1.0, 255),
        ("none", True, 0.0, 1.0, 1),
        ("imagenet", False, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 255),
        ("imagenet", True, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1),
        (((0.2, 0.3, 0.4), (0.1, 0.2, 0.3)), False, (0.2, 0.3, 0.4), (0.1, 0.2, 0.3), 255),
        (((90, 80, 70), (30, 20, 10)), True, (90.0, 80.0, 70.0), (30.0, 20.0, 10.0), 1),
    ],
)
def test_pixels_are_normalised_as_said(importing, network, normalise, raw, mean, std, top):
    model, batch = importing(normalise=normalise, raw=raw), random_batch(3)
    assert model.config.scaling == EIGHT_BITS
    expected = logits_of(network, batch, mean, std, top)
    torch.testing.assert_close(found_by(model, batch), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("normalise", "raw", "bands", "message"),
    [
        ("imagenet", False, 4, "of 3 bands, the network takes 4"),
        ("minmax", False, 3, "got 'minmax'"),
        (((0.1, 0.2), (1, 1)), False, 3, "2 means and 2 standard deviations for 3 bands"),
        (((0.1,) * 3, (1, 1)), False, 3, "3 means and 2 standard deviations for 3 bands"),
        (((90, 80, 70), (0.3,) * 3), False, 3, "90 is of pixels on the range 0 to 255; add --raw"),
        (((0, 0, 0), (255, 255, 255)), False, 3, "255 is of pixels on the range 0 to 255; add --raw"),
    ],
)
def test_a_normalisation_that_cannot_be_is_refused(normalise, raw, bands, message):
    with pytest.raises(UsageError, match=message):
        resolve_normalisation(normalise, raw, "test_resnet", bands)


def test_imagenet_is_what_the_encoder_was_pretrained_with():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert resolve_normalisation("imagenet", False, "resnet34", 3) == (mean, std)
    # Some Lightning modules normalise pixels of 0 to 255 with numbers that are meant for 0 to 1.
    found = resolve_normalisation("imagenet", True, "resnet34", 3)
    assert np.allclose(found, (np.array(mean) / 255, np.array(std) / 255))


@pytest.mark.parametrize("numbers", [((0.1, 0.2, float("nan")), (1, 1, 1)), ((0, 0, 0), (1, 0, 1))])
def test_numbers_that_are_no_normalisation_are_refused(importing, numbers):
    with pytest.raises(ModelError, match="not finite, or its standard deviation not above 0"):
        importing(normalise=numbers)


# Files and options.


def test_what_is_understood_is_said(importing, caplog):
    with caplog.at_level(logging.INFO, "geoseg"):
        importing(normalise=((90, 80, 70), (30, 20, 10)), raw=True)
    said = caplog.text
    assert "weights.safetensors: tu-test_resnet, 3 band(s), 7 output(s)" in said
    assert "0 urban, 1 agriculture, 2 rangeland, 3 forest, 4 water, 5 barren, 6 unknown" in said
    assert "normalisation: (pixels - mean) / std, mean 90, 80, 70, std 30, 20, 10" in said
    assert "windows of 1024 px, seen at 1024 px" in said


class Marker:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["weights.pth", "weights.ckpt", "weights.safetensors"])
@pytest.mark.parametrize("write", [torch.save, pickle.dump])
def test_a_pickle_is_refused_with_the_remedy(tmp_path, name, write):
    with open(tmp_path / name, "wb") as file:
        write(Marker(tmp_path / "marker"), file)
    with pytest.raises(ModelError, match=r"pickles are never loaded: .*save_model\(model, 'FILE\.safetensors'\)"):
        import_model(tmp_path / name, tmp_path / "m.safetensors", encoder="resnet18", legend=TWO, normalise="none")
    assert not (tmp_path / "marker").exists()


def test_a_model_of_geoseg_needs_no_import(importing, tmp_path):
    importing()
    with pytest.raises(ModelError, match="a model of geoseg already"):
        import_model(tmp_path / "m.safetensors", tmp_path / "n.safetensors", legend=TWO, normalise="none")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors: no such file"):
        import_model(tmp_path / "none.safetensors", tmp_path / "m.safetensors", legend=TWO, normalise="none")


def test_outputs_that_cannot_be_are_refused_and_old_ones_stay(importing, tmp_path):
    importing()
    before = (tmp_path / "m.safetensors").read_bytes()
    with pytest.raises(OutputError, match=r"m\.safetensors: exists; --overwrite replaces it"):
        importing()
    with pytest.raises(ModelError):
        importing({"segmentation_head.0.bias": None}, overwrite=True)
    assert (tmp_path / "m.safetensors").read_bytes() == before
    weights = tmp_path / "weights.safetensors"
    options = {"legend": DEEPGLOBE, "normalise": "none", "encoder": "tu-test_resnet", "overwrite": True}
    with pytest.raises(UsageError, match="is the file to import"):
        import_model(weights, weights, **options)
    with pytest.raises(UsageError, match=r"let the output end in \.safetensors"):
        import_model(weights, tmp_path / "m.pt", **options)
    with pytest.raises(OutputError, match="no such folder"):
        import_model(weights, tmp_path / "no/m.safetensors", **options)
    assert importing(normalise="imagenet", overwrite=True).config.mean[0] == 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 128}, UsageError, "say with --window PX"),
        ({"bands": (1, 2)}, ModelError, "2 band numbers for 3 bands"),
        ({"bands": ("B04", "B03")}, ModelError, "2 band names for 3 bands"),
        ({"bands": ("B04", 2, 1)}, UsageError, "bands B04, 2, 1: give numbers or names"),
        ({"gsd": 0.0}, ModelError, "ground sampling distance is above 0"),
        ({"gsd": float("nan")}, ModelError, "ground sampling distance is above 0"),
        ({"window": 0}, ModelError, "at least 1"),
    ],
)
def test_options_that_contradict_are_refused(importing, options, error, message):
    with pytest.raises(error, match=message):
        importing(**options)
