"""VRTs: plain mosaics and warps of files below their folder are read, and nothing else that a VRT can ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.vrt import WarpedVRT

from geoseg.errors import InputError
from geoseg.raster import opening
from geoseg.raster.scene import Scene
from geoseg.source import OpeningPolicy, Source

MakeRaster = Callable[..., Path]
EXTERNAL = OpeningPolicy(external=True)
SECRET_FILE = "root:x:0:0:root"
SIZE = 'rasterXSize="53" rasterYSize="37"'
SUBCLASSES = "VRTPansharpenedDataset", "VRTProcessedDataset", "vrtwarpeddataset"


def band(content: str, attributes: str = "", number: int = 1) -> str:
    return f'<VRTRasterBand dataType="Byte" band="{number}" {attributes}>{content}</VRTRasterBand>'


def named(name: str, relative: object = 1, more: str = "", kind: str = "SimpleSource") -> str:
    file = f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
    return f"<{kind}>{file}<SourceBand>1</SourceBand>{more}</{kind}>"


def write_vrt(path: Path, *content: str, attributes: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<VRTDataset {SIZE} {attributes}>{''.join(content)}</VRTDataset>")
    return path


def read(path: Path | str, policy: OpeningPolicy | None = None) -> np.ndarray:
    with Scene(Source.of(path).under(policy or OpeningPolicy())) as scene:
        return scene.read()[0]


@pytest.fixture
def tile(make_raster: MakeRaster) -> Path:
    """A raster of one band in the folder "in"."""
    return make_raster(np.arange(37 * 53, dtype=np.uint8).reshape(37, 53), "in/a.tif", photometric="minisblack")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of text beside the folder "in", which no raster may show."""
    path = tmp_path / "passwords"
    path.write_text(SECRET_FILE * 200)
    return path


def raw(path: Path, relative: int = 0) -> str:
    """A band that reads a file's bytes as pixels."""
    where = f'<SourceFilename relativeToVRT="{relative}">{path}</SourceFilename>'
    return band(f"{where}<PixelOffset>1</PixelOffset><LineOffset>53</LineOffset>", 'subClass="VRTRawRasterBand"')


def test_a_mosaic_is_read(tile: Path) -> None:
    sources = (named("a.tif"), named(str(tile), 0), named("./a.tif", kind="ComplexSource"), named("sub/../a.tif"))
    vrt = write_vrt(tile.with_name("m.vrt"), *(band(source, "", i) for i, source in enumerate(sources, start=1)))
    (tile.parent / "sub").mkdir()
    assert (read(vrt) == read(tile)).all() and len(read(vrt)) == 4


