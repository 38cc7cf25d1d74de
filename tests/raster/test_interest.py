"""Areas of interest: rasterio.features.rasterize as oracle, in any CRS and on any grid, and refusals in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize

import geoseg.raster.clipped
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, GroundControlPoint, Window
from geoseg.raster.clipped import ClippedScene, clipped
from geoseg.raster.described import open_described
from geoseg.raster.interest import AreaOfInterest, area_from_bounds, area_from_file
from geoseg.raster.projection import Projection
from geoseg.raster.scene import ArrayScene, Scene

UTM, DEGREES = CRS.from_epsg(32631), CRS.from_epsg(4326)
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
PLACES = {
    "north-up": PLACE,
    "south-up": Affine(0.5, 0.0, 441_754.5, 0.0, 0.75, 5_417_386.25),
    "turned": PLACE @ Affine.rotation(33),
    "sheared": Affine(0.5, 0.2, 441_754.5, 0.1, -0.7, 5_417_386.25),
}
SHAPE = 537, 653


def grid_of(place: Affine = PLACE, crs: CRS | None = UTM, shape: tuple[int, int] = SHAPE) -> Grid:
    return Grid(crs, place, shape)


def scene_on(grid: Grid) -> ArrayScene:
    return ArrayScene(np.ones((1, *grid.shape), np.uint8), grid=grid, name="scene.tif")


def area_of(*polygons: shapely.Geometry, crs: CRS | None = UTM) -> AreaOfInterest:
    """Of polygons that may overlap."""
    return AreaOfInterest(polygons, crs, {"name": "area"}, shapely.MultiPolygon(polygons).bounds)


def ring(grid: Grid) -> shapely.Polygon:
    """About the middle of a grid, with a hole, partly outside."""
    left, bottom, right, top = grid.bounds
    middle = shapely.Point((left + right) / 2 + 0.123, (bottom + top) / 2 + 0.456)
    return middle.buffer(180, 5).difference(shapely.affinity.translate(middle, 40, 11).buffer(60))


def centres_of(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(x, y), (H, W) each, of the centres of the pixels."""
    row, col = np.meshgrid(*(np.arange(length) + 0.5 for length in grid.shape), indexing="ij")
    return grid.transform @ (col, row)


def inside(area: AreaOfInterest, grid: Grid) -> np.ndarray:
    return ClippedScene(scene_on(grid), area).wanted(grid.window)


def projected(shape: shapely.Geometry, source: CRS, target: CRS) -> shapely.Geometry:
    to_target = Projection(source, target)
    return shapely.transform(shape, lambda xy: np.column_stack(to_target(*xy.T)))


def write_vector(path: Path, shapes: list, crs: str | None = "EPSG:32631", layer: str = "area", **how) -> Path:
    kinds = {shape.geom_type for shape in shapes}
    kind = kinds.pop() if len(kinds) == 1 else "Unknown"
    driver = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}[path.suffix]
    named = {"layer": layer} if driver == "GPKG" else {}
    columns = [np.arange(len(shapes))]
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), columns, ["n"], driver=driver, geometry_type=kind, crs=crs, **named, **how
    )
    return path


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_pixel_is_inside_where_its_centre_is(place: Affine) -> None:
    grid = grid_of(place)
    shapes = [ring(grid), shapely.affinity.translate(ring(grid), 90, -70)]
    expected = rasterize(shapes, SHAPE, transform=place).astype(bool)
    found = inside(area_of(*shapes), grid)
    assert np.array_equal(found, expected) and 0.2 < found.mean() < 0.9


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_an_area_in_another_crs_lies_on_the_same_ground(place: Affine) -> None:
    grid = grid_of(place)
    expected = rasterize([ring(grid)], SHAPE, transform=place).astype(bool)
    dense = projected(shapely.segmentize(ring(grid), 0.25), UTM, DEGREES)
    # A vertex of the ring may fall on a centre by chance; a chain of edges of 0.25 m misses none by more.
    assert (inside(area_of(dense, crs=DEGREES), grid) != expected).sum() <= 1


