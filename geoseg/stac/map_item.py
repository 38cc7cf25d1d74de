"""geoseg.stac_item: a class raster as a STAC Item (docs/export.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shapely

from geoseg.errors import InputError, UsageError
from geoseg.grid import Grid
from geoseg.legend import NODATA, Legend
from geoseg.models.storage import model_file, model_sha256
from geoseg.raster.acquisition import acquisition_time
from geoseg.raster.footprint import bbox_of, footprint
from geoseg.raster.labels import own_legend
from geoseg.raster.opening import open_raster, reading
from geoseg.raster.scene import Scene
from geoseg.source import Source
from geoseg.stac.item import (
    EXTENSIONS,
    GEOTIFF,
    STAC_VERSION,
    classes,
    derived_from,
    file_fields,
    href,
    nodata_class,
    require_item_place,
    write_item,
)
from geoseg.stac.period import Period

USED = "classification", "file", "processing", "projection", "raster"
AnyFile = str | Path | Source
REMEDY = (
    "a STAC Item is of a time, and a map tells none: give the scene's with --datetime 2024-05-01T10:30:00Z, a day, a "
    "month, a year, or START/END"
)


def stac_item(
    class_raster: str | Path,
    output: str | Path | None = None,
    *,
    datetime: str | None = None,
    scenes: Sequence[AnyFile] = (),
    model: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """A map that geoseg made, as a STAC 1.1 Item: where and when it is of, its classes, its file, what it came from.

    Args:
        class_raster: the GeoTIFF.
        output: a .json file to write it to; names of files are relative to its folder, or absolute where it is None.
        datetime: when the scene was taken, as Period.parse explains; None: as the scenes' own tags say.
        scenes: what was mapped; none: the file that the map's tags name, where it is there.
        model: the run, the model file, or the model's own Item, that made it.

    Raises InputError (no map of geoseg, no place on Earth, another model), ModelError, OutputError, UsageError (no
    time).
    """
    path, output = Path(class_raster), None if output is None else Path(output)
    if output:
        require_item_place(output, overwrite)
    with Scene(path) as scene:
        legend, grid, tags = own_legend(scene), scene.grid, scene.tags
    if legend is None:
        raise InputError(f"{path}: is no map of geoseg: it carries no legend")
    named = [Source.of(one) for one in scenes] or _recorded_scene(tags)
    period = resolve_period(datetime, named, str(path))
    folder = output.parent if output else None
    outline = footprint(path, grid)
    item = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS[name] for name in USED],
        "id": path.stem,
        "geometry": shapely.geometry.mapping(outline),
        "bbox": bbox_of(outline),
        "properties": period.to_dict()
        | {"title": f"Land cover of {Path(tags.get('GEOSEG_INPUT', path)).name}"}
        | ({"gsd": grid.gsd} if grid.gsd else {})
        | _projection(grid)
        | _processing(tags),
        "links": [derived_from(one, folder, "the scene") for one in named] + _model_links(model, tags, folder, path),
        "assets": _assets(path, grid, legend, folder),
    }
    # Tuples of shapely and affine become lists, as in the file.
    item = json.loads(json.dumps(item))
    if output:
        write_item(item, output, overwrite)
    return item


def resolve_period(datetime: str | None, scenes: Sequence[Source], name: str) -> Period:
    """The time that is asked for, or from the first to the last that the scenes tell; raises UsageError for none."""
    if datetime:
        return Period.parse(datetime)
    times = [acquisition_time(scene) for scene in scenes]
    if not times or None in times:
        raise UsageError(f"{name}: {REMEDY}")
    return Period(min(times), max(times))


def _recorded_scene(tags: dict[str, str]) -> list[Source]:
    """The file that a map's tags name, where it is still there; one on the network is not looked for."""
    try:
        source = Source.of(tags.get("GEOSEG_INPUT", ""))
        return [source] if source.local and Path(source).is_file() else []
    except UsageError:
        return []


def _projection(grid: Grid) -> dict[str, Any]:
    epsg = grid.crs.to_epsg()
    code = (
        {"proj:code": f"EPSG:{epsg}"}
        if epsg
        else {"proj:code": None, "proj:wkt2": grid.crs.to_wkt(version="WKT2_2019")}
    )
    placed = {"proj:transform": list(grid.transform)[:6], "proj:bbox": list(grid.bounds)} if grid.georeferenced else {}
    return code | {"proj:shape": list(grid.shape)} | placed


def _processing(tags: dict[str, str]) -> dict[str, Any]:
    names = {"model": "GEOSEG_MODEL", "model_sha256": "GEOSEG_MODEL_SHA256", "input": "GEOSEG_INPUT"}
    ours = {f"geoseg:{name}": tags[tag] for name, tag in names.items() if tag in tags}
    if "GEOSEG_SETTINGS" in tags:
        ours["geoseg:settings"] = json.loads(tags["GEOSEG_SETTINGS"])
    software = {"processing:software": {"geoseg": tags["GEOSEG_VERSION"]}} if "GEOSEG_VERSION" in tags else {}
    return {"processing:level": "L4"} | software | ours


def _model_links(
    model: str | Path | None, tags: dict[str, str], folder: Path | None, path: Path
) -> list[dict[str, str]]:
    """To the model, which is the one that made the map, or to its Item."""
    if model is None:
        return []
    if Path(model).suffix.lower() in (".json", ".geojson"):
        return [derived_from(model, folder, "the model")]
    found, made_by = model_sha256(model), tags.get("GEOSEG_MODEL_SHA256")
    if made_by and found != made_by:
        raise InputError(f"{path}: was made by a model of sha256 {made_by[:12]}..., and {model} is {found[:12]}...")
    return [derived_from(model_file(model), folder, "the model")]


def _assets(path: Path, grid: Grid, legend: Legend, folder: Path | None) -> dict[str, dict[str, Any]]:
    with reading(path, "opened"), open_raster(path) as dataset:
        is_cog = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
    assets = {
        "map": {
            "href": href(path, folder),
            "type": f"{GEOTIFF}; profile=cloud-optimized" if is_cog else GEOTIFF,
            "title": "Class raster",
            "roles": ["data"],
            "data_type": "uint8",
            "nodata": NODATA,
            "raster:sampling": "area",
            **({"raster:spatial_resolution": grid.gsd} if grid.gsd else {}),
            "classification:classes": [*classes(legend.classes[i] for i in legend.scored), nodata_class()],
            **file_fields(path),
        }
    }
    sidecar = path.with_name(f"{path.name}.aux.xml")
    if sidecar.is_file():
        title = "Class names, colours and counts, as GDAL and QGIS read them"
        described = {"href": href(sidecar, folder), "type": "application/xml", "title": title, "roles": ["metadata"]}
        assets["metadata"] = described | file_fields(sidecar)
    return assets
