"""Survey: counts, means and resolutions worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geoseg.datasets import survey as module
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.survey import Survey, survey
from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.training.record import warn_of_resolutions


def open_scenes(root):
    dataset = open_dataset(root)
    return [LabelledScene(pair, dataset.legend) for pair in dataset.pairs], dataset.legend


@pytest.fixture
def two_scenes(make_dataset):
    """2 x 3 pixels and 1 x 2 pixels; in the first a hole, and a pixel of the ignored code."""
    first = np.arange(1, 19, dtype=np.uint8).reshape(3, 2, 3)
    first[:, 0, 0] = 0
    second = np.array([[[100, 200]], [[10, 20]], [[1, 3]]], np.uint8)
    root = make_dataset(
        {
            "a": (first, np.array([[10, 10, 20], [0, 20, 20]], np.uint8)),
            "b": (second, np.array([[10, 30]], np.uint8)),
        }
    )
    with rasterio.open(root / "images/a.tif", "r+") as dataset:
        dataset.nodata = 0
    return root


@pytest.mark.parametrize("window", [4096, 2, 1])
def test_counts_and_means_by_hand(two_scenes, monkeypatch, window):
    monkeypatch.setattr(module, "WINDOW", window)
    found = survey(*open_scenes(two_scenes))
    assert found.counts.tolist() == [2, 3, 1] and found.counts.dtype == np.int64
    assert (found.without_class, found.undefined) == (1, 0)
    assert found.shares.tolist() == [2 / 6, 3 / 6, 1 / 6]
    # Seven valid pixels: 2 to 6, 8 to 12, 14 to 18 in the first scene, two more in the second.
    assert found.band_means == pytest.approx(((20 + 300) / 7, (50 + 30) / 7, (80 + 4) / 7))
    bands = [[*range(2, 7), 100, 200], [*range(8, 13), 10, 20], [*range(14, 19), 1, 3]]
    assert found.band_deviations == pytest.approx([np.std(band) for band in bands])
    assert [one.pixels for one in found.scenes] == [5, 2]


@pytest.mark.parametrize("window", [4096, 7])
@pytest.mark.parametrize("offset", [0, 2_000_000_000])
def test_deviations_far_from_zero_are_numpys(make_dataset, monkeypatch, window, offset):
    monkeypatch.setattr(module, "WINDOW", window)
    random = np.random.default_rng(4)
    pixels = [(random.normal(offset, spread, (2, 20, 31))).astype(np.int32) for spread in (5, 90)]
    root = make_dataset({s: (p, np.full((20, 31), 10, np.uint8)) for s, p in zip("ab", pixels, strict=True)})
    found = survey(*open_scenes(root))
    together = np.concatenate([p.reshape(2, -1) for p in pixels], 1).astype(np.float64)
    assert found.band_deviations == pytest.approx(tuple(together.std(1)), rel=1e-9)
    assert found.band_means == pytest.approx(tuple(together.mean(1)), rel=1e-15)


def test_a_sample_that_is_read_already_is_told_as_one_that_is_read_in_windows(make_dataset, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 16)
    pixels = np.random.default_rng(4).normal(0.3, 0.1, (2, 37, 53)).astype(np.float32)
    scenes, _ = open_scenes(make_dataset({"a": (pixels, np.full((37, 53), 10, np.uint8))}))
    one, other = module.tally(scenes[0]), module.tally_sample(*scenes[0].read())
    assert (one.sums == other.sums).all() and (one.squares == other.squares).all() and one.pixels == other.pixels


def test_undefined_colours_are_counted(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "1_sat.jpg")
    colours = np.full((4, 5, 3), 255, np.uint8)
    colours[0] = 255, 0, 0
    colours[1] = 0, 0, 250
    colours[2, :2] = 0
    Image.fromarray(colours).save(tmp_path / "1_mask.png")
    found = survey(*open_scenes(tmp_path))
    assert found.counts.tolist() == [0, 0, 0, 0, 5, 8, 2]
    assert (found.undefined, found.without_class) == (5, 5)


def test_gsd_is_the_median_of_those_that_have_one(make_dataset):
    codes = np.full((4, 4), 10, np.uint8)
    pixels = np.ones((3, 4, 4), np.uint8)
    root = make_dataset({stem: (pixels, codes) for stem in "abcd"}, transform=None)
    assert survey(*open_scenes(root)).gsd is None
    for stem, side in zip("abc", (0.5, 2.0, 8.0), strict=True):
        for folder in ("images", "labels"):
            with rasterio.open(root / folder / f"{stem}.tif", "r+") as dataset:
                dataset.crs, dataset.transform = CRS.from_epsg(32631), Affine(side, 0, 4e5, 0, -side, 5e6)
    assert survey(*open_scenes(root)).gsd == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("epsg", "transform", "expected"),
    [
        (32631, Affine(0.5, 0, 4e5, 0, -2.0, 5e6), 1.0),
        (32631, Affine(3.0, 4.0, 4e5, 4.0, -3.0, 5e6), 5.0),
        (2263, Affine(10.0, 0, 1e6, 0, -10.0, 2e5), 3.048006),
        (4326, Affine(1e-5, 0, 2.0, 0, -1e-5, 0.0), 1.10946),
        (4326, Affine(2e-5, 0, 2.0, 0, -1e-5, 60.0), 1.11506),
        (3857, Affine(2.0, 0, 2e5, 0, -2.0, 8_399_748), 1.0),
        (3857, Affine(2.0, 0, 2e5, 0, -2.0, 10), 2.0),
        (3395, Affine(2.0, 0, 2e5, 0, -2.0, -8_362_698), 1.0),
    ],
    ids=[
        "metres",
        "rotated",
        "feet",
        "equator",
        "60 degrees north",
        "web 60 north",
        "web equator",
        "mercator 60 south",
    ],
)
def test_ground_sampling_distance(epsg, transform, expected):
    found = Grid(CRS.from_epsg(epsg), transform, (10, 10)).gsd
    # That of Mercator is taken on the sphere.
    assert found == pytest.approx(expected, rel=6e-3 if epsg in (3857, 3395) else 1e-3)


@pytest.mark.parametrize(("epsg", "transform"), [(None, Affine(2, 0, 5, 0, -2, 9)), (32631, Affine.identity())])
def test_no_georeference_no_distance(epsg, transform):
    crs = CRS.from_epsg(epsg) if epsg else None
    assert Grid(crs, transform, (4, 4)).gsd is None


def test_what_is_said_counts_for_scenes_that_tell_nothing(make_dataset):
    codes = np.full((4, 4), 10, np.uint8)
    pixels = np.ones((3, 4, 4), np.uint8)
    root = make_dataset({stem: (pixels, codes) for stem in "abc"}, transform=None)
    assert survey(*open_scenes(root), gsd=0.3).gsds == (0.3, 0.3, 0.3)
    for folder in ("images", "labels"):
        with rasterio.open(root / folder / "a.tif", "r+") as dataset:
            dataset.crs, dataset.transform = CRS.from_epsg(32631), Affine(2.0, 0, 4e5, 0, -2.0, 5e6)
    assert survey(*open_scenes(root), gsd=0.3).gsds == (2.0, 0.3, 0.3)


@pytest.mark.parametrize(
    ("gsds", "given", "said"),
    [
        ((0.5, 0.6, 0.5), None, ""),
        ((0.5, 0.64, 0.5), None, "have 0.5 to 0.64 m per pixel; the model's record takes their median, 0.5 m"),
        ((0.5, 10.0), None, "have 0.5 to 10 m"),
        ((0.5, 0.5), 0.3, "files tell 0.5 m per pixel, which counts, not 0.3 m"),
        ((0.5, 0.5), 0.55, ""),
        ((), 0.5, ""),
    ],
)
def test_scenes_of_unlike_resolutions_are_told(caplog, gsds, given, said):
    warn_of_resolutions(Survey(np.ones((2, 2), np.int64), 0, 0, (1.0,), gsds), given)
    assert said in caplog.text if said else not caplog.text


def test_scenes_of_other_bands_are_refused(make_dataset):
    codes = np.full((4, 4), 10, np.uint8)
    root = make_dataset({"a": (np.ones((3, 4, 4), np.uint8), codes), "b": (np.ones((2, 4, 4), np.uint8), codes)})
    with pytest.raises(InputError, match="number of bands"):
        survey(*open_scenes(root))


def test_labels_without_a_class_to_learn_are_refused(make_dataset):
    root = make_dataset({"a": (np.ones((3, 4, 4), np.uint8), np.zeros((4, 4), np.uint8))})
    with pytest.raises(InputError, match=r"no pixel .* has a class to learn"):
        survey(*open_scenes(root))
