"""Ground resolution: how a scene is read at a model's, the map on the scene's own pixels, and what is said."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

import geoseg
import geoseg.prediction.native
import geoseg.raster.writer
import geoseg.tiling
from geoseg.errors import InputError, ModelError, UsageError
from geoseg.grid import Grid
from geoseg.prediction.ground import Match, match, resolve_gsd
from geoseg.prediction.plan import Plan
from geoseg.prediction.predict import planned
from geoseg.prediction.shard import run_shard
from geoseg.raster.scene import ArrayScene, Scene

LOCAL = {"device": "cpu", "precision": "fp32"}
WHOLE_NUMBERS = torch.tensor([[1, 0, -1], [0, 1, 0], [-1, 1, 1], [0, 0, 1], [1, -1, 1], [1, 1, -1], [9, 9, 9]]).float()


def pointwise(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(image, WHOLE_NUMBERS[:, :, None, None])


def answer(pixels: np.ndarray) -> np.ndarray:
    return np.einsum("kc,chw->khw", WHOLE_NUMBERS.int().numpy()[:6], pixels.astype(np.int32)).argmax(0)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 px, so that small scenes have many."""
    for module in (geoseg.tiling, geoseg.raster.writer):
        monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(geoseg.prediction.native, "PIECE", 48)


def place(side: float, across: float | None = None) -> Affine:
    return Affine(across or side, 0, 441_754.5, 0, -side, 5_417_386.25)


# The arithmetic


@pytest.mark.parametrize(
    ("ratio", "trained", "expected"),
    [
        (1.0, (1024, 1024), Match(1, 1024, 1024)),
        (1.04, (1024, 1024), Match(1, 1024, 1024)),
        (0.96, (1024, 1024), Match(1, 1024, 1024)),
        (1.5, (1024, 1024), Match(1, 1536, 1024)),
        (0.5, (1024, 1024), Match(1, 512, 1024)),
        (0.05, (1024, 1024), Match(1, 51, 1024)),
        (2.0, (1024, 1024), Match(2, 1024, 1024)),
        (0.3 / 0.1, (1024, 1024), Match(3, 1024, 1024)),
        (2.5, (1024, 1024), Match(2, 1280, 1024)),
        (25.0, (2448, 1024), Match(25, 2448, 1024)),
        (25.96, (512, 512), Match(26, 512, 512)),
        (1.94, (512, 512), Match(1, 993, 512)),
        (1000.0, (512, 512), Match(1000, 512, 512)),
    ],
)
def test_windows_show_as_much_ground_as_in_training(ratio, trained, expected) -> None:
    found = match(ratio, trained)
    assert found == expected
    # Ground that a pixel of a tile stands for, in scene pixels, here and in training.
    seen, learned = found.factor * found.window / found.size, ratio * trained[0] / trained[1]
    assert 1 / 1.05 <= seen / learned <= 1.05


@settings(max_examples=200)
@given(st.floats(0.02, 400), st.integers(64, 3000), st.integers(64, 1500))
def test_no_window_is_more_than_twice_the_trained_one(ratio, window, size) -> None:
    found = match(ratio, (window, size))
    assert found.window <= 2 * window and found.size == size
    assert found.factor * found.window / found.size == pytest.approx(
        ratio * window / size, rel=0.051 + 0.5 / found.window
    )


def test_a_given_window_or_size_leaves_the_scale() -> None:
    assert match(2.5, (1024, 512), size=256) == Match(2, 640, 256)
    assert match(2.5, (1024, 512), window=640) == Match(2, 320, 128)
    assert match(0.5, (256, 256), window=64) == Match(1, 64, 128)
    with pytest.raises(UsageError, match="leave --window or --size out"):
        match(2.0, (64, 64), window=64, size=64)


# The map


def matched(scene, segmenter, output=None, **options):
    return geoseg.predict(scene, segmenter, output, match_gsd=True, **LOCAL, **options)


