"""Which device and which precision a computation runs in: given what the user says and what there is, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from geoseg.errors import ResourceError, UsageError

Precision = Literal["fp32", "bf16"]


def resolve_device(name: str = "auto") -> torch.device:
    """ "auto" takes a CUDA device where there is one, else the CPU; any other name must be there (ResourceError)."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(f"device {name!r} cannot be used ({reason}); --device cpu always can") from error
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """ "auto" takes bf16 where the hardware computes in it (CUDA; CPUs with AMX or AVX512-BF16), else fp32."""
    if name not in ("auto", "fp32", "bf16"):
        raise UsageError(f'the precision is "auto", "fp32" or "bf16", got {name!r}')
    if name != "auto":
        return name
    return "bf16" if _has_bf16(device) else "fp32"


def instruction_set(device: torch.device) -> str:
    """What the kernels depend on beside the inputs: the CPU's vector instructions, or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() + ("+AMX" if torch.cpu._is_amx_tile_supported() else "")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a forward pass runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor in memory from which a GPU copies without waiting; the tensor itself for any other device."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_host(tensor: Tensor) -> Callable[[], np.ndarray]:
    """Begin to copy a tensor to the host; calling the result waits for the copy and gives the array."""
    if tensor.device.type != "cuda":
        return tensor.cpu().numpy
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> np.ndarray:
        copied.synchronize()
        return host.numpy()

    return wait
