"""Which vector files are opened: those of a few formats, told by what they hold and not by their names."""

from __future__ import annotations

import re
from pathlib import Path

from geoseg.errors import InputError

HEAD = 64 << 10
"""Bytes that are looked at."""
XML = rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
FORMATS = {
    "GeoPackage": re.compile(rb"SQLite format 3\0"),
    "Shapefile": re.compile(rb"\0\0\x27\x0a"),
    "FlatGeobuf": re.compile(rb"fgb[\x03\x04]"),
    "GeoJSON": re.compile(rb"(\xef\xbb\xbf)?\s*\{"),
    "Parquet": re.compile(rb"PAR1"),
    "GML": re.compile(XML + rb"<([\w.-]+:)?FeatureCollection\b", re.DOTALL),
    "KML": re.compile(XML + rb"<kml\b", re.DOTALL),
}
ORDERS = b"gdal_streamed_alg", b"<OGRVRT", b"<OGRWFS"
"""What makes a text an order to read something else, or to run something, to some driver of OGR."""


def require_vector(path: str | Path) -> str:
    """The path of a vector file as OGR may be given it: absolute, so that it is no prefix of a driver.

    Archives, addresses and files that name others are not opened. Raises InputError: missing, a folder, another format.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if any(order in head for order in ORDERS) or not any(begin.match(head) for begin in FORMATS.values()):
        raise InputError(
            f"{path}: is none of {', '.join(FORMATS)}; convert it, for example with ogr2ogr points.gpkg {path.name}"
        )
    return str(path.absolute())
