"""Mosaics: rasterio.merge as oracle, one lattice or a clear line, few open files."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.merge import merge

import geoseg.raster.mosaic
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.raster.described import open_described
from geoseg.raster.mosaic import OPEN, MosaicScene
from geoseg.raster.scene import Scene

PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)


@pytest.fixture
def make_tile(make_raster):
    """A file of random pixels, some nodata (0), whose first pixel lies at (row, col) of the lattice of PLACE."""

    def make(name: str, row: float, col: float, shape: tuple[int, int] = (20, 30), place: Affine = PLACE, **profile):
        random = np.random.default_rng([*name.encode()])
        pixels = random.integers(1, 256, (3, *shape)).astype(profile.pop("dtype", "uint8"))
        pixels[:, random.random(shape) < 0.2] = 0
        return make_raster(pixels, name, transform=place @ Affine.translation(col, row), nodata=0, **profile)

    return make


@pytest.fixture
def tiles(make_tile):
    """Overlapping, apart, beyond the first file to the upper left, of several sizes."""
    return [
        make_tile("a.tif", 0, 0),
        make_tile("b.tif", 5, 20, (31, 17)),
        make_tile("c.tif", -7, -11, (12, 25)),
        make_tile("d.tif", 60, 3, (9, 8)),
    ]


def merged(tiles: list[Path]) -> tuple[np.ndarray, Affine]:
    """What rasterio makes of the files: the first one that has data counts."""
    return merge(list(map(str, tiles)), method="first")


def test_it_is_what_rasterio_merges(tiles) -> None:
    pixels, transform = merged(tiles)
    with MosaicScene(tiles) as scene:
        read, valid = scene.read()
        assert scene.grid == Grid(rasterio.CRS.from_epsg(32631), transform, pixels.shape[1:])
        assert np.array_equal(valid, (pixels != 0).any(0)) and np.array_equal(read, pixels)
        assert (~valid).sum() > 100
        assert np.array_equal(scene.read_valid(scene.grid.window), valid)


def test_the_order_of_the_files_decides(tiles) -> None:
    forth, back = (MosaicScene(files).read()[0] for files in (tiles, tiles[::-1]))
    assert np.array_equal(back, merged(tiles[::-1])[0]) and not np.array_equal(forth, back)


def test_any_window_is_a_part_of_the_whole(tiles) -> None:
    random = np.random.default_rng(5)
    with MosaicScene(tiles, bands=(3, 1)) as scene:
        whole, valid = scene.read()
        for _ in range(60):
            (row, height), (col, width) = (sorted(random.choice(n + 1, 2, False)) for n in scene.grid.shape)
            window = Window(row, col, height - row, width - col)
            pixels, here = scene.read(window)
            assert np.array_equal(pixels, whole[:, *window.slices]) and np.array_equal(here, valid[window.slices])
        assert not scene.has_data(Window(50, 0, 5, 60)) and scene.has_data(Window(50, 0, 18, 60))


@pytest.mark.parametrize(
    "place", [PLACE @ Affine.rotation(30), PLACE @ Affine.scale(1, -1)], ids=["turned", "south-up"]
)
def test_files_may_be_turned_alike(make_tile, place) -> None:
    tiles = [make_tile("a.tif", 0, 0, place=place), make_tile("b.tif", -4, 25, place=place)]
    with MosaicScene(tiles) as scene:
        first, second = (Scene(tile).read()[0] for tile in tiles)
        read, _ = scene.read()
        assert read.shape == (3, 24, 55)
        assert np.array_equal(read[:, :20, 30:], second[:, :, 5:]) and np.array_equal(read[:, 4:, :25], first[..., :25])
        corner = scene.grid.transform @ (25, 0)
        assert corner == pytest.approx(Scene(tiles[1]).grid.transform @ (0, 0), abs=1e-6)


def test_a_twentieth_of_a_pixel_off_is_near_enough(make_tile) -> None:
    with MosaicScene([make_tile("a.tif", 0, 0), make_tile("b.tif", 20.05, 0.06)]) as scene:
        assert scene.grid.shape == (40, 30) and scene.grid.transform == PLACE


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"row": 20.4, "col": 0}, r"b\.tif: lies \+0\.00 px right and \+0\.40 px down of the pixels of .*a\.tif"),
        ({"row": 0, "col": 29.8}, r"b\.tif: lies -0\.20 px right"),
        (
            {"row": 0, "col": 0, "place": PLACE @ Affine.scale(1.01)},
            r"b\.tif: has pixels of 0\.7575 x 0\.505, ",
        ),
        ({"row": 0, "col": 0, "place": PLACE @ Affine.scale(1, -1)}, r"b\.tif: is turned or mirrored against .*a\.tif"),
        ({"row": 0, "col": 0, "place": PLACE @ Affine.rotation(1)}, r"b\.tif: "),
        ({"row": 0, "col": 0, "crs": "EPSG:32632"}, r"b\.tif: is in EPSG:32632, .*a\.tif in EPSG:32631; .*gdalwarp"),
        ({"row": 0, "col": 0, "crs": None}, r"b\.tif: is in no CRS, .*a\.tif in EPSG:32631"),
    ],
)
def test_a_file_off_the_lattice_is_named_with_its_difference(make_tile, other, said) -> None:
    with pytest.raises(GridMismatch, match=said):
        MosaicScene([make_tile("a.tif", 0, 0), make_tile("b.tif", **other)])


def test_a_small_difference_of_pixel_size_adds_up_over_a_file(make_tile) -> None:
    slightly = PLACE @ Affine.scale(1.00001)
    MosaicScene([make_tile("a.tif", 0, 0), make_tile("b.tif", 0, 0, place=slightly)])
    with pytest.raises(GridMismatch, match="has pixels of"):
        MosaicScene([make_tile("a.tif", 0, 0), make_tile("wide.tif", 0, 0, (1, 20_000), place=slightly)])


def test_files_of_another_kind_are_refused(make_tile, make_raster) -> None:
    first = make_tile("a.tif", 0, 0)
    with pytest.raises(InputError, match=r"b\.tif: has 3 band\(s\) of uint16, .*a\.tif 3 of uint8"):
        MosaicScene([first, make_tile("b.tif", 0, 0, dtype="uint16")])
    with pytest.raises(InputError, match=r"c\.tif: has 1 band\(s\)"):
        MosaicScene([first, make_raster(np.ones((9, 9), np.uint8), "c.tif", transform=PLACE)])
    with pytest.raises(InputError, match=r"d\.tif: has no transform"):
        MosaicScene([first, make_raster(name="d.tif", crs=None, transform=None)])
    with pytest.raises(UsageError, match="one file"):
        MosaicScene([])


@pytest.mark.parametrize("colours", ["blue green red", "red green alpha"])
def test_a_file_whose_bands_have_other_colours_is_refused(make_tile, colours) -> None:
    first, second = make_tile("a.tif", 0, 0), make_tile("b.tif", 0, 53)
    for path, said in ((first, "red green blue"), (second, colours)):
        with rasterio.open(path, "r+") as dataset:
            dataset.colorinterp = [ColorInterp[colour] for colour in said.split()]
    with pytest.raises(InputError, match=r"b\.tif: band \d is (blue|alpha), in .*a\.tif (red|blue); bring the bands"):
        MosaicScene([first, second], bands=(1, 2, 3))


def test_few_files_are_open_at_a_time(make_tile, monkeypatch) -> None:
    tiles = [make_tile(f"{i}.tif", 0, 4 * i, (6, 4)) for i in range(3 * OPEN)]
    opened: set[Scene] = set()
    most = 0

    class Counted(Scene):
        def _dataset(self):
            nonlocal most
            dataset = super()._dataset()
            opened.add(self)
            most = max(most, sum(bool(scene._handles) for scene in list(opened)))
            return dataset

    monkeypatch.setattr(geoseg.raster.mosaic, "Scene", Counted)
    with MosaicScene(tiles) as scene:
        assert not any(one._handles for one in opened)
        whole, _ = scene.read()
        assert most == OPEN
        windows = [Window(row, col, 1, 30) for row in range(6) for col in range(0, 160, 7)]
        with ThreadPoolExecutor(3) as pool:
            for window, (pixels, _) in zip(windows, pool.map(scene.read, windows), strict=True):
                assert np.array_equal(pixels, whole[:, *window.slices])
        assert most <= 4 * OPEN
    assert not any(one._handles for one in opened)
    assert np.array_equal(scene.read()[0], whole)
    scene.close()


def test_it_is_found_again_and_travels(tiles) -> None:
    with MosaicScene(tiles, bands=(2,), nodata_rule="any") as scene:
        pixels, _ = scene.read()
        for copy in (open_described(scene.describe()), pickle.loads(pickle.dumps(scene))):
            assert np.array_equal(copy.read()[0], pixels) and copy.describe() == scene.describe()
            copy.close()
    assert scene.name.endswith("a.tif and 3 others")
    assert MosaicScene(tiles[::-1], bands=(2,)).describe() != scene.describe()
