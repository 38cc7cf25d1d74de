"""Opening again what a plan remembers of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.errors import InputError
from geoseg.raster.clipped import ClippedScene
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.interest import reopen_area
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.scene import Scene, SceneLike
from geoseg.raster.stack import StackScene
from geoseg.source import OpeningPolicy, Source


def open_described(record: Mapping[str, Any]) -> SceneLike:
    """The scene that ``describe`` gave a record of; raises InputError where any of it lived in memory only."""
    if record["kind"] == "file":
        return Scene(_source(record), record["bands"], record["nodata_rule"])
    if record["kind"] == "stack":
        return StackScene([_source(file) for file in record["files"]], nodata_rule=record["nodata_rule"])
    if record["kind"] == "mosaic":
        return MosaicScene([_source(file) for file in record["files"]], record["bands"], record["nodata_rule"])
    if record["kind"] == "clipped":
        source = open_described(record["source"])
        return ClippedScene(source, reopen_area(record["area"], source.grid))
    if record["kind"] == "coarse":
        return CoarseScene(open_described(record["source"]), record["factor"])
    raise _was_in_memory(record)


def _was_in_memory(record: Mapping[str, Any]) -> InputError:
    return InputError(f"{record['name']}: was in memory ({record['kind']}), there is no file to open; hand it over")


def _source(record: Mapping[str, Any]) -> Source:
    if record["kind"] != "file":
        raise _was_in_memory(record)
    if record.get("secrets_withheld"):
        raise InputError(f"{record['name']}: its credentials are kept nowhere; hand the scene over, or its Source")
    policy = OpeningPolicy.from_dict(record["policy"]) if "policy" in record else OpeningPolicy()
    return Source(record["path"], policy)
