"""geoseg.vectorize from class rasters into every format."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from socket import gethostname

import numpy as np
import pyogrio
import pyogrio.raw
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes, sieve

import geoseg
from geoseg.errors import InputError, OutputError, ResourceError, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint
from geoseg.legend import DEEPGLOBE, NODATA, Legend, LegendClass
from geoseg.points import SamplePoints, write_points
from geoseg.raster.writer import ClassRasterWriter
from geoseg.tiling import blocks
from geoseg.vectorizing import vectorize as module

UTM = CRS.from_epsg(32631)
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
CITY = Legend(
    "city", (LegendClass(4, "road & <path>", (90, 90, 90)), LegendClass(1, "Gebäude", (220, 0, 0))), ignore=(9,)
)


def patches(shape: tuple[int, int] = (37, 53), seed: int = 0) -> np.ndarray:
    """Codes 0 to 3 in patches, with a corner and a hole of nodata."""
    random = np.random.default_rng(seed)
    codes = np.kron(random.integers(0, 4, (-(-shape[0] // 3), -(-shape[1] // 3))), np.ones((3, 3), np.uint8))
    codes = codes[: shape[0], : shape[1]].astype(np.uint8)
    codes[random.random(shape) < 0.1] = 2
    codes[:2, :5] = codes[20:23, 30:31] = NODATA
    return codes


@pytest.fixture
def make_map(tmp_path: Path) -> Callable[..., Path]:
    def make(codes: np.ndarray | None = None, grid: Grid | None = None, legend: Legend = DEEPGLOBE) -> Path:
        codes = patches() if codes is None else codes
        grid = grid or Grid(UTM, OFF_ORIGIN, codes.shape)
        with ClassRasterWriter(tmp_path / "map.tif", grid, legend, {"GEOSEG_MODEL": "abc"}, overwrite=True) as writer:
            for window in blocks(codes.shape, 1024):
                writer.write(window, np.ascontiguousarray(codes[window.slices]))
        return tmp_path / "map.tif"

    return make


def read(path: Path) -> tuple[dict, np.ndarray, dict[str, np.ndarray]]:
    """Meta, shapely shapes, values by field."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer=pyogrio.list_layers(path)[0, 0])
    return meta, shapely.from_wkb(geometry), dict(zip(meta["fields"], values, strict=True))


def texts(polygons: np.ndarray, codes: np.ndarray) -> list[tuple[str, int]]:
    """Polygons to the micrometre, whatever point their rings begin with."""
    rounded = shapely.normalize(shapely.transform(polygons, lambda points: np.round(points, 6)))
    return sorted(zip(shapely.to_wkt(rounded), np.asarray(codes).tolist(), strict=True))


def by_rasterio(path: Path, codes: np.ndarray) -> list[tuple[str, int]]:
    with rasterio.open(path) as dataset:
        found = list(shapes(codes, mask=codes != NODATA, connectivity=4, transform=dataset.transform))
    return texts(np.array([shapely.geometry.shape(shape) for shape, _ in found]), [int(code) for _, code in found])


@pytest.mark.parametrize("ending", ["gpkg", "fgb"])
@pytest.mark.parametrize(
    "transform",
    [OFF_ORIGIN, Affine(0.5, 0, 441_754.5, 0, 0.75, 5_417_386.25), Affine(0.5, 0.25, 441_754.5, 0.125, -0.75, 5e6)],
    ids=["north up", "south up", "rotated"],
)
def test_the_polygons_are_those_of_the_whole_raster(make_map, monkeypatch, tmp_path, transform, ending) -> None:
    monkeypatch.setattr(module, "SIDE", 16)
    path = make_map(grid=Grid(UTM, transform, (37, 53)))
    written = geoseg.vectorize(path, tmp_path / f"polygons.{ending}")
    meta, polygons, values = read(tmp_path / f"polygons.{ending}")
    assert texts(polygons, values["code"]) == by_rasterio(path, patches())
    assert CRS.from_user_input(meta["crs"]) == UTM and meta["geometry_type"] == "Polygon"
    assert written.features.sum() == len(polygons) and written.to_dict()["classes"]["water"]["features"] == 0
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()