def test_a_scene_of_the_model_s_resolution_is_read_as_without(make_segmenter, make_raster) -> None:
    scene, segmenter = make_raster(transform=place(0.5)), make_segmenter(pointwise, gsd=0.51, window=24)
    plain = geoseg.predict(scene, segmenter, **LOCAL)
    found = matched(scene, segmenter)
    assert np.array_equal(found.codes, plain.codes) and found.plan == plain.plan


@pytest.mark.parametrize("shape", [(37, 53), (64, 48), (1, 7), (100, 3)])
@pytest.mark.parametrize("factor", [2, 5, 9])
def test_a_finer_scene_is_predicted_by_its_means(make_segmenter, make_raster, small_blocks, tmp_path, shape, factor):
    random = np.random.default_rng(factor)
    pixels = random.integers(1, 256, (3, *shape)).astype(np.uint8)
    pixels[:, random.random(shape) < 0.3] = 0
    scene = make_raster(pixels, transform=place(0.5), nodata=0)
    segmenter = make_segmenter(pointwise, gsd=0.5 * factor, window=24)
    found = matched(scene, segmenter, tmp_path / "map.tif", shard_shape=(16, 32))
    has = (pixels != 0).any(0)
    padded = np.pad(np.where(has, pixels, 0).astype(float), ((0, 0), (0, -shape[0] % factor), (0, -shape[1] % factor)))
    count = np.pad(has, ((0, -shape[0] % factor), (0, -shape[1] % factor)))
    rows, cols = (length // factor for length in count.shape)
    total = padded.reshape(3, rows, factor, cols, factor).sum((2, 4))
    means = np.floor(total / np.maximum(count.reshape(rows, factor, cols, factor).sum((1, 3)), 1) + 0.5)
    expected = answer(means).repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]]
    assert np.array_equal(found.codes, np.where(has, expected, 255))
    assert found.counts.sum() == has.size and found.counts[255] == (~has).sum()
    with rasterio.open(tmp_path / "map.tif") as made, rasterio.open(scene) as source:
        assert (made.transform, made.crs, made.shape) == (source.transform, source.crs, source.shape)
    assert np.array_equal(matched(scene, segmenter).codes, found.codes)


def left_and_right(image: torch.Tensor) -> torch.Tensor:
    bright = image[:, :1] - 100
    return torch.cat([-bright, bright, *[torch.full_like(bright, -500)] * 5], 1)


@pytest.mark.parametrize("gsd", [0.1, 0.25, 0.4, 0.7, 1.3, 2.6, 6.1])
@pytest.mark.parametrize("axis", [1, 2])
def test_borders_stay_in_their_place_at_any_ratio(make_segmenter, make_raster, gsd, axis) -> None:
    pixels = np.full((3, 131, 173), 7, np.uint8)
    np.moveaxis(pixels, axis, 0)[73:] = 200
    codes = matched(make_raster(pixels, transform=place(0.5)), make_segmenter(left_and_right, gsd=gsd, window=64)).codes
    lines = codes if axis == 2 else codes.T
    reach = int(np.ceil(2 * max(gsd / 0.5, 1)))
    assert (lines[:, : 73 - reach] == 0).all() and (lines[:, 73 + reach :] == 1).all()


def test_a_coarser_scene_gets_the_mean_of_what_its_pixels_hold(make_segmenter, make_raster) -> None:
    """Of what lies between the centres of the scene's pixels nothing must be lost: here it is of mean 0."""

    def noisy(image):
        bright = image[:, :1] - 100
        row = torch.arange(image.shape[-2])[:, None] // 4 % 2
        waves = 500 * (row - 0.5) * torch.ones(image.shape[-1])
        return torch.cat([-bright + waves, bright - waves, *[torch.full_like(bright, -5000)] * 5], 1)

    pixels = np.full((3, 40, 44), 7, np.uint8)
    pixels[:, :, 20:] = 200
    codes = matched(make_raster(pixels, transform=place(9.0)), make_segmenter(noisy, gsd=0.5, window=180)).codes
    assert (codes[4:36, :18] == 0).all() and (codes[4:36, 22:] == 1).all()


