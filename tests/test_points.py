"""Points in and out: tables, vector files, CRS, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.points import SamplePoints, read_points, write_points


def points(**columns: np.ndarray) -> SamplePoints:
    x, y = np.array([441_754.75, 441_760.25, 441_800.5]), np.array([5_417_386.0, 5_417_300.25, 5_417_200.125])
    return SamplePoints(("1", "2", "5"), x, y, CRS.from_epsg(32631), columns)


def write_layer(path: Path, shapes: list, layer: str = "points", driver: str = "GPKG", append: bool = False) -> Path:
    kind = shapes[0].geom_type
    names = np.array([f"class {i}" for i in range(len(shapes))], object)
    fields = {"fields": ["reference"], "layer": layer, "driver": driver, "append": append}
    pyogrio.raw.write(path, shapely.to_wkb(shapes), [names], geometry_type=kind, crs="EPSG:32631", **fields)
    return path


# Tables


def test_a_table_with_x_and_y_has_no_crs(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,X,Y,reference\n7,1.5,2.5,road\n9,3,4,\n\n", encoding="utf-8-sig")
    read = read_points(tmp_path / "p.csv")
    assert (read.ids, read.x.tolist(), read.y.tolist(), read.crs) == (("7", "9"), [1.5, 3], [2.5, 4], None)
    assert read.columns["reference"].tolist() == ["road", ""]


@pytest.mark.parametrize("names", ["lon;lat", "longitude;latitude"])
def test_a_table_with_longitude_and_latitude_is_wgs84(tmp_path: Path, names: str) -> None:
    (tmp_path / "p.csv").write_text(f"{names};reference\n3.25;48.5;road, paved\n")
    read = read_points(tmp_path / "p.csv")
    assert read.crs == CRS.from_epsg(4326) and (read.x[0], read.y[0]) == (3.25, 48.5)
    assert read.ids == ("1",) and read.columns["reference"][0] == "road, paved"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("east,north\n1,2\n", "needs columns x and y, or lon and lat; has east, north"),
        ("x,y\n1,two\n", "column 'y' holds a value that is no number"),
        ("x,y\n1\n", "a line of column names"),
        ("x,y\n", "a line of column names"),
        ("id,x,y\n1,1,2\n1,3,4\n", "two points have the id '1'"),
        ("id,x,y,reference,reference\n1,1,2,a,b\n", "two columns are called 'reference'"),
    ],
)
def test_tables_that_place_no_points_are_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=what):
        read_points(tmp_path / "p.csv")


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("x,y,reference\n1,2,Straße\n".encode("latin-1"))
    with pytest.raises(InputError, match="text in UTF-8"):
        read_points(tmp_path / "p.csv")


# Vector files


@pytest.mark.parametrize(("ending", "driver"), [(".gpkg", "GPKG"), (".shp", "ESRI Shapefile"), (".fgb", "FlatGeobuf")])
def test_what_ogr_reads(tmp_path: Path, ending: str, driver: str) -> None:
    path = write_layer(tmp_path / f"p{ending}", [shapely.Point(1.5, 2.5), shapely.Point(3, 4)], driver=driver)
    read = read_points(path)
    assert dict(zip(read.columns["reference"], read.x, strict=True)) == {"class 0": 1.5, "class 1": 3}
    assert read.crs == CRS.from_epsg(32631) and read.ids == ("1", "2")


def test_other_geometry_is_refused(tmp_path: Path) -> None:
    path = write_layer(tmp_path / "p.gpkg", [shapely.box(0, 0, 1, 1)])
    with pytest.raises(InputError, match="a layer of points"):
        read_points(path)


def test_several_layers_are_refused(tmp_path: Path) -> None:
    write_layer(tmp_path / "p.gpkg", [shapely.Point(1, 2)], "a")
    write_layer(tmp_path / "p.gpkg", [shapely.Point(1, 2)], "b", append=True)
    with pytest.raises(InputError, match=r"2 layers with geometry \(a, b\)"):
        read_points(tmp_path / "p.gpkg")


@pytest.mark.parametrize(
    ("name", "what"),
    [("no.gpkg", "no such file"), ("mask.tif", "a census of its scene"), ("bad.gpkg", "none of GeoPackage")],
)
def test_files_that_are_no_points_are_refused(tmp_path: Path, name: str, what: str) -> None:
    for there in ("mask.tif", "bad.gpkg"):
        (tmp_path / there).write_text("nothing of the kind")
    with pytest.raises(InputError, match=what):
        read_points(tmp_path / name)


# Values


def test_lengths_agree() -> None:
    with pytest.raises(InputError, match="differ in length"):
        points(reference=np.array(["road"], object))


def test_a_key_is_joined_by_id_whatever_its_order(tmp_path: Path) -> None:
    (tmp_path / "key.csv").write_text("stratum,id\nroof,5\nroad,1\nwood,2\npond,3\n")
    assert points().joined(tmp_path / "key.csv").columns["stratum"].tolist() == ["road", "wood", "roof"]


def test_ids_are_one_as_numbers_and_as_text(tmp_path: Path) -> None:
    write_points(points(), tmp_path / "p.gpkg")
    write_points(points(), tmp_path / "p.geojson")
    assert [read_points(tmp_path / name).ids for name in ("p.gpkg", "p.geojson")] == [("1", "2", "5")] * 2


def test_ids_of_a_table_that_went_through_floats(tmp_path: Path) -> None:
    (tmp_path / "key.csv").write_text("id,stratum\n1.0,road\n2.0,wood\n5.,roof\n")
    assert points().joined(tmp_path / "key.csv").columns["stratum"].tolist() == ["road", "wood", "roof"]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("id,stratum\n1,a\n2,a\n", "no row for the id '5'"),
        ("id,s\n1,a\n1,a\n2,a\n5,b\n", "two rows"),
        ("s\na\n", "needs a column id"),
    ],
)
def test_the_wrong_key_is_refused(tmp_path: Path, key: str, what: str) -> None:
    (tmp_path / "key.csv").write_text(key)
    with pytest.raises(InputError, match=what):
        points().joined(tmp_path / "key.csv")


def test_to_crs_goes_there_and_back() -> None:
    there = points().to_crs("EPSG:4326")
    # Easting 441.8 km in zone 31 is west of its central meridian at 3 degrees.
    assert (there.x > 2).all() and (there.x < 3).all() and (there.y > 48).all() and (there.y < 50).all()
    back = there.to_crs("EPSG:32631")
    assert np.allclose(back.x, points().x, atol=1e-6) and np.allclose(back.y, points().y, atol=1e-6)


def test_a_geopackage_keeps_crs_types_and_record(tmp_path: Path) -> None:
    sample = points(code=np.array([10, 20, 30]), reference=np.full(3, None, object))
    write_points(sample, tmp_path / "p.gpkg", record={"seed": "7"})
    read = read_points(tmp_path / "p.gpkg")
    assert read.crs == sample.crs and read.ids == sample.ids and (read.x == sample.x).all()
    assert read.columns["code"].dtype == np.int64 and read.columns["reference"].tolist() == [None] * 3
    info = pyogrio.read_info(tmp_path / "p.gpkg", layer="points")
    assert info["layer_metadata"] == {"seed": "7"} and info["crs"] == "EPSG:32631"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ovf", "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer>"),
        ("a.gpkg", "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer>"),
        ("a.kml", "<!-- <kml> --><OGRVRTDataSource></OGRVRTDataSource>"),
        ("a.kml", "<kml><!-- <OGRVRTDataSource> --></kml>"),
        ("a.geojson", '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {}"}}'),
        ("a.json", '["{}"]'),
        ("a.xml", "<OGRWFSDataSource><URL>http://host.invalid</URL></OGRWFSDataSource>"),
        ("a.zip", "PK\x03\x04"),
        ("a.dxf", "0\nSECTION\n"),
        ("empty.gpkg", ""),
    ],
)
def test_vector_files_that_are_orders_or_of_other_formats_are_refused(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text.format(tmp_path / "points.gpkg"))
    with pytest.raises(InputError, match=rf"{name}: is none of GeoPackage, Shapefile"):
        read_points(path)


@pytest.mark.parametrize("driver", ["GPKG", "GeoJSON", "ESRI Shapefile", "FlatGeobuf", "KML"])
def test_vector_formats(driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = {"ESRI Shapefile": "shp", "FlatGeobuf": "fgb"}.get(driver, driver.lower())
    monkeypatch.chdir(tmp_path)
    # A name that OGR would take for a prefix.
    path = Path(f"GPKG:a.{ending}") if driver in ("GPKG", "GeoJSON") else Path(f"a.{ending}")
    places, target = shapely.to_wkb([shapely.Point(3, 48), shapely.Point(3.5, 48.25)]), tmp_path / f"b.{ending}"
    how = {"driver": driver, "geometry_type": "Point", "crs": "EPSG:4326"}
    pyogrio.raw.write(target, places, [np.array([1, 2])], ["n"], **how)
    for written in tmp_path.glob("b.*"):
        written.rename(path.with_suffix(written.suffix))
    points = read_points(path)
    assert sorted(zip(points.x, points.y, strict=True)) == [(3, 48), (3.5, 48.25)]


def test_a_damaged_vector_file(tmp_path: Path) -> None:
    (tmp_path / "a.gpkg").write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    with pytest.raises(InputError, match=r"a\.gpkg: cannot be read as a vector file"):
        read_points(tmp_path / "a.gpkg")
