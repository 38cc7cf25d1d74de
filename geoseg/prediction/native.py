"""From the pixels that a plan is about to those that its map has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoseg import tiling
from geoseg.grid import Window
from geoseg.legend import NODATA
from geoseg.prediction.shard import ShardResult
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.scene import SceneLike, in_rows

PIECE = 2048
"""Side in pixels of the pieces in which a shard of a coarse scene is brought to its source's pixels, a multiple of a
block's; of a source that is decoded in rows they are as wide as the shard, and one block high."""


def native_results(result: ShardResult, scene: SceneLike) -> Iterator[ShardResult]:
    """A shard on the pixels of its map: itself, or of a coarse scene in pieces on the pixels of the source.

    Each pixel of the source has the class of the coarse one that it is part of, if it has data itself and is wanted.
    Pieces begin on block borders.
    """
    if not isinstance(scene, CoarseScene):
        yield result
        return
    under = scene.under(result.window)
    if result.bands is None:
        yield ShardResult(result.index, under, None)
        return
    for place in _pieces(under, scene.source):
        yield ShardResult(result.index, place, _enlarged(result.bands, place.relative_to(under), place, scene))


def _pieces(under: Window, source: SceneLike) -> Iterator[Window]:
    height, width = (tiling.BLOCK, under.width) if in_rows(source) else (PIECE, PIECE)
    for row in range(under.row, under.row_stop, height):
        for col in range(under.col, under.col_stop, width):
            yield Window(row, col, min(height, under.row_stop - row), min(width, under.col_stop - col))


def _enlarged(bands: np.ndarray, piece: Window, place: Window, scene: CoarseScene) -> np.ndarray | None:
    """(B, H, W) of a piece, counted from the shard's first pixel, that lies at a place; None where it holds no data."""
    rows, cols = (np.arange(s.start, s.stop) // scene.factor for s in piece.slices)
    enlarged = bands[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1][:, rows - rows[0]][:, :, cols - cols[0]]
    if (enlarged[0] == NODATA).all():
        return None
    asked = scene.source.read_valid(place) & scene.source.wanted(place)
    enlarged[:, ~asked] = NODATA
    return enlarged if asked.any() else None
