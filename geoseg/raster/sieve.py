"""Sieve: patches of a class raster that are too small become part of their largest neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import NODATA
from geoseg.raster.areas import AreaTally
from geoseg.raster.regions import SIDE, Read, Regions, find_parts, label
from geoseg.raster.writer import RasterWriter
from geoseg.tiling import blocks


@dataclass(frozen=True)
class MappingUnit:
    """The least patch that a map shows: by true area, or by pixels. Exactly one of the two."""

    hectares: float | None = None
    pixels: int | None = None

    def __post_init__(self) -> None:
        if (self.hectares is None) == (self.pixels is None):
            raise UsageError("the least patch is said by its area or by its pixels")
        if not (self.hectares or self.pixels or 0) > 0:
            raise UsageError(f"the least patch is larger than nothing, got {self.hectares or self.pixels}")

    def __str__(self) -> str:
        return f"{self.pixels} px" if self.hectares is None else f"{self.hectares:g} ha"

    @classmethod
    def of(cls, min_area: float | None, min_pixels: int | None) -> MappingUnit | None:
        """From two numbers of which one may be given; None without."""
        return None if min_area is None and min_pixels is None else cls(min_area, min_pixels)

    def require_place(self, grid: Grid, name: str) -> None:
        """Raise InputError where it is an area, and the grid has none."""
        if self.hectares is not None and AreaTally(grid).hectares is None:
            raise InputError(
                f"{name}: {grid} has no place on Earth, hence no areas; say the least patch in pixels (--min-pixels)"
            )

    def small_among(self, regions: Regions) -> np.ndarray:
        """(R,) bool, True for regions below it."""
        return regions.pixels < self.pixels if self.hectares is None else regions.hectares < self.hectares


class Sieve:
    """What becomes of each patch of a raster of codes, found in two passes over it.

    A patch below the unit becomes part of its largest neighbour, in pixels; where that is below the unit too, of that
    one's largest neighbour, and so on. Patches that reach none so stay as they are, as islands in nodata do; nodata is
    nobody's neighbour. That is what GDAL's sieve does to the whole raster, whatever the tiles are here.

    Memory: as find_parts, and some 40 bytes a patch.

    Args:
        read: reads (H, W) uint8 codes of a window; NODATA where there is no data.
        grid: of the raster.
        unit: the least patch that stays.
        diagonal: patches also hang together, and are neighbours, by their corners.
    """

    def __init__(self, read: Read, grid: Grid, unit: MappingUnit, diagonal: bool = False, side: int = SIDE) -> None:
        self._read, self.grid, self.unit, self.diagonal = read, grid, unit, diagonal
        self.tiles = blocks(grid.shape, side)
        tally = AreaTally(grid) if unit.hectares is not None else None
        self.regions = Regions(find_parts(read, grid.shape, self.tiles, diagonal, tally), diagonal)
        small = unit.small_among(self.regions) & (self.regions.codes != NODATA)
        target = self._follow(small, self._largest_neighbours(small))
        self.codes = self.regions.codes[target]
        """(R,) uint8 code that each region gets."""
        gone = target != np.arange(len(target))
        self.merged = int(gone.sum())
        """Patches that became part of others."""
        self.kept = int((small & ~gone).sum())
        """Patches below the unit that had no neighbour to become part of."""

    def __iter__(self) -> Iterator[tuple[Window, np.ndarray]]:
        """Each tile with its (H, W) uint8 codes, row-major."""
        for number, window in enumerate(self.tiles):
            yield window, self.codes[self._regions_at(number)]

    def write_to(self, writer: RasterWriter) -> None:
        """Write all tiles, whose sides are multiples of a block's; those without data are left out."""
        for window, codes in self:
            if (codes == NODATA).all():
                writer.skip(window)
            else:
                writer.write(window, codes)

    def notes(self, name: str) -> list[str]:
        """What is to be said of what was done."""
        notes = [f"{name}: {self.merged:,} patches below {self.unit} were merged into their largest neighbours"]
        if self.kept:
            notes.append(
                f"{name}: {self.kept:,} patches below {self.unit} stay, as nothing beside them leads to a larger one"
            )
        return notes

    def _regions_at(self, number: int) -> np.ndarray:
        """(H, W) int32 region of each pixel of a tile."""
        return self.regions.of_tile(number)[label(self._read(self.tiles[number]))[0]]

    def _largest_neighbours(self, small: np.ndarray) -> np.ndarray:
        """(R,) int32 the largest neighbour of each small region, -1 for none and for others.

        Of several the one that GDAL meets first, which looks at each pixel's neighbours above and to the left.
        """
        best = np.full(len(small), -1, np.int32)
        sizes, met_at = np.zeros(len(small), np.int64), np.zeros(len(small), np.int64)
        edges = _Edges(self.grid.shape[1])
        for number, window in enumerate(self.tiles):
            one, other, place = edges.pass_over(window, self._regions_at(number), self.diagonal)
            one, other, place = np.concatenate([one, other]), np.concatenate([other, one]), np.tile(place, 2)
            counts = small[one] & (self.regions.codes[other] != NODATA)
            one, other, place = one[counts], other[counts], place[counts]
            size = self.regions.pixels[other]
            order = np.lexsort((place, -size, one))
            order = order[np.flatnonzero(np.diff(one[order], prepend=-1))]
            one, other, place, size = one[order], other[order], place[order], size[order]
            better = (size > sizes[one]) | ((size == sizes[one]) & (place < met_at[one]))
            one = one[better]
            best[one], sizes[one], met_at[one] = other[better], size[better], place[better]
        return best

    @staticmethod
    def _follow(small: np.ndarray, best: np.ndarray) -> np.ndarray:
        """(R,) the region that each becomes part of: itself, or the first that is not small on its way."""
        itself = np.arange(len(small), dtype=np.int32)
        target = np.where(small & (best >= 0), best, itself)
        for _ in range(len(small).bit_length()):
            target = target[target]
        # A way that ends in a circle of small ones leads nowhere.
        return np.where(small[target], itself, target)


