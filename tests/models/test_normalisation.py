"""Normalisation: every dtype and scaling against numpy in float64, and uint8 as it always was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoseg.errors import UsageError
from geoseg.legend import DEEPGLOBE
from geoseg.models.normalisation import Normalisation, TileBatch, stretch_tensor
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.scaling import EIGHT_BITS, Scaling, of_statistics

SHAPE = 37, 53
MEAN, STD = (0.485, 0.456), (0.229, 0.224)
RANGES = {
    "uint8": (0, 256),
    "int8": (-128, 128),
    "uint16": (0, 65536),
    "int16": (-3000, 12000),
    "uint32": (4_000_000_000, 4_000_004_000),
    "int32": (-2_000_004_000, -2_000_000_000),
    "int64": (3_000_000_000_000, 3_000_000_004_000),
    "uint64": (3_000_000_000_000, 3_000_000_004_000),
    "float16": (-0.1, 1.2),
    "float32": (-0.1, 1.2),
    "float64": (5e6, 5e6 + 3),
}


def random_pixels(dtype: str, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2, H, W) pixels and (N, H, W) valid; what is under invalid pixels of floats is no number."""
    random, (low, high) = np.random.default_rng(3), RANGES[dtype]
    shape = count, 2, *SHAPE
    whole = np.issubdtype(dtype, np.integer)
    pixels = (
        random.integers(low, high, shape).astype(dtype) if whole else random.uniform(low, high, shape).astype(dtype)
    )
    valid = random.random((count, *SHAPE)) > 0.2
    if not whole:
        pixels[:, 0][~valid] = np.nan
    return pixels, valid


def expected(pixels, valid, bounds, fill, mean=MEAN, std=STD) -> np.ndarray:
    """By numpy in float64. ``bounds`` is (N or 1, 2 bands, 2), ``fill`` (N or 1, 2 bands)."""
    low, high = np.moveaxis(np.asarray(bounds, np.float64), -1, 0)[..., None, None]
    filled = np.where(valid[:, None], pixels.astype(np.float64), np.asarray(fill)[..., None, None])
    scaled = np.clip((filled - low) / (high - low), 0, 1)
    return (scaled - np.reshape(mean, (1, -1, 1, 1))) / np.reshape(std, (1, -1, 1, 1))


def tiles(pixels: np.ndarray, valid: np.ndarray, stretch=None) -> TileBatch:
    return TileBatch(torch.from_numpy(pixels), torch.from_numpy(valid), stretch)


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("kind", ["inside", "around", "statistics"])
def test_a_model_s_own_bounds(dtype, kind):
    pixels, valid = random_pixels(dtype)
    low, high = RANGES[dtype]
    span = high - low
    bounds = {"inside": (low + span / 4, high - span / 3), "around": (low - span / 2, high + span)}
    if kind == "statistics":
        scaling = of_statistics((low + span / 2, low + span / 3), (span / 9, span / 20))
    else:
        scaling = Scaling("range", (bounds[kind], (low + span / 8, high)))
    fill = low + span / 2, low + span / 5
    found = Normalisation(scaling, getattr(torch, dtype), MEAN, STD, fill)(tiles(pixels, valid))
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    np.testing.assert_allclose(found, expected(pixels, valid, [scaling.bounds], [fill]), atol=3e-5)
    assert (np.abs(found.numpy() - expected(pixels, valid, [scaling.bounds], [fill])) < 1e-5).mean() > 0.99


@pytest.mark.parametrize("dtype", RANGES)
def test_bounds_of_each_raster(dtype):
    pixels, valid = random_pixels(dtype)
    low, high = RANGES[dtype]
    span, fill = high - low, (0.25, 0.75)
    bounds = [((low, high), (low + span / 4, high)), ((low + span / 8, high - span / 8), (low, low + span / 2))]
    normalisation = Normalisation(Scaling("percentile", percentiles=(2, 98)), torch.uint8, MEAN, STD, fill)
    found = normalisation(tiles(pixels, valid, stretch_tensor(bounds, getattr(torch, dtype))))
    raw = [[a + f * (b - a) for (a, b), f in zip(of_raster, fill, strict=True)] for of_raster in bounds]
    np.testing.assert_allclose(found, expected(pixels, valid, bounds, raw), atol=3e-5)


def test_tiles_without_their_bounds_are_refused():
    normalisation = Normalisation(Scaling("percentile", percentiles=(2, 98)), torch.uint8, MEAN, STD, (0, 0))
    with pytest.raises(UsageError, match="stretch"):
        normalisation(tiles(*random_pixels("uint8")))


def test_eight_bits_are_as_they_always_were():
    """Bit for bit, and in as many steps over the pixels: models that are there give the maps they gave."""
    pixels, valid = random_pixels("uint8")
    fill = 90.123456789, 17.3
    gain, offset = (1 / 255) / np.array(STD), -np.array(MEAN) / np.array(STD)
    parts = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (fill, gain, offset))
    fill_, gain_, offset_ = parts
    before = torch.where(torch.from_numpy(valid)[:, None], torch.from_numpy(pixels), fill_).mul_(gain_).add_(offset_)
    normalisation = Normalisation(EIGHT_BITS, torch.uint8, MEAN, STD, fill)
    assert torch.equal(normalisation(tiles(pixels, valid)), before)
    normalisation.low = normalisation.span = None
    assert torch.equal(normalisation(tiles(pixels, valid)), before)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30])
def test_values_far_beyond_are_clipped(value):
    pixels = np.full((1, 2, 4, 4), value, np.float32)
    found = Normalisation(Scaling("range", ((0.0, 1.0),)), torch.float32, (0, 0), (1, 1), (0, 0))(
        tiles(pixels, np.ones((1, 4, 4), bool))
    )
    assert found.unique().tolist() == [float(value > 0)]


def test_the_same_pixels_in_8_and_in_16_bits_are_the_same_image():
    pixels, valid = random_pixels("uint8")
    scaling = Scaling("range", ((0.0, 65535.0),))
    wide = Normalisation(scaling, torch.uint16, MEAN, STD, (30 * 257.0, 60 * 257.0))
    narrow = Normalisation(EIGHT_BITS, torch.uint8, MEAN, STD, (30.0, 60.0))
    torch.testing.assert_close(
        wide(tiles(pixels.astype(np.uint16) * 257, valid)), narrow(tiles(pixels, valid)), rtol=0, atol=2e-6
    )


def test_a_segmenter_of_two_bands_sees_what_its_record_says():
    config = SegmenterConfig(
        DEEPGLOBE,
        bands=2,
        dtype="int16",
        scaling=of_statistics((500.0, 800.0), (100.0, 300.0)),
        mean=MEAN,
        std=STD,
        fill=(500.0, 800.0),
        width=2,
    )
    segmenter = Segmenter(config).eval()
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _, images: seen.append(images[0].clone()))
    pixels, valid = random_pixels("int16")
    with torch.inference_mode():
        logits = segmenter(tiles(pixels, valid))
    assert logits.shape == (2, 7, *SHAPE) and all(name.startswith("network.") for name in segmenter.state_dict())
    image = seen[0][..., : SHAPE[0], : SHAPE[1]]
    np.testing.assert_allclose(image, expected(pixels, valid, [config.scaling.bounds], [config.fill]), atol=1e-5)
