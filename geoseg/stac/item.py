"""What the STAC Items of maps and of models have in common: classes, files, links, and how they are written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from geoseg.errors import UsageError
from geoseg.files import disk_errors, replace_file, require_place
from geoseg.legend import NODATA, LegendClass
from geoseg.redaction import redact
from geoseg.source import Source

STAC_VERSION = "1.1.0"
EXTENSIONS = {
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "mlm": "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}
GEOTIFF = "image/tiff; application=geotiff"
SHA2_256 = "1220"
"""What a multihash begins with: the function's number, and the length of the digest in bytes."""
GUESSED_TYPES = {".tif": GEOTIFF, ".tiff": GEOTIFF, ".json": "application/geo+json", ".jpg": "image/jpeg"}
GUESSED_TYPES |= {".png": "image/png", ".jp2": "image/jp2", ".vrt": "application/x-gdal-vrt"}


def write_item(item: Mapping[str, Any], path: str | Path, overwrite: bool = False) -> None:
    """Write an Item as JSON, whole; raises OutputError, ResourceError, UsageError."""
    path = Path(path)
    require_item_place(path, overwrite)
    replace_file(path, (json.dumps(item, indent=2, ensure_ascii=False) + "\n").encode())


def require_item_place(path: Path, overwrite: bool) -> None:
    """Raise UsageError for another ending than .json, OutputError where no file can be written."""
    if path.suffix.lower() not in (".json", ".geojson"):
        raise UsageError(f"{path}: a STAC Item is a .json file")
    require_place(path, overwrite)


def is_item(path: Path, name: str) -> bool:
    """True where a file is the Item of that id, which may be written anew."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and (record.get("type"), record.get("id")) == ("Feature", name)


def file_fields(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file, as the file extension has them."""
    with disk_errors(path), open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file:size": path.stat().st_size, "file:checksum": SHA2_256 + digest}


def href(target: str | Path | Source, folder: Path | None) -> str:
    """How an Item in ``folder`` names a file: relative to it, of a URL without credentials; absolute for None."""
    source = Source.of(target)
    if not source.local:
        return redact(source.location)
    path = os.path.abspath(source.location)
    if folder is None:
        return Path(path).as_uri()
    relative = quote(Path(os.path.relpath(path, os.path.abspath(folder))).as_posix())
    return relative if relative.startswith("../") else f"./{relative}"


def derived_from(target: str | Path | Source, folder: Path | None, title: str) -> dict[str, str]:
    """The link to what an Item was made of."""
    link = {"rel": "derived_from", "href": href(target, folder), "title": title}
    kind = GUESSED_TYPES.get(Source.of(target).suffix)
    return link | ({"type": kind} if kind else {})


def classes(those: Iterable[LegendClass]) -> list[dict[str, Any]]:
    """Classes of a legend as the classification extension has them."""
    return [_class_object(one) for one in those]


def nodata_class() -> dict[str, Any]:
    """The code of pixels without a class."""
    name = {"name": "nodata", "title": "No data", "description": "No data in the scene"}
    return {"value": NODATA, **name, "nodata": True}


def _class_object(one: LegendClass) -> dict[str, Any]:
    description = one.description or one.name
    colour = "{:02X}{:02X}{:02X}".format(*one.colour)
    return {"value": one.code, **_named(one), "description": description, "color_hint": colour}


def _named(one: LegendClass) -> dict[str, str]:
    """Its name for machines, which has letters, digits, - and _ only, and for people."""
    return {"name": slug(one.name) or f"class-{one.code}", "title": one.name}


def slug(text: str) -> str:
    """The text with whatever is not a letter of ASCII, a digit, - or _ replaced by -."""
    return re.sub(r"[^0-9A-Za-z_-]+", "-", text).strip("-")
