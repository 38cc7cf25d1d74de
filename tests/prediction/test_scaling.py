"""Rasters of any dtype, scaled by themselves or by the model: one map, however the work is divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

import geoseg
from geoseg.legend import DEEPGLOBE, NODATA
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load, save_segmenter
from geoseg.prediction import predict as module
from geoseg.prediction.plan import Plan, make_plan
from geoseg.prediction.shard import run_shard
from geoseg.raster.described import open_described
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.raster.stack import StackScene
from geoseg.scaling import Scaling

SHAPE = 560, 530
LOCAL = {"device": "cpu", "precision": "fp32"}
PERCENTILE = Scaling("percentile", percentiles=(2.0, 98.0))


def segmenter_of(scaling: Scaling, dtype: str, bands: int = 3) -> Segmenter:
    torch.manual_seed(3)
    plain = {"mean": (0.4,) * bands, "std": (0.2,) * bands, "fill": (0.5,) * bands}
    shape = {"width": 2, "norm": "batch", "window": 256, "size": 256}
    config = SegmenterConfig(DEEPGLOBE, bands=bands, dtype=dtype, scaling=scaling, **plain, **shape)
    segmenter = Segmenter(config).eval()
    return undecided(segmenter, bands)


@torch.no_grad()
def undecided(segmenter: Segmenter, bands: int) -> Segmenter:
    """The segmenter with its last layer changed so that no class is likelier than another: what it sees decides."""
    random = torch.Generator().manual_seed(1)
    image = torch.randn(1, bands, 64, 64, generator=random) + torch.linspace(-2, 2, 64)
    head = segmenter.network.head
    logits = segmenter.network(image)
    mean, std = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
    head.bias.sub_(mean).div_(std)
    head.weight.div_(std.view(-1, 1, 1, 1))
    return segmenter


@pytest.fixture
def model(tmp_path):
    save_segmenter(segmenter_of(PERCENTILE, "uint16"), tmp_path / "model.safetensors")
    return load(tmp_path / "model.safetensors")


@pytest.fixture
def path(make_raster):
    """Brighter from row to row, so that each part of the scene has other percentiles than the whole; a nodata wedge."""
    random = np.random.default_rng(5)
    ramp = 500 + 10 * np.arange(SHAPE[0])[:, None] + np.arange(SHAPE[1])
    pixels = np.clip(random.normal(ramp, 300, (3, *SHAPE)), 1, 65535).astype(np.uint16)
    pixels[:, :50, :70] = 0
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "nodata": 0}
    return make_raster(pixels, **layout)


def test_a_shard_from_the_json_is_the_part_of_the_whole(model, path):
    """The scene's own percentiles are in the plan, and nothing is looked up again where a part is predicted."""
    with Scene(path) as scene:
        plan = make_plan(scene, model, shard_shape=(512, 512), **LOCAL)
    text = plan.to_json()
    whole = geoseg.predict(path, model, **LOCAL)
    assert len(set(np.unique(whole.codes))) > 3
    for index in range(len(plan.shards)):
        result = run_shard(Plan.from_json(text), index)
        assert np.array_equal(result.codes, whole.codes[result.window.slices])


SQUARE = Affine(0.7, 0.0, 441_754.5, 0.0, -0.7, 5_417_386.25)
HUGE = {"float32": 3.4e38, "float64": 1.7e308}


@pytest.mark.parametrize(
    "window", [{}, {"window": 256, "size": 150}, {"match_gsd": True}], ids=["as is", "area", "coarse"]
)
@pytest.mark.parametrize("dtype", HUGE)
def test_huge_values_are_bright_or_dark_and_spoil_nothing_around_them(dtype, window, make_raster, caplog):
    """Nodata that was never declared is often the least number there is; infinity is no data."""
    segmenter = segmenter_of(Scaling("range", ((0.0, 1.0),)), dtype)
    segmenter.config = replace(segmenter.config, gsd=1.5)
    ordinary = np.random.default_rng(8).uniform(0, 1, (3, 300, 330)).astype(dtype)
    # As large a step in a pixel as in all that a mean is taken of.
    at, far = [(5, 200), (11, 13), (140, 290)], 1e9
    pixels, clipped, endless = ordinary.copy(), ordinary.copy(), ordinary.copy()
    for row, col in at:
        for sign in (1, -1):
            pixels[:, row + 2 * sign, col] = sign * HUGE[dtype]
            clipped[:, row + 2 * sign, col] = sign * far
            endless[:, row + 2 * sign, col] = sign * np.inf
    found, known, empty = (
        geoseg.predict(make_raster(array, f"{name}.tif", transform=SQUARE), segmenter, **LOCAL, **window).codes
        for name, array in (("huge", pixels), ("clipped", clipped), ("endless", endless))
    )
    assert np.array_equal(found, known) and len(np.unique(found)) > 3 and not (found == NODATA).any()
    assert (found != geoseg.predict(make_raster(ordinary, transform=SQUARE), segmenter, **LOCAL, **window).codes).any()
    assert (empty == NODATA).sum() == 2 * len(at)


def test_a_part_predicted_alone_would_be_another_map(model, path):
    """What the test above would not notice if bounds came from the tiles."""
    whole = geoseg.predict(path, model, **LOCAL)
    with Scene(path) as scene:
        upper = ArrayScene(*scene.read(geoseg.Window(0, 0, 256, SHAPE[1])))
    alone = geoseg.predict(upper, model, **LOCAL)
    assert alone.plan.stretch != whole.plan.stretch
    assert (alone.codes != whole.codes[:256]).mean() > 0.05
    same = geoseg.predict(upper, model, stretch=whole.plan.stretch, **LOCAL)
    assert (same.codes[:100] == whole.codes[:100]).all()


