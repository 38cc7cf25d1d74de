"""Models on disk: one safetensors file that carries the weights and all that predict needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import geoseg
from geoseg.errors import ModelError
from geoseg.files import replace_file
from geoseg.models.segmenter import Segmenter, SegmenterConfig

MODEL_FILE = "model.safetensors"
LAST_FILE = "last.safetensors"
CONFIG_KEY = "geoseg"
WEIGHTS_PREFIX = "network."
LONGEST_RECORD = 1 << 24
"""Characters of a model's record that are read: those of a training on a million scenes."""


def save_segmenter(
    segmenter: Segmenter,
    path: str | Path,
    extra: Mapping[str, Tensor] | None = None,
    note: Mapping[str, Any] | None = None,
) -> None:
    """Write a segmenter to ``path`` in one step: beside it first, then in its place.

    Args:
        extra: further tensors, for a run that can go on (optimiser state); names must not begin with "network.".
        note: further values for the record, as JSON holds them.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in segmenter.state_dict().items()}
    record = {"version": geoseg.__version__, "config": segmenter.config.to_dict(), **(note or {})}
    replace_file(Path(path), save({**tensors, **(extra or {})}, metadata={CONFIG_KEY: json.dumps(record)}))


def load(path: str | Path, device: str | torch.device = "cpu") -> Segmenter:
    """Load a segmenter, ready to predict.

    Args:
        path: a run folder or a safetensors file.
        device: where the weights go, as torch names it.

    Raises ModelError where the file is missing, cut, a pickle, of another layout, or holds values that are not finite.
    """
    path = model_file(path)
    record, tensors = read_model_file(path)
    config = SegmenterConfig.from_dict(record["config"])
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith(WEIGHTS_PREFIX)}
    _require_layers(config, weights, path)
    segmenter = Segmenter(config)
    segmenter.load_state_dict(weights)
    origin = {"path": str(path.absolute()), "sha256": model_sha256(path)}
    segmenter.origin = origin | {"weights": segmenter.weights_sha256()}
    return segmenter.to(device=device, memory_format=torch.channels_last).eval()


def model_file(path: str | Path) -> Path:
    """The model file that a run folder or a file name stands for; raises ModelError where there is none."""
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        what = "holds no model.safetensors; has the run finished an epoch?" if path.is_dir() else "no such model"
        raise ModelError(f"{path}: {what}")
    if file.suffix != ".safetensors":
        raise ModelError(f"{file}: models are .safetensors files; pickles (.pt, .pth, .ckpt) are never loaded")
    return file


def read_record(path: str | Path) -> dict[str, Any]:
    """The record of a model file without its tensors."""
    return _read(model_file(path), tensors=False)[0]


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record and all tensors of a model file; raises ModelError."""
    return _read(path, tensors=True)


def model_sha256(path: str | Path) -> str:
    """sha256 of a model file, in hexadecimal."""
    with open(model_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[CONFIG_KEY]
            if len(text) > LONGEST_RECORD:
                raise ModelError(f"{path}: its record of {len(text)} characters is longer than any that geoseg writes")
            record = json.loads(text)
            if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
                raise ModelError(f"{path}: its record holds no model's config")
            names = file.keys() if tensors else ()
            return record, {name: file.get_tensor(name) for name in names}
    except KeyError as error:
        raise ModelError(f"{path}: carries no record of a geoseg model") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error})") from error


def _require_layers(config: SegmenterConfig, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise ModelError unless the tensors are those of the network that a record describes, whatever it asks for."""
    # Without memory of their own: a record may describe a network that no machine holds.
    with torch.device("meta"):
        expected = Segmenter(config).state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            raise ModelError(f"{path}: layer {name} is {'missing' if name in expected else 'not one of this network'}")
        if tensors[name].shape != expected[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
            raise ModelError(f"{path}: layer {name} has the shape {shapes}")
        if not torch.isfinite(tensors[name].float()).all():
            raise ModelError(f"{path}: layer {name} holds values that are not finite")
