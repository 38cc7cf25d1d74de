"""ClippedScene: a scene of which only a part is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine

from geoseg.errors import UsageError
from geoseg.grid import Window
from geoseg.raster.interest import AreaOfInterest, area_from_bounds, area_from_file, require_place
from geoseg.raster.opening import gdal_settings
from geoseg.raster.scene import SceneLike, window_in

CELL = 512
"""Side in pixels of the squares in which an area is drawn; each is drawn whole, so that no window changes a pixel."""
CELLS = 64
"""How many are kept."""


class ClippedScene(SceneLike):
    """A scene of which only the pixels are asked for whose centres lie in an area; it is read as it is.

    So a network sees what lies around the area, and a map of the area is the scene's map, cut.

    Args:
        source: the whole scene.
        area: any area of interest, as a rule read near the source's grid.

    Raises InputError where the source has no place on Earth, GridMismatch where the area misses it.
    """

    def __init__(self, source: SceneLike, area: AreaOfInterest) -> None:
        self.source, self.area = source, area
        self.name, self.grid, self.bands, self.dtype = source.name, source.grid, source.bands, source.dtype
        self.block_shape, self.sequential, self.remote = source.block_shape, source.sequential, source.remote
        self._polygons = area.on(source.grid, source.name)
        shapely.prepare(self._polygons)
        self._tree = shapely.STRtree(self._polygons)
        # Prepared geometries build their indices when they are first asked, on whatever thread.
        self._lock = threading.Lock()
        self._cell = lru_cache(CELLS)(self._draw)

    def __reduce__(self) -> tuple[Any, ...]:
        return ClippedScene, (self.source, self.area)

    def __enter__(self) -> ClippedScene:
        self.source.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.source.__exit__(*exc_info)

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As the source's, inside the area and outside."""
        return self.source.read(window, shape)

    def read_valid(self, window: Window) -> np.ndarray:
        """As the source's."""
        return self.source.read_valid(window)

    def has_data(self, window: Window) -> bool:
        """As the source's."""
        return self.source.has_data(window)

    def wants(self, window: Window) -> bool:
        """True where the centre of a pixel of the window lies in the area."""
        return any(self._cell_part(cell, part).any() for cell, part in self._cells(window))

    def wanted(self, window: Window) -> np.ndarray:
        """(H, W) bool, True where the centre of a pixel lies in the area."""
        found = np.zeros(window.shape, bool)
        for cell, part in self._cells(window):
            found[part.relative_to(window).slices] = self._cell_part(cell, part)
        return found

    def describe(self) -> dict[str, Any]:
        """The source, and the area."""
        source = self.source.describe()
        what = {"kind": "clipped", "name": source["name"], "bands": source["bands"]}
        return what | {"area": dict(self.area.record), "source": source}

    def _cells(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """The cells that the area comes near, and the part of the window in each."""
        window = window_in(window, self)
        with self._lock:
            near = len(self._tree.query(_box(window)))
        if not near:
            return
        for row in range(window.row // CELL * CELL, window.row_stop, CELL):
            for col in range(window.col // CELL * CELL, window.col_stop, CELL):
                cell = Window(row, col, CELL, CELL).intersect(self.grid.window)
                yield cell, cell.intersect(window)

    def _cell_part(self, cell: Window, part: Window) -> np.ndarray:
        with self._lock:
            return self._cell(cell)[part.relative_to(cell).slices]

    def _draw(self, cell: Window) -> np.ndarray:
        """(H, W) bool, inside of the area; one of two constants for most cells."""
        box = _box(cell)
        near = self._polygons[self._tree.query(box)]
        if shapely.covers(near, box).any():
            return np.broadcast_to(True, cell.shape)
        # Of an outline of a million points GDAL would look at each for every row.
        parts = shapely.get_parts(shapely.clip_by_rect(near[shapely.intersects(near, box)], *box.bounds))
        parts = parts[(shapely.get_dimensions(parts) == 2) & (shapely.area(parts) > 0)]
        if not len(parts):
            return np.broadcast_to(False, cell.shape)
        place = Affine.translation(cell.col, cell.row)
        with gdal_settings():
            return rasterio.features.rasterize(parts, cell.shape, transform=place, dtype="uint8").astype(bool)


def clipped(
    scene: SceneLike,
    aoi: str | Path | AreaOfInterest | None = None,
    bbox: Sequence[float] | None = None,
    bbox_crs: str | None = None,
) -> SceneLike:
    """The scene with what a user says of the part that is asked for; itself, where that is nothing.

    Args:
        aoi: a vector file of polygons, FILE or FILE:LAYER, or an AreaOfInterest.
        bbox: (west, south, east, north) in place of it.
        bbox_crs: the box's CRS; None: the scene's.

    Raises UsageError where these contradict each other, InputError and GridMismatch as ClippedScene does.
    """
    if aoi is not None and bbox is not None:
        raise UsageError("--aoi and --bbox both say which area is asked for; choose one of them")
    if bbox_crs is not None and bbox is None:
        raise UsageError("--bbox-crs is of a --bbox; an --aoi brings its own CRS")
    if aoi is None and bbox is None:
        return scene
    require_place(scene.grid, scene.name)
    if isinstance(aoi, AreaOfInterest):
        return ClippedScene(scene, aoi)
    area = area_from_file(aoi, scene.grid) if aoi is not None else area_from_bounds(bbox, bbox_crs, scene.grid)
    return ClippedScene(scene, area)


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.col, window.row, window.col_stop, window.row_stop)