def test_any_window_is_a_part_of_the_whole(monkeypatch) -> None:
    monkeypatch.setattr(geoseg.raster.clipped, "CELL", 64)
    grid, random = grid_of(PLACES["turned"]), np.random.default_rng(1)
    scene = ClippedScene(scene_on(grid), area_of(ring(grid)))
    whole = scene.wanted(grid.window)
    assert np.array_equal(whole, rasterize([ring(grid)], SHAPE, transform=grid.transform).astype(bool))
    for _ in range(60):
        (row, height), (col, width) = (sorted(random.choice(n + 1, 2, False)) for n in SHAPE)
        window = Window(row, col, min(height - row, 90), min(width - col, 70))
        assert np.array_equal(scene.wanted(window), whole[window.slices])
        assert scene.wants(window) == whole[window.slices].any()


def test_only_cells_are_drawn_and_few_are_kept(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(geoseg.raster.clipped, "CELL", 64)
    real = rasterize
    monkeypatch.setattr(
        geoseg.raster.clipped.rasterio.features, "rasterize", lambda *a, **k: drawn.append(a[1]) or real(*a, **k)
    )
    grid = grid_of()
    scene = ClippedScene(scene_on(grid), area_of(shapely.box(*grid.bounds).buffer(-20)))
    assert (
        scene.wanted(grid.window).sum()
        == rasterize([shapely.box(*grid.bounds).buffer(-20)], SHAPE, transform=PLACE).sum()
    )
    cells = -(-SHAPE[0] // 64) * -(-SHAPE[1] // 64)
    assert 0 < len(drawn) < cells / 2 and max(h * w for h, w in drawn) <= 64 * 64


@pytest.mark.parametrize("epsg", [4326, 3035, 3857], ids=["degrees", "laea", "mercator"])
def test_long_edges_are_straight_in_the_area_s_crs(epsg: int) -> None:
    """A box of four corners 600 km wide, on a scene of 1 km pixels: each pixel's centre is taken to the box's CRS."""
    grid = grid_of(Affine(1000, 0, 200_000, 0, -1000, 5_900_000), shape=(700, 700))
    crs = CRS.from_epsg(epsg)
    x, y = Projection(UTM, crs)(*centres_of(grid))
    bounds = np.quantile(x, 0.2), np.quantile(y, 0.25), np.quantile(x, 0.83), np.quantile(y, 0.81)
    expected = (x > bounds[0]) & (x < bounds[2]) & (y > bounds[1]) & (y < bounds[3])
    found = inside(area_from_bounds(bounds, crs, grid), grid)
    # Edges may miss by a twentieth of a pixel.
    assert 0.2 < expected.mean() < 0.6 and (found != expected).sum() < 0.05 * 4 * 700
    corners = projected(shapely.box(*bounds), crs, UTM)
    assert (rasterize([corners], (700, 700), transform=grid.transform) != expected).sum() > 100


def test_what_has_no_place_in_the_scene_s_crs_is_no_matter() -> None:
    """The whole world in degrees on a scene of a UTM zone."""
    world = area_of(shapely.box(-180, -90, 180, 90), crs=DEGREES)
    assert inside(world, grid_of()).all()
    half = area_of(shapely.box(-180, -90, 2.2, 90), crs=DEGREES)
    grid = grid_of(Affine(100, 0, 400_000, 0, -100, 5_417_386), shape=(300, 900))
    longitude, _ = Projection(UTM, DEGREES)(*centres_of(grid))
    assert (inside(half, grid) != (longitude < 2.2)).sum() <= 15


def test_an_area_of_metres_on_a_scene_of_the_whole_earth() -> None:
    grid = grid_of(Affine(0.5, 0, -180, 0, -0.5, 90), DEGREES, (360, 720))
    field = shapely.box(400_000, 5_000_000, 700_000, 5_900_000)
    found = inside(area_of(field), grid)
    x, y = Projection(DEGREES, UTM)(*centres_of(grid))
    expected = (x > 400_000) & (x < 700_000) & (y > 5_000_000) & (y < 5_900_000)
    assert np.array_equal(found, expected) and expected.sum() > 50


@pytest.mark.parametrize("west", [170.0, -190.0], ids=["170 to 190", "-190 to -170"])
def test_longitudes_are_taken_round_the_earth(west: float) -> None:
    grid = grid_of(Affine(0.1, 0, west, 0, -0.1, 10), DEGREES, (100, 200))
    east_of_it = area_of(shapely.box(-178, 2, -175, 8), crs=DEGREES)
    across = area_from_bounds((175, 2, -175, 8), None, grid)
    longitude = 170 + np.arange(200) / 10 + 0.05
    for area, low, high in ((east_of_it, 182, 185), (across, 175, 185)):
        found = inside(area, grid)
        assert np.array_equal(found[50], (longitude > low) & (longitude < high))
        assert found.sum() == 60 * ((longitude > low) & (longitude < high)).sum()


def test_an_area_of_metres_across_the_antimeridian() -> None:
    pacific = CRS.from_epsg(3832)
    to_pacific = Projection(DEGREES, pacific)
    (left, right), (bottom, top) = to_pacific(np.array([178.0, -177.0]), np.array([-3.0, 3.0]))
    grid = grid_of(Affine(0.1, 0, 170, 0, -0.1, 10), DEGREES, (200, 200))
    found = inside(area_of(shapely.box(left, bottom, right, top), crs=pacific), grid)
    assert np.flatnonzero(found.any(0))[[0, -1]].tolist() == [80, 129]
    assert np.flatnonzero(found.any(1))[[0, -1]].tolist() == [70, 129]


def test_a_polar_scene_and_a_cap_in_degrees() -> None:
    polar = CRS.from_epsg(3413)
    grid = grid_of(Affine(10_000, 0, -1_000_000, 0, -10_000, 1_000_000), polar, (200, 200))
    longitude, latitude = Projection(polar, DEGREES)(*centres_of(grid))
    cap = area_of(shapely.box(-180, 84, 180, 90), crs=DEGREES)
    # Edges may miss by a twentieth of a pixel; the circle is 415 px long.
    assert (inside(cap, grid) != (latitude > 84)).sum() <= 20
    slice_ = area_of(shapely.box(20, 80, 60, 90), crs=DEGREES)
    expected = (latitude > 80) & (longitude > 20) & (longitude < 60)
    assert (inside(slice_, grid) != expected).sum() <= 8 and expected.sum() > 500


def test_an_outline_through_a_pole_is_refused_where_longitudes_leap() -> None:
    grid = grid_of(Affine(0.1, 0, -180, 0, -0.1, 90), DEGREES, (300, 3600))
    over_the_pole = area_of(shapely.box(0.0, -500_000.0, 900_000.0, 900_000.0), crs=CRS.from_epsg(3413))
    with pytest.raises(InputError, match="area: cannot be drawn in EPSG:4326; cut away what lies at a pole"):
        inside(over_the_pole, grid)


def test_an_outline_that_crosses_itself_counts_where_it_is() -> None:
    x, y = 441_800.0, 5_417_300.0
    bow = shapely.Polygon([(x, y), (x + 100, y + 60), (x + 100, y), (x, y + 60)])
    assert not bow.is_valid
    grid = grid_of(shape=(300, 400))
    area = AreaOfInterest.of(bow, "EPSG:32631", "bow")
    assert np.array_equal(inside(area, grid), rasterize([bow], (300, 400), transform=PLACE).astype(bool))


# Files


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_any_vector_file_will_do(tmp_path: Path, ending: str) -> None:
    grid = grid_of()
    shape, crs = ring(grid), "EPSG:32631"
    if ending == ".geojson":
        shape, crs = projected(shapely.segmentize(shape, 1), UTM, DEGREES), "EPSG:4326"
    area = area_from_file(write_vector(tmp_path / f"area{ending}", [shape], crs), grid)
    expected = rasterize([ring(grid)], SHAPE, transform=PLACE).astype(bool)
    assert (inside(area, grid) != expected).sum() <= 1 and area.name == f"area{ending}"


def test_a_geometry_that_is_no_area_is_refused() -> None:
    with pytest.raises(InputError, match="area: holds Point"):
        AreaOfInterest.of(shapely.Point(1, 2))
    with pytest.raises(InputError, match="area: is empty"):
        AreaOfInterest.of(shapely.Polygon())
    with pytest.raises(UsageError, match="is no CRS"):
        AreaOfInterest.of(shapely.box(0, 0, 1, 1), "nowhere")


def test_a_bow_tie_in_a_file_is_mended(tmp_path: Path) -> None:
    x, y = 441_800.0, 5_417_300.0
    bow = shapely.Polygon([(x, y), (x + 100, y + 60), (x + 100, y), (x, y + 60)])
    grid = grid_of(shape=(300, 400))
    area = area_from_file(write_vector(tmp_path / "bow.gpkg", [bow]), grid)
    assert np.array_equal(inside(area, grid), rasterize([bow], (300, 400), transform=PLACE).astype(bool))


def test_of_a_large_file_what_lies_near_is_read(tmp_path: Path) -> None:
    grid = grid_of()
    far = [shapely.Point(500_000 + 1000 * i, 5_000_000).buffer(10) for i in range(50)]
    path = write_vector(tmp_path / "area.gpkg", [*far, ring(grid)])
    area = area_from_file(path, grid)
    assert len(area.polygons) == 1 and area.extent[0] < grid.bounds[2] and area.extent[2] > 540_000


def test_a_layer_is_named_where_there_are_several(tmp_path: Path) -> None:
    grid = grid_of()
    path = write_vector(tmp_path / "two.gpkg", [shapely.box(*grid.bounds)], layer="all")
    write_vector(path, [ring(grid)], layer="ring: inner", append=True)
    with pytest.raises(InputError, match=r"2 layers with geometry \(all, ring: inner\); name one, as in .*gpkg:LAYER"):
        area_from_file(path, grid)
    assert inside(area_from_file(f"{path}:all", grid), grid).all()
    with pytest.raises(InputError, match=r"no layer 'rang' with geometry, but all, ring: inner"):
        area_from_file(f"{path}:rang", grid)
    # A colon in the path itself, and one in the layer's name.
    odd = tmp_path / "a:b.gpkg"
    path.rename(odd)
    assert inside(area_from_file(f"{odd}:all", grid), grid).all()


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([shapely.Point(441_800, 5_417_300)], "holds Point; an area of interest is made of polygons"),
        ([shapely.LineString([(441_800, 5_417_300), (441_900, 5_417_300)])], "holds LineString"),
    ],
)
def test_other_things_than_polygons_are_refused(tmp_path: Path, shapes, said: str) -> None:
    with pytest.raises(InputError, match=rf"area\.gpkg: {said}"):
        area_from_file(write_vector(tmp_path / "area.gpkg", shapes), grid_of())


