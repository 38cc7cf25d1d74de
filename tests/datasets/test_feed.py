"""Feed: batches that hold what their places say, whatever their size and order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoseg.datasets.augmentation import Augmentation, SampleBatch
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.feed import Feed
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def scenes(sample_folder):
    dataset = open_dataset(sample_folder)
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs]


def rows(batches) -> list[SampleBatch]:
    return [SampleBatch(*(part[row] for part in batch)) for batch in batches for row in range(len(batch.valid))]


def equal(first: SampleBatch, second: SampleBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("framing", [Framing(64, 32, whole=True), Framing(32, 32), Framing(32, 16)])
def test_batches_hold_the_samples_of_their_places(scenes, framing):
    samples = Samples(scenes, framing, seed=2)
    places = samples.order(1)[:7]
    found = list(Feed(samples, CPU).batches(1, places, 3))
    assert [len(batch.valid) for batch in found] == [3, 3, 1] if len(places) == 7 else [3, 3]
    for place, row in zip(places, rows(found), strict=True):
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(samples.draw(1, place), row, strict=True))


def test_what_a_sample_becomes_does_not_depend_on_its_batch(scenes):
    samples = Samples(scenes, Framing(32, 32), seed=2, copies=[2] * 6)
    feed = Feed(samples, CPU, Augmentation())
    places = list(range(len(samples)))
    one_by_one, together = (rows(feed.batches(3, places, size)) for size in (1, 7))
    backwards = rows(feed.batches(3, places[::-1], 5))[::-1]
    assert all(equal(a, b) and equal(a, c) for a, b, c in zip(one_by_one, together, backwards, strict=True))


def test_the_first_copy_is_clean_and_the_others_differ(scenes):
    samples = Samples(scenes, Framing(64, 64, whole=True), seed=2, copies=[3, 0, 1, 2, 0, 6])
    assert len(samples) == 12
    found = rows(Feed(samples, CPU, Augmentation()).batches(0, range(12), 4))
    clean = [equal(row, SampleBatch(*map(torch.from_numpy, samples.draw(0, place)))) for place, row in enumerate(found)]
    assert [place for place, same in enumerate(clean) if same] == [0, 3, 4, 6]
    assert not any(equal(found[a], found[b]) for a in range(12) for b in range(a))


def test_without_oversampling_every_sample_is_changed(scenes):
    samples = Samples(scenes, Framing(64, 64, whole=True))
    found = rows(Feed(samples, CPU, Augmentation()).batches(0, range(6), 6))
    assert not any(np.array_equal(row.pixels.numpy(), samples.draw(0, place).pixels) for place, row in enumerate(found))


def test_dropping_every_scene_is_an_error(scenes):
    with pytest.raises(UsageError, match="dropped all 6 training scenes"):
        Samples(scenes, Framing(64, 64, whole=True), copies=[0] * 6)