def test_classes_by_name_code_and_colour_and_areas_of_the_map_s_table(make_map, tmp_path) -> None:
    codes = np.where(patches() == NODATA, NODATA, np.where(patches() == 2, 4, 1)).astype(np.uint8)
    path = make_map(codes, legend=CITY)
    written = geoseg.vectorize(path, tmp_path / "polygons.gpkg")
    _, polygons, values = read(tmp_path / "polygons.gpkg")
    assert set(zip(values["class"], values["code"], values["color"], strict=True)) == {
        ("road & <path>", 4, "#5a5a5a"),
        ("Gebäude", 1, "#dc0000"),
    }
    assert sorted(values["id"]) == list(range(1, len(polygons) + 1))
    text = Path(f"{path}.aux.xml").read_text()
    assert f"<F>{written.hectares[1]:.6f}</F>" in text and f"<F>{written.pixels[0]}</F>" in text
    for name, hectares in zip(written.classes, written.hectares, strict=True):
        mine = values["class"] == name
        assert values["area_ha"][mine].sum() == pytest.approx(hectares, rel=1e-9)
        assert values["area_m2"][mine].sum() == pytest.approx(hectares * 10_000, rel=1e-9)
    # UTM is within 0.1 % of the ground here.
    assert values["area_m2"] == pytest.approx(shapely.area(polygons), rel=1e-3)
    assert values["perimeter_m"] == pytest.approx(shapely.length(polygons), rel=1e-3)


def test_on_a_geographic_grid_areas_and_perimeters_are_geodesic(make_map, tmp_path) -> None:
    codes = np.zeros((40, 60), np.uint8)
    codes[10:30, 20:50] = 3
    grid = Grid(CRS.from_epsg(4326), Affine(0.001, 0, 11, 0, -0.001, 60), codes.shape)
    geoseg.vectorize(make_map(codes, grid), tmp_path / "polygons.gpkg", classes=["forest"])
    _, _, values = read(tmp_path / "polygons.gpkg")
    # 0.03 degrees along the parallels of 59.99 and 59.97, 0.02 along meridians: pyproj's Geod is the oracle.
    geod = pyproj.Geod(ellps="WGS84")
    area, perimeter = geod.geometry_area_perimeter(shapely.segmentize(shapely.box(11.02, 59.97, 11.05, 59.99), 0.001))
    assert values["area_m2"].tolist() == [pytest.approx(area, rel=1e-4)]
    assert values["perimeter_m"].tolist() == [pytest.approx(perimeter, rel=1e-6)]


def test_long_edges_follow_the_grid(make_map, tmp_path) -> None:
    """Along a parallel, not along the great circle between its ends."""
    grid = Grid(CRS.from_epsg(4326), Affine(0.05, 0, 11, 0, -0.05, 70), (5, 1200))
    geoseg.vectorize(make_map(np.zeros(grid.shape, np.uint8), grid), tmp_path / "polygons.gpkg")
    _, _, values = read(tmp_path / "polygons.gpkg")
    outline = shapely.segmentize(shapely.box(11, 69.75, 71, 70), 0.05)
    expected = pyproj.Geod(ellps="WGS84").geometry_length(outline)
    assert values["perimeter_m"].tolist() == [pytest.approx(expected, rel=1e-3)]
    assert expected > 1.008 * pyproj.Geod(ellps="WGS84").geometry_length(shapely.box(11, 69.75, 71, 70))


