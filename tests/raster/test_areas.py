import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoseg.grid import Grid, Window
from geoseg.raster.areas import AreaTally

QUADRANT = 510_065_621.72e6 / 8
"""Square metres of an eighth of the WGS 84 ellipsoid."""


def tally(crs, transform, shape, codes=None) -> AreaTally:
    grid = Grid(CRS.from_user_input(crs) if crs else None, transform, shape)
    found = AreaTally(grid)
    found.add(grid.window, np.zeros(shape, np.uint8) if codes is None else codes)
    return found


@pytest.mark.parametrize("step", [0.25, 0.5])
def test_an_eighth_of_the_earth(step):
    side = int(90 / step)
    found = tally("EPSG:4326", Affine(step, 0, 0, 0, -step, 90), (side, side))
    assert found.hectares[0] * 10_000 == pytest.approx(QUADRANT, rel=1e-5)


@pytest.mark.parametrize(("crs", "x", "y"), [("EPSG:4326", 11.0, 50.0), ("EPSG:3857", 1.2e6, 6.45e6)])
def test_a_stretched_grid_has_the_area_of_an_equal_area_one(crs, x, y):
    from rasterio.warp import transform

    step = 0.0001 if crs == "EPSG:4326" else 10.0
    shape = 1700, 1100
    corners = [(x, y), (x + step * 1100, y), (x + step * 1100, y - step * 1700), (x, y - step * 1700)]
    sides = [np.linspace(a, b, 200) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    ring = np.concatenate(sides)
    u, v = (np.array(part) for part in transform(crs, "EPSG:3035", ring[:, 0], ring[:, 1]))
    expected = abs((u * np.roll(v, -1) - v * np.roll(u, -1)).sum()) / 2
    found = tally(crs, Affine(step, 0, x, 0, -step, y), shape)
    assert found.hectares[0] * 10_000 == pytest.approx(expected, rel=2e-5)


def test_utm_areas_are_true_and_each_class_has_its_own():
    codes = np.zeros((37, 53), np.uint8)
    codes[:10], codes[10:, 50:] = 3, 255
    found = tally("EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_500_000), (37, 53), codes)
    # On the central meridian UTM is 0.9996 of the ground.
    assert found.hectares[3] == pytest.approx(10 * 53 * 0.01 / 0.9996**2, rel=1e-5)
    assert found.counts[[0, 3, 255]].tolist() == [27 * 50, 530, 81] and found.counts.sum() == 37 * 53


def test_windows_add_up():
    grid = Grid(CRS.from_epsg(4326), Affine(0.001, 0, 179.9, 0, -0.001, 60), (100, 3000))
    codes = np.random.default_rng(0).integers(0, 5, grid.shape, dtype=np.uint8)
    parts, whole = AreaTally(grid), AreaTally(grid)
    whole.add(grid.window, codes)
    for col in (0, 1024, 2048):
        window = Window(0, col, 100, min(1024, 3000 - col))
        parts.add(window, codes[window.slices])
    assert np.allclose(parts.hectares, whole.hectares) and (parts.counts == whole.counts).all()


@pytest.mark.parametrize(("size", "shape"), [(150.0, (37, 1700)), (10.0, (41, 2100)), (30.0, (530, 700))])
@pytest.mark.parametrize("part", [(7, 53), (16, 512), (512, 300)])
def test_areas_do_not_depend_on_the_windows(size, shape, part):
    """At a zone's edge, where pixels' areas change fast, with one class on either side and no data in a corner."""
    grid = Grid(CRS.from_epsg(32610), Affine(size, 0, 166_000, 0, -size, 5_100_000), shape)
    codes = np.full(shape, 1, np.uint8)
    codes[:, shape[1] // 3 :] = 2
    codes[5:20, :400] = 255
    parts, whole, exact = AreaTally(grid), AreaTally(grid), AreaTally(grid)
    whole.add(grid.window, codes)
    for row in range(0, shape[0], part[0]):
        for col in range(0, shape[1], part[1]):
            window = Window(row, col, min(part[0], shape[0] - row), min(part[1], shape[1] - col))
            parts.add(window, codes[window.slices])
            assert parts.pixel_hectares(window).shape == window.shape
    assert np.allclose(parts.hectares, whole.hectares, rtol=1e-12) and (parts.counts == whole.counts).all()
    exact._cell = 1, 1
    pixels = exact.pixel_hectares(grid.window)
    for code in (1, 2, 255):
        assert whole.hectares[code] == pytest.approx(pixels[codes == code].sum(), rel=6e-5)
    assert (whole.pixel_hectares(grid.window)[codes == 1]).sum() == pytest.approx(whole.hectares[1], rel=1e-12)


def test_what_lies_beyond_the_earth_takes_nothing_from_the_rest():
    """A disk of the Earth as a geostationary satellite sees it: corners without a place begin and end every row."""
    shape, side = (542, 542), 20_055.0
    crs = "+proj=geos +lon_0=-75 +h=35786023 +ellps=GRS80 +units=m +sweep=x"
    codes = np.zeros(shape, np.uint8)
    codes[261:281, 261:281] = 1
    found = tally(crs, Affine(side, 0, -271 * side, 0, -side, 271 * side), shape, codes)
    # Right below it a pixel is its own size on the ground. The disk is over 40 % of the Earth; cells at its limb, which
    # lack a corner, count nothing.
    assert found.hectares[1] == pytest.approx(400 * side**2 / 10_000, rel=1e-2)
    assert 0.25 < found.hectares.sum() * 10_000 / (8 * QUADRANT) < 0.43


def test_no_place_on_earth_gives_counts_only():
    for crs, transform in ((None, Affine(1, 0, 5, 0, -1, 5)), ("EPSG:4326", Affine.identity())):
        found = tally(crs, transform, (4, 5))
        assert found.hectares is None and found.counts[0] == 20
    found.skip(Window(0, 0, 2, 2))
    assert found.counts[255] == 4