class _Edges:
    """Which regions meet, and where: each pixel with those above it and to its left, as GDAL looks at them."""

    ABOVE, ABOVE_LEFT, ABOVE_RIGHT, LEFT = range(4)

    def __init__(self, width: int) -> None:
        self._width = width
        self._above, self._below = np.full(width + 2, -1, np.int32), np.full(width + 2, -1, np.int32)

    def pass_over(
        self, window: Window, regions: np.ndarray, diagonal: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) regions, (n,) others that they meet, (n,) int64 places in the order of GDAL's looks."""
        if window.col == 0:
            self._above, self._below = self._below, self._above
            self._left = np.full(window.height, -1, np.int32)
        # Around the tile what was passed over before; -1 where that is nothing, or not yet known.
        around = np.full((window.height + 1, window.width + 2), -1, np.int32)
        around[0] = self._above[window.col : window.col_stop + 2]
        around[1:, 0], around[1:, 1:-1] = self._left, regions
        here = np.s_[1:, 1:-1]
        looks = [(self.ABOVE, here, np.s_[:-1, 1:-1], 0), (self.LEFT, here, np.s_[1:, :-2], 0)]
        if diagonal:
            looks += [(self.ABOVE_LEFT, here, np.s_[:-1, :-2], 0), (self.ABOVE_RIGHT, here, np.s_[:-1, 2:], 0)]
            # The last pixels of the tile to the left can only now look at what is above and to their right.
            looks.append((self.ABOVE_RIGHT, np.s_[2:, :1], np.s_[1:-1, 1:2], -1))
        found = [self._meeting(window, around, *look) for look in looks]
        self._below[window.col + 1 : window.col_stop + 1] = regions[-1]
        self._left = regions[:, -1].copy()
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    def _meeting(self, window: Window, around: np.ndarray, kind: int, here, there, shift: int):
        one, other = around[here], around[there]
        row, col = np.nonzero((one != other) & (one >= 0) & (other >= 0))
        first_row = window.row + here[0].start - 1
        place = ((first_row + row) * self._width + window.col + col + shift) * 4 + kind
        return one[row, col], other[row, col], place
