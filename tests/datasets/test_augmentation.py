"""Augmentation: by hand, against torchvision, and the same whatever the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from geoseg.datasets.augmentation import (
    AS_IT_IS,
    Augmentation,
    Draw,
    SampleBatch,
    area_lost,
    augment,
    mean_area_lost,
)
from geoseg.errors import UsageError
from geoseg.legend import NO_CLASS
from geoseg.models.normalisation import stretch_tensor
from geoseg.scaling import EIGHT_BITS, Scaling


def some_batch(count: int = 5, bands: int = 3, shape: tuple[int, int] = (37, 53)) -> SampleBatch:
    """Random pixels and classes, a hole and some pixels without a class in each sample."""
    random = np.random.default_rng(7)
    pixels = random.integers(0, 256, (count, bands, *shape), np.uint8)
    valid = np.ones((count, *shape), bool)
    valid[:, :9, -6:] = False
    index = random.integers(0, 7, (count, *shape), np.uint8)
    index[:, 20:23] = NO_CLASS
    index[~valid] = NO_CLASS
    return SampleBatch(*(torch.from_numpy(part) for part in (pixels, valid, index)))


def assert_equal(first: SampleBatch, second: SampleBatch) -> None:
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))


def smooth_batch(shape: tuple[int, int] = (60, 60)) -> SampleBatch:
    """A picture without sharp edges, all valid, one class in each quarter."""
    row, col = np.indices(shape)
    pixels = np.stack([100 + 80 * np.sin(row / 9), 120 + 60 * np.cos(col / 7), 90 + row + col / 2])
    index = (2 * (row >= shape[0] // 2) + (col >= shape[1] // 2)).astype(np.uint8)
    parts = pixels.round().clip(0, 255).astype(np.uint8), np.ones(shape, bool), index
    return SampleBatch(*(torch.from_numpy(part)[None] for part in parts))


def test_without_any_draw_nothing_changes():
    batch = some_batch()
    nothing = Augmentation(flip=0, rotate=0, brightness=0, contrast=0, saturation=0, hue=0)
    draws = [nothing.draw(1, 2, place) for place in range(5)]
    assert set(draws) == {AS_IT_IS}
    assert_equal(augment(batch, draws), batch)


def test_colours_go_there_and_back_without_loss():
    """Factors of 1 leave every value, though it went to [0, 1], to hue, and back."""
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    batch = SampleBatch(every, torch.ones(1, 16, 16, dtype=torch.bool), torch.zeros(1, 16, 16, dtype=torch.uint8))
    found = augment(batch, [Draw(hue=1.0)])
    assert torch.equal(found.pixels, every)


def test_flips_by_hand():
    pixels = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]], dtype=torch.uint8)
    valid = torch.tensor([[[True, True, False], [True, True, True]]])
    index = torch.tensor([[[0, 1, NO_CLASS], [2, 0, 1]]], dtype=torch.uint8)
    batch = SampleBatch(*(part.repeat(3, *(1,) * (part.ndim - 1)) for part in (pixels, valid, index)))
    found = augment(batch, [Draw(flip_columns=True), Draw(flip_rows=True), Draw(True, True)])
    assert found.pixels[:, 0].tolist() == [[[3, 2, 1], [6, 5, 4]], [[4, 5, 6], [1, 2, 3]], [[6, 5, 4], [3, 2, 1]]]
    assert found.valid.logical_not().nonzero().tolist() == [[0, 0, 0], [1, 1, 2], [2, 1, 0]]
    none = NO_CLASS
    assert found.index.tolist() == [[[none, 1, 0], [1, 0, 2]], [[2, 0, 1], [0, 1, none]], [[1, 0, 2], [none, 1, 0]]]
    assert batch.pixels[0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, -1)])
def test_right_angles_are_exact(degrees, turns):
    batch = some_batch(2, shape=(24, 24))
    found = augment(batch, [Draw(degrees=degrees), AS_IT_IS])
    for part, before in zip(found[:3], batch[:3], strict=True):
        expected = torch.rot90(before[0], turns, (-2, -1))
        where = torch.rot90(batch.valid[0], turns, (-2, -1))
        assert torch.equal(torch.where(where, part[0], 0), torch.where(where, expected, 0))
        assert torch.equal(part[1], before[1])


@pytest.mark.parametrize("degrees", [-30.0, -7.3, 12.0, 29.9])
@pytest.mark.parametrize("shape", [(60, 60), (37, 53)])
def test_rotation_is_torchvisions_inside(degrees, shape):
    batch = smooth_batch(shape)
    found = augment(batch, [Draw(degrees=degrees)])
    theirs = reference.rotate(batch.pixels.float(), degrees, InterpolationMode.BILINEAR)
    whole = reference.rotate(batch.valid.float()[:, None], degrees, InterpolationMode.BILINEAR)[:, 0] > 0.999
    difference = (found.pixels.float() - theirs).abs()[:, :, whole[0]]
    assert difference.max() <= 0.55
    classes = reference.rotate(batch.index[:, None], degrees, InterpolationMode.NEAREST)[:, 0]
    assert (found.index != classes)[whole].float().mean() < 0.005


@pytest.mark.parametrize("degrees", [-30.0, -11.0, 3.0, 17.5, 30.0])
def test_area_lost_by_rotation(degrees):
    side = 400
    full = SampleBatch(
        torch.full((1, 1, side, side), 9, dtype=torch.uint8),
        torch.ones(1, side, side, dtype=torch.bool),
        torch.zeros(1, side, side, dtype=torch.uint8),
    )
    found = augment(full, [Draw(degrees=degrees)])
    assert 1 - found.valid.float().mean().item() == pytest.approx(area_lost(degrees), abs=2e-3)
    assert (found.index[~found.valid] == NO_CLASS).all() and (found.index[found.valid] == 0).all()
    # No darker border: outside adds nothing to the means.
    assert set(found.pixels[:, 0][found.valid].tolist()) == {9} and not found.pixels[:, 0][~found.valid].any()


def test_mean_area_lost_is_the_papers_missing_share():
    assert mean_area_lost(30) == pytest.approx(0.0932, abs=5e-5)
    assert area_lost(30) == pytest.approx(0.1547, abs=5e-5) and area_lost(0) == 0
    assert area_lost(45) == pytest.approx(1 - 2 * (math.sqrt(2) - 1))


@pytest.mark.parametrize("degrees", [-29.0, 5.0, 20.0])
def test_no_class_is_invented(degrees):
    batch = some_batch(1)
    two = batch._replace(index=torch.where(batch.index == NO_CLASS, NO_CLASS, 6 * (batch.index % 2)).to(torch.uint8))
    found = augment(two, [Draw(degrees=degrees)])
    assert set(found.index.unique().tolist()) == {0, 6, NO_CLASS}
    assert (found.index[~found.valid] == NO_CLASS).all()


def test_pixels_do_not_mix_with_invalid_ones():
    batch = some_batch(1)
    pixels = torch.where(batch.valid[:, None], 50, 250).repeat(1, 3, 1, 1).to(torch.uint8)
    found = augment(batch._replace(pixels=pixels), [Draw(degrees=14.0)])
    assert set(found.pixels.permute(1, 0, 2, 3)[:, found.valid].unique().tolist()) == {50}


def test_labels_turn_with_their_pixels():
    batch = smooth_batch()
    ramp = (batch.index[:, None] * 60).repeat(1, 3, 1, 1)
    found = augment(batch._replace(pixels=ramp), [Draw(True, False, 23.0)])
    pure = (found.pixels[:, 0] % 60 == 0) & found.valid
    assert pure.float().mean() > 0.7
    assert torch.equal(found.pixels[:, 0][pure] // 60, found.index[pure])


@pytest.mark.parametrize("bands", [3, 1, 5])
def test_a_sample_is_the_same_in_any_batch(bands):
    batch = some_batch(9, bands)
    draws = [Augmentation().draw(3, 1, place) for place in range(8)] + [AS_IT_IS]
    together = augment(batch, draws)
    for row, draw in enumerate(draws):
        alone = augment(SampleBatch(*(part[row : row + 1] for part in batch[:3])), [draw])
        assert_equal(alone, SampleBatch(*(part[row : row + 1] for part in together[:3])))


@pytest.mark.parametrize(
    ("draw", "function"),
    [
        (Draw(brightness=1.3), lambda x: reference.adjust_brightness(x, 1.3)),
        (Draw(brightness=0.7), lambda x: reference.adjust_brightness(x, 0.7)),
        (Draw(contrast=0.75), lambda x: reference.adjust_contrast(x, 0.75)),
        (Draw(saturation=1.25), lambda x: reference.adjust_saturation(x, 1.25)),
        (Draw(hue=0.04), lambda x: reference.adjust_hue(x, 0.04)),
        (Draw(hue=-0.31), lambda x: reference.adjust_hue(x, -0.31)),
    ],
)
def test_colours_are_torchvisions(draw, function):
    batch = some_batch(1)
    batch.valid[:] = True
    expected = function(batch.pixels.float() / 255) * 255
    assert (augment(batch, [draw]).pixels.float() - expected).abs().max() <= 0.6


def test_invalid_pixels_do_not_change_the_contrast_of_others():
    batch = some_batch(1)
    dark = batch._replace(pixels=torch.where(batch.valid[:, None], batch.pixels, 0))
    bright = batch._replace(pixels=torch.where(batch.valid[:, None], batch.pixels, 255))
    one, other = (augment(b, [Draw(contrast=0.7)]).pixels for b in (dark, bright))
    assert torch.equal(torch.where(batch.valid[:, None], one, 0), torch.where(batch.valid[:, None], other, 0))


def test_other_than_three_bands_keep_their_proportions():
    batch = some_batch(1, bands=4)
    assert_equal(augment(batch, [Draw(saturation=0.7, hue=0.04)]), batch)
    brighter = augment(batch, [Draw(brightness=0.8)]).pixels
    assert (brighter.float() - 0.8 * batch.pixels.float()).abs().max() <= 0.51


STRONG = Draw(True, False, 0.0, 0.8, 1.2, 0.8, 0.03)
TURNED = Draw(False, True, 17.0)


def as_dtype(batch: SampleBatch, function) -> SampleBatch:
    """The batch with other pixels, invalid ones spoiled where they are floats."""
    pixels = function(batch.pixels.numpy())
    if pixels.dtype.kind == "f":
        pixels = np.where(batch.valid.numpy()[:, None], pixels, np.nan).astype(pixels.dtype)
    return batch._replace(pixels=torch.from_numpy(pixels))


OTHERS = {
    "uint16": (lambda x: x.astype(np.uint16) * 257, Scaling("range", ((0.0, 65535.0),)), 257),
    "int16": (lambda x: x.astype(np.int16) * 100 - 3000, Scaling("range", ((-3000.0, 22500.0),)), 100),
    "uint32": (lambda x: x.astype(np.uint32) * 9 + 4_000_000_000, Scaling("range", ((4e9, 4e9 + 9 * 255),)), 9),
    "int32": (lambda x: x.astype(np.int32) * 9 - 2_000_000_000, Scaling("range", ((-2e9, -2e9 + 9 * 255),)), 9),
    "float32": (lambda x: x.astype(np.float32) / 255, Scaling("range", ((0.0, 1.0),)), 1 / 255),
    "float64": (lambda x: x / 255 + 5e6, Scaling("range", ((5e6, 5e6 + 1),)), 1 / 255),
}


@pytest.mark.parametrize("dtype", OTHERS)
@pytest.mark.parametrize("draw", [STRONG, TURNED, Draw(degrees=-8.0, brightness=0.9, hue=-0.02)])
def test_pixels_of_any_dtype_change_as_those_of_8_bits(dtype, draw):
    function, scaling, step = OTHERS[dtype]
    batch = some_batch(2)
    known = augment(batch, [draw, AS_IT_IS])
    found = augment(as_dtype(batch, function), [draw, AS_IT_IS], scaling)
    assert found.pixels.dtype == getattr(torch, dtype)
    assert torch.equal(found.valid, known.valid) and torch.equal(found.index, known.index)
    where = known.valid[:, None].expand_as(known.pixels)
    # 8 bits are rounded to whole steps after each of the two changes, and what is black or white stays so.
    low = scaling.bounds[0][0]
    difference = (found.pixels.double() - low)[where] / step - known.pixels.double()[where]
    assert difference.abs().max() <= 2.2 and difference.abs().mean() < 0.4
    assert torch.equal(found.pixels[1][where[1]], as_dtype(batch, function).pixels[1][where[1]])


def test_whole_numbers_turn_exactly_by_right_angles():
    function, scaling, _ = OTHERS["uint32"]
    batch = as_dtype(some_batch(1, shape=(24, 24)), function)
    found = augment(batch, [Draw(degrees=90)], scaling)
    valid, expected = (torch.rot90(part[0].to(torch.int64), 1, (-2, -1)) for part in (batch.valid, batch.pixels))
    assert torch.equal(found.pixels[0].to(torch.int64) * valid, expected * valid)


def test_each_band_changes_on_its_own_range():
    batch = some_batch(2, bands=2)
    pixels = torch.stack([batch.pixels[:, 0].to(torch.int16), batch.pixels[:, 1].to(torch.int16) * 40 - 900], 1)
    scaling = Scaling("range", ((0.0, 255.0), (-900.0, 255 * 40 - 900.0)))
    known, found = (
        augment(b, [STRONG] * 2, s).pixels for b, s in ((batch, EIGHT_BITS), (batch._replace(pixels=pixels), scaling))
    )
    assert torch.equal(found[:, 0], known[:, 0].to(torch.int16))
    assert ((found[:, 1] + 900) / 40 - known[:, 1]).abs().max() <= 0.51


def test_each_sample_changes_on_the_range_of_its_own_raster():
    batch = some_batch(3)
    factors, shifts = (1, 9, 200), (0, -1000, 77)
    pixels = torch.stack([f * p.to(torch.int32) + s for p, f, s in zip(batch.pixels, factors, shifts, strict=True)])
    bounds = [((s, 255 * f + s),) * 3 for f, s in zip(factors, shifts, strict=True)]
    stretched = batch._replace(pixels=pixels, stretch=stretch_tensor(bounds, torch.int32))
    draws = [STRONG, AS_IT_IS, STRONG]
    found = augment(stretched, draws, Scaling("percentile", percentiles=(2, 98)))
    known = augment(batch, draws)
    assert found.stretch is stretched.stretch
    for row, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
        assert ((found.pixels[row] - shift) / factor - known.pixels[row]).abs().max() <= 0.51


def test_one_pair_and_the_same_for_each_band_are_one_scaling():
    batch, draws = some_batch(2), [STRONG, Draw(contrast=1.3)]
    assert_equal(augment(batch, draws), augment(batch, draws, Scaling("range", EIGHT_BITS.bounds * 3)))


def test_draws_are_functions_of_seed_epoch_and_place():
    augmentation = Augmentation()
    keys = [(seed, epoch, place) for seed in range(3) for epoch in range(3) for place in range(3)]
    draws = [augmentation.draw(*key) for key in keys]
    assert draws == [augmentation.draw(*key) for key in keys] and len(set(draws)) == len(keys)


def test_draws_have_the_rates_and_ranges_they_were_given():
    draws = [Augmentation().draw(0, 0, place) for place in range(4000)]
    assert np.mean([d.flip_columns for d in draws]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([d.flip_rows for d in draws]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([d.degrees != 0 for d in draws]) == pytest.approx(0.7, abs=0.03)
    turned = [d.degrees for d in draws if d.degrees]
    assert -30 < min(turned) < -29.5 and 29.5 < max(turned) < 30 and abs(np.mean(turned)) < 1
    for name, middle, reach in (("brightness", 1, 0.3), ("contrast", 1, 0.3), ("saturation", 1, 0.3), ("hue", 0, 0.04)):
        values = [getattr(d, name) for d in draws]
        assert middle - reach <= min(values) < middle - 0.97 * reach
        assert middle + 0.97 * reach < max(values) <= middle + reach


def test_leaving_one_out_changes_no_other_draw():
    full, without = (Augmentation(rotate=p).draw(1, 2, 3) for p in (1.0, 0.0))
    assert without.degrees == 0 != full.degrees
    assert (full.flip_rows, full.hue, full.brightness) == (without.flip_rows, without.hue, without.brightness)


@pytest.mark.parametrize("options", [{"flip": 1.1}, {"rotate": -1}, {"degrees": 181}, {"hue": 0.6}, {"contrast": 2}])
def test_values_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match=f"augmentation: {next(iter(options))}"):
        Augmentation(**options)
