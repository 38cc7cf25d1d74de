"""geoseg.check_installation: what this machine has for geoseg, what lacks, what makes it slow (geoseg doctor)."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import geoseg
from geoseg.ahead import usable_cpus
from geoseg.redaction import redact

Level = Literal["broken", "slow", "note"]
"""broken: something that geoseg needs does not work. slow: it works, and could be faster. note: good to know."""

NEEDED = ("torch", "torchvision", "timm", "safetensors", "rasterio", "pyproj", "pyogrio", "shapely", "numpy", "PIL")
NEEDED += ("affine", "click", "tqdm", "rich")
EXTRAS = {"matplotlib": "figures", "scipy": "figures", "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx"}
"""Packages of extras: geoseg works without them."""
DISTRIBUTIONS = {"PIL": "pillow"}
RASTER_DRIVERS = {"GTiff": "rw", "COG": "w", "PNG": "r", "JPEG": "r", "JP2OpenJPEG": "r", "VRT": "r"}
VECTOR_DRIVERS = {"GPKG": "rw", "GeoJSON": "rw", "FlatGeobuf": "r", "ESRI Shapefile": "r", "KML": "r", "GML": "r"}
COMPRESSIONS = ("DEFLATE", "ZSTD", "LZW")
SECRET = ("USER", "PASS", "PWD", "HEADER", "COOKIE", "KEY", "TOKEN", "SECRET", "PROXY", "BEARER", "AUTH", "SAS")
SECRET += ("CREDENTIAL", "CONNECTION")
"""Words in the names of variables that are not shown."""
LITTLE_MEMORY, LITTLE_DISK = 4 << 30, 5 << 30
"""Bytes."""
SETTINGS: dict[str, tuple[Callable[[str], bool], str, str]] = {
    "PROJ_LIB": (bool, "PROJ reads its tables there and not in its own package", "unset it"),
    "PROJ_DATA": (bool, "PROJ reads its tables there and not in its own package", "unset it"),
    "GDAL_DATA": (bool, "GDAL reads its tables there and not in its own package", "unset it"),
    "GDAL_DRIVER_PATH": (bool, "GDAL loads plugins of another build from there", "unset it, or set it to disable"),
    "GDAL_SKIP": (bool, "GDAL leaves those formats out", "unset it"),
    "GDAL_PAM_ENABLED": (
        lambda value: value.upper() in ("NO", "FALSE", "OFF", "0"),
        "sidecars (.aux.xml) are not read: class names and nodata in them are missed",
        "unset it",
    ),
    "GDAL_DISABLE_READDIR_ON_OPEN": (
        lambda value: value.upper() in ("EMPTY_DIR", "TRUE", "YES", "ON", "1"),
        "sidecars, masks and overviews beside files of this machine are not found",
        "unset it: geoseg sets it for files on the network itself",
    ),
    "GDAL_ERROR_ON_LIBJPEG_WARNING": (
        lambda value: value.upper() in ("NO", "FALSE", "OFF", "0"),
        "damaged JPEGs are read without an error, as other pixels",
        "unset it",
    ),
    "GDAL_HTTP_UNSAFESSL": (
        lambda value: value.upper() in ("YES", "TRUE", "ON", "1"),
        "certificates of servers are not checked",
        "unset it",
    ),
    "CPL_DEBUG": (
        lambda value: value.upper() not in ("", "OFF", "NO", "FALSE", "0"),
        "GDAL tells every step that it takes, which slows it",
        "unset it",
    ),
    "CPL_CURL_VERBOSE": (
        lambda value: value.upper() in ("YES", "TRUE", "ON", "1"),
        "requests are printed with their credentials",
        "unset it",
    ),
    "CUDA_VISIBLE_DEVICES": (lambda value: value in ("", "-1"), "GPUs are hidden", "unset it"),
    "TORCHDYNAMO_DISABLE": (lambda value: value not in ("", "0"), "networks are not compiled", "unset it"),
}
"""Environment variables that slow or hurt: with which values, why, and what to do."""
SLOWING = ("CPL_DEBUG", "CUDA_VISIBLE_DEVICES", "TORCHDYNAMO_DISABLE")


@dataclass(frozen=True)
class Finding:
    """Something that a user may want to change."""

    level: Level
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Checkup:
    """What was found on this machine."""

    facts: Mapping[str, Mapping[str, Any]]
    """By topic: versions, device, threads, memory, disk, rasters, vectors, environment."""
    findings: tuple[Finding, ...]
    """The gravest first."""

    @property
    def usable(self) -> bool:
        """True where everything that geoseg needs works."""
        return not any(finding.level == "broken" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"usable": self.usable, **self.facts, "findings": [asdict(one) for one in self.findings]}

    def to_text(self) -> str:
        """For the terminal: facts by topic, then what to change."""
        lines = []
        for topic, facts in self.facts.items():
            lines += [topic, *(f"  {name:20} {_said(value)}" for name, value in facts.items()), ""]
        lines += [str(finding) for finding in self.findings]
        return "\n".join([*lines, "geoseg can be used" if self.usable else "geoseg cannot be used as it is"])


def check_installation() -> Checkup:
    """Look at packages, device, memory, disk, GDAL and the environment. Raises nothing: what fails is a finding."""
    # Packages set some of their own when they are imported.
    environment = dict(os.environ)
    facts: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    topics: dict[str, Callable[[dict[str, Any]], Iterator[Finding]]]
    topics = {"versions": _versions, "device": _device, "threads": _threads, "memory": _memory, "disk": _disk}
    topics |= {"rasters": _rasters, "vectors": _vectors, "environment": partial(_environment, environment)}
    for topic, look in topics.items():
        facts[topic] = {}
        try:
            for finding in look(facts[topic]):
                findings.append(finding)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            findings.append(Finding("broken", f"{topic} cannot be looked at ({reason})", "reinstall geoseg"))
    order = ("broken", "slow", "note")
    return Checkup(facts, tuple(sorted(findings, key=lambda finding: order.index(finding.level))))


def _versions(facts: dict[str, Any]) -> Iterator[Finding]:
    facts |= {"geoseg": geoseg.__version__, "python": platform.python_version(), "system": platform.platform()}
    for name in NEEDED:
        facts[DISTRIBUTIONS.get(name, name)] = _version(name)
        if (problem := _import_problem(name)) is not None:
            remedy = "torch and torchvision must be of one build" if name == "torchvision" else "pip install geoseg"
            yield Finding("broken", f"{name} cannot be imported ({problem})", remedy)
    facts |= _libraries()
    facts |= {name: _version(name) for name in EXTRAS}
    for extra in dict.fromkeys(EXTRAS.values()):
        if missing := [name for name, of in EXTRAS.items() if of == extra and facts[name] is None]:
            yield Finding(
                "note", f"{', '.join(missing)} not installed", f"pip install 'geoseg[{extra}]' if you need it"
            )


def _version(name: str) -> str | None:
    try:
        return version(DISTRIBUTIONS.get(name, name))
    except PackageNotFoundError:
        return None


def _import_problem(name: str) -> str | None:
    """Why a package cannot be imported; None where it can."""
    try:
        import_module(name)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def _libraries() -> dict[str, str | None]:
    """Of C, inside the packages: rasterio's and pyogrio's are not the same."""
    known = {
        "GDAL (rasterio)": ("rasterio", "__gdal_version__"),
        "PROJ (rasterio)": ("rasterio", "__proj_version__"),
        "GEOS (rasterio)": ("rasterio", "__geos_version__"),
        "GDAL (pyogrio)": ("pyogrio", "__gdal_version__"),
        "PROJ (pyproj)": ("pyproj", "proj_version_str"),
        "GEOS (shapely)": ("shapely", "geos_version_string"),
    }
    return {label: _attribute(module, name) for label, (module, name) in known.items()}


def _attribute(module: str, name: str) -> str | None:
    try:
        found = getattr(import_module(module), name)
    except Exception:
        return None
    return ".".join(map(str, found)) if isinstance(found, tuple) else str(found)


def _device(facts: dict[str, Any]) -> Iterator[Finding]:
    import torch

    from geoseg.models.device import instruction_set, resolve_device, resolve_precision
    from geoseg.models.inference import has_compiler

    device, cpu = resolve_device(), torch.device("cpu")
    facts |= {"auto": str(device), "precision auto": resolve_precision("auto", device)}
    facts |= {"cpu": _processor(), "cpu instructions": instruction_set(cpu)}
    facts["cpu bf16"] = resolve_precision("auto", cpu) == "bf16"
    facts["torch built for CUDA"] = torch.version.cuda
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(number)
        facts[f"cuda:{number}"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    facts["compiler"] = shutil.which(os.environ.get("CXX", "g++"))
    if device.type == "cpu":
        yield from _of_the_cpu(facts)
    if device.type == "cpu" and not has_compiler():
        yield Finding(
            "slow", "no C++ compiler, so --engine compiled and --compile do not work", "install g++, or name one in CXX"
        )


def _of_the_cpu(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if _has_nvidia():
        why = "torch finds no GPU, and there is an NVIDIA driver"
        build = f"torch is built for CUDA {facts['torch built for CUDA']}: is the driver older?"
        yield Finding("slow", why, build if facts["torch built for CUDA"] else "install torch built for CUDA")
    else:
        yield Finding("note", "no GPU: training takes hours to days", "pretrained models predict well on CPUs")
    if not facts["cpu bf16"]:
        yield Finding("slow", "the CPU has neither AMX nor AVX512-BF16: networks run in fp32, about 3 times slower")


def _has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _threads(facts: dict[str, Any]) -> Iterator[Finding]:
    import torch

    usable, quota = usable_cpus(), _cpu_quota()
    facts |= {"CPUs": usable, "CPU quota": quota, "torch threads": torch.get_num_threads()}
    facts |= {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    threads = facts["torch threads"]
    if quota and threads > quota + 0.5:
        limit = max(1, round(quota))
        yield Finding(
            "slow", f"{threads} threads share {quota:g} CPUs of this container", f"set OMP_NUM_THREADS={limit}"
        )
    if threads == 1 and usable > 1 and (quota or usable) >= 2:
        yield Finding("slow", f"networks run on 1 of {usable} CPUs", "unset OMP_NUM_THREADS")
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        yield Finding(
            "note", "torch's waiting threads spin", "on a machine that others use too set OMP_WAIT_POLICY=PASSIVE"
        )


def _cpu_quota() -> float | None:
    """CPUs that a container may use, None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _memory(facts: dict[str, Any]) -> Iterator[Finding]:
    told = _meminfo()
    limit = _memory_limit()
    total, free = told.get("MemTotal"), told.get("MemAvailable")
    facts |= {"total": _gib(total), "available": _gib(free), "container's limit": _gib(limit)}
    least = min((size for size in (free, limit) if size), default=None)
    if least and least < LITTLE_MEMORY:
        yield Finding(
            "slow",
            f"{least / 2**30:.1f} GiB of memory are free",
            "predict --dry-run tells what a scene needs; --window",
        )