@pytest.mark.parametrize("gsd", [0.2, 0.7, 1.6])
@pytest.mark.parametrize("kind", ["top", "all"])
def test_scores_lie_beside_the_classes(make_segmenter, make_raster, tmp_path, small_blocks, gsd, kind) -> None:
    pixels = np.random.default_rng(3).integers(1, 256, (3, 75, 90)).astype(np.uint8)
    pixels[:, 10:30, 20:41] = 0
    scene, segmenter = (
        make_raster(pixels, transform=place(0.5), nodata=0),
        make_segmenter(pointwise, gsd=gsd, window=32),
    )
    written = {"scores": kind, "scores_output": tmp_path / "scores.tif"}
    found = matched(scene, segmenter, tmp_path / "map.tif", shard_shape=(32, 32), **written)
    with rasterio.open(tmp_path / "scores.tif") as scores:
        values = scores.read()
        assert scores.shape == (75, 90) and scores.transform == place(0.5)
    assert ((values == 255) == (found.codes == 255)).all() and (found.codes == 255).sum() == 20 * 21
    if kind == "all":
        best = np.where(found.codes == 255, 255, values.argmax(0))
        sure = np.sort(values, 0)[-1] > np.sort(values, 0)[-2]
        assert np.array_equal(best[sure], found.codes[sure])


@pytest.mark.parametrize("gsd", [0.7, 1.6])
def test_the_map_is_the_same_whatever_the_shards_and_pieces(make_segmenter, make_raster, tmp_path, monkeypatch, gsd):
    pixels = np.random.default_rng(7).integers(0, 256, (3, 150, 170)).astype(np.uint8)
    scene = make_raster(pixels, transform=place(0.5), nodata=0)
    segmenter = make_segmenter(by_neighbours, gsd=gsd, window=32)
    found = set()
    for side, piece in ((16, 48), (32, 64), (512, 16)):
        monkeypatch.setattr(geoseg.tiling, "BLOCK", 16)
        monkeypatch.setattr(geoseg.raster.writer, "BLOCK", 16)
        monkeypatch.setattr(geoseg.prediction.native, "PIECE", piece)
        target = tmp_path / f"{side}.tif"
        matched(scene, segmenter, target, shard_shape=(side, side))
        found.add(Scene(target).read()[0].tobytes())
    assert len(found) == 1


def by_neighbours(image: torch.Tensor) -> torch.Tensor:
    return pointwise(torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False))


def test_a_stopped_run_goes_on_to_the_same_bytes(make_segmenter, make_raster, tmp_path, small_blocks, monkeypatch):
    pixels = np.random.default_rng(7).integers(0, 256, (3, 150, 170)).astype(np.uint8)
    scene = make_raster(pixels, transform=place(0.5), nodata=0)
    how = {"shard_shape": (16, 32), "window": 80}
    whole = matched(scene, make_segmenter(by_neighbours, gsd=1.6), tmp_path / "a.tif", **how)

    class Stopped(Exception):
        pass

    def stopping(image):
        if len(segmenter.network.calls) > 12:
            raise Stopped
        return by_neighbours(image)

    segmenter = make_segmenter(stopping, gsd=1.6)
    with pytest.raises(Stopped):
        matched(scene, segmenter, tmp_path / "b.tif", **how)
    segmenter.network.function = by_neighbours
    with pytest.raises(UsageError, match=r"another .*lattice"):
        geoseg.predict(scene, segmenter, tmp_path / "b.tif", resume=True, **how, **LOCAL)
    before = len(segmenter.network.calls)
    matched(scene, segmenter, tmp_path / "b.tif", resume=True, **how)
    assert 0 < len(segmenter.network.calls) - before < whole.plan.forwarded
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_plan_in_json_is_enough_for_a_worker(make_segmenter, make_raster) -> None:
    segmenter = make_segmenter(pointwise, gsd=2.0, window=24)
    with planned(make_raster(transform=place(0.5)), segmenter, None, match_gsd=True, **LOCAL) as (plan, scene, _):
        assert plan.scene["kind"] == "coarse" and plan.scene["factor"] == 4
        here = run_shard(plan, 0, scene=scene, segmenter=segmenter)
        there = run_shard(Plan.from_json(plan.to_json()), 0, segmenter=segmenter)
        assert np.array_equal(here.codes, there.codes)


