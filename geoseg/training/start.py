"""Start: what a run begins with: drawn from the seed, pretrained, or another model's weights."""

from __future__ import annotations

import logging
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from geoseg.errors import ModelError, UsageError
from geoseg.legend import Legend
from geoseg.models.encoder_weights import load_encoder_weights, pretrained_statistics
from geoseg.models.segmenter import SegmenterConfig, build_network
from geoseg.models.storage import load, model_file, read_record
from geoseg.scaling import Scaling, same_numbers
from geoseg.training.settings import TrainingSettings

log = logging.getLogger("geoseg")


class Start(NamedTuple):
    """A network before its first step, and how its input is normalised."""

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scaling: Scaling | None
    """That of the model it starts from; None where the run chooses its own."""
    provenance: dict[str, Any]
    """What the model's record says of the model it started from."""


def start(
    settings: TrainingSettings, bands: int, legend: Legend, begun: SegmenterConfig | None = None, dtype: str = "uint8"
) -> Start:
    """The start of a run on pixels of a dtype. Of one that goes on (``begun``) only the shape: its weights come later.

    Raises ModelError where weights cannot be had or do not fit, UsageError where the bands are not those of ``begun``.
    """
    torch.manual_seed(settings.seed)
    network = build_network(settings.encoder, bands, legend, settings.width, settings.norm, settings.decoder)
    if begun:
        if begun.bands != bands:
            raise UsageError(f"the run was begun with {begun.bands} bands, not {bands}; choose them with --bands")
        init = begun.provenance.get("init")
        return Start(network, begun.mean, begun.std, begun.scaling, {"init": init} if init else {})
    if settings.init:
        return _from_model(network, settings.init, bands, legend, dtype)
    if settings.encoder_weights != "none":
        load_encoder_weights(network, settings.encoder, settings.encoder_weights)
    return Start(network, *normalisation(settings, bands), None, {})


def normalisation(settings: TrainingSettings, bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band on the range 0 to 1.

    "imagenet" takes those that the encoder was pretrained with: for more or fewer bands than three as timm makes its
    first layer, red, green and blue in turn, and for one band their means, as that layer is then their sum.
    """
    if settings.normalise == "none":
        return (0.0,) * bands, (1.0,) * bands
    mean, std = pretrained_statistics(settings.encoder)
    if bands == 1:
        return (sum(mean) / 3,), (sum(std) / 3,)
    return tuple(islice(cycle(mean), bands)), tuple(islice(cycle(std), bands))


def like_the_model(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a run that starts from a model: its network's shape where none was asked for.

    Raises ModelError where the model cannot be read, UsageError where an option asks for another network.
    """
    config = SegmenterConfig.from_dict(read_record(options["init"])["config"])
    shape = {name: getattr(config, name) for name in ("encoder", "decoder", "norm", "width")}
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in shape.items():
        if given.get(name, value) != value:
            raise UsageError(f"{options['init']}: has the {name} {value}, not {given[name]}; leave --{name} out")
    own = {"encoder_weights": "none", "normalise": "none"}
    return own | shape | given | {"init": str(options["init"])}


def _from_model(network: nn.Module, path: str | Path, bands: int, legend: Legend, dtype: str) -> Start:
    model, file = load(path), model_file(path)
    if model.config.bands != bands:
        raise ModelError(f"{file}: takes {model.config.bands} band(s), the images give {bands}; choose with --bands")
    if not model.config.scaling.per_raster and not same_numbers(model.config.dtype, dtype):
        raise ModelError(f"{file}: takes {model.config.dtype} pixels, the images have {dtype}; train without --init")
    weights = model.network.state_dict()
    if model.legend.names != legend.names:
        knows, wanted = ", ".join(model.legend.names), ", ".join(legend.names)
        log.info("%s knows %s; the classes here are %s: the layer that decides starts anew", file, knows, wanted)
        weights |= {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
    network.load_state_dict(weights)
    origin = {"file": file.name, "weights_sha256": model.weights_sha256()}
    return Start(network, model.config.mean, model.config.std, model.config.scaling, {"init": origin})