def test_what_is_no_vector_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.geojson").write_text("hello")
    for name in ("text.geojson", "none.gpkg", "none.gpkg:layer"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            area_from_file(tmp_path / name, grid_of())
    empty = write_vector(tmp_path / "empty.gpkg", [shapely.Polygon()])
    with pytest.raises(InputError, match="is empty"):
        area_from_file(empty, grid_of())


def test_a_file_without_a_crs_is_taken_for_the_scene_s(tmp_path: Path, caplog) -> None:
    path = write_vector(tmp_path / "area.shp", [ring(grid_of())], crs=None)
    area = area_from_file(path, grid_of())
    assert inside(area, grid_of()).any() and "names no CRS" in caplog.text
    assert inside(area_from_file(path, grid_of(crs=None)), grid_of(crs=None)).any()
    with pytest.raises(InputError, match="the scene names no CRS"):
        area_from_file(write_vector(tmp_path / "placed.gpkg", [ring(grid_of())]), grid_of(crs=None))


# Boxes


def test_a_box_is_in_the_scene_s_crs_unless_said_otherwise() -> None:
    grid = grid_of()
    box = grid.transform @ (100, 200) + grid.transform @ (300, 50)
    found = inside(area_from_bounds(box, None, grid), grid)
    assert found.sum() == 150 * 200 and found[50:200, 100:300].all()


def test_boxes_that_share_an_edge_through_centres_share_no_pixel() -> None:
    grid = grid_of()
    corners = [(100.5, 200.5, 300.5, 50.5), (300.5, 200.5, 400.5, 50.5), (100.5, 260.5, 400.5, 200.5)]
    boxes = [grid.transform @ (c[0], c[1]) + grid.transform @ (c[2], c[3]) for c in corners]
    parts = [inside(area_from_bounds(box, None, grid), grid) for box in boxes]
    assert sum(part.astype(int) for part in parts).max() == 1
    assert sum(part.sum() for part in parts) == 300 * 210


@pytest.mark.parametrize(
    ("bounds", "crs", "said"),
    [
        ((2, 1, 1, 3), None, "west below east"),
        ((1, 3, 2, 3), None, "south below north"),
        ((1, 2, float("nan"), 3), None, "west below east"),
        ((1, 2, 3, 4), "EPSG:nonsense", "'EPSG:nonsense' is no CRS"),
        ((2, 1, 1, 3), "EPSG:32631", "west below east"),
    ],
)
def test_a_box_that_is_none_is_refused(bounds, crs, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        area_from_bounds(bounds, crs, grid_of())


def test_a_box_in_a_crs_needs_a_scene_in_one() -> None:
    with pytest.raises(UsageError, match="names no CRS; leave --bbox-crs out"):
        area_from_bounds((1, 2, 3, 4), "EPSG:4326", grid_of(crs=None))


# Scenes


def test_an_area_that_misses_the_scene_says_where_both_are(tmp_path: Path) -> None:
    scene = scene_on(grid_of(shape=(100, 100)))
    said = r"bbox 3 49 4 50: the area, at 3 49 4 50 in EPSG:4326, misses scene\.tif, which lies at 2\.205\d* 48\.90\d* "
    with pytest.raises(GridMismatch, match=said):
        clipped(scene, bbox=(3, 49, 4, 50), bbox_crs="EPSG:4326")
    path = write_vector(tmp_path / "far.gpkg", [shapely.box(3e5, 4e6, 3.1e5, 4.1e6)])
    with pytest.raises(GridMismatch, match=r"far\.gpkg: .*300000 4000000 310000 4100000 in EPSG:32631.*441754\.5 "):
        clipped(scene, path)
    # It touches the scene's edge from outside.
    left, bottom, _, top = scene.grid.bounds
    with pytest.raises(GridMismatch):
        clipped(scene, bbox=(left - 10, bottom, left, top))


def test_a_scene_without_a_place_is_refused() -> None:
    nowhere = ArrayScene(np.ones((1, 9, 9), np.uint8), name="x.png")
    points = tuple(GroundControlPoint(r, c, 2.0 + c, 48.0 - r, 0.0) for r, c in ((0, 0), (0, 9), (9, 9)))
    warped = ArrayScene(np.ones((1, 9, 9), np.uint8), grid=Grid(UTM, Affine.identity(), (9, 9), points), name="g.tif")
    with pytest.raises(InputError, match=r"x\.png: has no georeference, so no area"):
        clipped(nowhere, bbox=(0, 0, 5, 5))
    with pytest.raises(InputError, match=r"g\.tif: is placed by control points; warp it first: gdalwarp"):
        clipped(warped, bbox=(0, 0, 5, 5))


def test_what_is_asked_for_is_one_thing() -> None:
    scene = scene_on(grid_of())
    assert clipped(scene) is scene
    with pytest.raises(UsageError, match="choose one"):
        clipped(scene, "area.gpkg", (0, 0, 1, 1))
    with pytest.raises(UsageError, match="--bbox-crs is of a --bbox"):
        clipped(scene, "area.gpkg", bbox_crs="EPSG:4326")
    assert clipped(scene, area_of(ring(grid_of()))).wants(scene.grid.window)


def test_it_reads_as_its_source(make_raster) -> None:
    with Scene(make_raster(nodata=3)) as source:
        left, bottom, right, top = source.grid.bounds
        scene = clipped(source, bbox=(left + 3, bottom + 3, right - 9, top - 5))
        for mine, theirs in zip(scene.read(), source.read(), strict=True):
            assert np.array_equal(mine, theirs)
        window = Window(3, 4, 9, 10)
        assert np.array_equal(scene.read_valid(window), source.read_valid(window)) and scene.has_data(window)


def test_it_is_found_again_and_travels(make_raster, tmp_path: Path) -> None:
    path = make_raster()
    with Scene(path) as source:
        shape = shapely.box(*source.grid.bounds).buffer(-4)
        file = write_vector(tmp_path / "a.gpkg", [shape])
        for asked in (
            {"aoi": file},
            {"bbox": shape.bounds},
            {"bbox": (2.2, 48.9, 2.3, 48.91), "bbox_crs": "EPSG:4326"},
        ):
            scene = clipped(source, **asked)
            for copy in (open_described(scene.describe()), pickle.loads(pickle.dumps(scene))):
                assert np.array_equal(copy.wanted(copy.grid.window), scene.wanted(scene.grid.window))
                assert copy.describe() == scene.describe() != source.describe()
        scene = clipped(source, AreaOfInterest.of(shape, source.grid.crs))
        assert open_described(scene.describe()).describe() == scene.describe()
        before = clipped(source, file).describe()
        write_vector(tmp_path / "b.gpkg", [shape.buffer(-1)]).replace(file)
        assert clipped(source, file).describe() != before
