"""What a GDAL tile index (GTI) names, and whether it is a plain one: such as geoseg.raster.index writes.

Like a VRT it can order GDAL to open any file or address as a raster of any format. As a database it can also compute
what it names, otherwise for GDAL than for whoever looks into it first. So only the tables of an index are taken, and
the elements that describe its pixels.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from xml.etree import ElementTree

from geoseg.errors import InputError
from geoseg.files import JOURNALS
from geoseg.raster.vrt import located
from geoseg.source import Source

LAYER, LOCATION = "parts", "location"
"""The layer of an index, and its field with the names of the files."""
GEOPACKAGE = int.from_bytes(b"GPKG", "big")
"""SQLite's application_id of a GeoPackage."""
ROLLBACK = b"\1\1"
"""Bytes 18 and 19 of a database whose changes are all in it once its journal is gone."""
_TABLES = re.compile(rf"(gpkg|sqlite|rtree_{LAYER}_geom)_\w+|rtree_{LAYER}_geom|{LAYER}")
_MADE = re.compile(rf'CREATE (TABLE|TRIGGER)\s|CREATE VIRTUAL TABLE "rtree_{LAYER}_geom" USING rtree\(')
"""SQLite makes a schema of the texts alone, whatever type the rows beside them tell. Triggers run on writing."""
_ATTRIBUTES: dict[str, set[str]] = {
    "Metadata": {"domain", "format"},
    "MDI": {"key"},
    "Band": {"band", "dataType"},
    "Entry": {"c1", "c2", "c3", "c4"},
    "GDALRasterAttributeTable": {"Row0Min", "BinSize", "tableType"},
    "FieldDefn": {"index"},
    "Row": {"index"},
}
_PLAIN = """
    GDALMultiDomainMetadata GDALTileIndexDataset LocationField XSize YSize GeoTransform BlockXSize BlockYSize
    Description NoDataValue ColorInterp CategoryNames Category ColorTable Name Type Usage F
"""
_ATTRIBUTES |= {name: set() for name in _PLAIN.split()}


def nested_tiles(content: bytes, index: Source) -> list[Source]:
    """The files that a tile index names, each once, under its policy. Nothing is opened.

    Raises InputError where it is no plain one, is changed by another program at the time, or names a file outside of
    its folder and the policy does not say that it may.
    """
    journals = (index.at(index.location + ending) for ending in JOURNALS)
    if content[18:20] != ROLLBACK or any(journal.exists() for journal in journals):
        raise InputError(f"{index}: is no tile index, or is open in another program; close it there")
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            _require_plain(database, index)
            names = [name for (name,) in database.execute(f"SELECT {LOCATION} FROM {LAYER}")]
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise InputError(f"{index}: is no tile index, or a damaged one ({error})") from error
    if not all(isinstance(name, str) and name for name in names):
        raise _not_plain(index, "a part without a name")
    return [located(name, index) for name in dict.fromkeys(names)]


def _require_plain(database: sqlite3.Connection, index: Source) -> None:
    for kind, name, made in database.execute("SELECT type, name, sql FROM sqlite_master"):
        # An index without a text is one that SQLite makes for itself.
        if not (made is None if kind == "index" else _MADE.match(made or "")):
            raise _not_plain(index, f"the {kind} {name}")
        if kind == "table" and not _TABLES.fullmatch(name):
            raise _not_plain(index, f"the table {name}")
    columns = database.execute(f"PRAGMA table_xinfo({LAYER})").fetchall()
    # The last entry tells columns that are computed.
    if [(name, hidden) for _, name, *_, hidden in columns] != [("fid", 0), ("geom", 0), (LOCATION, 0)]:
        raise _not_plain(index, "other fields")
    if _all(database, "PRAGMA application_id") != [(GEOPACKAGE,)]:
        raise _not_plain(index, "no GeoPackage")
    if _all(database, "SELECT table_name FROM gpkg_contents") != [(LAYER,)]:
        raise _not_plain(index, "other layers")
    described = _all(database, "SELECT metadata FROM gpkg_metadata")
    places = _all(database, "SELECT reference_scope, table_name FROM gpkg_metadata_reference")
    if len(described) != 1 or places != [("table", LAYER)]:
        raise _not_plain(index, "other metadata")
    _require_plain_description(described[0][0], index)


def _all(database: sqlite3.Connection, query: str) -> list[tuple]:
    return database.execute(query).fetchall()


def _require_plain_description(text: str, index: Source) -> None:
    """Raise InputError unless it has the known elements only: others name files, layers and queries."""
    # Comments, entities and the like are read in more than one way.
    if not isinstance(text, str) or "<!" in text or "<?" in text:
        raise _not_plain(index, "a description of another form")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{index}: is no tile index, or a damaged one ({error})") from error
    for element in root.iter():
        unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, set())
        if element.tag not in _ATTRIBUTES or unknown:
            raise _not_plain(index, " ".join([f"<{element.tag}>", *sorted(unknown)]))
        if element.tag == "LocationField" and element.text != LOCATION:
            raise _not_plain(index, "another field of names")
    domains = [element.get("domain") for element in root.iter("Metadata") if element.attrib]
    if domains != ["xml:GTI"] or [child.get("domain") for child in root] != domains:
        raise _not_plain(index, "metadata of other domains")


def _not_plain(index: Source, what: str) -> InputError:
    return InputError(
        f"{index}: only tile indices such as geoseg job merge writes are read, and this one has {what}; write it to a "
        "file: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE IN.gti.gpkg OUT.tif"
    )
