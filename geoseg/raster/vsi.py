"""Files as GDAL reads them, wherever they are: what rasterio does not offer of GDAL's virtual file system.

The functions belong to GDAL's C interface and are those of the very library that rasterio has loaded, so that they obey
the settings of a rasterio Env. Names are GDAL's (Source.gdal_name).
"""

from __future__ import annotations

import ctypes

import rasterio._base

AT_ONCE = 1 << 20
"""Bytes that one call reads."""

_GDAL = ctypes.CDLL(rasterio._base.__file__)
_GDAL.VSIFOpenL.argtypes, _GDAL.VSIFOpenL.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_void_p
_GDAL.VSIFReadL.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
_GDAL.VSIFReadL.restype = ctypes.c_size_t
_GDAL.VSIFCloseL.argtypes = [ctypes.c_void_p]
_GDAL.VSIGetFileMetadata.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
_GDAL.VSIGetFileMetadata.restype = ctypes.POINTER(ctypes.c_char_p)
_GDAL.CSLDestroy.argtypes = [ctypes.c_void_p]
_GDAL.VSICurlPartialClearCache.argtypes = [ctypes.c_char_p]


def read_start(name: str, most: int) -> bytes | None:
    """The first bytes of a file, at most so many; None where it cannot be opened."""
    file = _GDAL.VSIFOpenL(_encoded(name), b"rb")
    if not file:
        return None
    buffer, content = ctypes.create_string_buffer(min(most, AT_ONCE)), b""
    try:
        while len(content) < most and (count := _GDAL.VSIFReadL(buffer, 1, min(AT_ONCE, most - len(content)), file)):
            content += ctypes.string_at(buffer, count)
    finally:
        _GDAL.VSIFCloseL(file)
    return content


def ask_headers(name: str) -> dict[str, str]:
    """What a server says of a file right now, by lower-case header; empty where it says nothing."""
    found = _GDAL.VSIGetFileMetadata(_encoded(name), b"HEADERS", None)
    headers: dict[str, str] = {}
    if found:
        for line in _strings(found):
            key, _, value = line.partition("=")
            headers[key.lower()] = value
        _GDAL.CSLDestroy(found)
    return headers


def forget(name: str) -> None:
    """Drop what GDAL keeps of a remote file: parts that were read, and that it is not there."""
    _GDAL.VSICurlPartialClearCache(_encoded(name))


def _strings(found: ctypes._Pointer) -> list[str]:
    """Of a list that ends with a null."""
    lines = []
    while (line := found[len(lines)]) is not None:
        lines.append(line.decode("latin-1"))
    return lines


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
