"""Devices and precisions: what is asked for, or a refusal."""

from __future__ import annotations

import pytest
import torch

from geoseg.errors import ResourceError, UsageError
from geoseg.models.device import autocast, instruction_set, resolve_device, resolve_precision

CPU = torch.device("cpu")


def test_cpu_is_always_there():
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_cuda_where_there_is_one(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device("auto").type == resolve_device().type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "tpu", ""])
def test_a_device_that_is_not_there_is_a_matter_of_resources(name):
    with pytest.raises(ResourceError, match="--device cpu always can") as caught:
        resolve_device(name)
    assert caught.value.exit_code == 7 and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_taken(name):
    assert resolve_precision(name, CPU) == name


@pytest.mark.parametrize(("amx", "avx512", "expected"), [(0, 0, "fp32"), (1, 0, "bf16"), (0, 1, "bf16")])
def test_auto_takes_bf16_where_the_hardware_computes_in_it(monkeypatch, amx, avx512, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx512))
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("name", ["fp16", "float32", "", "BF16"])
def test_other_precisions_are_refused(name):
    with pytest.raises(UsageError, match="precision"):
        resolve_precision(name, CPU)


def test_instruction_set_names_amx(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    with_amx = instruction_set(CPU)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert with_amx == instruction_set(CPU) + "+AMX" and len(instruction_set(CPU)) > 2


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_precision(precision, dtype):
    with autocast(CPU, precision):
        assert torch.nn.functional.conv2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 1, 1)).dtype == dtype
