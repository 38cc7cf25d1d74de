"""The percentiles of a raster, from a sample of its pixels that depends on the raster alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise

import numpy as np

from geoseg.ahead import read_ahead, reader_threads
from geoseg.grid import Window
from geoseg.raster.scene import SceneLike, reader_count
from geoseg.scaling import Bounds, parted
from geoseg.tiling import blocks

PIECES, PIECE = 16, 64
"""Along either side so many pieces of so many pixels are looked at; a side that is not longer is looked at whole."""
ENOUGH = 10_000
"""Valid pixels in the pieces below which the whole raster is looked through, until there are ..."""
PLENTY = 1_000_000
"""... these."""
SUSPECT = 0.05
"""Share of valid pixels that are 0 in all bands above which they are taken for missing data that nobody declared."""
log = logging.getLogger("geoseg")


def percentile_bounds(scene: SceneLike, percentiles: tuple[float, float]) -> Bounds:
    """Two percentiles of each band's valid pixels, raw digital numbers, interpolated as numpy does; (0, 1) without any.

    Of a raster of more than 1024 x 1024 px they are estimates from 16 x 16 squares of 64 px, spread evenly and read at
    the raster's own resolution: overviews hold means, whose tails are shorter, and not every raster has them. The same
    raster gives the same bounds, whatever it is cut into later.
    """
    found = _collected(scene, pieces(scene.grid.shape))
    if found.shape[1] < ENOUGH:
        found = _collected(scene, blocks(scene.grid.shape, PIECES * PIECE), PLENTY)
    if not found.size:
        return ((0.0, 1.0),) * len(scene.bands)
    empty = (found == 0).all(0).mean()
    if empty > SUSPECT:
        what = f"{empty:.0%} of the pixels are 0 in all bands and count for the percentiles"
        log.warning("%s: %s; if they hold no data, say so: --nodata 0", scene.name, what)
    return tuple(parted(*np.percentile(band.astype(np.float64), percentiles)) for band in found)


def pieces(shape: tuple[int, int]) -> list[Window]:
    """The windows of a scene that are looked at, row-major."""
    rows, cols = (_spans(length) for length in shape)
    return [Window(row, col, height, width) for row, height in rows for col, width in cols]


def _spans(length: int) -> list[tuple[int, int]]:
    """(first pixel, pixels) along one axis."""
    if length <= PIECES * PIECE:
        return [(0, length)]
    edges = [length * number // PIECES for number in range(PIECES + 1)]
    return [((first + stop - PIECE) // 2, PIECE) for first, stop in pairwise(edges)]


def _collected(scene: SceneLike, windows: list[Window], most: float = math.inf) -> np.ndarray:
    """(C, n) valid pixels of windows, until there are ``most``."""
    found, count = [np.zeros((len(scene.bands), 0), scene.dtype)], 0
    for pixels in _valid_pixels(scene, windows):
        found.append(pixels)
        count += pixels.shape[1]
        if count >= most:
            break
    return np.concatenate(found, 1)


def _valid_pixels(scene: SceneLike, windows: list[Window]) -> Iterator[np.ndarray]:
    calls = (partial(scene.read, window) for window in windows if scene.has_data(window))
    with reader_threads(reader_count(scene)) as readers, closing(read_ahead(readers, calls)) as reads:
        for pixels, valid in reads:
            yield pixels[:, valid]
