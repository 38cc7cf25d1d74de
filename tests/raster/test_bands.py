"""Bands by number, by description and by colour."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoseg.errors import InputError
from geoseg.raster.scene import Scene


@pytest.fixture
def named(make_raster):
    """Five bands of unique values: three described, colours on two others, alpha last."""
    pixels = np.arange(5 * 5 * 7, dtype=np.uint8).reshape(5, 5, 7) + 1
    path = make_raster(pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("B04", "B03 ", None, "B8A", None)
        colours = "undefined", "red", "green", "blue", "alpha"
        dataset.colorinterp = [ColorInterp[colour] for colour in colours]
    return path


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, (1, 2, 3, 4)),
        (("B8A", "B04"), (4, 1)),
        (("b8a", "b03", 3), (4, 2, 3)),
        (("red", "green", "blue"), (2, 3, 4)),
        (("B04", "Blue"), (1, 4)),
    ],
)
def test_bands_are_found(named, wanted, numbers):
    with Scene(named, wanted) as scene, rasterio.open(named) as dataset:
        assert scene.bands == numbers
        assert np.array_equal(scene.read()[0], dataset.read(list(numbers)))
        assert scene.band_names == tuple(dataset.descriptions[number - 1] for number in numbers)


def test_a_missing_name_lists_what_there_is(named):
    with pytest.raises(InputError) as error:
        Scene(named, ("B02",))
    assert str(error.value) == (
        f'{named}: has no band \'B02\'; its bands are 1 "B04", 2 "B03 " (red), 3 (green), 4 "B8A" (blue), 5 (alpha)'
    )


def test_a_name_that_two_bands_have_is_refused(named):
    with rasterio.open(named, "r+") as dataset:
        dataset.descriptions = ("nir", None, None, "NIR", None)
    with pytest.raises(InputError, match="bands 1 and 4 are both 'nir'; choose by number"):
        Scene(named, ("nir",))
    assert Scene(named, (4,)).band_names == ("NIR",)


def test_a_description_comes_before_a_colour(named):
    with rasterio.open(named, "r+") as dataset:
        dataset.descriptions = ("blue", None, None, None, None)
    assert Scene(named, ("blue", "red")).bands == (1, 2)


def test_alpha_is_no_data(named):
    Scene(named, (1, 4)).require_spectral()
    for wanted in ((5,), (1, 5), ("alpha",)):
        with pytest.raises(InputError, match=r"band 5 is its alpha"):
            Scene(named, wanted).require_spectral()
