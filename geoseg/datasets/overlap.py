"""Scenes that show the same ground: a split that puts them on both sides flatters its figures."""

from __future__ import annotations

from collections.abc import Mapping

import shapely

from geoseg.grid import Grid

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


def _overlap(first: Grid, second: Grid) -> bool:
    one, other = footprint(first), footprint(second)
    return one.intersection(other).area > TOUCHING * min(one.area, other.area)
