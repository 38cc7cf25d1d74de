"""Maps of a part of a scene, and of many files as one: the whole scene's map, cut; the merged raster's map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.merge import merge

import geoseg
import geoseg.prediction.native
import geoseg.prediction.tiles
import geoseg.raster.clipped
import geoseg.raster.writer
import geoseg.tiling
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid
from geoseg.prediction.plan import Plan
from geoseg.prediction.predict import planned
from geoseg.prediction.shard import run_shard
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.raster.stack import StackScene
from geoseg.scaling import Scaling

LOCAL = {"device": "cpu", "precision": "fp32"}
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
TURNED = PLACE @ Affine.rotation(33)
SOUTH_UP = Affine(0.5, 0.0, 441_754.5, 0.0, 0.75, 5_417_386.25)
SHAPE = 150, 170


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (geoseg.tiling, geoseg.raster.writer):
        monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(geoseg.raster.clipped, "CELL", 32)
    monkeypatch.setattr(geoseg.prediction.tiles, "CHUNK", (16, 32))


def by_neighbours_and_place(image: torch.Tensor) -> torch.Tensor:
    """Logits that depend on the neighbours of a pixel and on its place in the tile: borders and seams would show."""
    mean = torch.nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False)[:, :1] / 40
    row, col = (torch.linspace(0, 3, n) for n in image.shape[-2:])
    ramp = torch.sin(row)[:, None] + torch.cos(col)
    return torch.cat([torch.sin(mean * (k + 1)) + ramp * (k - 2) / 9 for k in range(7)], 1)


@pytest.fixture
def scene(make_raster):
    def make(transform: Affine = PLACE, **profile):
        pixels = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
        pixels[:, 100:140, 30:60] = 0
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        return make_raster(pixels, transform=transform, nodata=0, **tiled | profile)

    return make


@pytest.fixture
def area(tmp_path):
    def make(shape: shapely.Geometry, crs: str = "EPSG:32631", name: str = "area.gpkg"):
        pyogrio.raw.write(
            tmp_path / name,
            shapely.to_wkb([shape]),
            [],
            [],
            driver="GPKG",
            layer="area",
            geometry_type=shape.geom_type,
            crs=crs,
        )
        return tmp_path / name

    return make


def circle(transform: Affine, col: float = 90, row: float = 60, radius: float = 20) -> shapely.Polygon:
    return shapely.Point(transform @ (col, row)).buffer(radius)


@pytest.mark.parametrize("transform", [PLACE, SOUTH_UP, TURNED], ids=["north-up", "south-up", "turned"])
def test_a_map_of_an_area_is_the_scene_s_map_cut(make_segmenter, scene, area, tmp_path, transform) -> None:
    path, shape = scene(transform), circle(transform)
    segmenter = make_segmenter(by_neighbours_and_place, fill=(100.0,) * 3)
    how = {"window": 32, "overlap": 10, "shard_shape": (32, 64), **LOCAL}
    whole = geoseg.predict(path, segmenter, **how)
    forwarded = len(segmenter.network.calls)
    part = geoseg.predict(path, segmenter, tmp_path / "map.tif", aoi=area(shape), **how)
    inside = rasterize([shape], SHAPE, transform=transform).astype(bool)
    assert np.array_equal(part.codes, np.where(inside, whole.codes, 255))
    assert part.counts.sum() == inside.size and 0.1 < inside.mean() < 0.4
    assert len(segmenter.network.calls) - forwarded < 0.7 * forwarded
    with rasterio.open(tmp_path / "map.tif") as made:
        assert (made.transform, made.shape) == (transform, SHAPE)
        # Blocks outside were not written.
        assert made.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1) is None
        tag = json.loads(made.tags()["GEOSEG_AREA"])
        assert tag["name"] == "area.gpkg" and tag["layer"] == "area" and "path" not in tag
        assert made.tags()["GEOSEG_INPUT"] == "scene.tif" and str(tmp_path) not in str(made.tags())


def test_only_tiles_that_meet_the_area_are_forwarded(make_segmenter, scene) -> None:
    segmenter = make_segmenter(by_neighbours_and_place)
    how = {"window": 32, "overlap": 0, **LOCAL}
    # Columns 40 to 50 of rows 70 to 90: two rows of the lattice, one column.
    box = PLACE @ (40, 90) + PLACE @ (50, 70)
    found = geoseg.predict(scene(), segmenter, bbox=box, **how)
    lattice = found.plan.lattice
    meeting = [w for w in lattice if w.row < 90 and w.row_stop > 70 and w.col < 50 and w.col_stop > 40]
    assert len(segmenter.network.calls) == len(meeting) < len(lattice) / 5
    assert (found.codes[70:90, 40:50] != 255).all() and (found.codes != 255).sum() == 200


def test_what_lies_far_from_the_area_is_not_read(make_segmenter) -> None:
    read = []

    class Watched(ArrayScene):
        def read(self, window=None, shape=None):
            read.append(window)
            return super().read(window, shape)

    grid = Grid(CRS.from_epsg(32631), PLACE, (4000, 300))
    scene = Watched(np.ones((3, 4000, 300), np.uint8), grid=grid)
    scene.block_shape = (16, 300)
    geoseg.predict(
        scene, make_segmenter(by_neighbours_and_place), bbox=PLACE @ (10, 3010) + PLACE @ (20, 3000), window=32, **LOCAL
    )
    assert read and min(w.row for w in read) > 2900 and max(w.row_stop for w in read) < 3100


@pytest.mark.parametrize("gsd", [0.3, 1.5, 3.1])
def test_an_area_is_cut_on_the_scene_s_own_pixels(make_segmenter, make_raster, area, gsd, monkeypatch) -> None:
    monkeypatch.setattr(geoseg.prediction.native, "PIECE", 48)
    square = Affine(0.5, 0, 441_754.5, 0, -0.5, 5_417_386.25)
    pixels = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    path, shape = make_raster(pixels, transform=square, nodata=0), circle(square, radius=17)
    segmenter = make_segmenter(by_neighbours_and_place, gsd=gsd, window=32)
    how = {"match_gsd": True, "shard_shape": (16, 32), **LOCAL}
    whole, part = geoseg.predict(path, segmenter, **how), geoseg.predict(path, segmenter, aoi=area(shape), **how)
    inside = rasterize([shape], SHAPE, transform=square).astype(bool)
    assert np.array_equal(part.codes, np.where(inside, whole.codes, 255))


def test_another_area_is_another_run(make_segmenter, scene, area, tmp_path) -> None:
    path, target = scene(), tmp_path / "map.tif"

    class Stopped(Exception):
        pass

    def stopping(image):
        if len(segmenter.network.calls) > 25:
            raise Stopped
        return by_neighbours_and_place(image)

    segmenter = make_segmenter(stopping)
    how = {"window": 32, "shard_shape": (16, 16), **LOCAL}
    wide = area(circle(PLACE, radius=40))
    with pytest.raises(Stopped):
        geoseg.predict(path, segmenter, target, aoi=wide, **how)
    segmenter.network.function = by_neighbours_and_place
    others = ({}, {"bbox": PLACE @ (0, 100) + PLACE @ (100, 0)}, {"aoi": area(circle(PLACE, radius=39), name="b.gpkg")})
    for other in others:
        with pytest.raises(UsageError, match="another scene"):
            geoseg.predict(path, segmenter, target, resume=True, **other, **how)
    geoseg.predict(path, segmenter, target, resume=True, aoi=wide, **how)
    again = make_segmenter(by_neighbours_and_place)
    geoseg.predict(path, again, tmp_path / "again.tif", aoi=wide, **how)
    assert len(segmenter.network.calls) - 26 < len(again.network.calls)
    assert (tmp_path / "again.tif").read_bytes() == target.read_bytes()


def test_a_worker_finds_the_area_by_the_plan(make_segmenter, scene, area) -> None:
    segmenter, file = make_segmenter(by_neighbours_and_place), area(circle(PLACE))
    with planned(scene(), segmenter, None, aoi=file, window=32, **LOCAL) as (plan, opened, _):
        here = run_shard(plan, 0, scene=opened, segmenter=segmenter).codes
        worker = Plan.from_json(plan.to_json())
        assert np.array_equal(run_shard(worker, 0, segmenter=segmenter).codes, here) and (here != 255).any()
        area(circle(PLACE, radius=5))
        with pytest.raises(InputError, match="has changed"):
            run_shard(worker, 0, segmenter=segmenter)


def test_an_area_between_pixel_centres_gives_an_empty_map(make_segmenter, scene) -> None:
    found = geoseg.predict(
        scene(), make_segmenter(by_neighbours_and_place), bbox=PLACE @ (9.6, 9.4) + PLACE @ (9.9, 9.1), **LOCAL
    )
    assert (found.codes == 255).all()


# Mosaics


@pytest.fixture
def tiles(make_raster):
    """Four files that overlap and leave gaps, with nodata inside."""
    found = []
    for number, (row, col, height, width) in enumerate(
        [(0, 0, 60, 70), (40, 55, 70, 60), (0, 90, 37, 53), (90, 3, 50, 40)]
    ):
        pixels = np.random.default_rng(number).integers(1, 256, (3, height, width)).astype(np.uint8)
        pixels[:, 10:20, 5:9] = 0
        found.append(make_raster(pixels, f"{number}.tif", transform=PLACE @ Affine.translation(col, row), nodata=0))
    return found


@pytest.mark.parametrize("order", [1, -1])
def test_the_map_of_a_mosaic_is_that_of_the_merged_raster(make_segmenter, make_raster, tiles, tmp_path, order) -> None:
    files = tiles[::order]
    pixels, transform = merge(list(map(str, files)), method="first")
    segmenter = make_segmenter(by_neighbours_and_place, fill=(100.0,) * 3)
    how = {"window": 32, "overlap": 10, "shard_shape": (32, 32), **LOCAL}
    one = geoseg.predict(make_raster(pixels, "one.tif", transform=transform, nodata=0), segmenter, **how)
    found = geoseg.predict(files, segmenter, tmp_path / "map.tif", mosaic=True, **how)
    assert np.array_equal(found.codes, one.codes) and (found.codes == 255).any()
    with rasterio.open(tmp_path / "map.tif") as made:
        assert made.transform == transform and made.tags()["GEOSEG_INPUT"] == f"{files[0].name} and 3 others"


def test_a_mosaic_may_be_cut_and_matched(make_segmenter, make_raster, area, monkeypatch) -> None:
    monkeypatch.setattr(geoseg.prediction.native, "PIECE", 48)
    square = Affine(0.5, 0, 441_754.5, 0, -0.5, 5_417_386.25)
    pixels = np.random.default_rng(1).integers(1, 256, (3, 60, 140)).astype(np.uint8)
    halves = [
        make_raster(pixels[:, :, cols], f"{cols.start}.tif", transform=square @ Affine.translation(cols.start, 0))
        for cols in (slice(0, 75), slice(70, 140))
    ]
    segmenter = make_segmenter(by_neighbours_and_place, gsd=1.5, window=32)
    how = {"match_gsd": True, "aoi": area(circle(square, 70, 30, 12)), **LOCAL}
    one = geoseg.predict(make_raster(pixels, "one.tif", transform=square), segmenter, **how)
    found = geoseg.predict(halves, segmenter, mosaic=True, **how)
    assert np.array_equal(found.codes, one.codes) and (found.codes != 255).any()


def test_a_mosaic_goes_on_and_is_refused_in_another_order(make_segmenter, tiles, tmp_path) -> None:
    class Stopped(Exception):
        pass

    def stopping(image):
        if len(segmenter.network.calls) > 25:
            raise Stopped
        return by_neighbours_and_place(image)

    segmenter, target = make_segmenter(stopping), tmp_path / "map.tif"
    how = {"window": 32, "shard_shape": (16, 16), "mosaic": True, **LOCAL}
    with pytest.raises(Stopped):
        geoseg.predict(tiles, segmenter, target, **how)
    segmenter.network.function = by_neighbours_and_place
    with pytest.raises(UsageError, match="another scene"):
        geoseg.predict(tiles[::-1], segmenter, target, resume=True, **how)
    geoseg.predict(tiles, segmenter, target, resume=True, **how)
    geoseg.predict(tiles, make_segmenter(by_neighbours_and_place), tmp_path / "again.tif", **how)
    assert (tmp_path / "again.tif").read_bytes() == target.read_bytes()


def test_a_mosaic_is_made_of_files(make_segmenter, tiles, tmp_path) -> None:
    segmenter = make_segmenter(by_neighbours_and_place)
    with pytest.raises(UsageError, match="4 files are one scene as a mosaic or a stack only"):
        geoseg.predict(tiles, segmenter)
    with pytest.raises(UsageError, match="made of raster files"):
        geoseg.predict(np.ones((3, 9, 9), np.uint8), segmenter, mosaic=True)
    with pytest.raises(UsageError, match="is the scene itself"):
        geoseg.predict(tiles, segmenter, tiles[2], mosaic=True, overwrite=True)
    with pytest.raises(UsageError, match="a stack joins bands of one place"):
        geoseg.predict(tiles, segmenter, mosaic=True, stack=True)
    alone = geoseg.predict(tiles[:1], segmenter, mosaic=True, **LOCAL)
    assert np.array_equal(alone.codes, geoseg.predict(tiles[0], segmenter, **LOCAL).codes)


def test_an_area_that_misses_is_told_before_any_work(make_segmenter, scene, tmp_path) -> None:
    with pytest.raises(GridMismatch, match="misses"):
        geoseg.predict(scene(), make_segmenter(by_neighbours_and_place), tmp_path / "m.tif", bbox=(0, 0, 1, 1), **LOCAL)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


# With scalings and stacks


@pytest.fixture
def percentile_segmenter(make_segmenter):
    scaling = Scaling("percentile", percentiles=(2.0, 98.0))
    return make_segmenter(lambda image: by_neighbours_and_place(image * 255), scaling=scaling, gsd=1.5, window=32)


@pytest.mark.parametrize("how", [{}, {"match_gsd": True}], ids=["as it is", "matched"])
def test_percentiles_are_those_of_the_whole_scene(percentile_segmenter, make_raster, how) -> None:
    """Brighter from row to row: those of the area would be others."""
    square = Affine(0.5, 0, 441_754.5, 0, -0.5, 5_417_386.25)
    ramp = np.linspace(1, 9000, SHAPE[0])[:, None] + np.random.default_rng(2).integers(0, 900, (3, *SHAPE))
    path = make_raster(ramp.astype(np.uint16), transform=square)
    box = square @ (20, 60) + square @ (120, 10)
    whole = geoseg.predict(path, percentile_segmenter, **how, **LOCAL)
    part = geoseg.predict(path, percentile_segmenter, bbox=box, **how, **LOCAL)
    assert part.plan.stretch == whole.plan.stretch and len(part.plan.stretch) == 3
    assert np.array_equal(part.codes[10:60, 20:120], whole.codes[10:60, 20:120]) and (part.codes != 255).sum() == 5000


def test_a_stack_may_be_cut_and_matched(percentile_segmenter, make_raster, area) -> None:
    square = Affine(0.5, 0, 441_754.5, 0, -0.5, 5_417_386.25)
    pixels = np.random.default_rng(1).integers(0, 5000, (3, 60, 140)).astype(np.uint16)
    files = [make_raster(band, f"{number}.tif", transform=square, nodata=0) for number, band in enumerate(pixels)]
    how = {"match_gsd": True, "aoi": area(circle(square, 70, 30, 12)), **LOCAL}
    one = make_raster(pixels, "one.tif", transform=square, nodata=0)
    with StackScene(files) as stack, Scene(one, nodata_rule="any") as scene:
        found = geoseg.predict(stack, percentile_segmenter, **how)
        assert np.array_equal(found.codes, geoseg.predict(scene, percentile_segmenter, **how).codes)
        assert (found.codes != 255).any()


def test_bands_of_a_mosaic_are_found_by_name(make_segmenter, make_raster) -> None:
    pixels = np.random.default_rng(1).integers(1, 256, (3, 40, 60)).astype(np.uint8)
    names = ("red", "green", "blue")

    def named(name: str, col: int, order: tuple[int, ...]) -> Path:
        path = make_raster(pixels[list(order)], name, transform=PLACE @ Affine.translation(col, 0))
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = tuple(names[number] for number in order)
        return path

    segmenter = make_segmenter(by_neighbours_and_place, band_names=names, window=16)
    plain = geoseg.predict(
        [named("a.tif", 0, (0, 1, 2)), named("b.tif", 60, (0, 1, 2))], segmenter, mosaic=True, **LOCAL
    )
    turned = [named("c.tif", 0, (2, 0, 1)), named("d.tif", 60, (2, 0, 1))]
    assert np.array_equal(geoseg.predict(turned, segmenter, mosaic=True, **LOCAL).codes, plain.codes)
    with pytest.raises(InputError, match=r"e\.tif: has a band green where .*c\.tif has red"):
        geoseg.predict([turned[0], named("e.tif", 60, (0, 1, 2))], segmenter, mosaic=True, **LOCAL)