def test_holes_count_in_perimeters(make_map, tmp_path) -> None:
    codes = np.zeros((30, 30), np.uint8)
    codes[10:20, 12:15] = 1
    grid = Grid(CRS.from_epsg(32632), Affine(10, 0, 500_000, 0, -10, 5_500_000), codes.shape)
    geoseg.vectorize(make_map(codes, grid), tmp_path / "polygons.gpkg", classes=[0])
    _, _, values = read(tmp_path / "polygons.gpkg")
    # On its central meridian UTM is 0.9996 of the ground.
    assert values["perimeter_m"].tolist() == [pytest.approx((1200 + 260) / 0.9996, rel=1e-6)]


def test_geojson_is_in_longitude_and_latitude(make_map, tmp_path) -> None:
    written = geoseg.vectorize(make_map(), tmp_path / "polygons.geojson", classes=["forest"])
    record = json.loads((tmp_path / "polygons.geojson").read_text())
    assert "crs" not in record and any("RFC 7946" in note for note in written.notes)
    polygons = np.array([shapely.geometry.shape(feature["geometry"]) for feature in record["features"]])
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    west, south, east, north = shapely.total_bounds(polygons)
    assert 2.2 < west < east < 2.21 and 48.9 < south < north < 48.91
    assert {feature["properties"]["class"] for feature in record["features"]} == {"forest"}


