"""Opening: damaged, missing and foreign files end in one line that says which and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from geoseg.errors import InputError, ResourceError, UsageError
from geoseg.grid import Window
from geoseg.raster.opening import gdal_settings, one_line, open_raster, reading, writing
from geoseg.raster.scene import Scene
from geoseg.source import OpeningPolicy, Source

MakeRaster = Callable[..., Path]
NOISE = np.random.default_rng(2).integers(0, 256, (3, 150, 203)).astype(np.uint8)


def cut(path: Path, share: float) -> Path:
    """Keep the first ``share`` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def read(path: str | Path) -> None:
    with Scene(path) as scene:
        scene.read()


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("colours", ["RGB", "L", "RGBA", "P"])
def test_a_truncated_png_is_refused(tmp_path: Path, colours: str, share: float) -> None:
    path = tmp_path / "scene.png"
    Image.fromarray(np.moveaxis(NOISE, 0, -1).copy()).convert(colours).save(path)
    read(path)
    with pytest.raises(InputError, match="damaged") as caught:
        read(cut(path, share))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be") and "\n" not in message and caught.value.exit_code == 3


@pytest.mark.parametrize(
    "profile",
    [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}, {"compress": "DEFLATE"}],
    ids=["strips", "tiles", "deflate"],
)
def test_a_truncated_tiff_is_refused(make_raster: MakeRaster, profile: dict) -> None:
    path = make_raster(NOISE, **profile)
    read(path)
    with pytest.raises(InputError, match="damaged"):
        read(cut(path, 0.5))


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.jpg"
    Image.fromarray(np.moveaxis(NOISE, 0, -1).copy()).save(path)
    read(path)
    with pytest.raises(InputError, match="damaged"):
        read(cut(path, 0.5))


def test_the_error_says_which_rows_and_columns(make_raster: MakeRaster) -> None:
    path = cut(make_raster(NOISE), 0.5)
    with Scene(path) as scene:
        assert np.array_equal(scene.read(Window(0, 0, 10, 20))[0], NOISE[:, :10, :20])
        with pytest.raises(InputError, match="rows 140-150, columns 3-23"):
            scene.read(Window(140, 3, 10, 20))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.tif", b""),
        ("text.tif", b"row,col\n1,2\n"),
        ("header.tif", b"II*\x00"),
        ("header.png", b"\x89PNG\r\n\x1a\n"),
        ("no ending", b"\x00" * 99),
    ],
)
def test_what_is_no_raster_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_raster(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be opened as a raster") and "\n" not in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.tif: no such file"):
        Scene(tmp_path / "missing.tif")
    with pytest.raises(InputError, match="a folder, not a raster"):
        Scene(tmp_path)


@pytest.mark.parametrize("lead", ["", " \n"])
def test_xml_in_place_of_a_file_is_refused(lead: str) -> None:
    with pytest.raises(UsageError, match="XML"):
        open_raster(lead + '<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')


def test_a_vrt_with_a_missing_source_is_refused(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = tmp_path / "scene.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="53" rasterYSize="37"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    source = make_raster()
    read(path)
    source.unlink()
    with pytest.raises(InputError, match=r"scene.vrt: cannot be"):
        read(path)


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A GeoPackage with two rasters, no bands of its own."""
    path = tmp_path / "two.gpkg"
    shape = {"width": 300, "height": 300, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:3857", "transform": rasterio.Affine(1, 0, 0, 0, -1, 0)}
    for table, append in (("first", "NO"), ("second", "YES")):
        options = {"RASTER_TABLE": table, "APPEND_SUBDATASET": append}
        with rasterio.open(path, "w", driver="GPKG", **shape, **place, **options) as dataset:
            dataset.write(np.full((3, 300, 300), 9, np.uint8))
    return path


def test_a_container_of_rasters_is_refused(container: Path) -> None:
    with pytest.raises(InputError, match="write one of its subdatasets to a file"):
        Scene(Source(str(container), OpeningPolicy(drivers=("GPKG",))))


def test_errors_become_geoseg_s_own() -> None:
    with pytest.raises(InputError, match=r"a.tif: cannot be read; is the file damaged\? \(over two lines\)"):
        with reading("a.tif", "read"):
            raise rasterio.errors.RasterioIOError("over\n  two lines")
    with pytest.raises(ResourceError, match=r"a.tif: could not be written.*No space left") as caught:
        with writing("a.tif"):
            raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("block", [writing, lambda path: reading(path, "read")])
def test_other_errors_pass(block: Callable) -> None:
    with pytest.raises(ZeroDivisionError), block("a.tif"):
        raise ZeroDivisionError
    with pytest.raises(InputError, match=r"^as it was$"), block("a.tif"):
        raise InputError("as it was")


def test_the_cause_is_what_is_said() -> None:
    try:
        raise ValueError("outer") from RuntimeError("TIFFReadStrip:\n short read")
    except ValueError as error:
        assert one_line(error) == "TIFFReadStrip: short read"
    assert one_line(ValueError(" a \n b")) == "a b"


def test_the_block_cache_is_of_some_megabytes() -> None:
    with gdal_settings():
        assert int(rasterio.env.get_gdal_config("GDAL_CACHEMAX")) == 64 << 20
