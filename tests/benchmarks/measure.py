"""Seconds, peak memory, fresh processes and tables."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call, the GPU's work included."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rate(call: Callable[[], object], megapixels: float, at_least: float = 5.0) -> float:
    """Megapixels in a second of a call that is repeated for ``at_least`` seconds, after one that does not count."""
    call()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < at_least:
        call()
        count += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count * megapixels / (time.perf_counter() - start)


def peak_mib() -> float:
    """Highest resident memory of this process so far, in MiB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell a process's peak memory")


def in_fresh_process(script: Path, task: str, python: str = sys.executable, /, **arguments: Any) -> Row:
    """What ``script`` prints as JSON when it is run as ``script task ARGUMENTS-AS-JSON``."""
    text = json.dumps(arguments, default=str)
    done = subprocess.run([python, str(script), task, text], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{script.name} {task} {text} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def table(title: str, rows: Iterable[Row]) -> None:
    """Print a Markdown table; numbers to three places."""
    rows = list(rows)
    print(f"\n### {title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(_text(value) for value in row.values()) + " |", flush=True)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)
