"""Footprints that overlap, touch, or lie in another CRS."""

from __future__ import annotations

from affine import Affine
from rasterio.crs import CRS

from geoseg.datasets.overlap import footprint, overlapping, overlapping_groups
from geoseg.grid import IDENTITY, Grid

UTM, OTHER = CRS.from_epsg(32631), CRS.from_epsg(32632)


def grid(left: float, top: float, crs: CRS = UTM, side: int = 10) -> Grid:
    return Grid(crs, Affine(2, 0, left, 0, -2, top), (side, side))


def test_a_footprint_has_the_area_of_the_pixels() -> None:
    assert footprint(grid(100, 200)).area == 10 * 10 * 4
    assert footprint(grid(100, 200)).bounds == (100, 180, 120, 200)


def test_overlap_is_found_and_touching_is_not() -> None:
    train = {"a": grid(0, 100), "b": grid(500, 100)}
    others = {"half": grid(10, 100), "neighbour": grid(20, 100), "far": grid(200, 100), "inside": grid(506, 96, side=2)}
    assert overlapping(train, others) == ["half", "inside"]


def test_another_crs_or_none_is_not_compared() -> None:
    others = {"other": grid(0, 100, OTHER), "none": Grid(None, IDENTITY, (10, 10))}
    assert overlapping({"a": grid(0, 100), "plain": Grid(None, IDENTITY, (10, 10))}, others) == []


def test_groups_are_tied_by_overlaps_of_overlaps() -> None:
    grids = {
        "a": grid(0, 100),
        "far": grid(500, 100),
        "c": grid(20, 100),
        "b": grid(10, 100),
        "other": grid(0, 100, OTHER),
    }
    grids |= {"plain": Grid(None, IDENTITY, (10, 10)), "plain too": Grid(None, IDENTITY, (10, 10))}
    groups = {frozenset(group) for group in overlapping_groups(grids)}
    assert groups == {frozenset("abc")} | {frozenset((name,)) for name in ("far", "other", "plain", "plain too")}
