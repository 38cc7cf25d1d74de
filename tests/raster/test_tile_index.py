"""GDAL tile indices (.gti.gpkg): of the size of their scene, and read with the same care as VRTs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geoseg.describe import describe
from geoseg.errors import InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import DEEPGLOBE
from geoseg.raster import opening
from geoseg.raster.index import write_index
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ClassRasterWriter
from geoseg.source import OpeningPolicy, Source

PART = 512
UTM = CRS.from_epsg(32631)
EXTERNAL = OpeningPolicy(external=True)


class Found:
    """What is known of the pixels; nothing here."""

    counts = np.zeros(256, int)
    hectares = None


def write_map(path: Path, codes: np.ndarray, grid: Grid) -> Path:
    with ClassRasterWriter(path, grid, DEEPGLOBE) as writer:
        writer.write(grid.window, codes)
    return path


def write_parts(folder: Path, codes: np.ndarray, grid: Grid) -> Path:
    """An index of parts of 512 px in a folder beside it."""
    (folder / "parts").mkdir(parents=True)
    parts = []
    for row in range(0, grid.shape[0], PART):
        for col in range(0, grid.shape[1], PART):
            window = Window(row, col, min(PART, grid.shape[0] - row), min(PART, grid.shape[1] - col))
            parts.append((folder / f"parts/{row}-{col}.tif", window))
            write_map(parts[-1][0], codes[window.slices], grid[window])
    index = folder / "map.gti.gpkg"
    write_index(index, grid, DEEPGLOBE, parts, {}, Found)
    return index


def codes_of(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 7, shape).astype(np.uint8)


def read(path: Path | str, policy: OpeningPolicy | None = None) -> np.ndarray:
    with Scene(Source.of(path).under(policy or OpeningPolicy())) as scene:
        return scene.read_values(scene.grid.window)[0]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of two parts in a folder "in"."""
    return write_parts(tmp_path / "in", codes_of((37, 531)), Grid(UTM, Affine(0.3, 0, 5.1, 0, -0.3, 99.7), (37, 531)))


def change(index: Path, *orders: str) -> Path:
    with closing(sqlite3.connect(index)) as database, database:
        # They call functions that only GDAL has.
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        for order in orders:
            database.execute(order)
    return index


def rename(index: Path, name: object) -> Path:
    """Give the first part another name."""
    with closing(sqlite3.connect(change(index))) as database, database:
        database.execute("UPDATE parts SET location = ? WHERE fid = 1", (name,))
    return index


@pytest.mark.parametrize(
    ("crs", "place", "shape"),
    [
        ("EPSG:32631", Affine(0.3, 0, 441_754.7, 0, -0.3, 5_417_386.1), (641, 733)),
        ("EPSG:4326", Affine(1e-5, 0, 5.123456, 0, -1e-5, 50.654321), (600, 701)),
        ("EPSG:32631+5773", Affine(0.1, 0, 300_000.3, 0, -0.7, 4_000_000.9), (523, 1103)),
        ("EPSG:3857", Affine(1 / 3, 0, -7.7, 0, -1 / 3, 1e6 + 0.1), (37, 53)),
    ],
)
def test_it_has_the_size_and_the_place_of_its_scene(
    crs: str, place: Affine, shape: tuple[int, int], tmp_path: Path
) -> None:
    codes, grid = codes_of(shape), Grid(CRS.from_user_input(crs), place, shape)
    index, whole = write_parts(tmp_path, codes, grid), write_map(tmp_path / "map.tif", codes, grid)
    with rasterio.open(index) as made, rasterio.open(whole) as expected:
        assert made.shape == expected.shape == shape and made.transform == expected.transform == place
        assert made.crs == expected.crs and made.crs.to_wkt() == expected.crs.to_wkt()
        assert np.array_equal(made.read(1), codes)
    assert np.array_equal(read(index), codes)


@pytest.mark.parametrize(
    ("crs", "place"),
    [
        ("EPSG:32631", Affine(0.3, 0, 441_754.7, 0, -0.3, 5_417_386.1)),
        ("EPSG:32631", Affine(0.05, 0, 441_754.7, 0, -2.1, 5_417_386.1)),
        ("EPSG:4326", Affine(1e-5, 0, 115.123456, 0, -1e-5, 50.654321)),
    ],
)
def test_windows_that_end_where_parts_do_have_all_pixels(crs: str, place: Affine, tmp_path: Path) -> None:
    shape = 1041, 1103
    codes = codes_of(shape)
    index = write_parts(tmp_path, codes, Grid(CRS.from_user_input(crs), place, shape))
    borders = [(0, 511, 512, 513, 1023, 1024, 1025, size) for size in shape]
    with rasterio.open(index) as made:
        for rows in combinations(borders[0], 2):
            for cols in combinations(borders[1], 2):
                window = Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])
                assert np.array_equal(made.read(1, window=window.to_rasterio()), codes[window.slices]), window


