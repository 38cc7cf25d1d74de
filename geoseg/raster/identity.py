"""What tells a file from another one that takes its place later."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from geoseg.errors import InputError
from geoseg.raster.opening import gdal_settings
from geoseg.raster.vsi import ask_headers
from geoseg.source import Source

log = logging.getLogger("geoseg")


def identity(source: Source, files: Sequence[str] = ()) -> dict[str, Any]:
    """As JSON holds it: size and time of a local file and of the ``files`` read with it, or what the server says.

    Raises InputError where the file is gone.
    """
    return _remote(source) if source.remote else _local(source, files)


def _local(source: Source, files: Sequence[str]) -> dict[str, Any]:
    path = _file_of(source)
    others = sorted({os.path.abspath(file) for file in files if os.path.isfile(file)} - {str(path)})
    try:
        size, modified = _size_and_time(path)
        found = [[other, *_size_and_time(other)] for other in others]
    except OSError as error:
        raise InputError(f"{source}: is gone ({error.strerror})") from error
    # A mosaic may have very many.
    beside = {"files": hashlib.sha256(json.dumps(found).encode()).hexdigest()} if found else {}
    return {"size": size, "modified_ns": modified} | beside


def _file_of(source: Source) -> Path:
    """The file itself, or the archive that holds it."""
    path = Path(os.path.abspath(source.container))
    return next((folder for folder in path.parents if folder.is_file()), path) if source.in_archive else path


def _size_and_time(path: str | Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _remote(source: Source) -> dict[str, Any]:
    with gdal_settings(source):
        headers = ask_headers(source.gdal_name)
    told = {name: headers[header] for name, header in _TOLD.items() if header in headers}
    if not told:
        _say_untold(str(source))
    # A part was asked for where the request was one of reading.
    size = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length")
    return {"size": int(size) if size and size.isdigit() else None} | told


_TOLD = {"etag": "etag", "modified": "last-modified"}


@cache
def _say_untold(name: str) -> None:
    log.warning("%s: the server tells neither version nor time of the file: a change between runs is not seen", name)
