"""What a file is, in a few lines: a raster, a vector file, a model, a run, or a data folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from geoseg.datasets.dataset import has_known_layout, open_dataset
from geoseg.layers import describe_layer, layer_names
from geoseg.models.segmenter import SegmenterConfig
from geoseg.models.storage import model_file, read_record
from geoseg.raster.features import is_vector
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.scene import Scene
from geoseg.source import Source


def describe(source: str | Path | Source) -> dict[str, Any]:
    """A record of a raster or vector file, a model file, a run folder or a data folder.

    Raises InputError, ModelError.
    """
    source = Source.of(source)
    if source.is_dir() and has_known_layout(Path(source)):
        return describe_dataset(source)
    if source.local and is_vector(Path(source)):
        return describe_vectors(Path(source))
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


def describe_vectors(path: Path) -> dict[str, Any]:
    """Kind, and of each layer its geometry, CRS, extent and fields."""
    return {"kind": "vector file"} | {f"layer {name}": describe_layer(path, name) for name in layer_names(path)}


def describe_dataset(source: Source) -> dict[str, Any]:
    """Kind, number of scenes, classes and split of a data folder, and what its first image is."""
    dataset = open_dataset(source)
    first, split = dataset.pairs[0], dataset.split
    classes = {c.code: c.name for c in dataset.legend.classes}
    what = {"kind": "data folder", "scenes": len(dataset.pairs), "classes": classes}
    what |= {"ignored": list(dataset.legend.ignore), "synthetic": dataset.synthetic}
    what |= {"split": split and {part: len(stems) for part, stems in split.items()}}
    return what | {"first_image": first.stem} | describe_raster(Source.of(first.image)) | {"kind": "data folder"}


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
