"""Opening again what a plan remembers of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.errors import InputError
from geoseg.raster.scene import Scene, SceneLike
from geoseg.raster.stack import StackScene


def open_described(record: Mapping[str, Any]) -> SceneLike:
    """The scene that ``describe`` gave a record of; raises InputError for one that lived in memory only."""
    if record["kind"] == "file":
        return Scene(record["path"], record["bands"], record["nodata_rule"])
    if record["kind"] == "stack":
        files = record["files"]
        return StackScene([file["path"] for file in files], nodata_rule=files[0]["nodata_rule"])
    raise InputError(f"{record['name']}: was an {record['kind']} in memory, there is no file to open; hand it over")
