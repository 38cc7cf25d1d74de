"""Writing images: the synthetic scene is the one image geoseg makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from geoseg.grid import Grid
from geoseg.raster.opening import writing


def write_image(path: str | Path, pixels: np.ndarray, grid: Grid, nodata: int | None = None) -> None:
    """Write (3, H, W) uint8 as a tiled, compressed GeoTIFF on a grid; raises ResourceError."""
    height, width = grid.shape
    shape = {"count": len(pixels), "height": height, "width": width, "dtype": pixels.dtype.name, "nodata": nodata}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "DEFLATE", "photometric": "RGB"}
    with (
        writing(str(path)),
        rasterio.open(path, "w", driver="GTiff", crs=grid.crs, transform=grid.transform, **shape, **layout) as target,
    ):
        target.write(pixels)
