"""Scenes: what rasterio reads, where there is data, and one handle a thread."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from geoseg.errors import InputError, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint, Window
from geoseg.raster.described import open_described
from geoseg.raster.nodata import NodataRule
from geoseg.raster.resample import area
from geoseg.raster.scene import ArrayScene, Scene

MakeRaster = Callable[..., Path]
WINDOW = Window(5, 11, 20, 30)


def numbered(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


def invalid_at(valid: np.ndarray) -> list[list[int]]:
    """(row, col) of the pixels that are not valid, in row-major order."""
    return np.argwhere(~valid).tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_a_window_reads_as_rasterio_reads_it(make_raster: MakeRaster, data: st.DataObject) -> None:
    path = make_raster()
    row, col = data.draw(st.integers(0, 36)), data.draw(st.integers(0, 52))
    window = Window(row, col, data.draw(st.integers(1, 37 - row)), data.draw(st.integers(1, 53 - col)))
    with rasterio.open(path) as dataset, Scene(path) as scene:
        pixels, valid = scene.read(window)
        assert np.array_equal(pixels, dataset.read(window=window.to_rasterio()))
        assert np.array_equal(pixels, dataset.read()[:, *window.slices])
        assert valid.shape == window.shape and valid.dtype == bool and valid.all()


def test_no_window_reads_the_whole_scene_and_a_rasterio_window_its_part(make_raster: MakeRaster) -> None:
    with Scene(make_raster()) as scene:
        whole, _ = scene.read()
        assert whole.shape == (3, 37, 53)
        assert np.array_equal(scene.read(WINDOW.to_rasterio())[0], whole[:, *WINDOW.slices])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_pixels_come_in_the_file_s_dtype(make_raster: MakeRaster, dtype: str) -> None:
    pixels = numbered(2, 9, 11, dtype=dtype)
    with Scene(make_raster(pixels)) as scene:
        read, _ = scene.read()
        assert (scene.dtype, read.dtype.name) == (dtype, dtype) and np.array_equal(read, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_rasters(make_raster: MakeRaster, shape: tuple[int, int]) -> None:
    pixels = numbered(1, *shape)
    with Scene(make_raster(pixels)) as scene:
        assert scene.grid.shape == shape
        assert np.array_equal(scene.read()[0], pixels)
        last = Window(shape[0] - 1, shape[1] - 1, 1, 1)
        assert scene.read(last)[0].item() == pixels[0, -1, -1]


@pytest.mark.parametrize("bands", [(2,), (3, 1), (1, 2, 3), (2, 2)])
def test_bands_come_in_the_order_asked_for(make_raster: MakeRaster, bands: tuple[int, ...]) -> None:
    pixels = numbered(3, 5, 7)
    with Scene(make_raster(pixels), bands=bands) as scene:
        assert np.array_equal(scene.read()[0], pixels[[band - 1 for band in bands]])


@pytest.mark.parametrize(("bands", "named"), [((4,), "4"), ((0,), "0"), ((1, 9, -1), "9, -1"), ((), "none")])
def test_bands_that_are_not_there_are_refused(make_raster: MakeRaster, bands: tuple[int, ...], named: str) -> None:
    with pytest.raises(InputError, match=f"bands 1 to 3, not {named}$"):
        Scene(make_raster(), bands=bands)


def test_bands_of_different_dtypes_come_in_the_wider_one(make_raster: MakeRaster, tmp_path: Path) -> None:
    parts = [make_raster(numbered(1, 4, 5, dtype=dtype), f"{dtype}.tif") for dtype in ("uint8", "uint16")]
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{i}"><SimpleSource><SourceFilename>{part}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (kind, part) in enumerate(zip(("Byte", "UInt16"), parts, strict=True), start=1)
    )
    (tmp_path / "both.vrt").write_text(f'<VRTDataset rasterXSize="5" rasterYSize="4">{bands}</VRTDataset>')
    with Scene(tmp_path / "both.vrt") as scene:
        pixels, _ = scene.read()
    assert scene.dtype == pixels.dtype.name == "uint16" and np.array_equal(pixels[0], pixels[1])


def test_complex_bands_are_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match="complex"):
        Scene(make_raster(numbered(1, 4, 5).astype("complex64")))


@pytest.mark.parametrize(
    "window", [Window(0, 0, 38, 53), Window(0, 0, 37, 54), Window(36, 52, 2, 1), Window(40, 0, 1, 1)]
)
def test_a_window_that_leaves_the_scene_is_refused(make_raster: MakeRaster, window: Window) -> None:
    with Scene(make_raster()) as scene, pytest.raises(UsageError, match="leaves the scene"):
        scene.read(window)


def test_a_shape_resamples_by_area(make_raster: MakeRaster) -> None:
    with Scene(make_raster(nodata=3)) as scene:
        pixels, valid = scene.read(WINDOW, (8, 9))
        expected, expected_valid = area(*scene.read(WINDOW), (8, 9))
    assert pixels.shape == (3, 8, 9) and np.array_equal(pixels, expected) and np.array_equal(valid, expected_valid)


# Where there is data


def corner(pixels: np.ndarray, value: float) -> np.ndarray:
    """Sets (0, 0) in all bands, (0, 1) in the first band only and (2, 4) in all bands."""
    pixels[:, 0, 0] = pixels[0, 0, 1] = pixels[:, 2, 4] = value
    return pixels


@pytest.mark.parametrize(("rule", "expected"), [("all", [[0, 0], [2, 4]]), ("any", [[0, 0], [0, 1], [2, 4]])])
@pytest.mark.parametrize("nodata", [0, 500])
def test_a_pixel_is_invalid_where_all_or_any_bands_are_nodata(
    make_raster: MakeRaster, rule: str, expected: list[list[int]], nodata: int
) -> None:
    with Scene(make_raster(corner(numbered(3, 5, 7), nodata), nodata=nodata), nodata_rule=rule) as scene:
        assert invalid_at(scene.read()[1]) == expected
        assert invalid_at(scene.read(Window(2, 3, 2, 3))[1]) == [[0, 1]]


def test_the_any_rule_looks_at_the_bands_in_use(make_raster: MakeRaster) -> None:
    path = make_raster(corner(numbered(3, 5, 7), 0), nodata=0)
    with Scene(path, bands=(2, 3), nodata_rule="any") as scene:
        assert invalid_at(scene.read()[1]) == [[0, 0], [2, 4]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("which", ["all", "any"])
def test_a_value_that_was_never_declared_is_no_data(make_raster: MakeRaster, which: str, dtype: str) -> None:
    pixels = numbered(3, 5, 7).astype(dtype)
    pixels[:, 1, 2], pixels[0, 2, 3], pixels[:, 3, 3] = 9, 9, 8
    path = make_raster(pixels, nodata=8)
    with Scene(path, nodata_rule=NodataRule(which, 9)) as scene, Scene(path, nodata_rule=which) as plain:
        read, valid = scene.read()
        assert np.array_equal(read, pixels) and np.array_equal(scene.read_valid(scene.grid.window), valid)
        gone = plain.read()[1] & ~valid
        missing = (pixels == 9).any(0) if which == "any" else (pixels == 9).all(0)
        assert np.array_equal(gone, missing & plain.read()[1]) and gone[1, 2] and not valid[3, 3]
        assert gone[2, 3] == (which == "any")
        for copy in (pickle.loads(pickle.dumps(scene)), open_described(json.loads(json.dumps(scene.describe())))):
            assert np.array_equal(copy.read()[1], valid)
    with pytest.raises(UsageError, match="is no data anyway"):
        NodataRule(which, float("nan"))
    with pytest.raises(UsageError, match=f"got '{which} x'"):
        NodataRule.of(f"{which} x")


@pytest.mark.parametrize("rule", ["any", "all 7", "any 7"])
def test_an_overview_knows_the_nodata_rule(make_raster: MakeRaster, rule: str) -> None:
    pixels = np.full((2, 8, 8), 50, np.uint8)
    pixels[0, :4, :4], pixels[:, 4:, 4:], pixels[1, :4, 4:] = 9, 7, 7
    with Scene(make_raster(pixels, nodata=9), nodata_rule=rule) as scene:
        read = scene.read()[1]
        assert read.mean() < 0.8 and np.array_equal(scene.read_overview((8, 8))[1], read)


def test_another_nodata_rule_is_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(UsageError, match="some"):
        Scene(make_raster(), nodata_rule="some")


@pytest.mark.parametrize("nodata", [None, -9999.0, float("nan")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_is_invalid_where_any_band_is_not_finite(
    make_raster: MakeRaster, value: float, nodata: float | None
) -> None:
    with Scene(make_raster(corner(numbered(3, 5, 7, dtype="float32"), value), nodata=nodata)) as scene:
        assert invalid_at(scene.read()[1]) == [[0, 0], [0, 1], [2, 4]]


def test_a_band_that_is_not_used_may_be_nan(make_raster: MakeRaster) -> None:
    with Scene(make_raster(corner(numbered(3, 5, 7, dtype="float32"), np.nan)), bands=(2,)) as scene:
        assert invalid_at(scene.read()[1]) == [[0, 0], [2, 4]]


@pytest.mark.parametrize("rule", ["all", "any"])
@pytest.mark.parametrize("colours", [3, 1])
def test_alpha_is_a_mask_and_no_band(make_raster: MakeRaster, rule: str, colours: int) -> None:
    pixels = np.concatenate([numbered(colours, 5, 7, dtype="uint8"), np.full((1, 5, 7), 255, np.uint8)])
    pixels[-1, 1, 6] = 0
    path = make_raster(pixels, photometric="RGB" if colours == 3 else "MINISBLACK", alpha="YES")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[-1] == ColorInterp.alpha
    with Scene(path, nodata_rule=rule) as scene:
        read, valid = scene.read()
        assert scene.bands == tuple(range(1, colours + 1)) and len(read) == colours
        assert invalid_at(valid) == [[1, 6]] and np.array_equal(read, pixels[:-1])


@pytest.mark.parametrize("rule", ["all", "any"])
@pytest.mark.parametrize("inside", ["YES", "NO"])
def test_a_mask_band_tells_where_there_is_data(make_raster: MakeRaster, rule: str, inside: str) -> None:
    path = make_raster(numbered(3, 5, 7))
    mask = np.full((5, 7), 255, np.uint8)
    mask[3, 2:4] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    with Scene(path, nodata_rule=rule) as scene:
        assert invalid_at(scene.read()[1]) == [[3, 2], [3, 3]]


# Georeference


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.5, 0, 441_754.5, 0, -0.75, 5_417_386.25),
        Affine(0.5, 0, 441_754.5, 0, 0.75, 5_417_386.25),
        Affine(0.4, 0.3, 441_754.5, 0.2, -0.6, 5_417_386.25),
    ],
    ids=["north up", "south up", "rotated"],
)
def test_the_grid_is_the_file_s_own(make_raster: MakeRaster, transform: Affine) -> None:
    path = make_raster(transform=transform)
    with rasterio.open(path) as dataset, Scene(path) as scene:
        assert scene.grid == Grid(dataset.crs, transform, (37, 53)) and scene.grid.georeferenced
        rasterio_place = dataset.window_transform(WINDOW.to_rasterio())
        assert scene.grid[WINDOW].transform.almost_equals(rasterio_place, 1e-9)


def test_a_file_without_georeference(make_raster: MakeRaster) -> None:
    with Scene(make_raster(crs=None, transform=None)) as scene:
        assert scene.grid == Grid(None, IDENTITY, (37, 53)) and not scene.grid.georeferenced


def test_control_points_and_coefficients_are_the_file_s_own(make_raster: MakeRaster) -> None:
    points = [RasterioPoint(r, c, 2 + c / 9, 48 - r / 9, r) for r, c in ((0, 0), (0, 53), (37, 53), (18.5, 7.25))]
    path = make_raster(numbered(1, 37, 53), crs="EPSG:4326", transform=None, gcps=points)
    with Scene(path) as scene:
        assert scene.grid.gcps == tuple(GroundControlPoint(p.row, p.col, p.x, p.y, p.z) for p in points)
        assert scene.grid.crs == rasterio.CRS.from_epsg(4326) and not scene.grid.georeferenced


def test_rational_coefficients_move_as_the_pixels_do(make_raster: MakeRaster) -> None:
    coefficients = [1.0] + [0.0] * 19
    rpcs = RPC(5, 1, 48, 1, coefficients, coefficients, 18.5, 20, 2, 1, coefficients, coefficients, 26.5, 30, 0, 0)
    path = make_raster(numbered(1, 37, 53), crs=None, transform=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.rpcs = rpcs
    with Scene(path) as scene:
        piece = dict(scene.grid[WINDOW].rpcs)
    assert (float(piece["LINE_OFF"]), float(piece["SAMP_OFF"])) == (18.5 - WINDOW.row, 26.5 - WINDOW.col)
    assert float(piece["LINE_SCALE"]) == 20


# Handles


def test_a_scene_is_picklable(make_raster: MakeRaster) -> None:
    path = make_raster(corner(numbered(3, 5, 7), 0), nodata=0)
    with Scene(path, bands=(3, 2), nodata_rule="any") as scene:
        scene.read()
        copy = pickle.loads(pickle.dumps(scene))
        assert (copy.name, copy.bands, copy.nodata_rule, copy.grid) == (
            str(path),
            (3, 2),
            NodataRule("any"),
            scene.grid,
        )
        for mine, theirs in zip(scene.read(), copy.read(), strict=True):
            assert np.array_equal(mine, theirs)


def test_many_threads_read_one_scene(make_raster: MakeRaster) -> None:
    pixels = numbered(3, 300, 200)
    windows = [Window(row, col, 37, 41) for row in range(0, 260, 13) for col in range(0, 150, 17)]
    with Scene(make_raster(pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate")) as scene:
        with ThreadPoolExecutor(8) as pool:
            for window, (read, valid) in zip(windows, pool.map(scene.read, windows), strict=True):
                assert np.array_equal(read, pixels[:, *window.slices]) and valid.all()


def test_a_closed_scene_opens_again(make_raster: MakeRaster) -> None:
    scene = Scene(make_raster())
    before, _ = scene.read()
    scene.close()
    scene.close()
    assert np.array_equal(scene.read()[0], before)
    scene.close()


def test_a_changed_file_is_described_otherwise(make_raster: MakeRaster) -> None:
    path = make_raster()
    first = Scene(path, bands=(2,)).describe()
    assert first == Scene(path, bands=(2,)).describe() != Scene(path, bands=(1,)).describe()
    make_raster(numbered(3, 40, 53))
    assert Scene(path, bands=(2,)).describe() != first


def test_only_a_palette_gives_a_colour_table(make_raster: MakeRaster) -> None:
    path = make_raster(numbered(1, 5, 7, dtype="uint8"))
    assert Scene(path).colour_table is None
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {3: (10, 20, 30, 255)})
    assert Scene(path).colour_table[3] == (10, 20, 30)


# Arrays as scenes


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_array_reads_as_the_file_that_holds_it(make_raster: MakeRaster, dtype: str) -> None:
    pixels = numbered(3, 37, 53, dtype=dtype)
    with Scene(make_raster(pixels)) as scene:
        array = ArrayScene(pixels, grid=scene.grid)
        assert (array.dtype, array.bands, array.grid) == (scene.dtype, scene.bands, scene.grid)
        for shape in (None, (8, 9)):
            for mine, theirs in zip(array.read(WINDOW, shape), scene.read(WINDOW, shape), strict=True):
                assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype


def test_an_array_s_valid_pixels_are_finite_and_those_given() -> None:
    pixels = numbered(2, 3, 4, dtype="float32")
    pixels[1, 0, 2], pixels[0, 2, 0] = np.nan, np.inf
    valid = np.ones((3, 4), bool)
    valid[1, 1] = False
    assert invalid_at(ArrayScene(pixels).read()[1]) == [[0, 2], [2, 0]]
    assert invalid_at(ArrayScene(pixels, valid).read()[1]) == [[0, 2], [1, 1], [2, 0]]


def test_one_band_may_come_as_a_plane() -> None:
    plane = numbered(3, 4)
    scene = ArrayScene(plane)
    assert scene.bands == (1,) and np.array_equal(scene.read()[0], plane[None])
    assert scene.grid == Grid(None, IDENTITY, (3, 4))


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3, 4), (0, 4, 4), (3, 0, 4)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="bands, height, width"):
        ArrayScene(np.zeros(shape))


def test_an_array_off_its_grid_is_refused() -> None:
    with pytest.raises(InputError, match="not on the grid"):
        ArrayScene(numbered(3, 4, 5), grid=Grid(None, IDENTITY, (5, 4)))
    with pytest.raises(InputError, match=r"complex|real"):
        ArrayScene(numbered(3, 4, 5).astype("complex64"))


def test_a_window_that_leaves_an_array_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves the scene"):
        ArrayScene(numbered(3, 4, 5)).read(Window(2, 2, 4, 4))


def test_an_array_is_described_by_its_values() -> None:
    pixels = numbered(3, 4, 5)
    assert ArrayScene(pixels).describe() == ArrayScene(pixels.copy()).describe()
    assert ArrayScene(pixels).describe() != ArrayScene(pixels + 1).describe()
