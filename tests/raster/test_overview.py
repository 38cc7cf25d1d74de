"""Scenes and classes read small: what is seen is what there is, whatever the file's overviews hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from geoseg.grid import Window
from geoseg.raster import scene as scenes
from geoseg.raster.clipped import ClippedScene
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.interest import area_from_bounds
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.resample import area, majority
from geoseg.raster.scene import ArrayScene, Scene, SceneLike, visible_bands
from geoseg.raster.stack import StackScene
from geoseg.tiling import fitting, strips

MakeRaster = Callable[..., Path]
SMOOTH = np.stack([np.add.outer(np.arange(74), np.arange(106)) + 10 * band for band in range(3)]).astype(np.uint8)
"""(3, 74, 106): means of any part are the values in its middle."""


def close(scene: SceneLike, expected: np.ndarray, shape: tuple[int, int]) -> bool:
    pixels, valid = scene.read_overview(shape)
    return bool(valid.all()) and np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("shape", [(37, 53), (10, 15), (74, 106), (1, 2)])
def test_every_scene_gives_means(make_raster: MakeRaster, shape: tuple[int, int]) -> None:
    expected = area(SMOOTH, np.ones(SMOOTH.shape[1:], bool), shape)[0]
    whole = Scene(make_raster(SMOOTH))
    single = [make_raster(band, f"{number}.tif") for number, band in enumerate(SMOOTH)]
    clipped = ClippedScene(
        whole, area_from_bounds((441_760, 5_417_340, 441_780, 5_417_380), whole.grid.crs, whole.grid)
    )
    for scene in (whole, ArrayScene(SMOOTH), StackScene(single), clipped, MosaicScene([whole.source])):
        assert close(scene, expected, shape), scene


def test_a_coarse_scene_shows_its_source(make_raster: MakeRaster) -> None:
    coarse = CoarseScene(Scene(make_raster(SMOOTH)), 2)
    assert close(coarse, area(SMOOTH, np.ones((74, 106), bool), (9, 13))[0], (9, 13))


def test_a_mosaic_puts_its_files_in_their_places(make_raster: MakeRaster) -> None:
    whole = Scene(make_raster(SMOOTH))
    parts = []
    for window in (Window(0, 0, 40, 50), Window(0, 50, 74, 56), Window(40, 0, 34, 50)):
        grid = whole.grid[window]
        pixels = SMOOTH[:, *window.slices]
        parts.append(make_raster(pixels, f"{window.row}-{window.col}.tif", transform=grid.transform))
    mosaic = MosaicScene(parts)
    assert close(mosaic, area(SMOOTH, np.ones((74, 106), bool), (37, 53))[0], (37, 53))
    assert mosaic.overview_cost((37, 53)) == 74 * 106


def test_means_are_of_what_has_data(make_raster: MakeRaster) -> None:
    pixels = SMOOTH.copy()
    pixels[:, 10:30, :40] = 0
    picture, valid = Scene(make_raster(pixels, nodata=0)).read_overview((37, 53))
    assert not valid[6:14, :18].any() and valid[16:].all()
    assert picture[:, valid].min() >= SMOOTH.min() and (picture[:, 20, 30] >= SMOOTH[:, 40, 60]).all()


def test_floats_that_are_not_finite_are_no_data(make_raster: MakeRaster) -> None:
    pixels = SMOOTH.astype(np.float32)
    pixels[:, :20] = np.nan
    _, valid = Scene(make_raster(pixels)).read_overview((37, 53))
    assert not valid[:9].any() and valid[11:].all()


def test_overviews_are_read_where_there_are_some(make_raster: MakeRaster) -> None:
    path = make_raster(np.zeros((512, 640), np.uint8), tiled=True, blockxsize=64, blockysize=64)
    assert Scene(path).overview_cost((64, 80)) == 512 * 640
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.average)
    scene = Scene(path)
    assert scene.overview_cost((64, 80)) == 64 * 80 and scene.overview_cost((500, 640)) == 512 * 640
    assert scene.read_overview((64, 80))[0].shape == (1, 64, 80)


def test_strips_are_of_one_size_and_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene without overviews of its own."""
    sizes = []

    class Plain(ArrayScene):
        def read_overview(self, shape):
            return SceneLike.read_overview(self, shape)

        def read(self, window=None, shape=None):
            sizes.append(window.area)
            return super().read(window, shape)

    monkeypatch.setattr(scenes, "READ_AT_ONCE", 106 * 9)
    assert close(Plain(SMOOTH), area(SMOOTH, np.ones((74, 106), bool), (37, 53))[0], (37, 53))
    assert len(sizes) > 8 and max(sizes) <= 106 * 10


@pytest.mark.parametrize("shape", [(37, 53), (12, 7), (5, 53), (1, 1)])
@pytest.mark.parametrize("most", [53, 53 * 6, 10**6])
def test_strips_cover_window_and_picture_once(shape: tuple[int, int], most: int) -> None:
    window = Window(3, 4, 37, 53)
    found = list(strips(window, shape, most))
    assert [row for _, rows in found for row in range(*rows.indices(99))] == list(range(shape[0]))
    assert found[0][0].row == 3 and found[-1][0].row_stop == 40
    assert all(a.row_stop == b.row for (a, _), (b, _) in itertools.pairwise(found))


# Classes


@pytest.mark.parametrize("shape", [(12, 17), (37, 5), (1, 1), (37, 53)])
def test_the_majority_is_that_of_the_pixels_under_each(shape: tuple[int, int]) -> None:
    index = np.random.default_rng(1).choice(np.array([0, 2, 3, 255], np.uint8), (37, 53), p=[0.3, 0.2, 0.1, 0.4])
    found = majority(index, shape, 255)
    rows, cols = ([length * n // new for n in range(new + 1)] for length, new in zip((37, 53), shape, strict=True))
    for row in range(shape[0]):
        for col in range(shape[1]):
            under = index[rows[row] : rows[row + 1], cols[col] : cols[col + 1]]
            counts = np.bincount(under[under != 255], minlength=256)
            expected = 255 if 2 * (under == 255).sum() > under.size else counts.argmax()
            assert found[row, col] == expected


def test_fitting_keeps_the_ratio_and_never_enlarges() -> None:
    assert fitting((1000, 4000), 400) == (100, 400) and fitting((30, 20), 400) == (30, 20)
    assert fitting((1, 100_000), 10) == (1, 10)


def test_the_bands_to_show(make_raster: MakeRaster) -> None:
    assert visible_bands(ArrayScene(SMOOTH)) == (0, 1, 2) and visible_bands(ArrayScene(SMOOTH[:2])) == (0,)
    turned = make_raster(SMOOTH, "t.tif")
    with rasterio.open(turned, "r+") as dataset:
        dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red")]
    assert visible_bands(Scene(turned)) == (2, 1, 0)
