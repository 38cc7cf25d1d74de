"""Percentiles of a raster: numpy's where all is looked at, and a function of the raster alone where not."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pytest

from geoseg.grid import Window
from geoseg.raster import stretch as module
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.raster.stretch import percentile_bounds, pieces


def random_scene(dtype: str, shape=(37, 53)) -> ArrayScene:
    random = np.random.default_rng(2)
    pixels = (random.normal(0, 1, (2, *shape)) ** 3 * 300).astype(dtype)
    return ArrayScene(pixels, random.random(shape) > 0.3)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("percentiles", [(2.0, 98.0), (0.0, 100.0), (0.5, 60.0)])
def test_of_a_small_raster_they_are_numpys(dtype, percentiles):
    scene = random_scene(dtype)
    known = [np.percentile(band[scene.valid].astype(np.float64), percentiles) for band in scene.pixels]
    assert percentile_bounds(scene, percentiles) == tuple(map(tuple, known))


def test_nodata_and_nan_do_not_count(make_raster):
    pixels = np.arange(1, 1 + 2 * 20 * 30, dtype=np.float32).reshape(2, 20, 30)
    expected = [np.percentile(band[2:, 3:].astype(np.float64), (2, 98)) for band in pixels]
    pixels[:, :2], pixels[0, 2:, :3] = -9999, np.nan
    with Scene(make_raster(pixels, nodata=-9999)) as scene:
        assert percentile_bounds(scene, (2, 98)) == tuple(map(tuple, expected))


def test_a_large_raster_is_looked_at_in_pieces_that_depend_on_its_shape(make_raster):
    shape = 3000, 1100
    found = pieces(shape)
    assert len(found) == 256 and {window.shape for window in found} == {(64, 64)}
    rows = sorted({window.row for window in found})
    assert rows[0] == (187 - 64) // 2 and rows[-1] == (2812 + 3000 - 64) // 2
    assert {later - row for row, later in pairwise(rows)} <= {187, 188}
    pixels = np.random.default_rng(0).gamma(2, 500, (1, *shape)).astype(np.uint16)
    looked_at = np.concatenate([pixels[0, *window.slices].ravel() for window in found]).astype(np.float64)
    expected = tuple(np.percentile(looked_at, (2, 98)))
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "nodata": 0}
    for profile in (layout, {"nodata": 0}):
        with Scene(make_raster(pixels, **profile)) as scene:
            assert percentile_bounds(scene, (2, 98)) == (expected,)
    # Not far from those of all pixels.
    assert expected == pytest.approx(tuple(np.percentile(pixels, (2, 98))), rel=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (37, 1025), (1024, 64)])
def test_pieces_lie_in_the_raster_and_cover_its_short_sides(shape):
    seen = np.zeros(shape, bool)
    for window in pieces(shape):
        assert not seen[window.slices].any()
        seen[window.slices] = True
    assert seen.shape == shape and seen.sum() == min(shape[0], 1024) * min(shape[1], 1024)


def test_where_the_pieces_hold_too_little_the_whole_raster_is_looked_through(monkeypatch):
    pixels = np.zeros((1, 1500, 1600), np.uint16)
    valid = np.zeros((1500, 1600), bool)
    corner = Window(1490, 1595, 10, 5)
    assert not any(window.intersect(corner) for window in pieces(valid.shape))
    valid[corner.slices] = True
    pixels[0, *corner.slices] = np.arange(50).reshape(10, 5) + 100
    expected = tuple(np.percentile(np.arange(100, 150), (2, 98)))
    assert percentile_bounds(ArrayScene(pixels, valid), (2, 98)) == (expected,)
    monkeypatch.setattr(module, "ENOUGH", 0)
    assert percentile_bounds(ArrayScene(pixels, valid), (2, 98)) == ((0.0, 1.0),)


def test_a_constant_band_and_no_data_give_bounds_apart():
    pixels = np.full((1, 9, 9), 7, np.uint16)
    assert percentile_bounds(ArrayScene(pixels), (2, 98)) == ((6.5, 7.5),)
    assert percentile_bounds(ArrayScene(pixels, np.zeros((9, 9), bool)), (2, 98)) == ((0.0, 1.0),)


def test_pixels_that_look_like_undeclared_nodata_are_told_of(caplog):
    pixels = np.full((2, 40, 50), 9, np.uint16)
    pixels[:, :10] = 0
    with caplog.at_level(logging.WARNING, "geoseg"):
        assert percentile_bounds(ArrayScene(pixels, name="b4.tif"), (2, 98)) == ((0.0, 9.0),) * 2
    assert "b4.tif: 25% of the pixels are 0 in all bands" in caplog.text and "--nodata 0" in caplog.text
    caplog.clear()
    percentile_bounds(ArrayScene(pixels, pixels[0] > 0), (2, 98))
    assert not caplog.text
