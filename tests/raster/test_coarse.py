"""Coarse scenes: exact means of what has data, the same whatever the window, and their place on the ground."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import geoseg.raster.coarse
from geoseg.errors import UsageError
from geoseg.grid import Grid, GroundControlPoint, Window
from geoseg.raster.coarse import CoarseScene, source_of
from geoseg.raster.described import open_described
from geoseg.raster.scene import ArrayScene, Scene

PLACE = Affine(0.5, 0.1, 441_754.5, 0.2, -0.75, 5_417_386.25)


def random_scene(shape: tuple[int, int], dtype: str = "uint8", holes: float = 0.3) -> ArrayScene:
    random = np.random.default_rng(sum(shape))
    values = random.integers(0, 256, (2, *shape)) if "int" in dtype else random.normal(50, 20, (2, *shape))
    return ArrayScene(values.astype(dtype), random.random(shape) > holes, Grid(None, PLACE, shape))


def by_hand(scene: ArrayScene, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the valid pixels of each block, one block at a time."""
    height, width = (-(-length // factor) for length in scene.grid.shape)
    pixels, valid = np.zeros((2, height, width)), np.zeros((height, width), bool)
    for row in range(height):
        for col in range(width):
            block = np.s_[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
            has = scene.valid[block]
            valid[row, col] = has.any()
            if has.any():
                pixels[:, row, col] = scene.pixels[:, *block][:, has].mean(1, dtype=np.float64)
    whole = np.issubdtype(scene.pixels.dtype, np.integer)
    return (np.floor(pixels + 0.5) if whole else pixels), valid


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(("shape", "factor"), [((37, 53), 2), ((37, 53), 5), ((4, 61), 7), ((3, 2), 9), ((1, 1), 2)])
def test_a_pixel_is_the_mean_of_those_with_data(shape, factor, dtype) -> None:
    scene = random_scene(shape, dtype)
    coarse = CoarseScene(scene, factor)
    pixels, valid = coarse.read()
    expected, expected_valid = by_hand(scene, factor)
    assert pixels.dtype == dtype and coarse.grid.shape == valid.shape
    assert np.array_equal(valid, expected_valid) and np.array_equal(coarse.read_valid(coarse.grid.window), valid)
    np.testing.assert_allclose(pixels[:, valid], expected[:, valid], rtol=0 if "int" in dtype else 1e-6)


def test_what_has_no_data_is_in_no_mean() -> None:
    pixels = np.full((1, 4, 4), 10, np.uint8)
    valid = np.ones((4, 4), bool)
    pixels[0, :2, :2], valid[:2, :2] = [[10, 200], [200, 200]], [[True, False], [False, False]]
    assert CoarseScene(ArrayScene(pixels, valid), 2).read()[0].tolist() == [[[10, 10], [10, 10]]]
    beyond = ArrayScene(np.array([[[1, np.inf], [3, np.nan]]]))
    assert CoarseScene(beyond, 2).read()[0].tolist() == [[[2]]]


@settings(max_examples=30)
@given(st.data())
def test_a_pixel_is_the_same_in_any_window_and_piece(data: st.DataObject) -> None:
    factor = data.draw(st.integers(2, 6))
    scene = CoarseScene(random_scene((61, 47), data.draw(st.sampled_from(["uint8", "float64"]))), factor)
    whole, valid = scene.read()
    height, width = scene.grid.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geoseg.raster.coarse, "MOST_READ", data.draw(st.integers(1, 900)))
        patch.setattr(geoseg.raster.coarse, "PIECE", data.draw(st.integers(1, 60)))
        pixels, here = scene.read(window)
    assert np.array_equal(pixels, whole[:, *window.slices]) and np.array_equal(here, valid[window.slices])


def test_no_more_of_the_source_is_held_than_a_piece(monkeypatch) -> None:
    read = []

    class Watched(ArrayScene):
        def read(self, window=None, shape=None):
            read.append(window)
            return super().read(window, shape)

    monkeypatch.setattr(geoseg.raster.coarse, "MOST_READ", 600)
    monkeypatch.setattr(geoseg.raster.coarse, "PIECE", 20)
    scene = Watched(random_scene((90, 80)).pixels)
    scene.block_shape = (10, 10)
    CoarseScene(scene, 4).read()
    assert max(window.area for window in read) <= 600 and len(read) > 10
    assert sum(window.area for window in read) == 90 * 80
    # Below each other in turn: blocks that two pieces share are decoded once.
    assert [window.col for window in read] == sorted(window.col for window in read)


def test_it_lies_where_its_source_lies() -> None:
    points = (GroundControlPoint(6.0, 3.0, 7.5, 48.25, 9.0),)
    grid = Grid(None, PLACE, (37, 53)).coarsened(3)
    assert grid.transform @ (2, 5) == pytest.approx(PLACE @ (6, 15)) and grid.shape == (13, 18)
    assert Grid(None, Affine.identity(), (37, 53), points).coarsened(3).gcps[0][:2] == (2.0, 1.0)
    scene = CoarseScene(random_scene((37, 53)), 3)
    assert scene.under(Window(12, 16, 1, 2)) == Window(36, 48, 1, 5)
    assert source_of(scene) is scene.source and source_of(scene.source) is scene.source


def test_it_wants_a_pixel_where_its_source_wants_any_of_it() -> None:
    class Picky(ArrayScene):
        def wanted(self, window):
            return (self.pixels[0] == 7)[window.slices]

        def wants(self, window):
            return bool(self.wanted(window).any())

    pixels = np.zeros((1, 9, 9), np.uint8)
    pixels[0, 4, 8] = pixels[0, 8, 0] = 7
    scene = CoarseScene(Picky(pixels), 3)
    assert np.argwhere(scene.wanted(scene.grid.window)).tolist() == [[1, 2], [2, 0]]
    assert scene.wants(Window(1, 2, 1, 1)) and not scene.wants(Window(0, 0, 1, 3))


def test_it_is_found_again_and_travels(make_raster, tmp_path: Path) -> None:
    with CoarseScene(Scene(make_raster(), bands=(3, 1)), 4) as scene:
        pixels, _ = scene.read()
        for copy in (open_described(scene.describe()), pickle.loads(pickle.dumps(scene))):
            assert np.array_equal(copy.read()[0], pixels) and copy.describe() == scene.describe()
        assert scene.read(shape=(3, 4))[0].shape == (2, 3, 4)


@pytest.mark.parametrize("factor", [1, 0, -3])
def test_a_factor_below_two_is_refused(factor: int) -> None:
    with pytest.raises(UsageError, match="2 x 2"):
        CoarseScene(random_scene((5, 5)), factor)
