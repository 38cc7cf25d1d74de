"""Burning shapes: GDAL's own rasteriser as oracle, ties, overlaps, and windows that make the whole."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg.grid import Grid, Window
from geoseg.legend import NO_CLASS
from geoseg.raster import burning
from geoseg.raster.burning import PixelShapes
from geoseg.raster.overlay import lay_over

SHAPE = 37, 53
WINDOWS = [Window(0, 0, 37, 53), Window(36, 52, 1, 1), Window(5, 7, 20, 31), Window(0, 50, 37, 3)]


def laid(shapes: list, classes: object = None, shape: tuple[int, int] = SHAPE) -> PixelShapes:
    """Shapes in pixels, of the classes 0, 1, ... unless told."""
    shapes = np.array(shapes, object)
    classes = np.arange(len(shapes)) if classes is None else np.array(classes)
    return lay_over(
        shapes, classes.astype(np.uint8), None, Grid(None, Affine.identity(), shape), shapely.STRtree(shapes)
    )


def stars(seed: int, whole: bool = False) -> list[shapely.Polygon]:
    """Up to 12 polygons that reach over each other and out of the raster, some with a hole."""
    random = np.random.default_rng(seed)
    found: list[shapely.Polygon] = []
    for _ in range(random.integers(1, 12)):
        corners = random.integers(3, 9)
        middle, reach = random.uniform((-5, -5), (58, 42)), random.uniform(0.3, 25)
        angles, far = np.sort(random.uniform(0, 2 * np.pi, corners)), reach * random.uniform(0.3, 1, corners)
        points = middle + far[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
        star = shapely.make_valid(shapely.Polygon(np.round(points) if whole else points))
        holed = star.difference(shapely.Point(middle).buffer(reach / 4)) if random.random() < 0.5 else star
        found += [part for part in shapely.get_parts(holed) if part.geom_type == "Polygon" and not part.is_empty]
    return found


@given(st.integers(0, 2**32), st.booleans())
def test_as_gdal_burns_them_and_what_is_contested(seed: int, whole: bool) -> None:
    shapes = stars(seed, whole)
    classes = np.random.default_rng(seed).integers(0, 5, len(shapes))
    index, contested = laid(shapes, classes).burn(Window(0, 0, *SHAPE))
    pairs = list(zip(shapes, classes.tolist(), strict=True))
    expected = (
        rasterio.features.rasterize(pairs, SHAPE, fill=NO_CLASS, dtype="uint8")
        if pairs
        else np.full(SHAPE, NO_CLASS, np.uint8)
    )
    assert np.array_equal(index, expected)
    each = np.zeros((5, *SHAPE), bool)
    for shape, value in pairs:
        each[value] |= rasterio.features.rasterize([shape], SHAPE).astype(bool)
    assert contested == (each.sum(0) > 1).sum()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("crossings", [1 << 20, 7])
@pytest.mark.parametrize("painted", [1 << 22, 5])
def test_a_window_is_a_part_of_the_whole(
    window: Window, crossings: int, painted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [*stars(3), shapely.Point(20.5, 10.2), *stars(4), shapely.Point(52.9, 36.9)]
    whole, contested = laid(shapes).burn(Window(0, 0, *SHAPE))
    monkeypatch.setattr(burning, "MOST_CROSSINGS", crossings)
    monkeypatch.setattr(burning, "MOST_PAINTED", painted)
    index, here = laid(shapes).burn(window)
    assert np.array_equal(index, whole[window.slices]) and whole[10, 20] != NO_CLASS
    assert here == contested if window.area == whole.size else here < contested


def test_polygons_that_share_edges_through_centres_share_no_pixel_and_leave_none() -> None:
    # Corners at centres, edges along rows and columns of centres and through centres on the slant.
    at = np.arange(0.5, 9.5, 2)
    parts = []
    for row in at:
        for col in at:
            one, two, three, four = (col, row), (col + 2, row), (col + 2, row + 2), (col, row + 2)
            parts += [shapely.Polygon([one, two, three]), shapely.Polygon([one, four, three])]
    flipped = [part.reverse() if i % 3 else part for i, part in enumerate(parts)]
    for shapes in (parts, flipped, flipped[::-1]):
        each = [laid([shape], shape=(12, 12)).burn(Window(0, 0, 12, 12))[0] == 0 for shape in shapes]
        # A centre on the uppermost row is inside, one on the leftmost column is not, as GDAL has it.
        expected = np.zeros((12, 12), int)
        expected[0:10, 1:11] = 1
        assert np.array_equal(np.sum(each, axis=0), expected)
        assert laid(shapes, np.arange(len(shapes)), (12, 12)).burn(Window(0, 0, 12, 12))[1] == 0


def test_a_point_is_the_pixel_that_it_lies_in() -> None:
    points = [shapely.Point(xy) for xy in ((0, 0), (52.99, 36.99), (2, 1), (53, 3), (-1e-9, 4), (3, 37))]
    shapes = laid(points)
    index, contested = shapes.burn(Window(0, 0, *SHAPE))
    assert contested == 0 and [tuple(place) for place in np.argwhere(index != NO_CLASS)] == [(0, 0), (1, 2), (36, 52)]
    assert index[[0, 36, 1], [0, 52, 2]].tolist() == [0, 1, 2] and len(shapes) == 3


def test_the_last_shape_of_a_pixel_counts_whatever_lies_under_it() -> None:
    box, inner, point = shapely.box(2, 2, 8, 8), shapely.box(4, 4, 6, 6), shapely.Point(4.5, 4.5)
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]):
        shapes = [(box, inner, point)[i] for i in order]
        index, contested = laid(shapes, order, (10, 10)).burn(Window(0, 0, 10, 10))
        assert index[4, 4] == order[-1] and contested == 4 and index[7, 7] == 0
        assert index[5, 5] == [i for i in order if i != 2][-1]
    # Of one class nothing is contested, and a class between two of one other is.
    assert laid([box, inner, box], [3, 3, 3], (10, 10)).burn(Window(0, 0, 10, 10))[1] == 0
    assert laid([box, inner, box], [3, 1, 3], (10, 10)).burn(Window(0, 0, 10, 10))[1] == 4


def test_what_an_ignored_code_covers_has_no_class() -> None:
    index, contested = laid([shapely.box(0, 0, 5, 5), shapely.box(2, 2, 4, 4)], [1, NO_CLASS], (6, 6)).burn(
        Window(0, 0, 6, 6)
    )
    assert (index == 1).sum() == 21 and (index[2:4, 2:4] == NO_CLASS).all() and contested == 4


def test_nothing_is_burnt_without_a_shape() -> None:
    shapes = laid([shapely.box(60, 60, 70, 70)])
    index, contested = shapes.burn(Window(3, 4, 5, 6))
    assert len(shapes) == 0 and index.shape == (5, 6) and (index == NO_CLASS).all() and contested == 0


def test_the_digest_is_of_shapes_classes_and_order() -> None:
    box, point = shapely.box(2, 2, 8, 8), shapely.Point(3, 4)
    digests = [
        laid(shapes, classes).digest
        for shapes, classes in (
            ([box, point], [0, 1]),
            ([box, point], [1, 0]),
            ([point, box], [1, 0]),
            ([box], [0]),
            ([box, shapely.Point(3, 4.1)], [0, 1]),
        )
    ]
    assert len(set(digests)) == 5 and laid([box, point], [0, 1]).digest == digests[0]
