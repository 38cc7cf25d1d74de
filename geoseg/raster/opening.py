"""How raster files are opened: GDAL's settings, and errors in one line."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geoseg.errors import InputError, ResourceError
from geoseg.files import disk_errors

GDAL_SETTINGS = {
    # Otherwise a PNG that was cut short is read whole, without an error, as mostly wrong pixels.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # Bytes. The default is a share of the machine's memory, which a bounded reader has no use for.
    "GDAL_CACHEMAX": 64 << 20,
}

# For the process: a filter for the length of a block is not safe among reading threads. geoseg says it itself.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

IN_MEMORY = "/vsimem/"
"""Where rasterio's MemoryFile keeps its datasets."""

GDAL_ERRORS = (RasterioError, CPLE_BaseError)
"""rasterio wraps most of GDAL's own errors, but not those of overviews."""


@contextmanager
def gdal_settings() -> Iterator[None]:
    """GDAL as geoseg needs it, for the length of a block. Every read and write is made inside one."""
    with rasterio.Env(**GDAL_SETTINGS):
        yield


@contextmanager
def reading(path: str, doing: str) -> Iterator[None]:
    """GDAL's settings around an access to a file; its errors become an InputError that says what was ``doing``."""
    try:
        with gdal_settings():
            yield
    except GDAL_ERRORS as error:
        raise InputError(f"{path}: cannot be {doing}; is the file damaged? ({one_line(error)})") from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """GDAL's settings around writing a file; GDAL's and the system's errors become OutputError or ResourceError."""
    try:
        with disk_errors(path), gdal_settings():
            yield
    except GDAL_ERRORS as error:
        raise ResourceError(f"{path}: could not be written; is the disk full? ({one_line(error)})") from error


def open_raster(path: str) -> rasterio.DatasetReader:
    """Open a raster file for reading, on the calling thread.

    Raises InputError in one line: missing, a folder, not a raster, cut short.
    """
    if path.lstrip().startswith("<"):
        raise InputError("an XML document in place of a file name is refused; save it as a .vrt file")
    if os.path.isdir(path):
        raise InputError(f"{path}: a folder, not a raster file")
    if not os.path.exists(path) and not path.startswith(IN_MEMORY):
        raise InputError(f"{path}: no such file")
    with reading(path, "opened as a raster"):
        dataset = rasterio.open(path)
    if dataset.count == 0:
        dataset.close()
        raise InputError(
            f"{path}: holds no bands of its own; write one of its subdatasets to a file with gdal_translate"
        )
    return dataset


def one_line(error: BaseException) -> str:
    """The message of an error, or of the error behind it, on one line."""
    cause = error.__cause__ if error.__cause__ is not None and str(error.__cause__) else error
    return " ".join(str(cause).split())
