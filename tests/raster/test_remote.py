"""Rasters on the network: what servers do, and what is read or said then. The servers are processes of this machine."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import SegmenterConfig
from geoseg.raster.clipped import clipped
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.described import open_described
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.scene import Scene, reader_count
from geoseg.source import OpeningPolicy, Source

MakeRaster = Callable[..., Path]
PIXELS = np.random.default_rng(5).integers(0, 256, (3, 300, 403)).astype(np.uint8)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
LAYOUTS = {
    "tiles": TILED,
    "strips": {},
    "png": {"driver": "PNG", "crs": None, "transform": None},
    "jpeg": {"driver": "JPEG", "crs": None, "transform": None, "quality": 95},
}


@pytest.fixture
def scene(web, make_raster: MakeRaster) -> Path:
    """A raster of 350 kB, so that all of it is not read with its header."""
    return make_raster(PIXELS, "web/scene.tif", **TILED)


def read(source: str | Source, window: Window | None = None) -> np.ndarray:
    with Scene(source) as opened:
        return opened.read(window)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_raster_on_the_web_is_read_as_its_file(layout: str, web, make_raster: MakeRaster) -> None:
    path = make_raster(PIXELS, "web/scene.tif", **LAYOUTS[layout])
    with Scene(web.url("plain/scene.tif")) as remote, Scene(path) as local:
        assert np.array_equal(remote.read()[0], local.read()[0]) and remote.grid == local.grid
        assert remote.name == web.url("plain/scene.tif")
    assert not any(".aux.xml" in line or ".ovr" in line or "GET /plain/ " in line for line in web.requests)


def test_files_beside_are_read_when_asked_for(web, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_raster(PIXELS, "web/scene.png", **LAYOUTS["png"])
    entry = "<PAMDataset><SRS>EPSG:32631</SRS><GeoTransform>5, 2, 0, 7, 0, -2</GeoTransform></PAMDataset>"
    path.with_name("scene.png.aux.xml").write_text(entry)
    with Scene(web.url("plain/scene.png")) as remote:
        assert not remote.grid.georeferenced
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "FALSE")
    with Scene(web.url("plain/scene.png")) as remote, Scene(path) as local:
        assert remote.grid == local.grid and remote.grid.georeferenced
    path.with_name("scene.png.ovr").write_text("<VRTDataset/>")
    with pytest.raises(InputError, match=r"scene\.png\.ovr: cannot be opened"):
        Scene(web.url("plain/scene.png"))


def test_only_what_a_window_needs_is_fetched(web, scene: Path) -> None:
    window = Window(64, 128, 64, 64)
    assert np.array_equal(read(web.url("plain/scene.tif"), window), PIXELS[:, *window.slices])
    ranges = [line.partition("bytes=")[2].split("-") for line in web.requests if "bytes=" in line]
    assert sum(int(last) - int(first) + 1 for first, last in ranges) < 0.4 * scene.stat().st_size


@pytest.fixture
def buckets(web, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL takes the server for the three stores, and "plain" for a bucket."""
    settings = {
        "AWS_S3_ENDPOINT": web.host,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_NO_SIGN_REQUEST": "YES",
        "CPL_GS_ENDPOINT": web.url(""),
        "GS_NO_SIGN_REQUEST": "YES",
        "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=me;AccountKey=Zm9v;"
        f"BlobEndpoint={web.url('')}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("scheme", ["s3://", "gs://", "az://", "/vsis3/", "/vsigs/", "/vsiaz/"])
def test_stores_of_objects(scheme: str, web, scene: Path, buckets: None) -> None:
    with Scene(f"{scheme}plain/scene.tif") as remote:
        assert np.array_equal(remote.read()[0], PIXELS)
        record = remote.describe()
    assert record["size"] == scene.stat().st_size and record["etag"] and record["path"] == f"{scheme}plain/scene.tif"


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("plain/missing.tif", r"cannot be opened as a raster \(HTTP response code: 404\)"),
        ("forbidden/scene.tif", r"HTTP response code: 403; are there credentials"),
        ("protected/scene.tif", r"HTTP response code: 401; are there credentials"),
        ("signed/scene.tif?sig=WRONG", r"HTTP response code: 403; are there credentials"),
        ("fails-99/scene.tif", r"HTTP response code: 500"),
        ("stalls/scene.tif", r"too slow"),
        ("no-ranges/scene.tif", r"sends no parts of files \(HTTP ranges\): download the file first"),
        ("plain/text.tif", r"not recognized"),
    ],
)
def test_what_goes_wrong_is_one_line_and_in_time(manner: str, reason: str, web, scene: Path) -> None:
    (web.folder / "text.tif").write_text("hello")
    with pytest.raises(InputError, match=reason) as caught:
        Scene(web.url(manner))
    message = str(caught.value)
    assert message.startswith(web.url(manner).partition("?")[0]) and "\n" not in message and "WRONG" not in message
    assert caught.value.__suppress_context__


