"""Pretrained weights for timm encoders: by name from timm's hub, or from a local safetensors file."""

from __future__ import annotations

import re
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from geoseg.errors import ModelError, UsageError
from geoseg.models.encoder_unet import EncoderUNet

IMAGENET = "imagenet"
NONE = "none"


def load_encoder_weights(network: nn.Module, encoder: str, weights: str) -> None:
    """Fill the encoder of ``network`` with pretrained weights, never in part.

    Args:
        weights: "imagenet" fetches timm's default weights of that encoder; "none" leaves the random start; anything
            else is a safetensors file in timm's naming, which for ResNets is torchvision's as well.

    Raises ModelError where the weights cannot be had or do not fit, UsageError where the network has no timm encoder.
    """
    if weights == NONE:
        return
    if not isinstance(network, EncoderUNet):
        raise UsageError(f"the plain U-Net has no pretrained weights; choose --encoder-weights none, not {weights}")
    pretrained = _from_hub(encoder, network) if weights == IMAGENET else _from_file(encoder, network, Path(weights))
    network.encoder.load_state_dict(pretrained.state_dict())


def pretrained_statistics(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and standard deviations of red, green and blue on the range 0 to 1 that an encoder was pretrained with.

    ImageNet's own where timm knows of none.
    """
    known = timm.get_pretrained_cfg(encoder)
    return (tuple(known.mean), tuple(known.std)) if known else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def _from_hub(encoder: str, network: EncoderUNet) -> nn.Module:
    try:
        return _create(encoder, network)
    # timm and the hub client raise whatever their layers raise: sockets, HTTP, missing tags.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"ImageNet weights of {encoder} could not be fetched ({type(error).__name__}: {reason}); connect to the "
            "network, give a local file with --encoder-weights FILE.safetensors, or start from --encoder-weights none"
        ) from error


def _from_file(encoder: str, network: EncoderUNet, path: Path) -> nn.Module:
    _require_all_tensors(encoder, path)
    try:
        return _create(encoder, network, pretrained_cfg_overlay={"file": str(path), "custom_load": False})
    except (RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{path}: does not fit the encoder {encoder} ({' '.join(str(error).split())[:200]})"
        ) from error


def _create(encoder: str, network: EncoderUNet, **options: object) -> nn.Module:
    return timm.create_model(encoder, pretrained=True, features_only=True, in_chans=network.bands, **options)


def _require_all_tensors(encoder: str, path: Path) -> None:
    """timm loads what it finds and only logs what is missing; a random layer among trained ones must not pass."""
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: encoder weights are read from .safetensors files only; pickles are never loaded")
    if not path.is_file():
        raise ModelError(f"{path}: no such file of encoder weights")
    try:
        with safe_open(path, framework="pt") as file:
            present = set(file.keys())
            broken = [name for name in present if not torch.isfinite(file.get_tensor(name).float()).all()]
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from error
    if broken:
        raise ModelError(f"{path}: tensor {sorted(broken)[0]} holds values that are not finite")
    # Flattened stages are called stages_0 in feature mode and stages.0 in the file.
    plain = {re.sub(r"[._]", "", name) for name in present}
    needed = timm.create_model(encoder, features_only=True).state_dict()
    missing = [n for n in needed if not n.endswith("num_batches_tracked") and re.sub(r"[._]", "", n) not in plain]
    if missing:
        raise ModelError(
            f"{path}: lacks {len(missing)} of {len(needed)} tensors of {encoder} in timm's naming, {missing[0]} first"
        )
