"""Opening: damaged, missing and foreign files end in one line that says which and what to do."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from geoseg.errors import InputError, ResourceError, UsageError
from geoseg.grid import Window
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import SegmenterConfig
from geoseg.prediction.predict import open_scene
from geoseg.raster import opening
from geoseg.raster.described import open_described
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


def read(path: str | Path | Source) -> None:
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
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.999])
def test_a_truncated_tiff_is_refused(make_raster: MakeRaster, profile: dict, share: float) -> None:
    path = make_raster(NOISE, **profile)
    read(path)
    with pytest.raises(InputError, match="damaged"):
        read(cut(path, share))


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
def test_a_png_whose_checksum_is_wrong_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "scene.png"
    Image.fromarray(np.moveaxis(NOISE, 0, -1).copy()).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(kind) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scene\.png: cannot be"):
        read(path)


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


def test_damage_that_the_jpeg_decoder_notices_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scene.jpg"
    Image.fromarray(np.moveaxis(NOISE, 0, -1).copy()).save(path, progressive=True)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\xff\0" * 40 + content[middle + 80 :])
    with pytest.raises(InputError, match=r"bad Huffman code.*GDAL_ERROR_ON_LIBJPEG_WARNING=NO"):
        read(path)
    monkeypatch.setenv("GDAL_ERROR_ON_LIBJPEG_WARNING", "NO")
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


@pytest.mark.parametrize(("driver", "name"), [("BMP", "a.bmp"), ("HFA", "a.img"), ("BMP", "a.tif")])
def test_other_formats_need_leave(make_raster: MakeRaster, driver: str, name: str) -> None:
    path = make_raster(name=name, crs=None, transform=None, driver=driver)
    with pytest.raises(InputError, match=rf"{name}: cannot be opened.*GeoTIFF, PNG.*--allow-driver"):
        read(path)
    read(Source(str(path), OpeningPolicy(drivers=(driver.lower(),))))
    with pytest.raises(UsageError, match="no driver 'FROB'"):
        read(Source(str(path), OpeningPolicy(drivers=("FROB",))))


def test_an_open_dataset_is_read_in_the_format_it_was_opened_in(make_raster: MakeRaster) -> None:
    path = make_raster(name="a.bmp", crs=None, transform=None, driver="BMP")
    with rasterio.open(path) as dataset, open_scene(dataset, SegmenterConfig(DEEPGLOBE)) as scene:
        assert np.array_equal(scene.read()[0], dataset.read())


@pytest.mark.parametrize("text", ['<WMS><Service name="TMS"/></WMS>', "<GDALTileIndexDataset/>", "PG:host=x", "{}"])
@pytest.mark.parametrize("ending", ["tif", "xml", "png"])
def test_orders_to_read_elsewhere_are_no_rasters(text: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"order.{ending}"
    path.write_text(text + " " * 2000)
    with pytest.raises(InputError, match="cannot be opened as a raster"):
        read(path)


@pytest.mark.parametrize(
    "name", ["PG:host=x", 'NETCDF:"a.nc":v', "GTIFF_DIR:1:scene.tif", "WMS:x", "MEM:::DATAPOINTER=1"]
)
def test_names_for_drivers_are_names_of_files(
    name: str, make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = make_raster()
    with pytest.raises(InputError, match="no such file"):
        read(name)
    if "/" not in name:
        scene.rename(name)
        read(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    for path in (tmp_path / "a.tif", "/dev/zero"):
        with pytest.raises(InputError, match="not a regular file"):
            read(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_need_leave(kind: str, make_raster: MakeRaster, tmp_path: Path) -> None:
    scene = make_raster(name="in/scene.tif")
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, scene.parent)
    name = f"/vsi{kind}/{archive}/scene.tif"
    with pytest.raises(InputError, match=r"archives are not opened.*--allow-archives"):
        read(name)
    with pytest.raises(InputError, match="cannot be opened"):
        read(archive)
    allowed = OpeningPolicy(archives=True)
    for spelling in (name, f"/vsi{kind}/{{{archive}}}/scene.tif"):
        with Scene(Source(spelling, allowed)) as packed, Scene(scene) as plain:
            assert np.array_equal(packed.read()[0], plain.read()[0])
            before = packed.describe()
            assert before["size"] == os.path.getsize(archive)
            with open_described(json.loads(json.dumps(before))) as again:
                assert again.describe() == before
    with pytest.raises(InputError, match="no such archive"):
        read(Source(f"/vsi{kind}/{tmp_path}/no.{kind}/scene.tif", allowed))
    with pytest.raises(InputError, match="no such archive"):
        read(Source(f"/vsi{kind}//vsicurl/file:///etc/passwd/scene.tif", allowed))


@pytest.mark.parametrize("member", ["scene.tif.ovr", "raw.vrt", "outside.vrt"])
def test_archives_hold_what_folders_hold(member: str, make_raster: MakeRaster, tmp_path: Path) -> None:
    folder = make_raster(name="in/scene.tif").parent
    raw = '<VRTRasterBand band="1" subClass="VRTRawRasterBand"><SourceFilename>/etc/hostname</SourceFilename>'
    outside = '<SimpleSource><SourceFilename relativeToVRT="1">../scene.tif</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand band="1">{outside}' if member == "outside.vrt" else raw
    (folder / member).write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1">{band}</VRTRasterBand></VRTDataset>')
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", folder)
    name = "scene.tif" if member.endswith("ovr") else member
    with pytest.raises(InputError, match=member):
        read(Source(f"/vsizip/{archive}/{name}", OpeningPolicy(archives=True)))


@pytest.mark.parametrize(
    ("bound", "value", "profile", "reason"),
    [
        ("MOST_PIXELS", 1960, {}, r"declares 37 x 53 px; over 2e\+03 pixels are taken for damage"),
        ("MOST_BANDS", 2, {}, "declares 3 bands; over 2 are taken for damage"),
        ("DECODED_AT_ONCE", 5000, {"blockysize": 37}, "one block of 37 x 53 px.*tile it first"),
        ("DECODED_AT_ONCE", 5000, {"driver": "PNG", "crs": None, "transform": None}, "a PNG of.*tile it first"),
    ],
)
def test_sizes_that_look_like_traps_need_leave(
    bound: str, value: int, profile: dict, reason: str, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_raster(**profile)
    read(path)
    monkeypatch.setattr(opening, bound, value)
    with pytest.raises(InputError, match=reason + ".*--allow-large"):
        read(path)
    read(Source(str(path), OpeningPolicy(large=True)))


def test_a_small_file_that_declares_a_huge_raster(tmp_path: Path) -> None:
    """2 ** 31 - 1 pixels a side in a sparse file of some kilobytes."""
    side = 1 << 25
    shape = {"count": 1, "height": side, "width": side, "dtype": "uint8", "SPARSE_OK": "YES", "BIGTIFF": "YES"}
    layout = {"tiled": True, "blockxsize": 1 << 20, "blockysize": 1 << 20}
    with rasterio.open(tmp_path / "huge.tif", "w", driver="GTiff", **shape, **layout):
        pass
    with pytest.raises(InputError, match=r"declares 33554432 x 33554432 px"):
        open_raster(tmp_path / "huge.tif")


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """A PNG of 40,000 x 40,000 px in RGB: its header and one empty block of data."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(InputError, match=r"a PNG of 4\.5 GiB would have to be decoded at once"):
        open_raster(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "name", ["a b.tif", "ä€.tif", "50%20.tif", "'\".tif", "a\nb.tif", "-o.tif", "a?b#c.tif", "{a}.tif"]
)
def test_names_are_taken_as_they_are(name: str, make_raster: MakeRaster) -> None:
    with Scene(make_raster(NOISE, name)) as scene:
        assert np.array_equal(scene.read()[0], NOISE) and scene.describe()["name"] == name


def test_the_user_s_own_settings_of_the_network_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    with gdal_settings(Source("https://host/a.tif")):
        assert rasterio.env.get_gdal_config("GDAL_HTTP_MAX_RETRY") == 9
        assert rasterio.env.get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
        assert rasterio.env.get_gdal_config("GDAL_HTTP_LOW_SPEED_TIME") == 20
    with gdal_settings(Source("a.tif")):
        assert rasterio.env.get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") is None
    with gdal_settings(Source("a.vrt", OpeningPolicy(external=True))):
        assert rasterio.env.get_gdal_config("GDAL_HTTP_LOW_SPEED_TIME") == 20
