"""Shapes of one CRS on the pixels of another: pixel centres taken to the shapes' CRS as oracle."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.grid import Grid, GroundControlPoint, Window
from geoseg.legend import NO_CLASS
from geoseg.raster import overlay
from geoseg.raster.overlay import lay_over, require_place
from geoseg.tiling import blocks

SHAPE = 37, 53
UTM, DEGREES = CRS.from_epsg(32631), CRS.from_epsg(4326)
TURNED = Affine.translation(441754.5, 5417386.25) @ Affine.rotation(31)
PLACES = {
    "off-origin": (32631, Affine(0.5, 0, 441754.5, 0, -0.75, 5417386.25), 32631),
    "rotated": (32631, TURNED @ Affine.scale(0.5, -0.75), 32631),
    "south-up": (32631, Affine(0.5, 0, 441754.5, 0, 0.75, 5417386.25), 32631),
    "degrees on metres": (32631, Affine(300, 0, 441754.5, 0, -400, 5417386.25), 4326),
    "Mercator on UTM": (32631, Affine(3000, 0, 141754.5, 0, -4000, 5417386.25), 3857),
    "UTM on degrees": (4326, Affine(0.01, 0, 2.3, 0, -0.008, 48.9), 32631),
    "rotated, other CRS": (32631, TURNED @ Affine.scale(400, -300), 3857),
    "across the antimeridian, UTM on degrees": (4326, Affine(0.01, 0, 179.8, 0, -0.01, -16), 32760),
    "across the antimeridian, degrees on UTM": (32760, Affine(1000, 0, 790000, 0, -1000, 8200000), 4326),
    "across the antimeridian, degrees on degrees": (4326, Affine(0.01, 0, 179.8, 0, -0.01, -16), 4326),
    "from 0 to 360 degrees": (4326, Affine(6.8, 0, 0, 0, -4, 74), 4326),
    "the world in equal areas": (8857, Affine(300000, 0, -8e6, 0, -200000, 4e6), 4326),
}  # fmt: skip


def place(name: str) -> tuple[Grid, CRS]:
    crs, transform, layer = PLACES[name]
    return Grid(CRS.from_epsg(crs), transform, SHAPE), CRS.from_epsg(layer)


def centres(grid: Grid, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) coordinates of the pixels' centres in a CRS, longitudes from -180 to 180."""
    col, row = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    way = pyproj.Transformer.from_crs(grid.crs.to_wkt(), crs.to_wkt(), always_xy=True)
    x, y = way.transform(*(grid.transform @ (col, row)))
    return ((x + 180) % 360 - 180 if crs.is_geographic else x), y


def triangles(x: np.ndarray, y: np.ndarray, number: int, geographic: bool) -> np.ndarray:
    """Triangles with corners at random centres, near each other, cut where longitudes jump."""
    random, found = np.random.default_rng(1), []
    while len(found) < number:
        rows, cols = random.integers(0, SHAPE[0], 3), random.integers(0, SHAPE[1], 3)
        corners = np.column_stack([x[rows, cols], y[rows, cols]]) + random.uniform(-1e-6, 1e-6, (3, 2))
        if geographic and np.ptp(corners[:, 0]) > 180:
            turned = shapely.Polygon(np.column_stack([corners[:, 0] % 360, corners[:, 1]]))
            found += [shapely.box(-180, -90, 180, 90) & turned]
            beyond = shapely.box(180, -90, 540, 90) & turned
            found += [shapely.transform(beyond, lambda xy: xy - (360, 0))]
        else:
            found.append(shapely.Polygon(corners))
    return np.array([part for part in found if part.geom_type == "Polygon" and not part.is_empty], object)


@pytest.mark.parametrize("name", PLACES)
def test_a_centre_inside_in_the_shapes_own_crs_is_inside(name: str) -> None:
    grid, crs = place(name)
    x, y = centres(grid, crs)
    shapes = triangles(x, y, 12, crs.is_geographic)
    classes = np.arange(len(shapes), dtype=np.uint8)
    laid = lay_over(shapes, classes, crs, grid, shapely.STRtree(shapes))
    index, _ = laid.burn(grid.window)
    expected, doubtful = np.full(SHAPE, NO_CLASS, np.uint8), np.zeros(SHAPE, bool)
    step = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    near = 2 * overlay.DEVIATION * float(np.median(step))
    for shape, value in zip(shapes, classes, strict=True):
        expected[shapely.contains_xy(shape, x, y)] = value
        doubtful |= shapely.distance(shape.exterior, shapely.points(x, y)) < near
    assert np.array_equal(index[~doubtful], expected[~doubtful])
    assert doubtful.mean() < 0.1 and 0.2 < (expected != NO_CLASS).mean() < 1 and laid.lost == 0
    part = Window(5, 7, 20, 31)
    assert np.array_equal(laid.burn(part)[0], index[part.slices])