def test_geoparquet(make_map, tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = make_map()
    geoseg.vectorize(path, tmp_path / "polygons.parquet")
    table = parquet.read_table(tmp_path / "polygons.parquet")
    polygons = shapely.from_wkb(table["geometry"].to_pylist())
    assert texts(polygons, table["code"].to_pylist()) == by_rasterio(path, patches())
    record = json.loads(table.schema.metadata[b"geo"])
    column = record["columns"]["geometry"]
    assert record["version"] == "1.1.0" and column["encoding"] == "WKB" and column["geometry_types"] == ["Polygon"]
    assert pyproj.CRS.from_json_dict(column["crs"]).to_epsg() == 32631
    assert column["bbox"] == pytest.approx(shapely.total_bounds(polygons).tolist())


def test_parquet_without_pyarrow_names_the_remedy(make_map, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'geoseg\[parquet\]'"):
        geoseg.vectorize(make_map(), tmp_path / "polygons.parquet")


def test_a_geopackage_carries_the_colours_and_how_it_was_made(make_map, tmp_path) -> None:
    geoseg.vectorize(make_map(legend=DEEPGLOBE), tmp_path / "polygons.gpkg", simplify=0.5, layer="land")
    meta, _, _, styles = pyogrio.raw.read(tmp_path / "polygons.gpkg", layer="layer_styles", read_geometry=False)
    style = dict(zip(meta["fields"], (column[0] for column in styles), strict=True))
    assert style["f_table_name"] == "land" and style["useAsDefault"]
    root = ElementTree.fromstring(style["styleQML"])
    labels = {category.get("value"): category.get("label") for category in root.iter("category")}
    assert labels == {str(one.code): one.name for one in DEEPGLOBE.classes}
    metadata = pyogrio.read_info(tmp_path / "polygons.gpkg", layer="land")["layer_metadata"]
    assert metadata["GEOSEG_MODEL"] == "abc" and json.loads(metadata["GEOSEG_VECTORIZED"])["simplify"] == 0.5
    assert "/" not in json.loads(metadata["GEOSEG_VECTORIZED"])["map"]


def test_small_patches_go_to_their_largest_neighbours_first(make_map, tmp_path) -> None:
    path = make_map()
    written = geoseg.vectorize(path, tmp_path / "polygons.gpkg", min_pixels=12)
    smooth = sieve(patches(), 12, mask=patches() != NODATA)
    smooth[patches() == NODATA] = NODATA
    _, polygons, values = read(tmp_path / "polygons.gpkg")
    assert texts(polygons, values["code"]) == by_rasterio(path, smooth)
    assert "below 12 px were merged" in written.notes[0]
    assert written.pixels.sum() == (patches() != NODATA).sum()
    by_area = geoseg.vectorize(path, tmp_path / "others.gpkg", min_area=11.5 * 0.375e-4)
    assert texts(*(read(tmp_path / "others.gpkg")[1], read(tmp_path / "others.gpkg")[2]["code"])) == texts(
        polygons, values["code"]
    )
    assert "below 0.00043125 ha" in by_area.notes[0]


def test_eight_neighbours_make_multipolygons(make_map, tmp_path) -> None:
    codes = np.zeros((6, 7), np.uint8)
    codes[1, 1] = codes[2, 2] = codes[4, 5] = 3
    geoseg.vectorize(make_map(codes), tmp_path / "polygons.gpkg", classes=["forest"], connectivity=8)
    meta, polygons, values = read(tmp_path / "polygons.gpkg")
    assert meta["geometry_type"] == "MultiPolygon" and shapely.is_valid(polygons).all()
    assert sorted(zip(values["pixels"], shapely.get_num_geometries(polygons), strict=True)) == [(1, 1), (2, 2)]


def test_simplified_polygons_share_their_borders(make_map, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, "SIDE", 16)
    path = make_map()
    plain = geoseg.vectorize(path, tmp_path / "plain.gpkg")
    geoseg.vectorize(path, tmp_path / "simple.gpkg", simplify=1.5)
    (_, before, _), (_, after, values) = read(tmp_path / "plain.gpkg"), read(tmp_path / "simple.gpkg")
    assert shapely.is_valid(after).all() and len(after) == len(before)
    assert shapely.get_num_coordinates(after).sum() < 0.9 * shapely.get_num_coordinates(before).sum()
    # In numbers that are no whole ones neighbours still have the very same points.
    assert shapely.coverage_is_valid(after)
    assert values["area_ha"].sum() == pytest.approx(plain.hectares.sum())


def test_without_a_crs_units_are_those_of_the_transform_or_pixels(make_map, tmp_path) -> None:
    codes = np.zeros((6, 8), np.uint8)
    written = geoseg.vectorize(make_map(codes, Grid(None, Affine(3, 0, 100, 0, -2, 50), (6, 8))), tmp_path / "a.gpkg")
    meta, polygons, values = read(tmp_path / "a.gpkg")
    assert meta["crs"] is None and polygons[0].bounds == (100, 38, 124, 50) and "no CRS" in written.notes[0]
    assert (values["area"][0], values["perimeter"][0]) == (288, 72) and written.hectares is None
    written = geoseg.vectorize(make_map(codes, Grid(None, IDENTITY, (6, 8))), tmp_path / "b.gpkg")
    meta, polygons, values = read(tmp_path / "b.gpkg")
    assert polygons[0].bounds == (0, -6, 8, 0) and "columns and rows" in written.notes[0]
    assert (values["area"][0], values["perimeter"][0]) == (48, 28)
    with pytest.raises(UsageError, match="GeoJSON holds longitudes"):
        geoseg.vectorize(tmp_path / "map.tif", tmp_path / "b.geojson")
    with pytest.raises(InputError, match="--min-pixels"):
        geoseg.vectorize(tmp_path / "map.tif", tmp_path / "c.gpkg", min_area=1)
    assert not list(tmp_path.glob("c.gpkg")) and not list(tmp_path.glob(".geoseg*"))


def test_control_points_place_the_polygons(make_map, tmp_path) -> None:
    codes = np.zeros((40, 60), np.uint8)
    turned = Affine(10, 2, 500_000, 3, -10, 5_500_000)
    places = [(0, 0), (0, 60), (40, 60), (40, 0), (17, 23)]
    gcps = tuple(GroundControlPoint(row, col, *(turned @ (col, row)), 0.0) for row, col in places)
    grid = Grid(CRS.from_epsg(32632), IDENTITY, codes.shape, gcps)
    written = geoseg.vectorize(make_map(codes, grid), tmp_path / "polygons.gpkg")
    meta, polygons, values = read(tmp_path / "polygons.gpkg")
    expected = shapely.Polygon([turned @ (col, row) for row, col in places[:4]])
    assert polygons[0].hausdorff_distance(expected) < 1e-3 and CRS.from_user_input(meta["crs"]).to_epsg() == 32632
    assert values["area_m2"][0] == pytest.approx(expected.area / 0.9996**2, rel=1e-4)
    assert "5 control points" in written.notes[0]


def test_colour_masks_are_class_rasters_too(tmp_path) -> None:
    index = np.where(np.arange(40).reshape(5, 8) % 8 < 3, 3, 4).astype(np.uint8)
    with rasterio.open(tmp_path / "mask.png", "w", driver="PNG", width=8, height=5, count=3, dtype="uint8") as dataset:
        dataset.write(DEEPGLOBE.to_rgb(index))
    written = geoseg.vectorize(tmp_path / "mask.png", tmp_path / "polygons.gpkg", "deepglobe", classes=["3", "WATER"])
    assert written.classes == ("forest", "water") and written.pixels.tolist() == [15, 25]


def test_no_data_gives_an_empty_layer(make_map, tmp_path) -> None:
    written = geoseg.vectorize(make_map(np.full((5, 6), NODATA, np.uint8)), tmp_path / "polygons.gpkg")
    assert pyogrio.read_info(tmp_path / "polygons.gpkg", layer="polygons")["features"] == 0
    assert written.features.sum() == 0


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"classes": ["roof"]}, UsageError, "has no class 'roof', but 0 urban"),
        ({"connectivity": 6}, UsageError, "by 4 neighbours or by 8"),
        ({"simplify": 0}, UsageError, "above 0"),
        ({"min_area": 1, "min_pixels": 3}, UsageError, "least patch"),
        ({"output": "polygons.kml"}, UsageError, r"\.gpkg, \.fgb"),
        ({"output": "none/polygons.gpkg"}, OutputError, "no such folder"),
        ({"legend": CITY}, InputError, "was made with the legend 'deepglobe'"),
        ({"map": "missing.tif"}, InputError, "no such file"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_refusals(make_map, tmp_path, options, kind, said) -> None:
    given = {"map": make_map(), "output": tmp_path / "polygons.gpkg"} | options
    given |= {name: tmp_path / given[name] for name in ("map", "output")}
    with pytest.raises(kind, match=said):
        geoseg.vectorize(**given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
def test_an_old_output_stays_until_the_new_one_is_whole(make_map, monkeypatch, tmp_path, ending) -> None:
    path, output = make_map(), tmp_path / f"polygons.{ending}"
    geoseg.vectorize(path, output)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        geoseg.vectorize(path, output)

    def fails(*args: object, **kwargs: object) -> None:
        raise pyogrio.errors.DataSourceError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("pyogrio.raw.write" if ending == "gpkg" else "pyogrio.raw.write_arrow", fails)
        with pytest.raises(ResourceError, match=rf"polygons.{ending}: could not be written.*disk I/O error"):
            geoseg.vectorize(path, output, overwrite=True)
    assert output.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["map.tif", "map.tif.aux.xml", output.name])
    geoseg.vectorize(path, output, classes=["forest"], overwrite=True)
    assert set(read(output)[2]["class"]) == {"forest"}


@pytest.mark.parametrize("ending", ["fgb", "geojson"])
def test_a_file_without_its_end_is_not_kept(make_map, monkeypatch, tmp_path, ending) -> None:
    write_arrow = pyogrio.raw.write_arrow

    def write_part(stream: object, path: Path, **options: object) -> None:
        write_arrow(stream, path, **options)
        os.truncate(path, path.stat().st_size - 9)

    monkeypatch.setattr("pyogrio.raw.write_arrow", write_part)
    if ending == "fgb":
        monkeypatch.setattr(pyogrio, "read_info", lambda path: {"features": 1})
    with pytest.raises(ResourceError, match="not all there"):
        geoseg.vectorize(make_map(), tmp_path / f"polygons.{ending}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


def test_a_geopackage_that_another_program_changes_is_left_alone(make_map, tmp_path) -> None:
    path, output = make_map(), tmp_path / "polygons.gpkg"
    geoseg.vectorize(path, output)
    with closing(sqlite3.connect(output)) as editor:
        editor.execute("pragma journal_mode=wal")
        editor.execute("update gpkg_contents set last_change = '2026-01-01T00:00:00.000Z'")
        editor.commit()
        with pytest.raises(OutputError, match=r"polygons\.gpkg.*close"):
            geoseg.vectorize(path, output, overwrite=True)
        points = SamplePoints(("1",), np.array([1.0]), np.array([2.0]), UTM, {})
        with pytest.raises(OutputError, match=r"polygons\.gpkg.*close"):
            write_points(points, output)
    assert geoseg.vectorize(path, output, overwrite=True).path == output
    assert pyogrio.read_info(output)["features"] > 5 and not list(tmp_path.glob("*.gpkg-*"))


def test_metres_are_not_found_where_the_middle_of_a_map_is_off_the_earth(tmp_path) -> None:
    # The disc of a geostationary satellite lies in the other corner.
    grid = Grid(CRS.from_proj4("+proj=geos +h=35785831 +lon_0=0"), Affine(2e5, 0, 0, 0, -2e5, 8e6), (40, 60))
    with ClassRasterWriter(tmp_path / "map.tif", grid, DEEPGLOBE) as writer:
        writer.write(grid.window, np.ones(grid.shape, np.uint8))
    with pytest.raises(UsageError, match="its centre lies beyond the Earth, so --simplify finds no metres"):
        geoseg.vectorize(tmp_path / "map.tif", tmp_path / "polygons.gpkg", simplify=10)
    assert not (tmp_path / "polygons.gpkg").exists()


def test_what_killed_processes_left_is_swept(make_map, tmp_path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    hosts = {gone.pid: gethostname(), os.getppid(): gethostname(), gone.pid + 1: "another-machine"}
    left = [tmp_path / f".geoseg-{host}-{process}-abc" for process, host in hosts.items()]
    for folder in left:
        folder.mkdir()
        (folder / "whole.gpkg").touch()
    geoseg.vectorize(make_map(), tmp_path / "polygons.fgb")
    assert [folder.exists() for folder in left] == [False, True, True]


def test_lots_are_appended(make_map, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, "SIDE", 16)
    monkeypatch.setattr(module, "MOST_FEATURES", 5)
    path = make_map()
    geoseg.vectorize(path, tmp_path / "polygons.gpkg")
    _, polygons, values = read(tmp_path / "polygons.gpkg")
    assert texts(polygons, values["code"]) == by_rasterio(path, patches())
    assert sorted(values["id"]) == list(range(1, len(polygons) + 1))


def test_the_sieve_needs_no_more_than_tiles_that_are_blocks(make_map, tmp_path) -> None:
    """A map of several tiles, sieved through a file, and put together over their seams."""
    codes = np.kron(np.random.default_rng(5).integers(0, 4, (110, 105)), np.ones((10, 10))).astype(np.uint8)
    written = geoseg.vectorize(make_map(codes), tmp_path / "polygons.gpkg", min_pixels=150, simplify=4)
    smooth = sieve(codes, 150)
    _, polygons, values = read(tmp_path / "polygons.gpkg")
    assert len(polygons) == len(list(shapes(smooth))) and shapely.coverage_is_valid(polygons)
    assert values["pixels"].sum() == codes.size == written.pixels.sum()
    assert shapely.union_all(polygons).equals(shapely.box(*shapely.total_bounds(polygons)))