def test_a_server_that_is_not_there() -> None:
    for url, reason in (("http://127.0.0.1:9/a.tif", "connect"), ("http://no.such.host.invalid/a.tif", "resolve")):
        with pytest.raises(InputError, match=reason):
            Scene(url)


def test_views_of_remote_files_know_that_they_wait_for_a_network(web, scene: Path) -> None:
    for files, remote in (([scene, web.url("plain/scene.tif")], True), ([scene], False)):
        with MosaicScene(files) as mosaic:
            views = mosaic, CoarseScene(mosaic, 2), clipped(mosaic, bbox=mosaic.grid.bounds)
            assert {view.remote for view in views} == {remote}


def test_a_server_that_fails_twice_is_asked_again(web, scene: Path) -> None:
    assert np.array_equal(read(web.url("fails-2/scene.tif")), PIXELS)
    assert sum(line.startswith("HEAD") for line in web.requests) >= 3


def test_an_answer_that_breaks_off_is_asked_for_again(web, scene: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "geoseg")
    assert np.array_equal(read(web.url("cut-once/scene.tif")), PIXELS)
    assert "cannot be read at rows 0-300, columns 0-403" in caplog.text and caplog.text.count("once more") == 1


@pytest.mark.parametrize("manner", ["cut", "fails-later", "stalls-later"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_answer_that_never_comes_whole_is_an_error(
    layout: str, manner: str, web, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.raster.scene.WAITS", (0.01,))
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    make_raster(PIXELS, "web/scene.tif", **LAYOUTS[layout])
    with pytest.raises(InputError, match=rf"{manner}/scene.tif: cannot be"):
        read(web.url(f"{manner}/scene.tif"))


def test_a_file_that_is_put_there_late_is_found(web, scene: Path) -> None:
    with pytest.raises(InputError, match="404"):
        Scene(web.url("plain/late.tif"))
    shutil.copy(scene, web.folder / "late.tif")
    assert np.array_equal(read(web.url("plain/late.tif")), PIXELS)


def test_a_file_that_changes_is_read_anew(web, scene: Path, make_raster: MakeRaster) -> None:
    before = read(web.url("plain/scene.tif"))
    make_raster(PIXELS[::-1], "web/scene.tif", **TILED)
    assert np.array_equal(read(web.url("plain/scene.tif")), before[::-1])


class TestIdentity:
    def test_the_server_tells_a_file_from_the_next(self, web, scene: Path, make_raster: MakeRaster) -> None:
        with Scene(web.url("plain/scene.tif")) as remote:
            before = remote.describe()
            assert before == remote.describe() and before["size"] == scene.stat().st_size
            # The same size, other pixels.
            content = bytearray(scene.read_bytes())
            content[-1] ^= 1
            scene.write_bytes(content)
            after = remote.describe()
        assert {key for key in before if before[key] != after[key]} == {"etag"}

    def test_a_server_that_tells_nothing_is_said(self, web, scene: Path, caplog: pytest.LogCaptureFixture) -> None:
        with Scene(web.url("untold/scene.tif")) as remote:
            assert remote.describe() == remote.describe() and "etag" not in remote.describe()
        assert caplog.text.count("a change between runs is not seen") == 1

    def test_a_described_scene_opens_again(self, web, scene: Path) -> None:
        with Scene(Source(web.url("plain/scene.tif"), OpeningPolicy(large=True)), bands=(3, 1)) as remote:
            record = json.loads(json.dumps(remote.describe()))
            with open_described(record) as again, pickle.loads(pickle.dumps(remote)) as copy:
                assert again.describe() == copy.describe() == record
                assert np.array_equal(again.read()[0], PIXELS[[2, 0]])

    def test_credentials_are_not_described(self, web, scene: Path) -> None:
        url = web.url("signed/scene.tif?sig=SECRET&day=1").replace("//", "//user:SECRET@")
        with Scene(url) as remote, pickle.loads(pickle.dumps(remote)) as copy:
            assert np.array_equal(copy.read()[0], PIXELS)
            record = remote.describe()
        assert "SECRET" not in json.dumps(record) and "SECRET" not in repr(remote)
        with pytest.raises(InputError, match="credentials are kept nowhere"):
            open_described(record)
        # Signed anew, it is the same file.
        with Scene(url.replace("day=1", "day=2")) as again:
            assert again.describe() == record


def test_credentials_in_the_url(web, scene: Path) -> None:
    url = web.url("protected/scene.tif").replace("//", "//user:SECRET@")
    assert np.array_equal(read(url), PIXELS)
    assert np.array_equal(read(web.url("get-only/scene.tif?X-Amz-Signature=SECRET")), PIXELS)


def test_credentials_in_the_environment(web, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_USERPWD", "user:SECRET")
    assert np.array_equal(read(web.url("protected/scene.tif")), PIXELS)


def test_remote_scenes_are_read_by_more_threads_than_there_are_processors(
    web, scene: Path, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    make_raster(PIXELS, "web/scene.png", **LAYOUTS["png"])
    with Scene(web.url("plain/scene.tif")) as remote, Scene(scene) as local:
        assert (reader_count(remote), reader_count(local), reader_count(local, remote)) == (8, 2, 8)
    with Scene(web.url("plain/scene.png")) as picture:
        assert reader_count(picture) == 1


def write_vrt(path: Path, *names: str, relative: int = 1) -> None:
    bands = (
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>{band}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for band, name in enumerate(names, start=1)
    )
    path.write_text(f'<VRTDataset rasterXSize="403" rasterYSize="300">{"".join(bands)}</VRTDataset>')


class TestVrts:
    def test_on_the_web_with_its_files_beside_it(self, web, scene: Path) -> None:
        write_vrt(web.folder / "m.vrt", "scene.tif", f"/vsicurl/{web.url('plain/scene.tif')}", "./scene.tif")
        assert np.array_equal(read(web.url("plain/m.vrt")), PIXELS)
        assert np.array_equal(read(f"/vsicurl/{web.url('plain/m.vrt')}"), PIXELS)
        with pytest.raises(InputError, match=r"m\.vrt: names /vsicurl/.*outside"):
            read(web.url("other/m.vrt"))

    @pytest.mark.parametrize(
        "name", ["/etc/hostname", "../plain/scene.tif", "%2e%2e/plain/scene.tif", "/vsis3/b/a.tif"]
    )
    def test_on_the_web_with_files_elsewhere(self, name: str, web, scene: Path) -> None:
        write_vrt(web.folder / "m.vrt", name)
        with pytest.raises(InputError, match=r"m\.vrt: names .*outside of its folder"):
            read(web.url("plain/m.vrt"))

    def test_here_with_files_on_the_web(self, web, scene: Path, tmp_path: Path) -> None:
        allowed = Source(f"{tmp_path}/m.vrt", OpeningPolicy(external=True))
        # GDAL would fetch it whole and open it as any format.
        write_vrt(tmp_path / "m.vrt", web.url("plain/scene.tif"), relative=0)
        with pytest.raises(InputError, match="neither a path nor an address in GDAL's spelling"):
            read(allowed)
        write_vrt(tmp_path / "m.vrt", f"/vsicurl/{web.url('plain/scene.tif')}", relative=0)
        with pytest.raises(InputError, match="outside of its folder; --allow-external"):
            read(str(tmp_path / "m.vrt"))
        assert web.requests == []
        assert np.array_equal(read(allowed), PIXELS[:1])

    @pytest.mark.parametrize("name", ["raw.vrt", "raw.tif"])
    def test_raw_bands_within(self, name: str, web, scene: Path) -> None:
        band = (
            '<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
            '<SourceFilename relativeToVRT="0">/etc/hostname</SourceFilename></VRTRasterBand>'
        )
        (web.folder / name).write_text(f'<VRTDataset rasterXSize="1" rasterYSize="1">{band}</VRTDataset>')
        write_vrt(web.folder / "m.vrt", "scene.tif", name)
        for policy in (OpeningPolicy(), OpeningPolicy(external=True)):
            with pytest.raises(InputError, match=rf"m\.vrt: cannot be read: .*{name}: "):
                read(Source(web.url("plain/m.vrt"), policy))


def test_an_archive_on_the_web(web, scene: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", web.folder))
    archive.rename(web.folder / "a.zip")
    name = f"/vsizip//vsicurl/{web.url('plain/a.zip')}/scene.tif"
    with pytest.raises(InputError, match="--allow-archives"):
        read(name)
    assert np.array_equal(read(Source(name, OpeningPolicy(archives=True))), PIXELS)


def test_rasterio_s_own_datasets_on_the_web(web, scene: Path) -> None:
    from geoseg.prediction.predict import open_scene

    with (
        rasterio.open(web.url("plain/scene.tif")) as dataset,
        open_scene(dataset, SegmenterConfig(DEEPGLOBE)) as remote,
    ):
        assert np.array_equal(remote.read()[0], PIXELS)