def _meminfo() -> dict[str, int]:
    """Bytes by name."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return {name: int(rest.split()[0]) << 10 for name, rest in (line.split(":", 1) for line in lines)}
    except (OSError, ValueError, IndexError):
        return {}


def _memory_limit() -> int | None:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return None if text == "max" else int(text)
    except (OSError, ValueError):
        return None


def _disk(facts: dict[str, Any]) -> Iterator[Finding]:
    from geoseg.datasets.resolve import cache_folder

    for name, folder in (("cache of scenes", cache_folder()), ("this folder", Path.cwd())):
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free, writable = shutil.disk_usage(existing).free, os.access(existing, os.W_OK)
        facts[name] = f"{folder}: {_gib(free)} free" + ("" if writable else ", not writable")
        if not writable:
            remedy = "set GEOSEG_CACHE to a folder of yours" if name != "this folder" else "name outputs elsewhere"
            level = "slow" if name != "this folder" else "note"
            yield Finding(level, f"{folder} cannot be written to", remedy)
        elif free < LITTLE_DISK:
            yield Finding("note", f"{_gib(free)} are free in {folder}", "training keeps decoded scenes in GEOSEG_CACHE")


def _rasters(facts: dict[str, Any]) -> Iterator[Finding]:
    from rasterio.env import Env

    from geoseg.raster.opening import DRIVERS

    with Env() as env:
        there = env.drivers()
    for name in RASTER_DRIVERS:
        facts[name] = name in there
        if name not in there:
            level = "broken" if name in (*DRIVERS[:3], "VRT", "COG") else "note"
            yield Finding(level, f"GDAL has no driver {name}", "install rasterio from its wheels")
    for name in COMPRESSIONS:
        facts[f"{name} in GeoTIFF"] = (problem := _problem(partial(_write_tiff, name))) is None
        if problem:
            yield Finding(
                "broken" if name == "DEFLATE" else "note", f"GeoTIFF cannot be written with {name} ({problem})"
            )
    facts["coordinates"] = (problem := _problem(_project)) is None
    if problem:
        yield Finding("broken", f"coordinates cannot be projected ({problem})", "unset PROJ_LIB and PROJ_DATA")


def _write_tiff(compression: str) -> None:
    import numpy as np
    from rasterio.io import MemoryFile

    size = {"width": 16, "height": 16, "count": 1, "dtype": "uint8"}
    with MemoryFile() as file, file.open(driver="GTiff", compress=compression, **size) as dataset:
        dataset.write(np.ones((1, 16, 16), np.uint8))


def _project() -> None:
    """rasterio's PROJ and pyproj's have tables of their own."""
    import numpy as np
    from rasterio.crs import CRS
    from rasterio.warp import transform

    from geoseg.raster.projection import Projection

    source, target = CRS.from_epsg(4326), CRS.from_epsg(32631)
    (x,), _ = transform(source, target, [3.0], [48.0])
    found, _ = Projection(source, target)(np.array([3.0]), np.array([48.0]))
    if not (abs(x - 500_000) < 1e-3 and abs(found[0] - 500_000) < 1e-3):
        raise ValueError(f"3 E 48 N is at {x} and {found[0]} m east in EPSG:32631, and not at 500000")


def _vectors(facts: dict[str, Any]) -> Iterator[Finding]:
    import pyogrio

    there = pyogrio.list_drivers()
    for name, needed in VECTOR_DRIVERS.items():
        facts[name] = there.get(name)
        if not set(needed) <= set(there.get(name, "")):
            yield Finding(
                "broken" if name == "GPKG" else "note",
                f"pyogrio's GDAL does not {'write' if name in there else 'read'} {name}",
                "install pyogrio from its wheels",
            )


def _environment(environment: Mapping[str, str], facts: dict[str, Any]) -> Iterator[Finding]:
    """What is set of GDAL's, PROJ's and geoseg's own; values that may be secrets are not shown."""
    shown = ("GDAL_", "PROJ_", "GEOSEG_", "OMP_", "CPL_DEBUG", "CPL_CURL_VERBOSE", "VSI_CACHE", "CUDA_VISIBLE", "TORCH")
    for name in sorted(environment):
        if name.startswith(shown) and not any(word in name for word in SECRET):
            facts[name] = redact(environment[name])
    for name, (hurts, why, remedy) in SETTINGS.items():
        if name in environment and hurts(environment[name]):
            level: Level = "slow" if name in SLOWING else "note"
            yield Finding(level, f"{name}={environment[name]}: {why}", remedy)


def _problem(attempt: Callable[[], None]) -> str | None:
    try:
        attempt()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**30:.1f} GiB"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
