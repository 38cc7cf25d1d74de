"""What a plan decides, what it refuses, and that it survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from geoseg.errors import InputError, UsageError
from geoseg.grid import Window
from geoseg.models.segmenter import SegmenterConfig
from geoseg.prediction.plan import Plan, default_overlap, make_plan, require_fit, resolve_window, scaled
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.scaling import Scaling, of_statistics

LOCAL = {"device": "cpu", "precision": "fp32"}


def scene_of(*shape: int, dtype: str = "uint8") -> ArrayScene:
    return ArrayScene(np.zeros((3, *shape), dtype), name="scene.tif")


@pytest.fixture
def segmenter(make_segmenter):
    return make_segmenter(lambda image: image.new_zeros(len(image), 7, *image.shape[2:]), window=64, size=48)


@pytest.mark.parametrize(
    ("window", "size", "expected"),
    [
        (None, None, (2448, 1024)),
        (512, None, (512, 512)),
        (512, 256, (512, 256)),
        (256, 512, (256, 512)),
        (None, 1024, (3000, 1024)),
        (None, 750, (3000, 750)),
        (None, 4000, (3000, 4000)),
    ],
)
def test_resolve_window(window, size, expected):
    assert resolve_window((3000, 200), window, size, (2448, 1024), "scene.tif") == expected


@pytest.mark.parametrize("shape", [(3001, 10), (10, 3001)])
def test_a_whole_scene_in_a_much_smaller_tile_is_refused_with_a_hint(shape):
    with pytest.raises(UsageError, match=r"scene\.tif.*3001 px.*--window 3000 --size 750"):
        resolve_window(shape, None, 750, (64, 64), "scene.tif")


@pytest.mark.parametrize(("window", "size"), [(0, None), (None, 0), (64, -1), (-1, 64)])
def test_sides_below_one_are_refused(window, size):
    with pytest.raises(UsageError, match="at least 1"):
        resolve_window((10, 10), window, size, (64, 64), "scene.tif")


@pytest.mark.parametrize(
    ("shape", "side", "size", "expected"),
    [
        ((64, 64), 64, 48, (48, 48)),
        ((1, 64), 64, 16, (1, 16)),
        ((37, 53), 53, 26, (18, 26)),
        ((10, 30), 20, 40, (20, 60)),
        ((3, 5), 2, 1, (2, 3)),
        ((37, 53), 64, 64, (37, 53)),
    ],
)
def test_scaled_rounds_and_is_never_empty(shape, side, size, expected):
    assert scaled(shape, side, size) == expected


def test_plan_takes_window_and_size_of_the_training(segmenter):
    plan = make_plan(scene_of(200, 300), segmenter, **LOCAL)
    assert (plan.lattice.side, plan.lattice.overlap, plan.size) == (64, 16, 48)
    assert plan.window_shape == (64, 64) and plan.tile_shape == (48, 48)
    assert plan.numerics.batch_shape == (1, 48, 48)


def test_a_scene_smaller_than_the_window_is_one_tile_in_the_same_scale(segmenter):
    plan = make_plan(scene_of(32, 20), segmenter, overlap=1000, **LOCAL)
    assert plan.window_shape == (32, 20) and plan.tile_shape == (24, 15)
    assert list(plan.lattice) == [Window(0, 0, 32, 20)] and plan.shards == [Window(0, 0, 32, 20)]


def test_an_overlap_as_large_as_the_window_is_refused(segmenter):
    with pytest.raises(UsageError, match="overlap"):
        make_plan(scene_of(200, 300), segmenter, window=64, overlap=64, **LOCAL)


@pytest.mark.parametrize(
    ("wanted", "across", "batch"), [(None, 5, 1), (1, 5, 1), (2, 5, 2), (3, 5, 3), (4, 5, 3), (8, 5, 5), (4, 1, 1)]
)
def test_batches_are_equal_shares_of_a_row_of_tiles(segmenter, wanted, across, batch):
    plan = make_plan(scene_of(70, 64 * across), segmenter, window=64, overlap=0, batch_size=wanted, **LOCAL)
    assert plan.numerics.batch_shape == (batch, 64, 64)


def test_a_batch_never_crosses_a_column_of_shards(segmenter):
    how = {"window": 64, "overlap": 0, "batch_size": 6} | LOCAL
    assert make_plan(scene_of(70, 1024), segmenter, **how).numerics.batch_shape[0] == 6
    plan = make_plan(scene_of(70, 1024), segmenter, shard_shape=(512, 512), **how)
    assert len(plan.columns) == 2 and plan.numerics.batch_shape == (4, 64, 64)


def test_repeated_work_counts_the_tiles_of_every_column(segmenter):
    plan = make_plan(scene_of(1024, 1024), segmenter, window=512, overlap=0, shard_shape=(512, 512), **LOCAL)
    assert (plan.forwarded, plan.repeated_work) == (4, 1.0)
    # Windows at 0, 256 and 512: each column of shards meets two across, and shares all three down.
    plan = make_plan(scene_of(1024, 1024), segmenter, window=512, overlap=128, shard_shape=(512, 512), **LOCAL)
    assert plan.lattice.rows == [0, 256, 512]
    assert plan.forwarded == (2 + 2) * 3 and plan.repeated_work == 3.0
    whole = make_plan(scene_of(1024, 1024), segmenter, window=512, overlap=128, **LOCAL)
    assert whole.forwarded == 9 and whole.repeated_work == 9 / 4


def test_shards_begin_on_block_borders(segmenter):
    with pytest.raises(UsageError, match="multiples of 512"):
        make_plan(scene_of(70, 70), segmenter, shard_shape=(512, 700), **LOCAL).shards  # noqa: B018


def test_plan_survives_json(segmenter, make_raster):
    plan = make_plan(Scene(make_raster()), segmenter, batch_size=3, **LOCAL)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.shards == plan.shards and again.numerics.batch_shape == plan.numerics.batch_shape


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"lattice": 1}', '{"lattice": {}, "numerics": {}}'])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(UsageError, match="not a plan"):
        Plan.from_json(text)


def test_a_plan_with_an_unknown_field_is_refused(segmenter):
    record = json.loads(make_plan(scene_of(9, 9), segmenter, **LOCAL).to_json())
    with pytest.raises(UsageError, match="not a plan"):
        Plan.from_json(json.dumps(record | {"later": 1}))


def test_memory_does_not_grow_with_the_height_of_the_scene(segmenter):
    low = make_plan(scene_of(8192, 100), segmenter, overlap=8, **LOCAL)
    high = make_plan(scene_of(8192 + 400 * 56, 100), segmenter, overlap=8, **LOCAL)
    assert low.memory == high.memory
    # Windows lie on multiples of 8, so some share 8 px more than the 8 that were asked for.
    strips, rows = 4 * 6 * (16 + 16) * 100, (3 + 1) * ((64 + 512) * (100 + 64) + 8 * 512 * 2048)
    waiting, scores = 4 * 1024 * 100, (12 * 1 * 6 + 8) * 64 * 64
    resampling = 5 * 21 * 3 * 64 * 64
    assert low.memory == int(strips + rows + waiting + scores + resampling)


def config_of(bands: int) -> SegmenterConfig:
    from geoseg.legend import DEEPGLOBE

    return SegmenterConfig(DEEPGLOBE, bands=bands, mean=(0.0,) * bands, std=(1.0,) * bands, fill=(0.0,) * bands)


def test_too_many_bands_name_the_option_that_chooses():
    with pytest.raises(InputError, match=r"scene\.tif: has 3 band.*, the model takes 2.*--bands 1,2$"):
        require_fit(scene_of(4, 4), config_of(2))


def test_too_few_bands():
    with pytest.raises(InputError, match=r"scene\.tif: has 3 band.*, the model takes 5"):
        require_fit(scene_of(4, 4), config_of(5))


def test_another_dtype_names_the_remedy():
    with pytest.raises(InputError, match=r"scene\.tif: pixels are uint16, the model takes uint8.*gdal_translate"):
        require_fit(scene_of(4, 4, dtype="uint16"), config_of(3))


@pytest.mark.parametrize(
    ("trained", "given", "fits"),
    [
        ("uint16", "int16", True),
        ("uint16", "int32", True),
        ("float32", "float64", True),
        ("uint16", "float32", False),
        ("float32", "uint16", False),
        ("uint16", "uint8", False),
        ("uint8", "int8", False),
    ],
)
def test_pixels_must_mean_the_same(trained, given, fits):
    config = replace(config_of(3), dtype=trained, scaling=of_statistics((500.0,) * 3, (90.0,) * 3))
    scene = scene_of(4, 4, dtype=given)
    require_fit(scene, replace(config, scaling=Scaling("percentile", percentiles=(2, 98))))
    if fits:
        require_fit(scene, config)
        return
    with pytest.raises(InputError, match=rf"pixels are {given}, the model takes {trained} .*--scaling percentile"):
        require_fit(scene, config)


def test_pixels_that_are_no_numbers_are_refused():
    config = replace(config_of(3), scaling=Scaling("percentile", percentiles=(2, 98)))
    with pytest.raises(InputError, match="pixels are bool"):
        require_fit(scene_of(4, 4, dtype="bool"), config)


@pytest.fixture
def own_percentiles(make_segmenter):
    scaling = Scaling("percentile", percentiles=(10, 90))
    return make_segmenter(lambda image: image.new_zeros(len(image), 7, *image.shape[2:]), scaling=scaling)


def test_the_scene_s_own_bounds_are_in_the_plan(own_percentiles, make_raster):
    pixels = np.arange(3 * 37 * 53, dtype=np.int32).reshape(3, 37, 53) - 2000
    plan = make_plan(Scene(make_raster(pixels)), own_percentiles, **LOCAL)
    assert plan.stretch == tuple(tuple(np.percentile(band, (10, 90))) for band in pixels)
    assert Plan.from_json(plan.to_json()) == plan
    given = make_plan(scene_of(9, 9), own_percentiles, stretch=[(0, 5)], **LOCAL)
    assert given.stretch == ((0.0, 5.0),) * 3


def test_bounds_that_do_not_fit_are_refused(own_percentiles, segmenter):
    with pytest.raises(UsageError, match="2 bands for 3"):
        make_plan(scene_of(9, 9), own_percentiles, stretch=((0, 1), (0, 2)), **LOCAL)
    with pytest.raises(UsageError, match="the lower first"):
        make_plan(scene_of(9, 9), own_percentiles, stretch=((1, 0),) * 3, **LOCAL)
    with pytest.raises(UsageError, match="scales every raster alike, by range 0 to 255"):
        make_plan(scene_of(9, 9), segmenter, stretch=((0, 1),) * 3, **LOCAL)
    assert make_plan(scene_of(9, 9), segmenter, **LOCAL).stretch == ()


def test_a_plan_of_before_there_were_scalings_is_read(segmenter):
    plan = make_plan(scene_of(9, 9), segmenter, **LOCAL)
    record = json.loads(plan.to_json())
    del record["stretch"]
    assert Plan.from_json(json.dumps(record)) == plan


def test_a_plan_of_an_unsuitable_scene_is_refused(segmenter):
    with pytest.raises(InputError, match="float32"):
        make_plan(scene_of(4, 4, dtype="float32"), segmenter, **LOCAL)


@pytest.mark.parametrize(
    ("side", "size", "overlap"),
    [(2048, 2048, 256), (1024, 1024, 128), (512, 512, 96), (256, 256, 64), (1224, 512, 229), (7, 7, 1)],
)
def test_neighbours_share_what_hides_seams(side, size, overlap):
    assert default_overlap(side, size) == overlap