def test_an_index_of_no_parts_is_of_no_data(tmp_path: Path) -> None:
    index = tmp_path / "map.gti.gpkg"
    write_index(index, Grid(UTM, Affine(0.3, 0, 5.1, 0, -0.3, 99.7), (37, 53)), DEEPGLOBE, [], {}, Found)
    assert np.array_equal(read(index), np.full((37, 53), 255))


def test_geoseg_takes_it_for_a_class_raster(index: Path) -> None:
    assert describe(index)["kind"] == "class raster"
    assert (Source.of(index).suffix, Source.of(index).stem) == (".gti.gpkg", "map")
    with Scene(index) as scene:
        assert sorted(Path(file).name for file in scene.files) == ["0-0.tif", "0-512.tif", "map.gti.gpkg"]
        record = scene.describe()
        os.utime(index.with_name("parts") / "0-512.tif", ns=(1, 1))
        assert scene.describe() != record


def test_parts_outside_of_the_folder_need_leave(index: Path, tmp_path: Path) -> None:
    outside = (tmp_path / "in/parts/0-0.tif").rename(tmp_path / "a.tif")
    for name in ("../a.tif", "parts/../../a.tif", str(outside)):
        rename(index, name)
        with pytest.raises(InputError, match=r"lies outside of its folder; --allow-external"):
            read(index)
        assert np.array_equal(read(index, EXTERNAL), codes_of((37, 531)))
    (tmp_path / "in/parts/0-0.tif").symlink_to(outside)
    with pytest.raises(InputError, match="outside of its folder"):
        read(rename(index, "parts/0-0.tif"))


def test_a_link_to_it_is_an_index_in_its_own_folder(index: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gti.gpkg"
    link.symlink_to(index)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/0-0.tif").write_text("not looked at")
    assert np.array_equal(read(link), codes_of((37, 531)))


@pytest.mark.parametrize("name", ['x":parts.gti.gpkg', "x\\.gti.gpkg", "x.gti", "x.gpkg"])
def test_a_name_that_gdal_takes_for_another_is_refused(name: str, index: Path) -> None:
    link = index.with_name("link.gti.gpkg")
    link.symlink_to(index.rename(index.with_name(name)))
    with pytest.raises(InputError, match=r"neither .* nor .* in its path, and ends in \.gti\.gpkg; rename it"):
        read(link)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GTIFF_DIR:1:parts/0-0.tif", "neither a path nor an address"),
        ("<VRTDataset/>", "neither a path nor an address"),
        ("parts/0-0.tif\0.tif", "read in two ways"),
        (" parts/0-0.tif", "read in two ways"),
        ("/vsicurl/https://localhost:9/a.tif", "outside of its folder"),
        ("/vsimem/a.tif", "outside of its folder"),
        ("parts/gone.tif", "no such file"),
        ("passwords", "not recognized"),
        ("raw.vrt", "only VRTs that are plain"),
        ("map.gti.gpkg", "a tile index is not read within another file"),
        (None, "a part without a name"),
        (b"parts/0-0.tif", "a part without a name"),
        (7, "no such file"),
    ],
)
def test_what_it_names_goes_through_the_same_door(name: object, reason: str, index: Path) -> None:
    index.with_name("passwords").write_text("root:x:0:0:root" * 500)
    raw = (
        '<VRTRasterBand band="1" subClass="VRTRawRasterBand"><SourceFilename>passwords</SourceFilename></VRTRasterBand>'
    )
    index.with_name("raw.vrt").write_text(f'<VRTDataset rasterXSize="53" rasterYSize="37">{raw}</VRTDataset>')
    with pytest.raises(InputError, match=reason):
        read(rename(index, name))


