"""How grids lie on the ground: lengths against pyproj and Snyder, north against the transform."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoseg.grid import Grid, metres_per_degree
from geoseg.plotting.ground import degrees_said, ground_of, nice_length, ticks_of, upright

SHAPE = (370, 530)


def grid(crs: str | None, transform: Affine, shape: tuple[int, int] = SHAPE) -> Grid:
    return Grid(CRS.from_user_input(crs) if crs else None, transform, shape)


UTM = Affine(10, 0, 497_350, 0, -10, 5_401_850)
"""The middle lies on the central meridian of zone 33."""


def test_a_pixel_of_utm_is_longer_than_its_ten_metres_by_the_scale_factor() -> None:
    found = ground_of(grid("EPSG:32633", UTM))
    assert found.metres == pytest.approx(10 / 0.9996, rel=1e-6)
    assert (found.aspect, found.latitude, found.north) == (1, None, None)


def test_degrees_have_their_length_at_the_map_s_latitude() -> None:
    found = ground_of(grid("EPSG:4326", Affine(0.001, 0, -70, 0, -0.001, 60 + 0.185)))
    north, east = metres_per_degree(60.0)
    assert found.metres == pytest.approx(east / 1000, rel=1e-5)
    assert found.aspect == pytest.approx(north / east, rel=1e-5) and found.aspect == pytest.approx(1.997, abs=1e-3)
    assert found.latitude is None
    tall = ground_of(grid("EPSG:4326", Affine(0.01, 0, -70, 0, -0.01, 60 + 1.85)))
    assert tall.latitude == pytest.approx(60)


def test_web_mercator_s_metres_are_too_short_away_from_the_equator() -> None:
    way = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    x, y = way.transform(12, 61)
    found = ground_of(grid("EPSG:3857", Affine(10, 0, x - 2650, 0, -10, y + 1850)))
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(12, 61, *way.transform(x + 10, y, direction="INVERSE"))
    assert found.metres == pytest.approx(metres, rel=1e-5) and found.metres < 4.9
    assert found.aspect == 1


def test_unequal_pixels_keep_their_shape() -> None:
    assert ground_of(grid("EPSG:32633", Affine(10, 0, 497_350, 0, -15, 5_401_850))).aspect == pytest.approx(1.5)
    assert ground_of(grid(None, Affine(10, 0, 0, 0, -15, 0))).aspect == pytest.approx(1.5)
    assert ground_of(grid(None, Affine.identity())) == ground_of(Grid(None, Affine.identity(), (4, 5)))


def test_a_map_of_the_world_has_no_scale() -> None:
    found = ground_of(grid("EPSG:4326", Affine(0.6, 0, -180, 0, -0.6, 90), (300, 600)))
    assert (found.metres, found.aspect, found.north) == (None, 1, None)


@pytest.mark.parametrize("degrees", [30, -75, 120, 179])
def test_north_of_a_turned_grid(degrees: float) -> None:
    transform = Affine.translation(500_000, 5_400_000) @ Affine.rotation(degrees) @ Affine.scale(10, -10)
    found = ground_of(grid("EPSG:32633", transform))
    middle = transform @ (SHAPE[1] / 2, SHAPE[0] / 2)
    (col, row), (col_0, row_0) = ~transform @ (middle[0], middle[1] + 1000), (SHAPE[1] / 2, SHAPE[0] / 2)
    expected = math.degrees(math.atan2(col - col_0, row_0 - row)) % 360
    assert found.north == pytest.approx(expected, abs=0.3)


def test_north_leans_where_a_projection_s_does() -> None:
    assert ground_of(grid("EPSG:32633", Affine(10, 0, 300_000, 0, -10, 5_400_000))).north is None
    polar = ground_of(grid("EPSG:3995", Affine(1000, 0, 1_500_000, 0, -1000, 0)))
    # On the meridian of 90 degrees east the pole lies to the left.
    assert polar.north == pytest.approx(270, abs=8)


@pytest.mark.parametrize(("across", "down"), [(10, 10), (-10, -10), (-10, 10)])
def test_upright_turns_what_turning_can_mend(across: float, down: float) -> None:
    was = grid("EPSG:32633", Affine(across, 0, 500_000, 0, down, 5_400_000))
    found, axes = upright(was)
    assert (found.transform.a, found.transform.e) == (10, -10)
    places = np.stack(np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij"))
    turned = np.flip(places, axes)
    for row, col in ((0, 0), (369, 529), (5, 77)):
        then, now = (col + 0.5, row + 0.5), tuple(int(n) + 0.5 for n in turned[::-1, row, col])
        assert found.transform @ then == pytest.approx(was.transform @ now)


def test_upright_leaves_the_others() -> None:
    for one in (grid("EPSG:32633", UTM), grid(None, Affine.identity()), grid("EPSG:32633", UTM @ Affine.rotation(9))):
        assert upright(one) == (one, ())


def test_ticks_stand_where_their_labels_say() -> None:
    one = grid("EPSG:32633", Affine(50, 0, 400_000, 0, -50, 5_400_000))
    found = ticks_of(one, 5, 4)
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    assert 2 <= len(found.across) <= 6 and 2 <= len(found.down) <= 5
    for col, label in found.across:
        longitude, _ = way.transform(*(one.transform @ (col, 370)))
        assert label.endswith("°E") and float(label[:-2]) == pytest.approx(longitude, abs=2e-5)
    for row, label in found.down:
        _, latitude = way.transform(*(one.transform @ (0, row)))
        assert label.endswith("°N") and float(label[:-2]) == pytest.approx(latitude, abs=2e-5)


def test_ticks_cross_the_antimeridian_and_the_equator() -> None:
    found = ticks_of(grid("EPSG:4326", Affine(0.01, 0, 178, 0, -0.01, 1.85)), 5, 4)
    assert [label for _, label in found.across] == ["178°E", "180°", "178°W"]
    assert "0°" in {label.replace("0.0", "0") for _, label in found.down}


def test_no_ticks_where_an_edge_goes_back_and_forth() -> None:
    assert ticks_of(grid("EPSG:3995", Affine(10_000, 0, -2_650_000, 0, -10_000, 1_850_000)), 4, 4) is None
    assert ticks_of(grid(None, Affine.identity()), 4, 4) is None


def test_lengths_and_degrees_in_words() -> None:
    assert [nice_length(most) for most in (0.19, 1, 4.9, 5, 999, 20_000)] == [0.1, 1, 2, 5, 500, 20_000]
    said = [degrees_said(*parts) for parts in ((13.4, 1, "EW"), (-0.25, 2, "NS"), (181.0, 0, "EW"), (0.0, 0, "EW"))]
    assert said == ["13.4°E", "0.25°S", "179°W", "0°"]
