"""Segmenter: one normalisation, any size, invalid pixels as the band means, a record that survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.models.decoder import NearestDecoder
from geoseg.models.encoder_unet import EncoderUNet
from geoseg.models.segmenter import Segmenter, SegmenterConfig, TileBatch
from geoseg.models.unet import UNet
from geoseg.scaling import Scaling


def config(**changes) -> SegmenterConfig:
    return replace(SegmenterConfig(DEEPGLOBE, width=4, fill=(90.0, 80.0, 70.0)), **changes)


def random_batch(count: int, height: int, width: int, bands: int = 3) -> TileBatch:
    random = torch.Generator().manual_seed(height * width)
    pixels = torch.randint(0, 256, (count, bands, height, width), generator=random, dtype=torch.uint8)
    return TileBatch(pixels, torch.rand(count, height, width, generator=random) > 0.3)


@pytest.mark.parametrize("encoder", ["plain", "resnet10t"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 53), (16, 64), (15, 65)])
@torch.inference_mode()
def test_logits_are_as_large_as_the_tiles(encoder, height, width):
    segmenter = Segmenter(config(encoder=encoder)).eval()
    logits = segmenter(random_batch(2, height, width))
    assert logits.shape == (2, 7, height, width) and torch.isfinite(logits).all()


@torch.inference_mode()
def test_padding_repeats_the_lower_and_right_border(make_segmenter):
    seen = []

    def network(image):
        seen.append(image.clone())
        return image

    batch = TileBatch(torch.arange(2 * 3, dtype=torch.uint8).view(1, 1, 2, 3), torch.ones(1, 2, 3, dtype=torch.bool))
    logits = make_segmenter(network, stride=4, bands=1)(batch)
    assert seen[0].tolist() == [[[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]]]
    assert logits.tolist() == [[[[0, 1, 2], [3, 4, 5]]]]


@torch.inference_mode()
def test_what_lies_under_invalid_pixels_changes_nothing():
    segmenter = Segmenter(config()).eval()
    batch = random_batch(2, 37, 53)
    other = torch.where(batch.valid[:, None], batch.pixels, 255 - batch.pixels)
    assert not torch.equal(other, batch.pixels)
    assert torch.equal(segmenter(TileBatch(other, batch.valid)), segmenter(batch))


@torch.inference_mode()
def test_invalid_pixels_are_the_band_means():
    segmenter = Segmenter(config()).eval()
    batch = random_batch(1, 32, 32)
    means = torch.tensor([90, 80, 70], dtype=torch.uint8).view(1, 3, 1, 1)
    filled = torch.where(batch.valid[:, None], batch.pixels, means)
    assert torch.equal(segmenter(TileBatch(filled, torch.ones_like(batch.valid))), segmenter(batch))


@torch.inference_mode()
def test_floats_that_are_not_finite_do_not_pass_the_mask(make_segmenter):
    pixels = torch.full((1, 3, 4, 4), float("nan"))
    logits = make_segmenter(lambda image: image)(TileBatch(pixels, torch.zeros(1, 4, 4, dtype=torch.bool)))
    assert torch.equal(logits, torch.zeros(1, 3, 4, 4))


@torch.inference_mode()
def test_pixels_are_normalised_once(make_segmenter):
    statistics = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "fill": (10.0, 20.0, 30.0)}
    normalised = make_segmenter(lambda image: image, **statistics)
    batch = random_batch(2, 5, 7)
    pixels, valid = batch.pixels.numpy().astype(np.float64), batch.valid.numpy()[:, None]
    mean, std, fill = (np.reshape(values, (1, 3, 1, 1)) for values in statistics.values())
    expected = (np.where(valid, pixels, fill) / 255 - mean) / std
    assert np.allclose(normalised(batch).numpy(), expected, atol=1e-6)


def test_network_is_that_of_the_record():
    assert isinstance(Segmenter(config()).network, UNet)
    assert isinstance(Segmenter(config(encoder="resnet10t")).network, EncoderUNet)
    assert isinstance(Segmenter(config(encoder="resnet10t", decoder="nearest")).network.decoder, NearestDecoder)
    segmenter = Segmenter(config(width=8, norm="batch"))
    assert segmenter.network.head.in_channels == 8 and segmenter.network.head.out_channels == 7
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in segmenter.network.modules())


def test_normalisation_is_in_the_record_and_not_among_the_weights():
    segmenter = Segmenter(config())
    assert all(name.startswith("network.") for name in segmenter.state_dict())
    assert segmenter.legend == DEEPGLOBE and segmenter.device == torch.device("cpu")


def test_record_survives_json():
    legend = Legend("mine", (LegendClass(10, "a", (1, 2, 3), "first"), LegendClass(7, "b", (3, 2, 1))), ignore=(0,))
    before = SegmenterConfig(
        legend,
        encoder="resnet34",
        bands=2,
        band_numbers=(8, 4),
        band_names=("B08", "B04"),
        dtype="int16",
        scaling=Scaling("statistics", ((-10.5, 1 / 3), (0.0, 7.0))),
        mean=(0.1, 0.2),
        std=(0.3, 0.4),
        fill=(7.125, 1 / 3),
        width=8,
        norm="group",
        decoder="nearest",
        window=2448,
        size=1024,
        gsd=0.5,
        provenance={"data": {"folder": "x"}, "seed": 3},
    )
    assert SegmenterConfig.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_a_record_from_before_there_were_two_decoders_is_read():
    record = config(encoder="resnet10t").to_dict()
    del record["decoder"]
    assert SegmenterConfig.from_dict(record) == config(encoder="resnet10t", decoder="transposed")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("legend"),
        lambda record: record.update(later=1),
        lambda record: record.update(mean=3),
        lambda record: record.update(std=["x", 1, 1]),
        lambda record: record.update(legend={"classes": []}),
        lambda record: record.update(window="big"),
        lambda record: record.update(scaling={"kind": "guess", "bounds": [[0, 1]], "percentiles": None}),
        lambda record: record.update(scaling={"kind": "range", "bounds": [[0, 1], [0, 1]], "percentiles": None}),
        lambda record: record.update(scaling=[]),
        lambda record: record.update(dtype="pixels"),
    ],
)
def test_a_spoiled_record_is_refused(change):
    record = config().to_dict()
    change(record)
    with pytest.raises(ModelError, match="record cannot be read"):
        SegmenterConfig.from_dict(record)


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": 4},
        {"mean": (0.0,)},
        {"dtype": "complex64"},
        {"dtype": "bool"},
        {"band_names": ("red", "green")},
        {"band_numbers": (1, 2, 3, 4)},
        {"window": 0},
        {"size": 0},
        {"width": 0},
        {"gsd": -1.0},
        {"decoder": "nearest"},
        {"encoder": "resnet10t", "decoder": "bilinear"},
    ],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(ModelError):
        config(**changes)


def test_a_record_of_before_there_were_scalings_is_read_as_it_was_meant():
    record = config(band_numbers=(3, 2, 1)).to_dict()
    older = {key: value for key, value in record.items() if key not in ("scaling", "band_names")} | {"scale": 1 / 255}
    assert SegmenterConfig.from_dict(json.loads(json.dumps(older))) == config(band_numbers=(3, 2, 1))