IN_BAND = "UPDATE gpkg_metadata SET metadata = replace(metadata, '<Band ', '{}<Band ')"


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        (("CREATE VIEW gpkg_view AS SELECT 1",), "the view gpkg_view"),
        (("ALTER TABLE parts RENAME TO gpkg_p", "CREATE VIEW parts AS SELECT * FROM gpkg_p"), "the view parts"),
        (("CREATE INDEX sooner ON parts (location, geom)",), "the index sooner"),
        (("CREATE TABLE more (x)",), "the table more"),
        (("CREATE VIRTUAL TABLE gpkg_more USING rtree(id, a, b)",), "the table gpkg_more"),
        (("ALTER TABLE parts ADD COLUMN more",), "other fields"),
        (
            ("ALTER TABLE parts RENAME location TO old", "ALTER TABLE parts ADD location AS (old)"),
            "other fields",
        ),
        (("ALTER TABLE parts DROP location", "ALTER TABLE parts ADD location AS ('a.tif')"), "other fields"),
        (("PRAGMA application_id = 0",), "no GeoPackage"),
        (("UPDATE gpkg_contents SET table_name = 'gpkg_metadata'",), "other layers"),
        (("UPDATE gpkg_metadata_reference SET reference_scope = 'geopackage'",), "other metadata"),
        (
            ("INSERT INTO gpkg_metadata SELECT 7, md_scope, '', '', '' FROM gpkg_metadata",),
            "other",
        ),
        (("UPDATE gpkg_metadata SET metadata = '<a'",), "no tile index, or a damaged one"),
        (("UPDATE gpkg_metadata SET metadata = x'00'",), "a description of another form"),
        ((IN_BAND.format("<Overview><Dataset>/etc/passwd</Dataset></Overview>"),), "<Overview>"),
        ((IN_BAND.format("<IndexDataset>other.gpkg</IndexDataset>"),), "<IndexDataset>"),
        ((IN_BAND.format("<SQL>SELECT 1</SQL>"),), "<SQL>"),
        ((IN_BAND.format("<Filter>1</Filter>"),), "<Filter>"),
        ((IN_BAND.format("<LocationField>geom</LocationField>"),), "another field of names"),
        ((IN_BAND.format('<Metadata domain="OVERVIEWS"/>'),), "metadata of other domains"),
        ((IN_BAND.format("<!-- -->"),), "a description of another form"),
        ((IN_BAND.format('<XSize more="1"/>'),), "<XSize> more"),
    ],
)
def test_whatever_is_not_plain_is_refused(orders: tuple[str, ...], reason: str, index: Path) -> None:
    assert np.array_equal(read(change(index)), codes_of((37, 531)))
    with pytest.raises(InputError, match=reason):
        read(change(index, *orders))


def test_what_is_no_index_or_changes_is_refused(index: Path) -> None:
    with closing(sqlite3.connect(index)) as program:
        program.execute("PRAGMA journal_mode = WAL")
        program.execute("CREATE TABLE edits (x)")
        with pytest.raises(InputError, match="is open in another program"):
            read(index)
        program.execute("DROP TABLE edits")
        program.execute("PRAGMA journal_mode = DELETE")
    assert read(index).shape == (37, 531)
    Path(f"{index}-journal").touch()
    with pytest.raises(InputError, match="is open in another program"):
        read(index)
    Path(f"{index}-journal").unlink()
    content = index.read_bytes()
    for damaged in (b"", b"text", content[:5000], content[:4096] + bytes(len(content) - 4096)):
        index.write_bytes(damaged)
        with pytest.raises(InputError, match="is no tile index, or"):
            read(index)


def test_too_many_parts_or_bytes(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_SOURCES", 1)
    with pytest.raises(InputError, match="names 2 files; over 1 are taken for damage"):
        read(index)
    assert read(index, OpeningPolicy(large=True)).shape == (37, 531)
    monkeypatch.setattr(opening, "MOST_VRT", 1 << 10)
    with pytest.raises(InputError, match="is larger than"):
        read(index)


def test_it_needs_a_gdal_that_has_them_and_this_machine(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="tile indices are read as files of this machine"):
        read("https://localhost:9/map.gti.gpkg")
    drivers: Callable[..., dict[str, str]] = rasterio.Env.drivers
    monkeypatch.setattr(rasterio.Env, "drivers", lambda env: {k: v for k, v in drivers(env).items() if k != "GTI"})
    with pytest.raises(UsageError, match=r"map\.gti\.gpkg: is read with GDAL 3\.9 or newer, and here is 3\."):
        read(index)
