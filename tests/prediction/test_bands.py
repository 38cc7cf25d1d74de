"""Bands of a raster as a model has them: by name, by number, or not at all."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import rasterio

from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import SegmenterConfig
from geoseg.prediction.bands import open_file, open_stack


def config(names=(), numbers=(1, 2, 3)) -> SegmenterConfig:
    return SegmenterConfig(DEEPGLOBE, width=1, band_names=names, band_numbers=numbers)


@pytest.fixture
def described(make_raster):
    """A raster whose bands have those descriptions, each full of its own number."""

    def make(*descriptions, name="scene.tif"):
        numbers = np.arange(1, len(descriptions) + 1, dtype=np.uint8)
        path = make_raster(
            np.broadcast_to(numbers[:, None, None], (len(numbers), 5, 7)), name, photometric="MINISBLACK"
        )
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = descriptions
        return path

    return make


NAMES = ("B04", "B03", "B02")


@pytest.mark.parametrize(
    ("model", "there", "wanted", "numbers", "said"),
    [
        # By name, in whatever order and case, and among others; said where it is another choice than by number.
        (config(NAMES), NAMES, None, (1, 2, 3), None),
        (config(NAMES), ("B02", "B03", "B04"), None, (3, 2, 1), "3 B04, 2 B03, 1 B02"),
        (config(NAMES), ("B01", "b02", "b03", "b04", "B08"), None, (4, 3, 2), "4 B04, 3 B03, 2 B02"),
        (config(NAMES, (4, 3, 2)), ("B01", "B02", "B03", "B04"), None, (4, 3, 2), None),
        # By number, where one side has no names.
        (config(NAMES), (None, None, None), None, (1, 2, 3), None),
        (config(NAMES, (4, 3, 2)), (None,) * 4, None, (4, 3, 2), None),
        (config(), ("B02", "B03", "B04"), None, (1, 2, 3), None),
        (config((), (3, 1, 2)), ("B02", "B03", "B04"), None, (3, 1, 2), None),
        (config(NAMES), ("B04", None, None), None, (1, 2, 3), None),
        # As somebody says, whatever the names.
        (config(NAMES), ("B02", "B03", "B04"), (1, 2, 3), (1, 2, 3), None),
        (config(NAMES), ("x", "y", "z"), ("z", "y", 1), (3, 2, 1), None),
    ],
)
def test_which_bands_are_taken(described, caplog, model, there, wanted, numbers, said):
    with caplog.at_level(logging.INFO, "geoseg"), open_file(described(*there), model, wanted) as scene:
        assert scene.bands == numbers
        assert scene.read()[0][:, 0, 0].tolist() == list(numbers)
    assert (said in caplog.text and "taken by name" in caplog.text) if said else not caplog.text


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (NAMES, ("red", "green", "blue")),
        (NAMES, ("B04", "B03", "B08")),
        (NAMES, ("B03", "B03", "B02")),
        (NAMES, ("B08", None, None)),
    ],
)
def test_names_that_contradict_are_refused_with_what_there_is(described, names, there):
    with pytest.raises(InputError, match=r"scene\.tif: its bands are 1 .*trained on B04, B03, B02; .*--bands"):
        open_file(described(*there), config(names))


def test_alpha_is_refused(make_raster):
    path = make_raster(np.full((4, 5, 7), 9, np.uint8), photometric="RGB", alpha="YES")
    with pytest.raises(InputError, match="band 4 is its alpha"):
        open_file(path, config(), (1, 2, 4))
    with open_file(path, config()) as scene:
        assert scene.bands == (1, 2, 3)


@pytest.mark.parametrize(
    ("model", "there", "wanted", "order"),
    [
        (config(), (None, None, None), None, "abc"),
        # Given as many as it takes, the model's numbers are of its rasters and say nothing of files.
        (config((), (4, 3, 2)), (None, None, None), None, "abc"),
        (config((), (4, 3, 2)), (None,) * 4, None, "dcb"),
        (config(NAMES), ("B02", "B03", "B04"), None, "cba"),
        (config(NAMES), ("B01", "B02", "B03", "B04"), None, "dcb"),
        (config(NAMES), ("B02", "B03", "B04"), (1, 3, 2), "acb"),
    ],
)
def test_files_of_a_stack(described, model, there, wanted, order):
    paths = [described(name, name=f"{stem}.tif") for stem, name in zip("abcd", there, strict=False)]
    with open_stack(paths, model, wanted) as scene:
        assert [source.stem[-1] for source in scene.sources] == list(order)


def test_a_stack_whose_names_contradict_is_refused(described):
    paths = [described(name, name=f"{name}.tif") for name in ("red", "green", "blue")]
    with pytest.raises(InputError, match=r'its bands are 1 "red".*trained on B04, B03, B02'):
        open_stack(paths, config(NAMES))
