"""The outline of a raster on the Earth: against pyproj and hand-worked places, where a shift or a cut would show."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint

from geoseg.errors import InputError
from geoseg.raster import footprint as module
from geoseg.raster.footprint import bbox_of, footprint
from geoseg.raster.scene import Scene


def outline_of(path) -> shapely.Geometry:
    with Scene(path) as scene:
        return footprint(path, scene.grid)


def degrees(crs: str, places: list[tuple[float, float]]) -> shapely.Polygon:
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return shapely.Polygon([to_degrees.transform(*place) for place in places])


def nearly(found: shapely.Geometry, expected: shapely.Geometry, share: float = 1e-3) -> bool:
    return found.symmetric_difference(expected).area < share * expected.area


def test_a_turned_grid_keeps_its_four_corners(make_raster):
    transform = Affine.translation(441_754.5, 5_417_386.25) @ Affine.rotation(30) @ Affine.scale(40, -60)
    found = outline_of(make_raster(transform=transform))
    corners = [transform @ corner for corner in ((0, 0), (53, 0), (53, 37), (0, 37))]
    assert nearly(found, degrees("EPSG:32631", corners)) and len(found.exterior.coords) < 10
    assert found.exterior.is_ccw and bbox_of(found) == list(found.bounds)


def test_edges_bend_as_they_do_on_the_earth(make_raster):
    transform = Affine(30_000, 0, 2_600_000, 0, -30_000, 4_800_000)
    found = outline_of(make_raster(crs="EPSG:3035", transform=transform))
    sides = [((0, 0), (53, 0)), ((53, 0), (53, 37)), ((53, 37), (0, 37)), ((0, 37), (0, 0))]
    steps = np.linspace(0, 1, 500)[:, None]
    edge = np.concatenate([np.array(start) * (1 - steps) + np.array(stop) * steps for start, stop in sides])
    expected = degrees("EPSG:3035", [transform @ tuple(place) for place in edge])
    assert nearly(found, expected, 0.002) and not nearly(found, shapely.Polygon(expected.exterior.coords[::500]), 0.01)


def test_nodata_is_outside_and_every_pixel_of_data_within(make_raster):
    pixels = np.full((1, 37, 53), 255, np.uint8)
    pixels[0, 5:30, 11:20] = 7
    pixels[0, 12:14, 20:44] = 3
    path = make_raster(pixels, transform=Affine(30, 0, 441_754.5, 0, -30, 5_417_386.25), nodata=255)
    rows_cols = [(5, 11), (5, 20), (12, 20), (12, 44), (14, 44), (14, 20), (30, 20), (30, 11)]
    expected = [(441_754.5 + 30 * col, 5_417_386.25 - 30 * row) for row, col in rows_cols]
    assert nearly(outline_of(path), degrees("EPSG:32631", expected), 0.02)


def test_a_large_raster_is_looked_at_in_steps_and_holds_what_lies_between(make_raster, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 20)
    pixels = np.full((1, 111, 91), 255, np.uint8)
    pixels[0, 50:80, 30:60] = 7
    path = make_raster(pixels, transform=Affine(30, 0, 441_754.5, 0, -30, 5_417_386.25), nodata=255)
    corners = [(441_754.5 + 30 * col, 5_417_386.25 - 30 * row) for row, col in ((50, 30), (50, 60), (80, 60), (80, 30))]
    data, found = degrees("EPSG:32631", corners), outline_of(path)
    assert found.buffer(1e-6).contains(data) and found.area < 4 * data.area


def test_without_any_data_it_is_the_grid(make_raster):
    empty = make_raster(np.full((1, 37, 53), 255, np.uint8), name="empty.tif", nodata=255)
    full = make_raster(np.zeros((1, 37, 53), np.uint8), name="full.tif", nodata=255)
    assert outline_of(empty).equals(outline_of(full))


def test_the_antimeridian_cuts(make_raster):
    found = outline_of(make_raster(crs="EPSG:4326", transform=Affine(0.5, 0, 170, 0, -0.5, 10)))
    west, east = sorted(found.geoms, key=lambda part: part.bounds)
    assert west.bounds == (-180, -8.5, -163.5, 10) and east.bounds == (170, -8.5, 180, 10)
    assert bbox_of(found) == [170, -8.5, -163.5, 10]


def test_the_antimeridian_cuts_a_projected_grid(make_raster):
    # In zone 1 the meridian runs some 177 km west of the middle at 58 N.
    found = outline_of(make_raster(crs="EPSG:32601", transform=Affine(1000, 0, 300_000, 0, -1000, 6_470_000)))
    west, south, east, north = bbox_of(found)
    assert west > 179 and east < -178 and 57 < south < north < 59 and len(found.geoms) == 2


def test_around_a_pole_it_is_a_cap(make_raster):
    found = outline_of(make_raster(crs="EPSG:3413", transform=Affine(50_000, 0, -1_325_000, 0, -50_000, 925_000)))
    assert found.bounds[0::2] == (-180, 180) and found.bounds[3] == 90 and 70 < found.bounds[1] < 80


def test_control_points_place_it(make_raster):
    corners = {(0, 0): (2.0, 49.0), (0, 53): (2.4, 49.1), (37, 0): (2.1, 48.7), (37, 53): (2.5, 48.8)}
    points = [GroundControlPoint(row, col, x, y) for (row, col), (x, y) in corners.items()]
    found = outline_of(make_raster(crs="EPSG:4326", transform=None, gcps=points))
    assert nearly(found, shapely.Polygon([(2.0, 49.0), (2.4, 49.1), (2.5, 48.8), (2.1, 48.7)]))


@pytest.mark.parametrize("place", [{"crs": None}, {"transform": None}])
def test_a_raster_without_a_place_is_refused(make_raster, place):
    with pytest.raises(InputError, match="has no place on Earth"):
        outline_of(make_raster(**place))


def test_what_lies_off_the_earth_is_refused(make_raster):
    crs = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=GRS80"
    with pytest.raises(InputError, match="no longitude and latitude"):
        outline_of(make_raster(crs=crs, transform=Affine(300_000, 0, -6e6, 0, -300_000, 6e6)))
