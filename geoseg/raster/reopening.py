"""The scene that a plan's record is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.errors import InputError
from geoseg.raster.clipped import ClippedScene
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.interest import reopen_area
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.scene import Scene, SceneLike


def open_described(record: Mapping[str, Any]) -> SceneLike:
    """The scene that ``describe`` gave a record of; raises InputError for one that lived in memory only."""
    match record["kind"]:
        case "mosaic":
            return MosaicScene([_path(file) for file in record["files"]], record["bands"], record["nodata_rule"])
        case "clipped":
            source = open_described(record["source"])
            return ClippedScene(source, reopen_area(record["area"], source.grid))
        case "coarse":
            return CoarseScene(open_described(record["source"]), record["factor"])
        case _:
            return Scene(_path(record), record["bands"], record["nodata_rule"])


def _path(record: Mapping[str, Any]) -> str:
    if record["kind"] != "file":
        raise InputError(f"{record['name']}: was an {record['kind']} in memory, there is no file to open; hand it over")
    return record["path"]
