"""Coordinates of one CRS in another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
import pyproj.exceptions
from rasterio.crs import CRS

from geoseg.errors import InputError


def project(source: CRS, target: CRS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of places in ``source`` as (x, y) in ``target``, x being east or longitude in both, on any thread.

    NaN for both where a place has no coordinates there, as beyond what a projection shows. Raises InputError where no
    way leads from the one CRS to the other.
    """
    try:
        found = np.array(_way(source.to_wkt(version="WKT2_2019"), target.to_wkt(version="WKT2_2019")).transform(x, y))
    except pyproj.exceptions.ProjError as error:
        raise InputError(f"no way from {source.to_string()} to {target.to_string()} ({error})") from error
    found[:, ~np.isfinite(found).all(0)] = np.nan
    return found[0], found[1]


@lru_cache(maxsize=32)
def _way(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
