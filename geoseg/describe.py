"""What a file is, in a few lines: a raster, a model, or a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from geoseg.models.segmenter import SegmenterConfig
from geoseg.models.storage import model_file, read_record
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.scene import Scene
from geoseg.source import Source


def describe(source: str | Path | Source) -> dict[str, Any]:
    """A record of a raster file, a model file or a run folder; raises InputError or ModelError."""
    source = Source.of(source)
    if source.is_dir() or (source.local and source.suffix == ".safetensors"):
        return describe_model(Path(source))
    return describe_raster(source)


def describe_raster(source: Source) -> dict[str, Any]:
    """Kind, grid, ground resolution, bands, dtype; of a geoseg map its provenance tags too."""
    with Scene(source) as scene:
        record = {"kind": "class raster" if LEGEND_TAG in scene.tags else "raster", "grid": str(scene.grid)}
        record |= {"gsd": scene.grid.gsd, "bands": list(scene.bands), "band_names": list(scene.band_names)}
        record |= {"colours": list(scene.colours), "dtype": scene.dtype, "nodata": _in_json(scene.nodata)}
        if scene.grid.gcps:
            record["gcps"] = len(scene.grid.gcps)
        return record | {name: value for name, value in scene.tags.items() if name.startswith("GEOSEG_")}


def _in_json(value: float | None) -> float | str | None:
    """JSON has no word for what is not a number."""
    return value if value is None or math.isfinite(value) else str(value)


def describe_model(path: Path) -> dict[str, Any]:
    """Kind, classes, network, window and size, and how it was trained."""
    record = read_record(path)
    config = SegmenterConfig.from_dict(record["config"])
    keys = ("encoder", "decoder", "norm", "bands", "band_numbers", "band_names", "dtype")
    classes = list(config.legend.names)
    what = {"kind": "model", "file": str(model_file(path)), "version": record.get("version"), "classes": classes}
    made = {key: record.get(key) for key in ("epoch", "step")}
    network = {key: getattr(config, key) for key in keys} | {"scaling": config.scaling.to_dict()}
    trained = {key: getattr(config, key) for key in ("window", "size", "gsd", "provenance")}
    return what | network | trained | made
