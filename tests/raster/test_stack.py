"""Files of one band each, read as one scene."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Window
from geoseg.raster.described import open_described
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.resample import area
from geoseg.raster.scene import Scene
from geoseg.raster.stack import StackScene
from geoseg.source import Source

PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
WINDOW = Window(5, 11, 20, 30)


@pytest.fixture
def make_stack(make_raster):
    """Three uint16 files of 37 x 53 unique values; in each another pixel is nodata, as it is in another way."""
    pixels = (np.arange(3 * 37 * 53) + 1).reshape(3, 37, 53).astype(np.uint16)

    def make(names=("red.tif", "green.tif", "blue.tif"), **profile):
        pixels[0, 7, 20] = pixels[1, 8, 21] = 0
        paths = [
            make_raster(band, name, **({"nodata": nodata} | profile))
            for band, name, nodata in zip(pixels, names, (0, 0, None), strict=True)
        ]
        mask = np.full((37, 53), 255, np.uint8)
        mask[9, 22] = 0
        with rasterio.open(paths[2], "r+") as dataset:
            dataset.write_mask(mask)
        return paths, pixels

    return make


def test_a_stack_reads_as_its_files(make_stack):
    paths, pixels = make_stack()
    with StackScene(paths) as scene:
        assert (scene.bands, scene.dtype, scene.grid) == ((1, 2, 3), "uint16", Scene(paths[0]).grid)
        assert scene.name == "red.tif + green.tif + blue.tif" and not scene.sequential
        for window in (None, WINDOW, WINDOW.to_rasterio()):
            slices = (slice(None), slice(None)) if window is None else WINDOW.slices
            read, valid = scene.read(window)
            assert read.dtype == np.uint16 and np.array_equal(read, pixels[:, *slices])
            assert np.array_equal(scene.read_valid(scene.grid.window if window is None else WINDOW), valid)
        _, valid = scene.read()
        assert np.argwhere(~valid).tolist() == [[7, 20], [8, 21], [9, 22]]
        for found, known in zip(scene.read(WINDOW, (8, 9)), area(*scene.read(WINDOW), (8, 9)), strict=True):
            assert np.array_equal(found, known)


@pytest.mark.parametrize(("wanted", "order"), [((3, 1), [2, 0]), (("BLUE", "red"), [2, 0]), (("nir", 3), [1, 2])])
def test_bands_of_a_stack(make_stack, wanted, order):
    paths, pixels = make_stack()
    with rasterio.open(paths[1], "r+") as dataset:
        dataset.set_band_description(1, "nir")
    with StackScene(paths, wanted) as scene:
        assert scene.bands == (1, 2) and scene.sources == tuple(Source.of(paths[place]) for place in order)
        assert np.array_equal(scene.read()[0], pixels[order])
    assert StackScene(paths).band_names == (None, "nir", None)


@pytest.mark.parametrize(("wanted", "said"), [((4,), "bands 1 to 3, not 4"), (("swir",), r"no band 'swir'.*1 \"red\"")])
def test_bands_that_are_not_there(make_stack, wanted, said):
    with pytest.raises(InputError, match=f"the stack.*{said}"):
        StackScene(make_stack()[0], wanted)


def test_a_stack_is_picklable_and_opens_again_from_its_description(make_stack):
    with StackScene(make_stack()[0], (3, 1)) as scene:
        for copy in (pickle.loads(pickle.dumps(scene)), open_described(scene.describe())):
            assert copy.describe() == scene.describe() and copy.sources == scene.sources
            for mine, theirs in zip(scene.read(WINDOW), copy.read(WINDOW), strict=True):
                assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("rule", ["all 3000", "any 3000"])
def test_an_undeclared_value_is_looked_for_in_all_bands_together(make_stack, rule):
    paths, _ = make_stack(nodata=None)
    for number, path in enumerate(paths):
        with rasterio.open(path, "r+") as dataset:
            band = dataset.read(1)
            band[20, 30] = 3000
            band[number, 40] = 3000
            dataset.write(band, 1)
    with StackScene(paths, nodata_rule=rule) as scene:
        valid = scene.read()[1]
        assert np.array_equal(scene.read_valid(scene.grid.window), valid)
        assert not valid[20, 30] and valid[:3, 40].all() == (rule == "all 3000")
        for copy in (pickle.loads(pickle.dumps(scene)), open_described(scene.describe())):
            assert np.array_equal(copy.read()[1], valid)


def test_a_stack_of_files_in_memory_cannot_be_opened_again(make_stack):
    paths = [f"/vsimem/{path.name}" for path in make_stack()[0]]
    for path, file in zip(paths, make_stack()[0], strict=True):
        rasterio.shutil.copyfiles(file, path)
    for scene in (StackScene(paths), MosaicScene(paths)):
        with scene, pytest.raises(InputError, match=r"/vsimem/red\.tif: was in memory.*hand it over"):
            open_described(scene.describe())


def test_many_threads_read_one_stack(make_stack):
    paths, pixels = make_stack()
    windows = [Window(row, col, 9, 11) for row in range(0, 28, 3) for col in range(0, 42, 5)]
    with StackScene(paths) as scene, ThreadPoolExecutor(8) as pool:
        for window, (read, _) in zip(windows, pool.map(scene.read, windows), strict=True):
            assert np.array_equal(read, pixels[:, *window.slices])


def test_a_file_that_changed_changes_the_description(make_stack, make_raster):
    paths, _ = make_stack()
    before = StackScene(paths).describe()
    make_raster(np.ones((37, 53), np.uint16), "green.tif", compress="deflate")
    assert StackScene(paths).describe() != before


def test_blocks_without_data_in_one_file_are_not_read(make_raster):
    layout = {"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": 0, "sparse_ok": True}
    full = make_raster(np.ones((32, 48), np.uint8), "full.tif", **layout)
    half = make_raster(np.ones((32, 48), np.uint8), "half.tif", **layout)
    with rasterio.open(half, "w", driver="GTiff", width=48, height=32, count=1, dtype="uint8", **layout) as dataset:
        dataset.crs, dataset.transform = "EPSG:32631", PLACE
        dataset.write(np.ones((1, 16, 16), np.uint8), window=Window(16, 0, 16, 16).to_rasterio())
    with StackScene([full, half]) as scene:
        assert scene.block_shape == (16, 16)
        assert [scene.has_data(Window(row, 0, 16, 16)) for row in (0, 16)] == [False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pixels": np.ones((38, 53), np.uint16)}, "size"),
        ({"pixels": np.ones((37, 53), np.uint16), "crs": "EPSG:32632"}, "CRS"),
        ({"pixels": np.ones((37, 53), np.uint16), "transform": PLACE @ Affine.translation(1, 0)}, "place"),
        ({"pixels": np.ones((37, 53), np.uint16), "transform": None}, "place"),
    ],
)
def test_another_grid_names_the_file_and_how_it_differs(make_stack, make_raster, change, said):
    paths, _ = make_stack()
    make_raster(change.pop("pixels"), "green.tif", **change)
    with pytest.raises(GridMismatch, match=rf"green\.tif .* has another {said} than .*red\.tif.*gdalwarp"):
        StackScene(paths)


def test_a_twentieth_of_a_pixel_is_the_same_grid(make_stack, make_raster):
    paths, _ = make_stack()
    make_raster(np.ones((37, 53), np.uint16), "green.tif", transform=PLACE @ Affine.translation(0.05, 0))
    StackScene(paths)


def test_another_dtype_and_several_bands_are_refused(make_stack, make_raster):
    paths, _ = make_stack()
    make_raster(np.ones((37, 53), np.int16), "green.tif")
    with pytest.raises(InputError, match=r"green\.tif: pixels are int16, those of .*red\.tif uint16"):
        StackScene(paths)
    make_raster(np.ones((2, 37, 53), np.uint16), "green.tif")
    with pytest.raises(InputError, match=r"green\.tif: has 2 bands; a stack takes one band a file"):
        StackScene(paths)
    with pytest.raises(UsageError, match="one a band"):
        StackScene([])
    with pytest.raises(InputError, match=r"none\.tif: no such file"):
        StackScene([paths[0], "none.tif"])