def test_what_gdal_writes_is_read(make_raster: MakeRaster) -> None:
    codes = np.arange(37 * 53, dtype=np.uint8).reshape(37, 53) % 9
    paths = [make_raster(name="in/rgb.tif", nodata=0), make_raster(codes, "in/palette.tif")]
    with rasterio.open(paths[0], "r+") as dataset:
        dataset.update_tags(A="<&>")
        dataset.set_band_description(1, "red")
        dataset.build_overviews([2])
    with rasterio.open(paths[1], "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0), 2: (0, 99, 0)})
        dataset.write_mask(codes > 2)
    for path in paths:
        plain, warped = path.with_suffix(".vrt"), path.with_name(f"{path.stem}.warped.vrt")
        rasterio.shutil.copy(path, plain, driver="VRT")
        with rasterio.open(path) as dataset, WarpedVRT(dataset, crs="EPSG:3857") as warp:
            expected = warp.read(1)
            rasterio.shutil.copy(warp, warped, driver="VRT")
        assert (read(plain) == read(path)).all() and (read(warped)[0] == expected).all()


def test_a_vrt_within_a_vrt(tile: Path) -> None:
    write_vrt(tile.with_name("sub") / "inner.vrt", band(named("deep/b.tif")))
    (tile.parent / "sub/deep").mkdir()
    tile.rename(tile.parent / "sub/deep/b.tif")
    outer = write_vrt(tile.with_name("outer.vrt"), band(named("sub/inner.vrt")))
    assert read(outer).max() == 255


@pytest.mark.parametrize("kind", ["absolute", "relative", "working folder", "link", "nested"])
def test_sources_outside_of_the_folder_need_leave(
    kind: str, tile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    folder, outside = tile.parent, tile.rename(tmp_path / "out" / "a.tif")
    monkeypatch.chdir(outside.parent)
    name, relative = {
        "absolute": (str(outside), 0),
        "relative": ("../out/a.tif", 1),
        "working folder": ("a.tif", 0),
        "link": ("link.tif", 1),
        "nested": ("inner.vrt", 1),
    }[kind]
    (folder / "link.tif").symlink_to(outside)
    write_vrt(folder / "inner.vrt", band(named("../out/a.tif")))
    vrt = write_vrt(folder / "m.vrt", band(named(name, relative)))
    with pytest.raises(InputError, match=r"m\.vrt: .*outside of its folder; --allow-external"):
        read(vrt)
    assert read(vrt, EXTERNAL).max() == 255


def test_a_link_to_a_vrt_is_a_vrt_in_its_own_folder(tile: Path, tmp_path: Path) -> None:
    vrt = write_vrt(tile.with_name("m.vrt"), band(named("a.tif")))
    (tmp_path / "link.vrt").symlink_to(vrt)
    assert read(tmp_path / "link.vrt").max() == 255


@pytest.mark.parametrize("policy", [OpeningPolicy(), EXTERNAL], ids=["by default", "with leave"])
@pytest.mark.parametrize("place", ["itself", "nested", "another name", "another case", "beside", "in XML"])
def test_raw_bands_are_refused(policy: OpeningPolicy, place: str, tile: Path, secret: Path) -> None:
    inner = write_vrt(tile.with_name("raw.vrt"), raw(secret))
    if place == "nested":
        inner = write_vrt(tile.with_name("outer.vrt"), band(named("raw.vrt")))
    elif place == "another name":
        inner.rename(tile.with_name("raw.tif"))
        inner = write_vrt(tile.with_name("outer.vrt"), band(named("raw.tif")))
    elif place == "another case":
        inner.write_text(inner.read_text().replace("VRTRasterBand", "vrtrasterband").replace("subClass", "SUBCLASS"))
    elif place == "beside":
        secret.rename(tile.with_name("passwords"))
        inner = write_vrt(tile.with_name("raw.vrt"), raw(Path("passwords"), 1))
    elif place == "in XML":
        text = inner.read_text().replace("<", "&lt;").replace('"', "&quot;")
        inner = write_vrt(tile.with_name("outer.vrt"), band(named(text, 0)))
    with pytest.raises(InputError) as caught:
        read(inner, policy)
    assert caught.value.exit_code == 3 and SECRET_FILE not in str(caught.value)


def python_function(marker: Path) -> str:
    code = f"def f(inputs, output, *rest, **named):\n    open({str(marker)!r}, 'w')\n    output[:] = 7\n"
    how = f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>{{}}{code}{{}}"
    return band(named("a.tif") + how, 'subClass="VRTDerivedRasterBand"')


@pytest.mark.parametrize("marks", [("<PixelFunctionCode><![CDATA[", "]]></PixelFunctionCode>"), ("<X>", "</X>")])
def test_code_in_a_vrt_is_never_run(
    marks: tuple[str, str], tile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    vrt = write_vrt(tile.with_name("f.vrt"), python_function(tmp_path / "ran").format(*marks))
    with pytest.raises(InputError, match=r"f\.vrt: only VRTs that are plain mosaics"):
        read(vrt, EXTERNAL)
    assert not (tmp_path / "ran").exists()


PLAIN = band(named("a.tif"))


@pytest.mark.parametrize(
    ("content", "attributes"),
    [
        *((PLAIN, f'subClass="{name}"') for name in SUBCLASSES),
        ("<GroupRoot><Array><SourceFilename>a.tif</SourceFilename></Array></GroupRoot>", ""),
        (band("<PixelFunctionType>sum</PixelFunctionType>" + named("a.tif"), 'subClass="VRTDerivedRasterBand"'), ""),
        (band(f"<KernelFilteredSource>{named('a.tif')}</KernelFilteredSource>"), ""),
        (band(named("a.tif", more='<OpenOptions><OOI key="ROOT_PATH">/</OOI></OpenOptions>')), ""),
        ('<Metadata domain="OverViews"><MDI key="OVERVIEW_FILE">x.vrt</MDI></Metadata>' + PLAIN, ""),
        ('<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">x.vrt</MDI></Metadata>' + PLAIN, ""),
        ("<GDALWarpOptions><RPCTransformer><DEMPath>x</DEMPath></RPCTransformer></GDALWarpOptions>" + PLAIN, ""),
        (band("<SimpleSource><VRTDataset/></SimpleSource>"), ""),
        (band(named("a.tif"), 'surprise="1"'), ""),
        (band(named("<![CDATA[a.tif]]>")), ""),
        (band(named("a<!-- b -->.tif")), ""),
        (band(named(" a.tif")), ""),
        (band(named("a.tif", "true")), ""),
        (band(named("a.tif").replace("relative", 'relativetoVRT="0" relative')), ""),
        (band(named("GTIFF_DIR:1:a.tif")), ""),
        (band(named("vrt://a.tif")), ""),
        (band(named("/vsizip/a.zip/a.tif")), ""),
        (band(named("/vsimem/a.tif", 0)), ""),
        (band(named("/vsicurl/file:///etc/passwd", 0)), ""),
        (band(named("https://host.invalid/a.tif", 0)), ""),
        (band(named("/vsis3/bucket/a.tif", 0)), ""),
        (band(named("")), ""),
        (band(named(".")), ""),
    ],
)
def test_whatever_is_not_plain_is_refused(content: str, attributes: str, tile: Path) -> None:
    with pytest.raises(InputError, match=r"m\.vrt: "):
        read(write_vrt(tile.with_name("m.vrt"), content, attributes=attributes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<VRTDataset",
        "<WMS></WMS>",
        '<!DOCTYPE a [<!ENTITY b "c">]><VRTDataset/>',
        "<VRTDataset/><VRTDataset/>",
        "\u00e4".encode("latin-1").decode("latin-1"),
    ],
)
def test_what_is_no_vrt_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.vrt").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"m\.vrt: .*(VRT|bands)"):
        read(tmp_path / "m.vrt")


def test_an_encoding_that_gdal_does_not_heed_is_refused(tile: Path) -> None:
    vrt = write_vrt(tile.with_name("m.vrt"), PLAIN)
    text = vrt.read_text().replace("a.tif", "\u00e4.tif")
    vrt.write_bytes(b'<?xml version="1.0" encoding="ISO-8859-1"?>' + text.encode("latin-1"))
    with pytest.raises(InputError, match="is no VRT"):
        read(vrt)


@pytest.mark.parametrize("names", [("m.vrt",), ("b.vrt", "m.vrt"), ("./m.vrt",)])
def test_a_vrt_that_names_itself_ends(names: tuple[str, ...], tile: Path) -> None:
    here = tile.with_name("m.vrt")
    for name in names:
        write_vrt(here, band(named(name)))
        here = tile.parent / name
    with pytest.raises(InputError, match="names itself"):
        read(tile.with_name("m.vrt"))


def test_a_long_chain_of_vrts_ends(tile: Path) -> None:
    for number in range(20):
        write_vrt(tile.with_name(f"{number}.vrt"), band(named(f"{number + 1}.vrt")))
    with pytest.raises(InputError, match="VRTs within VRTs"):
        read(tile.with_name("0.vrt"))


def test_a_vrt_by_another_name_is_no_raster(tile: Path) -> None:
    vrt = write_vrt(tile.with_name("m.vrt"), PLAIN).rename(tile.with_name("m.tif"))
    with pytest.raises(InputError, match=r"m\.tif: cannot be opened as a raster"):
        read(vrt)


def test_a_vrt_lends_no_format(tile: Path, make_raster: MakeRaster) -> None:
    make_raster(np.zeros((37, 53), np.uint8), "in/b.bmp", crs=None, transform=None, driver="BMP")
    vrt = write_vrt(tile.with_name("m.vrt"), band(named("b.bmp")))
    with pytest.raises(InputError, match=r"b\.bmp: cannot be opened.*--allow-driver"):
        read(vrt)
    assert not read(vrt, OpeningPolicy(drivers=("bmp",))).any()


def test_a_vrt_of_too_many_files_or_bytes(tile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.tif", "c.tif"):
        os.link(tile, tile.with_name(name))
    vrt = write_vrt(tile.with_name("m.vrt"), band("".join(named(name) for name in ("a.tif", "b.tif", "c.tif"))))
    monkeypatch.setattr(opening, "MOST_SOURCES", 2)
    with pytest.raises(InputError, match=r"m\.vrt: names 3 files.*--allow-large"):
        read(vrt)
    assert read(vrt, OpeningPolicy(large=True)).max() == 255
    monkeypatch.setattr(opening, "MOST_VRT", 100)
    with pytest.raises(InputError, match=r"m\.vrt: is larger"):
        read(vrt, OpeningPolicy(large=True))


@pytest.mark.parametrize("ending", [".ovr", ".msk", ".OVR"])
def test_overviews_and_masks_beside_a_file_are_no_vrts(ending: str, tile: Path, secret: Path) -> None:
    write_vrt(tile.with_name(f"a.tif{ending}"), raw(secret))
    with pytest.raises(InputError, match=rf"a\.tif{ending}: cannot be opened"):
        read(tile)


@pytest.mark.parametrize("where", ["itself", "sidecar", "source of a VRT"])
def test_overviews_named_in_metadata_are_not_followed(where: str, tile: Path, secret: Path) -> None:
    hostile = write_vrt(tile.with_name("raw.vrt"), raw(secret))
    if where == "sidecar":
        entry = f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{hostile}</MDI></Metadata>'
        tile.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{entry}</PAMDataset>")
    else:
        with rasterio.open(tile, "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(hostile))
    path = write_vrt(tile.with_name("m.vrt"), PLAIN) if where == "source of a VRT" else tile
    with pytest.raises(InputError, match=r"a\.tif: names a file of overviews"):
        read(path)
