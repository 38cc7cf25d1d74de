"""What a vector file labels: fields, layers, geometry of every kind, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend, LegendClass
from geoseg.points import SamplePoints, write_points
from geoseg.raster.features import LabelField, LabelledFeatures, is_vector, read_features

MakeVector = Callable[..., Path]
LAND = Legend(
    "land",
    tuple(LegendClass(code, name, (code, 0, 0)) for code, name in ((10, "meadow"), (20, "roof"), (30, "pond"))),
    ignore=(0, 30),
)
BOXES = [shapely.box(i, 0, i + 1, 1) for i in range(4)]
KIND = LabelField("kind")


def read(path: Path, field: LabelField = KIND) -> LabelledFeatures:
    return read_features(path, LAND, field)


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".fgb", ".shp"])
@pytest.mark.parametrize("values", [["roof", "meadow", "pond", "roof"], [20, 10, 30, 20], [20.0, 10.0, 30.0, 20.0]])
def test_names_and_codes_of_every_format(ending: str, values: list, make_vector: MakeVector) -> None:
    crs = "EPSG:4326" if ending == ".geojson" else "EPSG:32631"
    found = read(make_vector(BOXES, values, f"labels{ending}", crs))
    # FlatGeobuf puts near features together.
    by_place = np.argsort(shapely.bounds(found.shapes)[:, 0])
    assert found.classes[by_place].tolist() == [1, 0, 2, 1] and found.classes.dtype == np.uint8
    assert found.crs.to_string() == crs and not found.any_crs and not found.notes and not found.points


def test_the_only_field_is_taken_and_else_one_is_asked_for(make_vector: MakeVector) -> None:
    none = LabelField()
    assert read(make_vector(BOXES, [10] * 4, "a.gpkg", id=range(4)), none).classes.tolist() == [0] * 4
    several = make_vector(BOXES, [10] * 4, "b.gpkg", ha=[1.5] * 4)
    with pytest.raises(InputError, match=r"b.gpkg: which field holds the classes.*--label-field; there are kind, ha"):
        read(several, none)
    with pytest.raises(InputError, match=r"b.gpkg: has no field 'class', but kind, ha"):
        read(several, LabelField("class"))
    drawn = make_vector(BOXES, [10, 20, 10, 10], "c.gpkg", field="reference", stratum=["meadow"] * 4, ha=[1.5] * 4)
    found = read(drawn, none)
    assert found.classes.tolist() == [0, 1, 0, 0] and found.drawn_by_class


def test_values_that_are_no_class_are_listed_with_the_legend(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, ["roof", "lake", "bog", "lake"])
    with pytest.raises(
        InputError, match=r"labels.gpkg: field 'kind' holds 'bog', 'lake': .*10 meadow, 20 roof, 30 pond"
    ):
        read(path)


def test_features_without_a_class_are_left_out_and_ignored_codes_are_not(make_vector: MakeVector) -> None:
    found = read(make_vector(BOXES, ["roof", None, "", "meadow"]))
    assert found.classes.tolist() == [1, 0] and [shape.bounds[0] for shape in found.shapes] == [0, 3]
    assert len(found.notes) == 1 and found.notes[0].endswith("labels.gpkg: 2 of 4 features have no class")
    found = read(make_vector(BOXES, ["roof", "0", "30", "meadow"], "b.gpkg"))
    assert found.classes.tolist() == [1, NO_CLASS, 2, 0] and not found.notes
    for number, values in enumerate(([None] * 4, ["0"] * 4)):
        with pytest.raises(InputError, match="'kind' gives none of the 4 features a class and a place; label them"):
            read(make_vector(BOXES, np.array(values, object), f"c{number}.gpkg"))


def test_every_kind_of_geometry(make_vector: MakeVector) -> None:
    shapes = [
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(0.5, 0.5, 2, 2)]),
        shapely.Polygon([(5, 0), (7, 2), (7, 0), (5, 2)]),
        None,
        shapely.Polygon(),
        shapely.box(0, 0, 9, 9) - shapely.box(3, 3, 4, 4),
        shapely.MultiPoint([(1, 2), (3, 4)]),
        shapely.GeometryCollection([shapely.Point(5, 6), shapely.GeometryCollection([shapely.box(7, 7, 8, 8)])]),
        shapely.Point(1, 2, 3),
    ]
    found = read(make_vector(shapes, [10, 20, 10, 10, 20, 10, 20, 10]))
    kinds = [shape.geom_type for shape in found.shapes]
    assert kinds == ["Polygon"] * 5 + ["Point"] * 3 + ["Polygon", "Point"] and found.points == 4
    assert found.classes.tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1, 0]
    assert shapely.is_valid(found.shapes).all() and not shapely.has_z(found.shapes).any()
    assert shapely.area(found.shapes[2:4]).tolist() == [1, 1] and len(found.shapes[4].interiors) == 1
    # Parts that lie over each other are not valid either, and stay their union.
    assert shapely.union_all(found.shapes[:2]).area == 1 + 2.25 - 0.25
    said = [note.partition(".gpkg: ")[2] for note in found.notes]
    assert said == ["2 of 8 features have no place", "2 of 8 features had to be mended"]


def test_coordinates_that_are_no_numbers_are_no_place(make_vector: MakeVector) -> None:
    shapes = [BOXES[0], shapely.Polygon([(0, 0), (1, 0), (np.inf, 1)]), shapely.Point(np.inf, 0)]
    found = read(make_vector(shapes, [10] * 3))
    assert len(found.shapes) == 1 and found.notes[0].endswith("2 of 3 features have no place")


def test_lines_are_refused_in_words(make_vector: MakeVector) -> None:
    line = shapely.LineString([(0, 0), (1, 1)])
    for number, shape in enumerate(
        (line, shapely.MultiLineString([line]), shapely.GeometryCollection([line, BOXES[0]]))
    ):
        with pytest.raises(
            InputError, match="1 of its features are lines, which have no area: label polygons or points"
        ):
            read(make_vector([*BOXES, shape], [10] * 5, f"{number}.gpkg"))
    # Without a class they label nothing.
    assert len(read(make_vector([BOXES[0], line], ["roof", None], "x.gpkg")).shapes) == 1


def test_several_layers_need_a_name(make_vector: MakeVector) -> None:
    make_vector(BOXES[:1], ["roof"], layer="houses")
    path = make_vector(BOXES[:2], ["pond", "meadow"], layer="land")
    with pytest.raises(InputError, match=r"2 layers with geometry \(houses, land\); name one with --label-layer"):
        read(path)
    with pytest.raises(InputError, match="has no layer 'x' with geometry, but houses, land"):
        read(path, LabelField("kind", "x"))
    assert read(path, LabelField("kind", "land")).classes.tolist() == [2, 0]
    assert read(path, LabelField(layer="houses")).classes.tolist() == [1]


def test_curves_become_short_lines(tmp_path: Path) -> None:
    path = tmp_path / "curve.gml"
    path.write_text(
        '<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml">'
        '<gml:featureMember><ogr:a fid="a.0"><ogr:geom><gml:Polygon srsName="urn:ogc:def:crs:EPSG::32631">'
        "<gml:exterior><gml:Ring><gml:curveMember><gml:Curve><gml:segments>"
        "<gml:ArcString><gml:posList>0 0 5 5 10 0</gml:posList></gml:ArcString>"
        "<gml:LineStringSegment><gml:posList>10 0 0 0</gml:posList></gml:LineStringSegment>"
        "</gml:segments></gml:Curve></gml:curveMember></gml:Ring></gml:exterior></gml:Polygon></ogr:geom>"
        "<ogr:kind>roof</ogr:kind></ogr:a></gml:featureMember></ogr:FeatureCollection>"
    )
    assert read(path).shapes[0].area == pytest.approx(np.pi * 12.5, rel=0.01)


@pytest.mark.filterwarnings("ignore:Non closed ring")
def test_open_rings_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "open.geojson"
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"kind":10},'
        '"geometry":{"type":"Polygon","coordinates":[[[0,0],[2,0],[2,2],[0,2]]]}}]}'
    )
    assert read(path).shapes[0].area == 4


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("cut.gpkg", b"SQLite format 3\0" + bytes(50), "cannot be read as a vector file"),
        ("text.geojson", b"hello", "is none of GeoPackage"),
        ("cut.geojson", b'{"type":"FeatureCollection","features":[{"type"', "cannot be read as a vector file"),
        ("a.parquet", b"PAR1" + bytes(20) + b"PAR1", "no Parquet driver here; convert the file first"),
        ("empty.csv", b"x,y,kind\n", "expected a line of column names"),
    ],
)
def test_files_that_are_none(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=what):
        read(tmp_path / name)
    with pytest.raises(InputError, match=r"nowhere.gpkg: no such file"):
        read(tmp_path / "nowhere.gpkg")


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".csv"])
def test_points_of_geoseg_design(ending: str, tmp_path: Path) -> None:
    columns = {"x": np.array([3.0, 4.0]), "y": np.array([51.0, 52.0]), "stratum": np.array(["roof", "roof"], object)}
    columns["reference"] = np.array(["meadow", "20"], object)
    write_points(
        SamplePoints(("1", "2"), columns["x"], columns["y"], read_crs("EPSG:4326"), columns), tmp_path / f"p{ending}"
    )
    found = read(tmp_path / f"p{ending}", LabelField())
    assert found.classes.tolist() == [0, 1] and found.points == 2 and found.drawn_by_class
    # A table of x and y does not say of which CRS they are.
    assert found.any_crs == (ending == ".csv")
    with pytest.raises(InputError, match=r"a table has no layers, such as 'a'|has no layer 'a'"):
        read(tmp_path / f"p{ending}", LabelField(layer="a"))


def read_crs(text: str):
    from rasterio.crs import CRS

    return CRS.from_string(text)


def test_longitudes_and_latitudes_have_a_crs(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,kind\n3,51,roof\n")
    found = read(tmp_path / "p.csv", LabelField())
    assert found.crs.to_epsg() == 4326 and not found.any_crs


def test_a_file_is_read_once_until_it_changes(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, [10] * 4)
    assert read(path) is read(path) and read(path) is not read(path, LabelField())
    path.unlink()
    make_vector(BOXES, [10, 10, 10, 20])
    assert read(path).classes.tolist() == [0, 0, 0, 1]


def test_the_fields_of_a_shapefile_may_change_alone(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, ["roof"] * 4, "a.shp")
    other = make_vector(BOXES, ["pond"] * 4, "other/a.shp")
    assert read(path).classes.tolist() == [1] * 4
    path.with_suffix(".dbf").write_bytes(other.with_suffix(".dbf").read_bytes())
    assert read(path).classes.tolist() == [2] * 4


def test_what_is_a_vector_file_is_told_by_the_ending() -> None:
    assert all(map(is_vector, ("a.gpkg", "A.SHP", "x/labels.geojson", "p.csv", "a.json")))
    assert not any(map(is_vector, ("a.tif", "a.png", "a", "gpkg")))
