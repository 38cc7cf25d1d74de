"""Scenes that show the same ground, or lie close: a split that puts them on both sides flatters its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from geoseg.grid import Grid, metres_per_degree

METRES_PER_DEGREE = 111_195.0
"""Of latitude, on a sphere of the earth's mean radius."""
TOUCHING = 0.01
"""Share of the smaller footprint up to which two scenes are neighbours, not overlapping."""


def footprint(grid: Grid) -> shapely.Polygon:
    """The outline of a grid in its CRS."""
    height, width = grid.shape
    return shapely.Polygon([grid.transform @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))])


def overlapping(first: Mapping[str, Grid], second: Mapping[str, Grid]) -> list[str]:
    """Names in ``second`` of scenes that overlap one of ``first``; georeferenced scenes of one CRS are compared."""
    known = {name: grid for name, grid in first.items() if grid.georeferenced}
    tree = shapely.STRtree([footprint(grid) for grid in known.values()])
    grids = list(known.values())
    return [
        name
        for name, grid in second.items()
        if grid.georeferenced
        and any(grids[i].crs == grid.crs and _overlap(grids[i], grid) for i in tree.query(footprint(grid)))
    ]


def overlapping_groups(grids: Mapping[str, Grid]) -> list[frozenset[str]]:
    """Names of scenes, those together that overlap each other or a third; what has no georeference stands alone."""
    known = [(name, grid) for name, grid in grids.items() if grid.georeferenced]
    tree = shapely.STRtree([footprint(grid) for _, grid in known])
    pairs = (
        (name, known[i][0])
        for name, grid in known
        for i in tree.query(footprint(grid))
        if known[i][1].crs == grid.crs and _overlap(known[i][1], grid)
    )
    return joined(grids, pairs)


def joined(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[frozenset[str]]:
    """The groups that pairs of names tie together, in the order of their first names."""
    group_of = {name: {name} for name in names}
    for one, other in pairs:
        if group_of[one] is not group_of[other]:
            group_of[one] |= group_of[other]
            group_of |= dict.fromkeys(group_of[other], group_of[one])
    return list(dict.fromkeys(frozenset(group) for group in group_of.values()))


def block_of(grid: Grid, metres: float) -> tuple[int, int]:
    """The block that the middle of a scene lies in: squares of so many metres in rows along the equator, from 0 N 0 E.

    Each row counts its columns by the length of a degree in its middle, so the CRS of the scenes may differ.
    """
    height, width = grid.shape
    x, y = grid.transform @ (width / 2, height / 2)
    (longitude,), (latitude,) = transform(grid.crs, CRS.from_epsg(4326), [x], [y])
    degrees = metres / METRES_PER_DEGREE
    row = math.floor(latitude / degrees)
    return row, math.floor(longitude * metres_per_degree((row + 0.5) * degrees)[1] / metres)


def _overlap(first: Grid, second: Grid) -> bool:
    one, other = footprint(first), footprint(second)
    return one.intersection(other).area > TOUCHING * min(one.area, other.area)
