"""geoseg doctor: what it looks at, what it finds where something lacks, and that it survives what is broken."""

from __future__ import annotations

import json

import pytest
import rasterio
import torch
from click.testing import CliRunner

import geoseg
from geoseg import doctor as module
from geoseg_cli.main import cli


@pytest.fixture
def environment(monkeypatch):
    """Nothing of what a person's shell has set."""
    for name in (*module.SETTINGS, "OMP_NUM_THREADS", "GDAL_HTTP_USERPWD"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def said(checkup: module.Checkup, level: str) -> str:
    return "\n".join(str(finding) for finding in checkup.findings if finding.level == level)


def test_a_sound_machine(environment):
    found = geoseg.check_installation()
    assert found.usable and said(found, "broken") == ""
    assert set(found.facts) == {
        "versions", "device", "threads", "memory", "disk", "rasters", "vectors", "environment"
    }  # fmt: skip
    versions, device = found.facts["versions"], found.facts["device"]
    assert versions["torch"] == torch.__version__.split("+")[0] and versions["geoseg"] == geoseg.__version__
    assert versions["GDAL (rasterio)"] == rasterio.__gdal_version__ and versions["pillow"]
    assert device["precision auto"] in ("fp32", "bf16") and device["auto"]
    assert found.facts["rasters"]["GTiff"] is True and "w" in found.facts["vectors"]["GPKG"]
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=("broken", "slow", "note").index)
    assert json.loads(json.dumps(found.to_dict()))["usable"] is True


def test_settings_that_hurt_are_told_and_secrets_are_not(environment):
    environment.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    environment.setenv("CPL_DEBUG", "ON")
    environment.setenv("GDAL_PAM_ENABLED", "YES")
    for name in ("GDAL_HTTP_USERPWD", "GDAL_HTTP_BEARER", "GDAL_PROXY_AUTH", "GEOSEG_CONNECTION_STRING"):
        environment.setenv(name, "me:secret")
    environment.setenv("GEOSEG_DATA", "https://me:secret@example.org/data")
    found = geoseg.check_installation()
    assert "sidecars, masks and overviews" in said(found, "note") and "CPL_DEBUG=ON" in said(found, "slow")
    assert "GDAL_PAM_ENABLED" not in said(found, "note") and found.usable
    assert "secret" not in found.to_text() and "secret" not in json.dumps(found.to_dict())


def test_what_is_broken_has_a_remedy_and_an_exit_code(environment):
    def refuse() -> None:
        raise ValueError("no proj.db")

    environment.setattr(module, "_project", refuse)
    environment.setattr(module, "RASTER_DRIVERS", {"GTiff": "rw", "JP2OpenJPEG": "r", "Nonesuch": "r"})
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 7 and "broken: coordinates cannot be projected (ValueError: no proj.db)" in done.stdout
    assert "note: GDAL has no driver Nonesuch" in done.stdout
    assert done.stdout.rstrip().endswith("geoseg cannot be used as it is")
    record = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)
    assert record["usable"] is False and record["findings"][0]["remedy"] == "unset PROJ_LIB and PROJ_DATA"


def test_packages_that_lack_or_do_not_load(environment):
    environment.setattr(module, "NEEDED", ("torch", "geoseg_of_nowhere"))
    environment.setattr(module, "EXTRAS", {"onnx_of_nowhere": "onnx"})
    found = geoseg.check_installation()
    assert "geoseg_of_nowhere cannot be imported (ModuleNotFoundError" in said(found, "broken")
    assert "onnx_of_nowhere not installed; pip install 'geoseg[onnx]'" in said(found, "note")
    assert found.facts["versions"]["geoseg_of_nowhere"] is None


def test_a_look_that_fails_is_a_finding(environment):
    def fail(*_: object) -> None:
        raise OSError("no such device")

    environment.setattr("geoseg.models.device.resolve_device", fail)
    found = geoseg.check_installation()
    assert "device cannot be looked at (OSError: no such device)" in said(found, "broken") and not found.usable


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"_cpu_quota": lambda: 1.0}, "2 threads share 1 CPUs of this container; set OMP_NUM_THREADS=1"),
        ({"usable_cpus": lambda: 8, "_cpu_quota": lambda: None}, ""),
        ({"_meminfo": lambda: {"MemTotal": 8 << 30, "MemAvailable": 1 << 30}}, "1.0 GiB of memory are free"),
        ({"_memory_limit": lambda: 2 << 30}, "2.0 GiB of memory are free"),
    ],
)
def test_what_is_slow(environment, changes, expected):
    environment.setattr(torch, "get_num_threads", lambda: 2)
    for name, value in changes.items():
        environment.setattr(module, name, value)
    looks = [module._threads({}), module._memory({})]
    told = "\n".join(str(one) for look in looks for one in look if one.level == "slow")
    assert (expected in told) if expected else "CPUs of this container" not in told


def test_a_cpu_without_bf16_and_without_a_compiler(environment):
    environment.setattr("geoseg.models.device._has_bf16", lambda device: False)
    environment.setattr("geoseg.models.inference.has_compiler", lambda: False)
    environment.setattr("torch.cuda.is_available", lambda: False)
    environment.setattr(module, "_has_nvidia", lambda: True)
    facts: dict = {}
    told = "\n".join(map(str, module._device(facts)))
    assert "networks run in fp32" in told and "install g++" in told and "there is an NVIDIA driver" in told
    assert facts["precision auto"] == "fp32" and facts["cpu bf16"] is False
