"""outlines: the polygons of a raster's regions, tile by tile, as whole-raster polygonising would give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import shapely

from geoseg.grid import Window
from geoseg.raster.regions import Parts, Read, Regions, label
from geoseg.vectorizing.rings import Rings
from geoseg.vectorizing.seams import OUTSIDE, Outline, Tile, cut, put_together, without_idle
from geoseg.vectorizing.simplifying import simplified
from geoseg.vectorizing.tracing import trace


class Outlines(NamedTuple):
    """Finished polygons."""

    numbers: np.ndarray
    """(m,) int32 patch of each."""
    shapes: np.ndarray
    """(m,) valid shapely polygons in pixels of the raster, x = column, y = row; a patch of several regions, which meet
    in corners, is a multipolygon."""


class Patches:
    """What becomes one feature each: regions, or with ``diagonal`` all regions that meet in corners together."""

    def __init__(self, parts: Parts, diagonal: bool = False) -> None:
        self.regions = Regions(parts)
        self.joined = Regions(parts, diagonal=True) if diagonal else self.regions
        self.of_regions = np.arange(len(self.regions), dtype=np.int32)
        """(R,) int32 patch of each region."""
        self.of_regions[self.regions.of_parts] = self.joined.of_parts
        number = np.bincount(self.of_regions)
        self.simple = (self.joined.first_tile == self.joined.last_tile) & (number == 1)
        """(m,) bool, True for patches of one region that lies in one tile."""

    def __len__(self) -> int:
        return len(self.joined)


def outlines(
    read: Read,
    shape: tuple[int, int],
    tiles: Iterable[Window],
    patches: Patches,
    wanted: np.ndarray,
    tolerance: float | None = None,
    pixel: tuple[float, float] = (1.0, 1.0),
) -> Iterator[Outlines]:
    """The polygons of the patches for which ``wanted`` (m,) is True, as soon as all of a patch was seen.

    Memory: some 300 bytes a pixel of a tile (1 KiB with a tolerance), and 10 bytes a corner of the outlines of patches
    that are not finished.

    Args:
        read, tiles: those that the patches were found with.
        tolerance, pixel: None traces the pixels; else as ``simplified`` explains.
    """
    waiting: dict[int, Outline] = defaultdict(Outline)
    ending, members = _spread(patches, wanted)
    for number, window in enumerate(tiles):
        tile = Tile(window, shape, _read_around(read, window, shape))
        rings, idle = _rings_of(tile, tolerance, pixel)
        # Not the labels of the tile count from here on, but the raster's regions.
        rings = Rings(rings.points, rings.firsts, patches.regions.of_tile(number)[rings.labels])
        patch = patches.of_regions[rings.labels]
        simple = wanted[patch] & patches.simple[patch]
        if simple.any():
            yield _in_one_tile(rings, idle, simple, patches, tile)
        spread = wanted[patch] & ~patches.simple[patch]
        cut(rings.where(spread), idle[np.repeat(spread, rings.sizes)], tile, waiting)
        for finished in ending.get(number, ()):
            regions = [waiting.pop(region) for region in members[finished]]
            yield Outlines(np.array([finished], np.int32), _assembled(regions))


def _read_around(read: Read, window: Window, shape: tuple[int, int]) -> np.ndarray:
    """(height + 2, width + 2) int16 codes of a window and what is around it."""
    larger = window.grown(1, 1, shape)
    around = np.full((window.height + 2, window.width + 2), OUTSIDE, np.int16)
    row, col = larger.row - window.row + 1, larger.col - window.col + 1
    around[row : row + larger.height, col : col + larger.width] = read(larger)
    return around


def _rings_of(tile: Tile, tolerance: float | None, pixel: tuple[float, float]) -> tuple[Rings, np.ndarray]:
    """The rings of a tile by its own labels, and which of their points are idle."""
    labels, _, _ = label(tile.codes)
    rings = trace(labels, tile.same_across)
    if tolerance is None:
        return rings, np.ones(len(rings.points), bool)
    rings = simplified(rings, tolerance, pixel)
    return rings, tile.between_two(rings.points)


def _in_one_tile(rings: Rings, idle: np.ndarray, chosen: np.ndarray, patches: Patches, tile: Tile) -> Outlines:
    rings, idle = rings.where(chosen), idle[np.repeat(chosen, rings.sizes)]
    polygons, regions = without_idle(rings, idle).polygons()
    place = np.array([tile.window.col, tile.window.row])
    return Outlines(patches.of_regions[regions], shapely.transform(polygons, lambda points: points + place))


def _assembled(regions: list[Outline]) -> np.ndarray:
    polygons = [put_together(outline).polygons()[0][0] for outline in regions]
    return np.array([polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)])


def _spread(patches: Patches, wanted: np.ndarray) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The wanted patches that are not simple, by the tile that finishes them; and the regions of each of them."""
    spread, ending, members = wanted & ~patches.simple, defaultdict(list), defaultdict(list)
    for patch in np.flatnonzero(spread).tolist():
        ending[int(patches.joined.last_tile[patch])].append(patch)
    for region in np.flatnonzero(spread[patches.of_regions]).tolist():
        members[int(patches.of_regions[region])].append(region)
    return ending, members
