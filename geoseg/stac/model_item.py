"""geoseg.stac_model_item: a model as a STAC Item of the Machine Learning Model extension (docs/export.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import shapely
import torch

import geoseg
from geoseg.errors import UsageError
from geoseg.models.segmenter import PLAIN, SegmenterConfig
from geoseg.models.storage import load, model_file, read_record
from geoseg.stac.item import (
    EXTENSIONS,
    STAC_VERSION,
    classes,
    file_fields,
    href,
    require_item_place,
    slug,
    write_item,
)
from geoseg.stac.period import ANY_TIME, Period

ASSETS = {
    "model": ("Weights, legend and normalisation, as geoseg reads them", "application/octet-stream"),
    "onnx": ("The network with its normalisation", "application/onnx"),
}
ARTIFACTS = {"model": "safetensors.torch.save_file", "onnx": "torch.onnx.export"}


def stac_model_item(
    model: str | Path,
    output: str | Path | None = None,
    *,
    onnx: str | Path | None = None,
    datetime: str | None = None,
    bbox: Sequence[float] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """A model as a STAC 1.1 Item with the MLM extension 1.5: what goes in, what comes out, its files.

    Args:
        model: a run folder or a model file.
        output: a .json file to write it to; names of files are relative to its folder, or absolute where it is None.
        onnx: the model's ONNX file, for a second asset.
        datetime: the time of the scenes that the model is for, as Period.parse explains; None binds it to none.
        bbox: west, south, east and north in degrees of the ground that it is for; None says nothing of it.

    Raises ModelError, OutputError, UsageError.
    """
    file, output = model_file(model), None if output is None else Path(output)
    if output:
        require_item_place(output, overwrite)
    if bbox:
        require_degrees(bbox)
    config = SegmenterConfig.from_dict(read_record(file)["config"])
    folder = output.parent if output else None
    name = _name_of(Path(model))
    bands = [{"name": band, "data_type": config.dtype} for band in band_names(config)]
    files = {"model": file} | ({"onnx": Path(onnx)} if onnx else {})
    item = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS[name] for name in ("mlm", "classification", "file", "processing")],
        "id": name,
        "geometry": shapely.geometry.mapping(shapely.box(*bbox)) if bbox else None,
        **({"bbox": list(bbox)} if bbox else {}),
        "properties": (Period.parse(datetime) if datetime else ANY_TIME).to_dict()
        | {"title": name, "description": f"Land cover by geoseg: {', '.join(config.legend.names)}"}
        | ({"gsd": config.gsd} if config.gsd else {})
        # The extension looks for them here, and STAC 1.1's own schema allows it where an asset has them too.
        | {"bands": bands}
        | {"processing:software": {"geoseg": config.provenance.get("versions", {}).get("geoseg", geoseg.__version__)}}
        | _mlm(config, file, name),
        "links": [],
        "assets": {key: _asset(key, path, folder) | {"bands": bands} for key, path in files.items()},
    }
    item = json.loads(json.dumps(item))
    if output:
        write_item(item, output, overwrite)
    return item


def band_names(config: SegmenterConfig) -> list[str]:
    """The names of a model's bands; where it has none, band1, band2 and so on by the numbers they were trained by."""
    numbers = config.band_numbers or range(1, config.bands + 1)
    return list(config.band_names) or [f"band{number}" for number in numbers]


def require_degrees(bbox: Sequence[float]) -> None:
    """Raise UsageError unless west, south, east and north are a rectangle on the Earth."""
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise UsageError(f"the box is west, south, east and north in degrees, got {', '.join(f'{v:g}' for v in bbox)}")


def _mlm(config: SegmenterConfig, file: Path, name: str) -> dict[str, Any]:
    parameters = sum(p.numel() for p in load(file).parameters())
    trained = config.provenance.get("settings", {})
    source = _pretrained_on(config)
    return {
        "mlm:name": name,
        "mlm:architecture": "U-Net" if config.encoder == PLAIN else f"U-Net on {config.encoder}",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": _version(config),
        "mlm:total_parameters": parameters,
        "mlm:memory_size": 4 * parameters,
        "mlm:pretrained": source is not None,
        "mlm:pretrained_source": source,
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:hyperparameters": _hyperparameters(config, trained),
        "mlm:input": [_input(config)],
        "mlm:output": [_output(config)],
    }


def _input(config: SegmenterConfig) -> dict[str, Any]:
    """Without value_scaling: both files take raw pixels, and scale them themselves."""
    resized = config.window != config.size
    said = f"Raw digital numbers of windows of {config.window} px"
    said += f", resampled to {config.size} px" if resized else ""
    said += f", {config.gsd:g} m each" if config.gsd else ""
    return {
        "name": "pixels",
        "description": f"{said}; normalisation is part of the model. Pixels without data are the bands' means.",
        "bands": band_names(config),
        "input": {
            "shape": [-1, config.bands, config.size, config.size],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": config.dtype,
        },
        **({"resize_type": "interpolation-area"} if resized else {}),
        "pre_processing_function": None,
    }


def _output(config: SegmenterConfig) -> dict[str, Any]:
    return {
        "name": "logits",
        "description": "One plane a class, in the order of the classes, whose values and colours are those of maps",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(config.legend), config.size, config.size],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        # Of the classification extension 1.1, which this one refers to and which knows no titles.
        "classification:classes": [
            {key: value for key, value in one.items() if key != "title"} for one in classes(config.legend.classes)
        ],
        "post_processing_function": None,
    }


def _hyperparameters(config: SegmenterConfig, trained: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in trained.items() if value is not None and re.fullmatch(r"[0-9a-zA-Z_.-]+", key)}
    ours = {"scaling": asdict(config.scaling), "mean": config.mean, "std": config.std, "fill": config.fill}
    return kept | ours | {"window": config.window, "size": config.size}


def _pretrained_on(config: SegmenterConfig) -> str | None:
    """What the weights were trained on before; None for none that is known of."""
    trained = config.provenance
    if trained.get("init") or trained.get("imported"):
        return str((trained.get("init") or trained.get("imported")).get("file", "another model"))
    weights = trained.get("settings", {}).get("encoder_weights", "none")
    return {"none": None, "imagenet": "ImageNet"}.get(weights, Path(weights).name)


def _version(config: SegmenterConfig) -> str:
    """Of PyTorch in training, as semantic versions are written."""
    told = str(config.provenance.get("versions", {}).get("torch", torch.__version__))
    found = re.match(r"\d+\.\d+\.\d+", told) or re.match(r"\d+\.\d+\.\d+", torch.__version__)
    return found.group()


def _name_of(model: Path) -> str:
    """Of a run its folder's name; as the extension wants it: letters, digits, _ . - and a letter first."""
    path = model.absolute()
    stem = path.name if path.is_dir() else path.parent.name if path.stem == "model" else path.stem
    name = slug(stem)
    return name if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_-]+[a-zA-Z0-9]", name) else f"geoseg-{name}-model"


def _asset(key: str, path: Path, folder: Path | None) -> dict[str, Any]:
    title, kind = ASSETS[key]
    roles = ["mlm:model", "mlm:weights"] if key == "model" else ["mlm:model"]
    described = {"href": href(path, folder), "type": kind, "title": title, "roles": roles}
    return described | {"mlm:artifact_type": ARTIFACTS[key]} | file_fields(path)
