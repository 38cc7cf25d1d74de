"""Feed: batches that hold what their places say, whatever their size and order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoseg.datasets import feed as module
from geoseg.datasets.augmentation import Augmentation, SampleBatch
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.feed import Feed, ResidentScenes
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.errors import UsageError
from geoseg.scaling import Scaling

CPU = torch.device("cpu")


@pytest.fixture
def scenes(sample_folder):
    dataset = open_dataset(sample_folder)
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs]


def rows(batches) -> list[SampleBatch]:
    return [SampleBatch(*(part[row] for part in batch[:3])) for batch in batches for row in range(len(batch.valid))]


def equal(first: SampleBatch, second: SampleBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))


@pytest.mark.parametrize("framing", [Framing(64, 32, whole=True), Framing(32, 32), Framing(32, 16)])
def test_batches_hold_the_samples_of_their_places(scenes, framing):
    samples = Samples(scenes, framing, seed=2)
    places = samples.order(1)[:7]
    found = list(Feed(samples, CPU).batches(1, places, 3))
    assert [len(batch.valid) for batch in found] == [3, 3, 1] if len(places) == 7 else [3, 3]
    for place, row in zip(places, rows(found), strict=True):
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(samples.draw(1, place), row[:3], strict=True))


@pytest.mark.parametrize("framing", [Framing(64, 40, whole=True), Framing(32, 32), Framing(90, 90)])
def test_resident_scenes_give_the_same_batches(scenes, framing):
    samples = Samples(scenes, framing, seed=2, copies=[1, 2, 0, 1, 3, 1])
    assert samples.can_be_resident and samples.used == [0, 1, 3, 4, 5]
    places = samples.order(1)[:7]
    resident, read = Feed(samples, CPU, Augmentation()), Feed(samples, CPU, Augmentation())
    resident.resident = ResidentScenes(samples, CPU)
    pairs = zip(rows(resident.batches(1, places, 3)), rows(read.batches(1, places, 3)), strict=True)
    assert all(equal(a, b) for a, b in pairs) and len(resident.resident.scenes) == 5


@pytest.fixture
def two_of_uint16(make_dataset):
    random = np.random.default_rng(1)
    images = {stem: random.integers(1, 60000, (4, 40, 50)).astype(np.uint16) for stem in "ab"}
    dataset = open_dataset(make_dataset({stem: (p, np.full((40, 50), 10, np.uint8)) for stem, p in images.items()}))
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs]


@pytest.mark.parametrize("framing", [Framing(50, 30, whole=True), Framing(64, 64)])
def test_16_bits_are_resident_too_and_bring_their_scenes_bounds(two_of_uint16, framing):
    bounds = [((0, 100),) * 4, ((5, 60000),) * 4]
    samples = Samples(two_of_uint16, framing, seed=2, stretches=bounds)
    scaling = Scaling("percentile", percentiles=(2, 98))
    resident, read = (Feed(samples, CPU, Augmentation(), scaling) for _ in "ab")
    resident.resident = ResidentScenes(samples, CPU)
    places = samples.order(1)
    for there, here in zip(resident.batches(1, places, 2), read.batches(1, places, 2), strict=True):
        assert equal(there, here) and torch.equal(there.stretch, here.stretch) and here.pixels.dtype == torch.uint16
        assert here.stretch.shape == (2, 2, 4) and here.stretch.dtype == torch.float32
        found = [tuple(map(tuple, pair.T.tolist())) for pair in here.stretch]
        assert found == [samples.stretch(int(place)) for place in places]
    assert samples.whole_bytes == sum(height * width for height, width in [samples.whole(0).valid.shape] * 2) * 10


def test_without_bounds_of_their_own_batches_bring_none(scenes):
    (batch,) = Feed(Samples(scenes[:1], Framing(32, 32)), CPU).batches(0, [0], 1)
    assert batch.stretch is None


def test_windows_that_are_resampled_are_not_cut_on_the_device(scenes):
    assert not Samples(scenes, Framing(32, 16)).can_be_resident
    assert Samples(scenes, Framing(32, 32)).whole_bytes == 6 * 64 * 64 * 5
    assert Samples(scenes, Framing(64, 40, whole=True), copies=[1, 0, 0, 0, 0, 9]).whole_bytes == 2 * 40 * 40 * 5


def test_scenes_are_resident_where_half_the_gpus_free_memory_suffices(scenes, monkeypatch, caplog):
    samples, gpu = Samples(scenes, Framing(32, 32)), torch.device("cuda")
    for free, fits in ((2 * samples.whole_bytes, True), (2 * samples.whole_bytes - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 1 << 40))
        assert module._fits(samples, gpu) == fits
    assert not module._fits(samples, CPU) and not module._fits(Samples(scenes, Framing(32, 16)), gpu)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("framing", [Framing(64, 40, whole=True), Framing(32, 32), Framing(32, 16)])
def test_batches_on_a_gpu_are_those_on_the_cpu(scenes, framing):
    samples = Samples(scenes, framing, seed=2)
    there, here = (rows(Feed(samples, torch.device(d)).batches(1, range(6), 3)) for d in ("cuda", "cpu"))
    assert all(equal(SampleBatch(*(part.cpu() for part in a[:3])), b) for a, b in zip(there, here, strict=True))


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