def test_long_edges_are_straight_in_their_own_crs_and_not_in_the_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2000 km along parallels, which bend by 100 km in the grid's CRS.
    grid = Grid(CRS.from_epsg(3035), Affine(40000, 0, 3.3e6, 0, -20000, 3.6e6), SHAPE)
    bands = np.array([shapely.box(-5, 51, 30, 53), shapely.box(-5, 50, 30, 51)], object)
    x, y = centres(grid, DEGREES)
    inside = [shapely.contains_xy(band, x, y) for band in bands]
    clear = np.all([shapely.distance(band.exterior, shapely.points(x, y)) > 0.01 for band in bands], axis=0)

    def wrong() -> int:
        laid = lay_over(bands, np.arange(2, dtype=np.uint8), DEGREES, grid, shapely.STRtree(bands))
        index, contested = laid.burn(grid.window)
        assert not contested
        # Windows that some of the shapes are near to.
        for part in blocks(SHAPE, 5):
            assert np.array_equal(laid.burn(part)[0], index[part.slices])
        return sum(int(((index == value) != inside[value])[clear].sum()) for value in (0, 1))

    assert wrong() == 0 and min(map(np.sum, inside)) > 200 and clear.mean() > 0.95
    monkeypatch.setattr(overlay, "DEVIATION", np.inf)
    assert wrong() > 100


def test_the_whole_world_is_looked_at_once() -> None:
    # Its extent in degrees, widened, holds some places twice.
    grid = Grid(CRS.from_epsg(6933), Affine(655000, 0, -17360000, 0, -390000, 7210000), SHAPE)
    shapes = np.array(
        [shapely.box(170, -40, 179, 40), shapely.box(-179, -40, -170, 40), shapely.box(0, 0, 9, 9)], object
    )
    x, y = centres(grid, DEGREES)
    index, contested = lay_over(shapes, np.arange(3, dtype=np.uint8), DEGREES, grid, shapely.STRtree(shapes)).burn(
        grid.window
    )
    for value, shape in enumerate(shapes):
        assert np.array_equal(index == value, shapely.contains_xy(shape, x, y)) and (index == value).any()
    assert not contested


def test_what_a_projection_does_not_show_is_cut_off_first() -> None:
    grid, _ = place("degrees on metres")
    shapes = np.array([shapely.box(-180, -90, 180, 90), shapely.box(100, 40, 101, 41), shapely.Point(178, 0)], object)
    laid = lay_over(shapes, np.arange(3, dtype=np.uint8), DEGREES, grid, shapely.STRtree(shapes))
    assert (laid.burn(grid.window)[0] == 0).all() and len(laid) == 1 and laid.number.tolist() == [0] and not laid.lost


def test_a_shape_with_a_corner_without_a_place_is_left_out_and_counted() -> None:
    # Near enough to be looked at, and beyond the pole.
    grid = Grid(CRS.from_epsg(3413), Affine(20000, 0, -500000, 0, -20000, 400000), SHAPE)
    shapes = np.array([shapely.Polygon([(0, 88), (90, 88), (90, 90.2)]), shapely.box(0, 87, 90, 88)], object)
    laid = lay_over(shapes, np.arange(2, dtype=np.uint8), DEGREES, grid, shapely.STRtree(shapes))
    assert laid.lost == 1 and laid.number.tolist() == [1]


@pytest.mark.parametrize(
    ("grid", "crs", "what"),
    [
        (Grid(UTM, Affine.identity(), SHAPE, (GroundControlPoint(0, 0, 1, 2, 0),)), UTM, "control points.*gdalwarp"),
        (Grid(UTM, Affine.scale(2), SHAPE), None, "names no CRS, and s.tif is in EPSG:32631; give the layer its CRS"),
        (Grid(None, Affine.scale(2), SHAPE), UTM, "in EPSG:32631, but s.tif names no CRS; give it one: gdal_edit"),
        (Grid(None, Affine.identity(), SHAPE), UTM, "names no CRS"),
    ],
)
def test_what_cannot_be_laid_over_is_refused(grid: Grid, crs: CRS | None, what: str) -> None:
    with pytest.raises(InputError, match=what):
        require_place(grid, "s.tif", crs, "l.gpkg")


def test_without_a_crs_on_either_side_coordinates_are_those_of_the_transform() -> None:
    require_place(Grid(None, Affine.scale(2), SHAPE), "s.tif", None, "l.gpkg")
    shapes = np.array([shapely.box(4, 6, 10, 8)], object)
    for transform, where in ((Affine.scale(2), np.s_[3:4, 2:5]), (Affine.identity(), np.s_[6:8, 4:10])):
        grid = Grid(None, transform, SHAPE)
        index, _ = lay_over(shapes, np.zeros(1, np.uint8), None, grid, shapely.STRtree(shapes)).burn(grid.window)
        expected = np.full(SHAPE, NO_CLASS, np.uint8)
        expected[where] = 0
        assert np.array_equal(index, expected)