def test_strips_lie_on_the_scene_s_own_pixels(make_segmenter, make_raster, small_blocks) -> None:
    pixels = np.random.default_rng(7).integers(1, 256, (3, 75, 90)).astype(np.uint8)
    scene, segmenter = make_raster(pixels, transform=place(0.5)), make_segmenter(pointwise, gsd=1.5, window=24)
    codes = np.full((75, 90), 77, np.uint8)
    for strip in geoseg.predict_strips(scene, segmenter, match_gsd=True, shard_shape=(16, 16), **LOCAL):
        assert (codes[strip.window.slices] == 77).all()
        codes[strip.window.slices] = strip.codes
    assert np.array_equal(codes, matched(scene, segmenter).codes)


def test_memory_does_not_depend_on_how_much_finer_the_scene_is(make_segmenter) -> None:
    """By the plan's own formula: the same for 10 and 100 times, and for twice as fine what a window of twice costs."""
    segmenter = make_segmenter(pointwise, gsd=10.0, window=512)
    found = []
    for side in (10.0, 5.5, 1.0, 0.1):
        grid = Grid(CRS.from_epsg(32631), place(side), (2048, 2048))
        scene = ArrayScene(np.zeros((3, 2048, 2048), np.uint8), grid=grid)
        with planned(scene, segmenter, None, match_gsd=True, **LOCAL) as (plan, _, _):
            found.append(plan.memory)
    assert found[3] <= found[2] <= found[0] + (1 << 28) and found[1] < 6 * found[0]


# What is known of scenes


def test_a_scene_s_own_resolution_counts(make_raster, caplog) -> None:
    placed, nowhere = Scene(make_raster(transform=place(0.5))), ArrayScene(np.zeros((3, 4, 4), np.uint8))
    assert (resolve_gsd(placed, None), resolve_gsd(placed, 0.55)) == (0.5, 0.5) and not caplog.text
    assert resolve_gsd(placed, 0.7) == 0.5 and "0.5 m per pixel, which counts, not 0.7 m" in caplog.text
    assert (resolve_gsd(nowhere, None), resolve_gsd(nowhere, 0.3)) == (None, 0.3)
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="metres per pixel, above 0"):
            resolve_gsd(nowhere, wrong)


def test_a_picture_without_a_place_is_matched_by_what_is_said(make_segmenter) -> None:
    pixels = np.random.default_rng(7).integers(1, 256, (3, 40, 60)).astype(np.uint8)
    segmenter = make_segmenter(pointwise, gsd=1.0, window=24)
    means = np.floor(pixels.reshape(3, 20, 2, 30, 2).mean((2, 4)) + 0.5)
    found = matched(pixels, segmenter, gsd=0.5)
    assert np.array_equal(found.codes, answer(means).repeat(2, 0).repeat(2, 1))
    with pytest.raises(InputError, match=r"array: tells no ground resolution to match; name it with --gsd"):
        matched(pixels, segmenter)
    with pytest.raises(ModelError, match="train it with --gsd"):
        matched(pixels, make_segmenter(pointwise), gsd=0.5)


def test_pixels_that_are_far_from_square_are_refused(make_segmenter, make_raster) -> None:
    segmenter = make_segmenter(pointwise, gsd=2.0, window=24)
    matched(make_raster(transform=place(0.5, 0.6)), segmenter)
    with pytest.raises(InputError, match=r"pixels are 0\.75 m high and 0\.5 m wide on the ground.*gdalwarp"):
        matched(make_raster(), segmenter)
    with pytest.raises(InputError, match=r"1\.11 m high and 0\.558 m wide"):
        matched(make_raster(crs="EPSG:4326", transform=Affine(1e-5, 0, 2.3, 0, -1e-5, 60)), segmenter)


