"""geoseg.predict: files and arrays, any size, on the scene's own grid, refusals before any work."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.control import GroundControlPoint

import geoseg
import geoseg.prediction.predict
import geoseg.raster.writer
import geoseg.tiling
from geoseg.errors import InputError, ModelError, OutputError, ResourceError, UsageError
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import SegmenterConfig
from geoseg.models.storage import save_segmenter
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.raster.writer import ClassRasterWriter

LOCAL = {"device": "cpu", "precision": "fp32"}
WHOLE_NUMBERS = torch.tensor([[1, 0, -1], [0, 1, 0], [-1, 1, 1], [0, 0, 1], [1, -1, 1], [1, 1, -1], [9, 9, 9]]).float()


def pointwise(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(image, WHOLE_NUMBERS[:, :, None, None])


def answer(pixels: np.ndarray) -> np.ndarray:
    """The codes that ``pointwise`` gives (3, H, W) uint8 pixels."""
    return np.einsum("kc,chw->khw", WHOLE_NUMBERS.int().numpy()[:6], pixels.astype(np.int32)).argmax(0)


@pytest.fixture
def small_blocks(monkeypatch):
    """Shards and blocks of 16 px, so that small scenes have many."""
    monkeypatch.setattr(geoseg.tiling, "BLOCK", 16)
    monkeypatch.setattr(geoseg.raster.writer, "BLOCK", 16)


@pytest.fixture
def random_pixels():
    return lambda *shape: np.random.default_rng(sum(shape)).integers(1, 256, (3, *shape), np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (31, 33), (700, 3), (200, 211)])
def test_a_file_and_an_array_of_any_size_give_the_same(make_segmenter, make_raster, random_pixels, tmp_path, shape):
    pixels, segmenter = random_pixels(*shape), make_segmenter(pointwise, window=64)
    in_memory = geoseg.predict(pixels, segmenter, **LOCAL)
    on_disk = geoseg.predict(make_raster(pixels), segmenter, tmp_path / "map.tif", **LOCAL)
    assert np.array_equal(in_memory.codes, answer(pixels))
    assert np.array_equal(on_disk.codes, in_memory.codes)
    assert np.array_equal(on_disk.counts, in_memory.counts) and on_disk.counts.sum() == pixels[0].size
    assert (in_memory.path, on_disk.path) == (None, tmp_path / "map.tif")


def test_shards_of_a_scene_with_holes_meet(make_segmenter, make_raster, random_pixels, tmp_path, small_blocks):
    pixels = random_pixels(75, 90)
    pixels[:, 20:60, 30:50] = 0
    scene = make_raster(pixels, nodata=0)
    options = {"window": 24, "overlap": 7, "batch_size": 3, "shard_shape": (32, 32), **LOCAL}
    result = geoseg.predict(scene, make_segmenter(pointwise), tmp_path / "map.tif", **options)
    assert len(result.plan.shards) == 9
    assert np.array_equal(result.codes, np.where((pixels == 0).all(0), 255, answer(pixels)))


def test_every_pixel_is_written_once(make_segmenter, make_raster, random_pixels, tmp_path, small_blocks, monkeypatch):
    written = np.zeros((75, 90), int)

    class Counting(ClassRasterWriter):
        def write(self, window, codes):
            written[window.slices] += 1
            super().write(window, codes)

    monkeypatch.setattr(geoseg.prediction.predict, "ClassRasterWriter", Counting)
    scene = make_raster(random_pixels(75, 90))
    geoseg.predict(scene, make_segmenter(pointwise), tmp_path / "map.tif", window=20, shard_shape=(32, 32), **LOCAL)
    assert (written == 1).all()


def test_blocks_of_the_real_size(make_segmenter, make_raster, random_pixels, tmp_path):
    pixels = random_pixels(530, 1040)
    options = {"window": 400, "overlap": 50, **LOCAL}
    scene, segmenter = make_raster(pixels), make_segmenter(pointwise)
    maps = [
        geoseg.predict(scene, segmenter, tmp_path / f"{side}.tif", shard_shape=(side, side), **options)
        for side in (512, 8192)
    ]
    assert [len(m.plan.shards) for m in maps] == [6, 1]
    assert all(np.array_equal(m.codes, answer(pixels)) for m in maps)


def test_equal_calls_give_equal_files(make_segmenter, make_raster, tmp_path):
    digests = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        geoseg.predict(make_raster(), make_segmenter(pointwise), tmp_path / folder / "map.tif", **LOCAL)
        digests.add(hashlib.sha256((tmp_path / folder / "map.tif").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    "place",
    [
        {"transform": Affine(0.3, 0.4, 5e5, 0.4, -0.3, 5e6)},
        {"transform": Affine(2.0, 0, 5e5, 0, 2.0, 5e6)},
        {"crs": None},
        {"crs": None, "transform": None},
        {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 2.3, 0, -2e-5, 48.8)},
    ],
    ids=["rotated", "south-up", "no CRS", "no georeference", "geographic"],
)
def test_the_map_lies_on_the_grid_of_the_scene(make_segmenter, make_raster, tmp_path, place):
    scene = make_raster(**place)
    geoseg.predict(scene, make_segmenter(pointwise), tmp_path / "map.tif", **LOCAL)
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "map.tif") as result:
        assert (result.crs, result.transform, result.shape) == (source.crs, source.transform, source.shape)
        assert result.dtypes == ("uint8",) and result.nodata == 255


def test_ground_control_points_are_kept(make_segmenter, make_raster, tmp_path):
    scene = make_raster(transform=None, crs=None)
    places = ((0, 0), (0, 53), (37, 0), (20.5, 30))
    points = [GroundControlPoint(row, col, 2 + col * 1e-3, 48 - row * 1e-3, 7.5) for row, col in places]
    with rasterio.open(scene, "r+") as dataset:
        dataset.gcps = points, rasterio.crs.CRS.from_epsg(4326)
    geoseg.predict(scene, make_segmenter(pointwise), tmp_path / "map.tif", **LOCAL)
    with rasterio.open(tmp_path / "map.tif") as result:
        found, crs = result.gcps
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in points]
        assert crs.to_epsg() == 4326 and result.transform == Affine.identity()


def test_an_array_scene_lends_its_grid_to_the_file(make_segmenter, make_raster, tmp_path):
    with Scene(make_raster()) as scene:
        array = ArrayScene(scene.read()[0], grid=scene.grid)
    result = geoseg.predict(array, make_segmenter(pointwise), tmp_path / "map.tif", **LOCAL)
    with Scene(tmp_path / "map.tif") as written:
        assert written.grid.same_as(scene.grid) and result.grid == scene.grid


def test_an_existing_output_is_refused_before_the_model_is_loaded(make_raster, tmp_path):
    output = tmp_path / "map.tif"
    output.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"map\.tif: exists; --overwrite"):
        geoseg.predict(make_raster(), tmp_path / "no-such-model", output)
    assert output.read_bytes() == b"mine"


def test_overwrite_replaces_the_output(make_segmenter, make_raster, tmp_path):
    output = tmp_path / "map.tif"
    output.write_bytes(b"old")
    result = geoseg.predict(make_raster(), make_segmenter(pointwise), output, overwrite=True, **LOCAL)
    with Scene(make_raster()) as scene:
        assert np.array_equal(result.codes, answer(scene.read()[0]))


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("link", ["", "symlink_to", "hardlink_to"])
def test_the_scene_is_never_its_own_output(make_segmenter, make_raster, tmp_path, overwrite, link):
    scene = make_raster()
    before = scene.read_bytes()
    output = tmp_path / "link.tif" if link else scene
    if link:
        getattr(output, link)(scene)
    with pytest.raises(UsageError if overwrite else OutputError):
        geoseg.predict(scene, make_segmenter(pointwise), output, overwrite=overwrite, **LOCAL)
    assert scene.read_bytes() == before


@pytest.mark.parametrize(("output", "error"), [("map.png", UsageError), ("none/map.tif", OutputError)])
def test_an_output_that_cannot_be_is_refused_first(make_raster, tmp_path, output, error):
    with pytest.raises(error):
        geoseg.predict(make_raster(), tmp_path / "no-such-model", tmp_path / output)


def test_a_network_that_fails_leaves_no_file(make_segmenter, make_raster, tmp_path):
    def fails(image):
        raise RuntimeError("no")

    scene = make_raster()
    with pytest.raises(RuntimeError, match="no"):
        geoseg.predict(scene, make_segmenter(fails), tmp_path / "map.tif", **LOCAL)
    assert [path.name for path in tmp_path.iterdir()] == [scene.name]


def test_a_reader_that_fails_is_heard(make_segmenter, make_raster, tmp_path, random_pixels):
    scene = make_raster(random_pixels(600, 600), tiled=True, blockxsize=64, blockysize=64, compress="DEFLATE")
    data = bytearray(scene.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    scene.write_bytes(data)
    with pytest.raises(InputError, match=r"scene\.tif: cannot be read at rows"):
        geoseg.predict(scene, make_segmenter(pointwise, window=128), tmp_path / "map.tif", **LOCAL)
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize("change", ["touched", "longer", "sidecar", "gone"])
def test_a_scene_that_changes_while_it_is_read_gives_no_map(make_segmenter, make_raster, tmp_path, change):
    scene, output = make_raster(), tmp_path / "map.tif"

    def meanwhile(image):
        if change == "gone":
            scene.unlink(missing_ok=True)
        elif change == "sidecar":
            (tmp_path / "scene.tif.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset><!-- other -->")
        else:
            os.utime(scene, ns=(1, 1))
            scene.write_bytes(scene.read_bytes() + b" " * (change == "longer"))
        return pointwise(image)

    (tmp_path / "scene.tif.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset>")
    with pytest.raises(InputError, match=r"scene\.tif: (was changed while it was read|is gone)"):
        geoseg.predict(scene, make_segmenter(meanwhile), output, **LOCAL)
    assert not output.exists()


def test_a_device_out_of_memory_gets_smaller_batches_and_gives_the_same_map(
    make_segmenter, make_raster, random_pixels, tmp_path, caplog
):
    def small(image):
        if len(image) > 1:
            raise torch.OutOfMemoryError("no")
        return pointwise(image)

    scene = make_raster(random_pixels(90, 200))
    segmenter = make_segmenter(small)
    geoseg.predict(scene, segmenter, tmp_path / "map.tif", batch_size=4, **LOCAL)
    assert caplog.text.count("out of device memory; beginning again") == 2
    geoseg.predict(scene, make_segmenter(pointwise), tmp_path / "same.tif", batch_size=1, **LOCAL)
    with Scene(tmp_path / "map.tif") as first, Scene(tmp_path / "same.tif") as second:
        assert np.array_equal(first.read()[0], second.read()[0])
    with pytest.raises(ResourceError):
        geoseg.predict(scene, make_segmenter(lambda image: small(torch.cat([image] * 2))), tmp_path / "x.tif", **LOCAL)


@pytest.mark.parametrize("place", ["another format", "the web"])
def test_an_open_dataset_is_read_as_it_was_opened(web, make_raster, place):
    how = {"name": "a.bmp", "crs": None, "transform": None, "driver": "BMP"}
    path = make_raster(**how) if place == "another format" else make_raster(name="web/a.tif")
    with rasterio.open(path if place == "another format" else web.url("plain/a.tif")) as dataset:
        with geoseg.prediction.predict.open_scene(dataset, SegmenterConfig(DEEPGLOBE)) as scene:
            assert np.array_equal(scene.read()[0], dataset.read())


def test_bands_are_chosen_from_files_only(make_segmenter, make_raster, random_pixels):
    pixels = random_pixels(37, 53)
    four = np.concatenate([pixels[:1], pixels[2:], pixels[1:2], pixels[:1]])
    scene = make_raster(four, photometric="MINISBLACK", alpha="NO")
    result = geoseg.predict(scene, make_segmenter(pointwise), bands=(1, 3, 2), **LOCAL)
    assert np.array_equal(result.codes, answer(pixels))
    with pytest.raises(InputError, match="--bands 1,2,3"):
        geoseg.predict(scene, make_segmenter(pointwise), **LOCAL)
    with pytest.raises(UsageError, match="bands"):
        geoseg.predict(pixels, make_segmenter(pointwise), bands=(1, 3, 2), **LOCAL)


def test_nodata_rule_reaches_the_scene(make_segmenter, make_raster, random_pixels):
    pixels = random_pixels(20, 30)
    pixels[1, 4:9, 7:9] = 0
    scene = make_raster(pixels, nodata=0)
    segmenter = make_segmenter(pointwise)
    maps = [geoseg.predict(scene, segmenter, nodata_rule=rule, **LOCAL) for rule in ("all", "any")]
    assert [result.counts[255] for result in maps] == [0, 10]


def test_one_band_arrays_may_be_flat(make_segmenter):
    def brighter_than_100(image):
        return torch.cat([image - 100, 100 - image, *[torch.full_like(image, -500)] * 5], 1)

    pixels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    result = geoseg.predict(pixels, make_segmenter(brighter_than_100, bands=1), window=8, **LOCAL)
    assert np.array_equal(result.codes, (pixels < 100).astype(np.uint8))


def test_shares_are_of_the_pixels_with_data(make_segmenter):
    def top_is_water(image):
        water = image[:, :1]
        return torch.cat([water * 0, *[water * 0 - 1] * 3, water - 5, *[water * 0 - 1] * 2], 1)

    pixels = np.zeros((3, 10, 10), np.uint8)
    pixels[0, :2] = 9
    valid = np.ones((10, 10), bool)
    valid[:, 5:] = False
    valid[:2, 7:] = True
    result = geoseg.predict(ArrayScene(pixels, valid), make_segmenter(top_is_water), **LOCAL)
    shares = {"urban": 40 / 56, "agriculture": 0, "rangeland": 0, "forest": 0, "water": 16 / 56, "barren": 0}
    assert result.shares == pytest.approx(shares)


def test_shares_of_nothing_are_not_a_number(make_segmenter):
    empty = ArrayScene(np.zeros((3, 5, 5), np.uint8), np.zeros((5, 5), bool))
    result = geoseg.predict(empty, make_segmenter(pointwise), **LOCAL)
    assert result.counts[255] == 25 and all(np.isnan(value) for value in result.shares.values())


def test_a_model_is_named_by_folder_file_or_value(trained_run, sample_folder):
    scene = sample_folder / "scene.tif"
    maps = [
        geoseg.predict(scene, model, **LOCAL).codes
        for model in (trained_run, str(trained_run / "model.safetensors"), geoseg.load(trained_run))
    ]
    assert np.array_equal(maps[0], maps[1]) and np.array_equal(maps[0], maps[2])
    with pytest.raises(ModelError):
        geoseg.predict(scene, sample_folder, **LOCAL)


def test_the_map_says_how_it_was_made(trained_run, sample_folder, tmp_path):
    model = geoseg.load(trained_run)
    result = geoseg.predict(sample_folder / "scene.tif", model, tmp_path / "map.tif", window=48, **LOCAL)
    with rasterio.open(result.path) as dataset:
        tags = dataset.tags()
    assert tags["GEOSEG_MODEL"] == "model.safetensors" and tags["GEOSEG_INPUT"] == "scene.tif"
    digest = hashlib.sha256((trained_run / "model.safetensors").read_bytes()).hexdigest()
    assert tags["GEOSEG_MODEL_SHA256"] == digest
    assert json.loads(tags["GEOSEG_SETTINGS"])["lattice"]["side"] == 48
    assert not any(str(tmp_path) in value for value in tags.values())


def test_a_map_of_a_saved_copy_is_the_same(trained_run, sample_folder, tmp_path):
    save_segmenter(geoseg.load(trained_run), tmp_path / "copy.safetensors")
    scene = sample_folder / "scene.tif"
    first, second = (geoseg.predict(scene, m, **LOCAL) for m in (trained_run, tmp_path / "copy.safetensors"))
    assert np.array_equal(first.codes, second.codes)


def test_an_output_that_is_not_finite_is_refused(make_segmenter, tmp_path):
    model = make_segmenter(lambda image: torch.full((len(image), 7, *image.shape[2:]), float("nan")))
    with pytest.raises(ModelError, match="not finite"):
        geoseg.predict(np.ones((3, 9, 9), np.uint8), model, tmp_path / "map.tif", **LOCAL)
    assert list(tmp_path.iterdir()) == []


def test_the_model_stays_in_its_mode(make_segmenter):
    model = make_segmenter(lambda image: torch.zeros(len(image), 7, *image.shape[2:])).train()
    geoseg.predict(np.ones((3, 9, 9), np.uint8), model, **LOCAL)
    assert model.training
