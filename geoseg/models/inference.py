"""How a network runs when nothing is learned: as it was trained, with folded normalisation, or compiled."""

from __future__ import annotations

import copy
import os
import shutil
import weakref
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from geoseg.errors import ModelError, ResourceError, UsageError
from geoseg.legend import Legend
from geoseg.models.device import Precision, autocast
from geoseg.models.segmenter import Segmenter, TileBatch

Engine = Literal["plain", "folded", "compiled"]
"""plain: the modules themselves. folded: batch norms folded into convolutions, weights in the precision asked for.
compiled: the folded network as one compiled graph."""
_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
"""The last compiled network of a segmenter, with the weights and the precision that it is of."""


@dataclass(frozen=True, eq=False)
class InferenceEngine:
    """A segmenter, ready to run: raw pixels in, logits out."""

    legend: Legend
    device: torch.device
    precision: Precision
    segmenter: Segmenter

    @torch.inference_mode()
    def __call__(self, tiles: TileBatch) -> Tensor:
        """(N, K, H, W) logits, as Segmenter.forward gives them."""
        with autocast(self.device, self.precision):
            return self.segmenter(tiles)


def resolve_engine(name: str, segmenter: Segmenter, device: torch.device) -> Engine:
    """ "auto" folds, and runs a network plainly that cannot be folded; compiling is slow and only done when named.

    Raises ModelError for a network that cannot be folded, ResourceError where there is no C++ compiler, UsageError.
    """
    if name != "auto" and name not in get_args(Engine):
        raise UsageError(f'the engine is "auto", "plain", "folded" or "compiled", got {name!r}')
    if name == "plain":
        return name
    try:
        torch.fx.symbolic_trace(segmenter.network)
    except Exception as error:
        if name == "auto":
            return "plain"
        raise ModelError(f"the network cannot be traced for --engine {name} ({error}); take plain") from error
    if name == "auto":
        return "folded"
    if name == "compiled" and device.type == "cpu" and not has_compiler():
        raise ResourceError("--engine compiled needs a C++ compiler (g++, or one named by CXX); take folded")
    return name


def for_inference(segmenter: Segmenter, precision: Precision, engine: Engine) -> InferenceEngine:
    """The segmenter made ready; its own weights are left as they are. It is in evaluation mode and on its device."""
    if engine != "plain":
        network = _compile(segmenter, precision) if engine == "compiled" else _prepare(segmenter, precision)
        segmenter = _with_network(segmenter, network)
    return InferenceEngine(segmenter.legend, segmenter.device, precision, segmenter)


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are part of the convolutions before them."""
    was_training = network.training
    try:
        return fuse(network.eval())
    finally:
        network.train(was_training)


def _prepare(segmenter: Segmenter, precision: Precision) -> nn.Module:
    network = folded(segmenter.network)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = network.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)
    network.stride = segmenter.network.stride
    return network


def _compile(segmenter: Segmenter, precision: Precision) -> nn.Module:
    key = (segmenter.weights_sha256(), precision, segmenter.device)
    if _compiled.get(segmenter, (None,))[0] != key:
        network = torch.compile(_prepare(segmenter, precision), dynamic=False, options={"freezing": True})
        network.stride = segmenter.network.stride
        _compiled[segmenter] = (key, network)
    return _compiled[segmenter][1]


def _with_network(segmenter: Segmenter, network: nn.Module) -> Segmenter:
    ready = copy.copy(segmenter)
    ready._modules = {**segmenter._modules, "network": network}
    return ready


def has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None