def said(caplog, scene, segmenter, **options) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, "geoseg"):
        geoseg.predict(scene, segmenter, **LOCAL, **options)
    return [f"{record.levelname}: {record.getMessage()}" for record in caplog.records]


def test_a_scene_unlike_the_model_s_is_told_with_both_figures(make_segmenter, make_raster, caplog) -> None:
    segmenter = make_segmenter(pointwise, gsd=0.5, window=24)
    (line,) = said(caplog, make_raster(transform=place(0.1)), segmenter)
    assert line.startswith("WARNING") and "at 0.1 m per pixel and was trained at 0.5 m, 5.0 times as coarse" in line
    assert "scene.tif" in line and "--match-gsd" in line
    (line,) = said(caplog, make_raster(transform=place(0.63)), segmenter)
    assert "0.63 m per pixel and was trained at 0.5 m, 1.3 times as fine" in line
    for side in (0.41, 0.5, 0.62):
        assert said(caplog, make_raster(transform=place(side)), segmenter) == []
    assert said(caplog, make_raster(transform=place(0.1)), make_segmenter(pointwise, window=24)) == []
    (line,) = said(caplog, make_raster(transform=place(0.1)), segmenter, match_gsd=True)
    assert line.startswith("INFO") and "5 x 5 pixels read as one" in line


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:2263", Affine(10, 0, 1e6, 0, -10, 2e5), "3.05"),
        ("EPSG:4326", Affine(1e-5, 0, 2.0, 0, -0.5e-5, 60.0), "0.558"),
        ("EPSG:3857", Affine(2.0, 0, 2e5, 0, -2.0, 8_399_738), "1"),
    ],
    ids=["feet", "degrees at 60 north", "Web Mercator at 60 north"],
)
def test_metres_are_those_on_the_ground(make_segmenter, make_raster, caplog, crs, transform, metres) -> None:
    (line,) = said(caplog, make_raster(crs=crs, transform=transform), make_segmenter(pointwise, gsd=0.1, window=24))
    assert f"sees it at {metres} m per pixel" in line


def test_what_the_network_sees_is_compared(make_segmenter, make_raster, caplog) -> None:
    """The paper's models see 2448 px windows at 1024: scenes are like those of the training, and so is what is seen."""
    segmenter = make_segmenter(pointwise, gsd=0.5, window=48, size=24)
    scene = make_raster(transform=place(0.5))
    assert said(caplog, scene, segmenter) == []
    (line,) = said(caplog, scene, segmenter, window=24)
    assert "at 0.5 m per pixel and was trained at 1 m" in line


def test_a_scene_that_tells_nothing_gets_a_hint_at_most(make_segmenter, caplog) -> None:
    pixels = np.ones((3, 9, 9), np.uint8)
    (line,) = said(caplog, pixels, make_segmenter(pointwise, gsd=0.5))
    assert line.startswith("INFO") and "trained at 0.5 m per pixel (--gsd M names the scene's)" in line
    (line,) = said(caplog, pixels, make_segmenter(pointwise, gsd=0.5), gsd=0.1)
    assert line.startswith("WARNING") and "5.0 times" in line
    assert said(caplog, pixels, make_segmenter(pointwise)) == []
    assert said(caplog, pixels, make_segmenter(pointwise, gsd=0.5), gsd=0.5) == []


def test_feet_and_metres_give_one_map(make_segmenter, make_raster) -> None:
    """The same ground, once in US survey feet, once in metres."""
    pixels = np.random.default_rng(5).integers(1, 256, (3, 40, 60)).astype(np.uint8)
    segmenter = make_segmenter(pointwise, gsd=1.0, window=24)
    foot = 0.3048006096
    metres = matched(make_raster(pixels, transform=place(0.5)), segmenter)
    feet = matched(
        make_raster(pixels, "f.tif", "EPSG:2263", Affine(0.5 / foot, 0, 1e6, 0, -0.5 / foot, 2e5)), segmenter
    )
    assert np.array_equal(metres.codes, feet.codes) and metres.plan.lattice == feet.plan.lattice
