"""The cache of decoded scenes: the same samples with and without, and nothing taken on trust."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import geoseg
from geoseg.datasets import cache as module
from geoseg.datasets import survey as survey_module
from geoseg.datasets.cache import SceneCache, entry_key, open_cache
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.samples import Framing, LabelledScene, Samples, framed
from geoseg.datasets.survey import survey, tally
from geoseg.models.storage import read_model_file

WHOLE, NATIVE, SHRUNK = Framing(64, 40, whole=True), Framing(32, 32), Framing(32, 16)


def open_scenes(root: Path, bands=None) -> list[LabelledScene]:
    dataset = open_dataset(root)
    return [LabelledScene(pair, dataset.legend, bands) for pair in dataset.pairs]


@pytest.fixture
def root(sample_folder, tmp_path):
    """A copy of the sample that a test may change."""
    return Path(shutil.copytree(sample_folder, tmp_path / "data"))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.scene"))


def assert_same(first, second) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def decoding_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(module, "_decode", lambda *_: pytest.fail("decoded again"))


@pytest.mark.parametrize("framing", [WHOLE, NATIVE, SHRUNK])
def test_samples_are_the_same_with_and_without(root, tmp_path, monkeypatch, framing):
    without = Samples(open_scenes(root), framing, seed=3)
    for first in (True, False):
        if not first:
            decoding_is_refused(monkeypatch)
        cache = SceneCache(tmp_path, framing)
        samples = Samples(open_scenes(root), framing, seed=3, read=cache.sample)
        for place in range(len(samples)):
            assert_same(samples.draw(1, place), without.draw(1, place))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("framing", [WHOLE, NATIVE])
def test_pixels_of_any_dtype_are_kept(make_dataset, tmp_path, monkeypatch, dtype, framing):
    random = np.random.default_rng(1)
    monkeypatch.setattr(survey_module, "WINDOW", 16)
    pixels = [(random.normal(0, 90, (5, 37, 53)) * 7).astype(dtype) for _ in "ab"]
    if dtype.startswith("float"):
        pixels[0][1, :3] = np.nan
    root = make_dataset({s: (p, np.full((37, 53), 10, np.uint8)) for s, p in zip("ab", pixels, strict=True)})
    legend = open_dataset(root).legend
    without = survey(open_scenes(root), legend)
    for first in (True, False):
        cache = SceneCache(tmp_path, framing)
        if not first:
            decoding_is_refused(monkeypatch)
        found = survey(open_scenes(root), legend, cache.tally)
        assert (found.band_means, found.band_deviations) == (without.band_means, without.band_deviations)
        for scene in open_scenes(root):
            sample = cache.sample(scene)
            assert sample.pixels.dtype == dtype and sample.pixels.flags.aligned
            for mine, theirs in zip(sample, framed(scene.read()[0], framing), strict=True):
                assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
    assert len(entries(tmp_path)) == 2


def test_the_survey_is_the_same_and_decodes_once(root, tmp_path, monkeypatch):
    scenes, legend = open_scenes(root), open_dataset(root).legend
    cache = SceneCache(tmp_path, WHOLE)
    plain, cached = survey(scenes, legend), survey(scenes, legend, cache.tally)
    decoding_is_refused(monkeypatch)
    again = survey(scenes, legend, SceneCache(tmp_path, WHOLE).tally)
    for found in (cached, again):
        assert np.array_equal(found.scene_counts, plain.scene_counts) and found.scene_counts.dtype == np.int64
        assert (found.band_means, found.undefined, found.without_class) == (
            plain.band_means,
            plain.undefined,
            plain.without_class,
        )
    assert_same(cache.sample(scenes[0]), framed(scenes[0].read()[0], WHOLE))


def test_windows_of_any_side_share_one_entry_and_whole_scenes_have_their_own(root, tmp_path):
    scene = open_scenes(root)[0]
    for framing in (NATIVE, SHRUNK, Framing(16, 16), WHOLE, Framing(64, 20, whole=True)):
        SceneCache(tmp_path, framing).sample(scene)
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("change", ["image", "labels", "bands", "sidecar", "legend"])
def test_what_was_made_from_something_else_is_not_taken(root, tmp_path, change):
    scenes = open_scenes(root)
    before = entry_key(scenes[0], WHOLE)
    if change == "image":
        os.utime(scenes[0].image.name, ns=(1, 1))
    elif change == "labels":
        with open(scenes[0].labels.name, "ab") as file:
            file.write(b"\0")
    elif change == "sidecar":
        Path(f"{scenes[0].image.name}.aux.xml").write_text(
            "<PAMDataset><PAMRasterBand band='1'><NoDataValue>0</NoDataValue></PAMRasterBand></PAMDataset>"
        )
    scenes = open_scenes(root, (1, 2) if change == "bands" else None)
    if change == "legend":
        scenes[0].labels.legend = replace(geoseg.DEEPGLOBE, name="other")
    assert entry_key(scenes[0], WHOLE) not in (before, None)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    foreign = content.replace(b'"legend', b'"Legend', 1)
    tally = content.replace(b'"tally": [[', b'"tally": [[1', 1)
    made = {"cut": content[:middle], "empty": b"", "flipped": flipped, "foreign": foreign, "tally": tally}
    assert made[how] != content
    path.write_bytes(made[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "foreign", "tally"])
def test_a_damaged_entry_is_made_anew_and_said(root, tmp_path, how, caplog):
    scene = open_scenes(root)[0]
    good = SceneCache(tmp_path, WHOLE).sample(scene)
    expected = [np.array(part) for part in good]
    (path,) = entries(tmp_path)
    content = path.read_bytes()
    damage(path, how)
    with caplog.at_level(logging.WARNING, "geoseg"):
        assert_same(SceneCache(tmp_path, WHOLE).sample(scene), expected)
    assert "is damaged or not ours; it is made anew" in caplog.text
    assert path.read_bytes() == content


def test_the_entry_of_another_scene_is_not_taken(root, tmp_path, caplog):
    first, second = open_scenes(root)[:2]
    cache = SceneCache(tmp_path, WHOLE)
    cache.sample(first)
    (path,) = entries(tmp_path)
    path.rename(cache._path(second)[0])
    assert_same(SceneCache(tmp_path, WHOLE).sample(second), framed(second.read()[0], WHOLE))
    assert "is damaged or not ours" in caplog.text


def build(root: Path, folder: Path, decoded) -> None:
    decode = module._decode
    module._decode = lambda *args: (decoded.put(1), decode(*args))[1]
    cache = SceneCache(folder, WHOLE)
    for scene in open_scenes(root):
        cache.sample(scene)


def test_two_processes_decode_each_scene_once(root, tmp_path):
    context = multiprocessing.get_context("fork")
    decoded = context.Queue()
    processes = [context.Process(target=build, args=(root, tmp_path, decoded)) for _ in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(1 for _ in iter(lambda: not decoded.empty() and decoded.get(), False)) == 6
    assert len(entries(tmp_path)) == 6 and not list(tmp_path.glob("*.partial"))


def test_where_nothing_can_be_written_scenes_are_just_decoded(root, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    scenes = open_scenes(root)
    with caplog.at_level(logging.WARNING, "geoseg"):
        cache = open_cache(tmp_path / "file" / "cache", WHOLE, scenes)
    assert caplog.text.count("decoded scenes are not kept") == 1
    assert_same(cache.sample(scenes[0]), framed(scenes[0].read()[0], WHOLE))


def test_a_disk_that_fills_up_later_stops_no_run(root, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise geoseg.errors.ResourceError("x.scene: could not be written; is the disk full?")

    monkeypatch.setattr(module, "replace_file", full)
    scenes = open_scenes(root)
    cache = open_cache(tmp_path, WHOLE, scenes)
    with caplog.at_level(logging.WARNING, "geoseg"):
        for scene in scenes:
            assert_same(cache.sample(scene), framed(scene.read()[0], WHOLE))
    assert caplog.text.count("decoded scenes are not kept") == 1 and not entries(tmp_path)


def test_a_disk_that_is_too_small_is_left_alone(root, tmp_path, monkeypatch, caplog):
    scenes = open_scenes(root)
    needed = 6 * 40 * 40 * 5
    usage = shutil.disk_usage(tmp_path)
    for free, kept in ((2 * needed, True), (2 * needed - 2, False)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert (open_cache(tmp_path, WHOLE, scenes).folder is not None) == kept
    assert "are free" in caplog.text


def test_none_keeps_nothing_and_the_default_is_geosegs_own(root, monkeypatch, tmp_path):
    scenes = open_scenes(root)
    cache = open_cache("none", WHOLE, scenes)
    assert cache.folder is None and np.array_equal(cache.tally(scenes[0]).counts, tally(scenes[0]).counts)
    monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path / "own"))
    assert open_cache(None, WHOLE, scenes).folder == tmp_path / "own" / "scenes"


def test_a_vrt_is_not_kept(root, tmp_path, make_raster):
    import rasterio.shutil

    scene = open_scenes(root)[0]
    rasterio.shutil.copy(scene.image.name, tmp_path / "a.vrt", driver="VRT")
    scene.image = geoseg.Scene(tmp_path / "a.vrt")
    assert entry_key(scene, WHOLE) is None
    SceneCache(tmp_path / "cache", WHOLE).sample(scene)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("framing", [{"size": 32}, {"window": 32}])
def test_training_is_the_same_with_and_without(root, tmp_path, framing):
    options = {"width": 4, "norm": "batch", "epochs": 1, "device": "cpu", "precision": "fp32", **framing}
    geoseg.train(root, tmp_path / "without", cache="none", **options)
    for run in ("first", "second"):
        geoseg.train(root, tmp_path / run, cache=tmp_path / "cache", **options)
    files = [(tmp_path / run / "last.safetensors").read_bytes() for run in ("without", "first", "second")]
    assert files[0] == files[1] == files[2] and len(entries(tmp_path / "cache")) == 5
    assert read_model_file(tmp_path / "first/last.safetensors")
