"""Labels: codes, palettes and colour masks become the same class indices."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import DEEPGLOBE, NO_CLASS, Legend, LegendClass
from geoseg.raster.labels import Flaws, Labels

MakeRaster = Callable[..., Path]
ROAD, ROOF, TREE = (90, 90, 90), (220, 0, 0), (0, 99, 0)
CITY = Legend("city", (LegendClass(20, "road", ROAD), LegendClass(10, "roof", ROOF), LegendClass(3, "tree", TREE)))
INDEX = np.random.default_rng(5).integers(0, 3, (37, 53)).astype(np.uint8)
WINDOW = Window(5, 11, 20, 30)


def save_palette(path: Path, values: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Path:
    """A palette PNG that holds ``values``."""
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette([part for i in range(max(colours) + 1) for part in colours.get(i, (0, 0, 0))])
    image.save(path)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_codes_become_indices(make_raster: MakeRaster, dtype: str) -> None:
    labels = Labels(make_raster(CITY.encode(INDEX).astype(dtype)), CITY)
    assert np.array_equal(labels.read(), INDEX)
    assert np.array_equal(labels.read(WINDOW), INDEX[WINDOW.slices])


def test_nodata_and_255_have_no_class(make_raster: MakeRaster) -> None:
    codes = CITY.encode(INDEX)
    codes[0, :2] = 99, 255
    index = Labels(make_raster(codes, nodata=99), CITY).read()
    assert index[0, :2].tolist() == [NO_CLASS] * 2 and np.array_equal(index[0, 2:], INDEX[0, 2:])


def test_colours_become_the_same_indices(make_raster: MakeRaster) -> None:
    labels = Labels(make_raster(CITY.to_rgb(INDEX), "mask.png", driver="PNG"), CITY)
    index, flaws = labels.read_counted(WINDOW)
    assert np.array_equal(index, INDEX[WINDOW.slices]) and flaws == Flaws()


def test_transparent_pixels_of_a_mask_have_no_class(tmp_path: Path) -> None:
    rgba = np.concatenate([CITY.to_rgb(INDEX), np.full((1, 37, 53), 255, np.uint8)])
    rgba[:, 4, 6] = 1, 2, 3, 0
    Image.fromarray(np.moveaxis(rgba, 0, -1).copy()).save(tmp_path / "mask.png")
    index = Labels(tmp_path / "mask.png", CITY).read()
    assert index[4, 6] == NO_CLASS and (index != INDEX).sum() == 1


def test_a_palette_is_decoded_by_colour_whatever_its_numbers(tmp_path: Path) -> None:
    values = np.array([5, 0, 2])[INDEX]
    path = save_palette(tmp_path / "mask.png", values, {5: ROAD, 0: ROOF, 2: TREE})
    labels = Labels(path, CITY)
    assert np.array_equal(labels.read(), INDEX) and np.array_equal(labels.read(WINDOW), INDEX[WINDOW.slices])


def test_a_palette_of_other_colours_only_shows_the_codes(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "mask.png", CITY.encode(INDEX), {20: (1, 1, 1), 10: (2, 2, 2), 3: TREE})
    assert np.array_equal(Labels(path, CITY).read(), INDEX)


def test_a_palette_entry_without_a_class_is_refused(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "mask.png", np.array([[0, 1, 1]]), {0: ROAD, 2: TREE})
    with pytest.raises(InputError, match=r"mask.png: 2 pixels have palette values \(1\)"):
        Labels(path, CITY).read()


def test_a_palette_of_uint16_codes(make_raster: MakeRaster) -> None:
    path = make_raster(INDEX.astype("uint16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {i: (*c.colour, 255) for i, c in enumerate(CITY.classes)})
    assert np.array_equal(Labels(path, CITY).read(), INDEX)


def test_undefined_colours_of_deepglobe_are_counted_by_window(make_raster: MakeRaster) -> None:
    rgb = DEEPGLOBE.to_rgb(INDEX)
    rgb[:, 5:7, 11] = [[255], [0], [0]]
    labels = Labels(make_raster(rgb), DEEPGLOBE)
    index, flaws = labels.read_counted(WINDOW)
    assert flaws == Flaws(undefined=2) and index[:3, 0].tolist() == [NO_CLASS, NO_CLASS, INDEX[7, 11]]
    assert labels.read_counted(Window(7, 0, 30, 53))[1] == Flaws()


def test_resizing_decodes_first_and_invents_no_class(make_raster: MakeRaster) -> None:
    halves = np.repeat([[1, 2]], 3, axis=1).repeat(6, axis=0).astype(np.uint8)
    labels = Labels(make_raster(DEEPGLOBE.to_rgb(halves)), DEEPGLOBE)
    assert labels.read(shape=(3, 5)).tolist() == [[1, 1, 2, 2, 2]] * 3
    assert set(labels.read(Window(0, 1, 6, 4), shape=(3, 3)).flat) == {1, 2}


def test_unknown_codes_and_colours_name_the_file(make_raster: MakeRaster) -> None:
    codes, rgb = CITY.encode(INDEX), CITY.to_rgb(INDEX)
    codes[3, 4], rgb[:, 3, 4] = 77, (0, 0, 77)
    with pytest.raises(InputError, match=r"codes.tif: 1 pixels.*\(77\)"):
        Labels(make_raster(codes, "codes.tif"), CITY).read()
    with pytest.raises(InputError, match=r"mask.tif: 1 pixels.*#00004d"):
        Labels(make_raster(rgb, "mask.tif"), CITY).read()


@pytest.mark.parametrize("count", [2, 4, 5])
def test_labels_have_one_band_or_three(make_raster: MakeRaster, count: int) -> None:
    path = make_raster(np.ones((count, 4, 5), np.uint16), photometric="MINISBLACK")
    with pytest.raises(InputError, match=f"one band of codes or three of colours, not {count}"):
        Labels(path, CITY)


def test_labels_are_whole_numbers(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match="whole numbers, not float32"):
        Labels(make_raster(np.ones((1, 4, 5), np.float32)), CITY)


def test_a_colour_mask_is_uint8(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match="uint8, not uint16"):
        Labels(make_raster(np.ones((3, 4, 5), np.uint16)), CITY).read()


def test_labels_are_picklable(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "mask.png", INDEX + 1, {i + 1: c.colour for i, c in enumerate(CITY.classes)})
    copy = pickle.loads(pickle.dumps(Labels(path, CITY)))
    assert copy.legend == CITY and np.array_equal(copy.read(), INDEX)


def test_a_picture_is_no_mask(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"photo.png: .*looks like a picture"):
        Labels(tmp_path / "photo.png", DEEPGLOBE).read()


@pytest.mark.parametrize("stray", [(128, 128, 128), (254, 255, 0)])
def test_one_more_entry_does_not_change_how_a_palette_is_read(tmp_path: Path, stray: tuple[int, int, int]) -> None:
    colours = {5 - c.code: c.colour for c in DEEPGLOBE.classes if c.code < 6}
    index = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = save_palette(tmp_path / "mask.png", 5 - index, colours | {9: stray})
    assert np.array_equal(Labels(path, DEEPGLOBE).read(), index)