def test_a_stopped_run_goes_on_to_the_same_file(model, path, tmp_path, monkeypatch):
    geoseg.predict(path, model, tmp_path / "whole.tif", **LOCAL)
    results, made = module._results, []

    def stops(*args, **options):
        for item in results(*args, **options):
            yield item
            made.append(item)
            raise RuntimeError("stopped")

    monkeypatch.setattr(module, "_results", stops)
    with pytest.raises(RuntimeError, match="stopped"):
        geoseg.predict(path, model, tmp_path / "map.tif", **LOCAL)
    monkeypatch.undo()
    resumed = geoseg.predict(path, model, tmp_path / "map.tif", resume=True, **LOCAL)
    assert made and (tmp_path / "map.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    with rasterio.open(resumed.path) as dataset:
        assert "stretch" in dataset.tags()["GEOSEG_SETTINGS"]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_own_percentiles_make_the_dtype_of_no_account(model, dtype):
    random = np.random.default_rng(4)
    pixels = random.integers(3, 120, (3, 37, 53), dtype=np.uint8)
    valid = random.random((37, 53)) > 0.2
    known = geoseg.predict(ArrayScene(pixels.astype(np.uint16), valid), model, **LOCAL)
    found = geoseg.predict(ArrayScene(pixels.astype(dtype), valid), model, **LOCAL)
    assert np.array_equal(found.codes, known.codes) and (found.codes == 255).sum() == (~valid).sum()
    if dtype.startswith("float"):
        moved = geoseg.predict(ArrayScene(pixels.astype(dtype) / 8 + 1000, valid), model, **LOCAL)
        assert (moved.codes != known.codes).mean() < 1e-3


@pytest.mark.parametrize("options", [{}, {"tta": True}, {"size": 96}, {"window": 20, "overlap": 6, "batch_size": 3}])
def test_8_and_16_bits_of_one_scene_give_one_map(options):
    random = np.random.default_rng(6)
    pixels = random.integers(0, 256, (3, 37, 53), dtype=np.uint8)
    valid = random.random((37, 53)) > 0.1
    narrow = segmenter_of(Scaling("range", ((0.0, 255.0),)), "uint8")
    wide = segmenter_of(Scaling("range", ((0.0, 65535.0),)), "uint16")
    # Filled by the same, too: 0.5 of 255 and of 65535.
    narrow.normalisation.fill.fill_(127.5), wide.normalisation.fill.fill_(127.5 * 257)
    if "size" in options:
        # Means of 8 bits are rounded to whole numbers; of these only some are alike.
        pixels = np.repeat(np.repeat(pixels[:, :19, :27], 2, 1), 2, 2)[:, :37, :53]
        options = {"window": 48, "size": 24, "overlap": 0}
    first = geoseg.predict(ArrayScene(pixels, valid), narrow, **options, **LOCAL)
    second = geoseg.predict(ArrayScene(pixels.astype(np.uint16) * 257, valid), wide, **options, **LOCAL)
    assert len(np.unique(first.codes)) > 3
    assert (first.codes != second.codes).mean() < (0.02 if "size" in options else 1e-6)


def test_floats_that_are_no_numbers_are_nodata_and_change_no_other_pixel(make_segmenter):
    random = np.random.default_rng(6)
    pixels = random.random((3, 37, 53), np.float32)
    model = segmenter_of(Scaling("range", ((0.0, 1.0),)), "float32")
    pixels[1, 5, 7], pixels[2, 9, 9], pixels[0, 0, 0] = np.nan, np.inf, 3e38
    found = geoseg.predict(pixels, model, **LOCAL)
    assert np.argwhere(found.codes == 255).tolist() == [[5, 7], [9, 9]]
    pixels[:, 5, 7], pixels[:, 9, 9] = np.nan, -np.inf
    assert np.array_equal(geoseg.predict(pixels, model, **LOCAL).codes, found.codes)


def test_a_stack_gives_the_map_of_the_file_with_its_bands(model, path, make_raster):
    with rasterio.open(path) as dataset:
        bands = dataset.read()
        layout = {"tiled": True, "blockxsize": 128, "blockysize": 128, "nodata": 0}
    files = [make_raster(band, f"b{number}.tif", **layout) for number, band in enumerate(bands)]
    known = geoseg.predict(path, model, **LOCAL)
    with StackScene(files) as stack:
        found = geoseg.predict(stack, model, **LOCAL)
        assert np.array_equal(found.codes, known.codes)
        again = Plan.from_json(make_plan(stack, model, shard_shape=(512, 512), **LOCAL).to_json())
        assert open_described(again.scene).sources == stack.sources
    result = run_shard(again, 1)
    assert np.array_equal(result.codes, known.codes[result.window.slices])


def test_five_bands_of_int16(make_raster):
    random = np.random.default_rng(6)
    pixels = random.integers(-500, 4000, (5, 37, 53)).astype(np.int16)
    pixels[:, :4] = -9999
    model = segmenter_of(Scaling("statistics", ((-400.0, 3000.0),) * 5), "int16", bands=5)
    with Scene(make_raster(pixels, nodata=-9999)) as scene:
        found = geoseg.predict(scene, model, **LOCAL)
    known = geoseg.predict(ArrayScene(pixels.astype(np.int32), pixels[0] != -9999), model, **LOCAL)
    assert np.array_equal(found.codes, known.codes) and (found.codes[:4] == 255).all()
