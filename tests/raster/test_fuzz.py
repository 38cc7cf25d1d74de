"""Some seconds of damaged rasters, in a process of their own: a crash or a hang would end it, not the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SECONDS = float(os.environ.get("GEOSEG_FUZZ_SECONDS", "12"))
"""More of them find more: GEOSEG_FUZZ_SECONDS=600 pytest tests/raster/test_fuzz.py"""
SEED = os.environ.get("GEOSEG_FUZZ_SEED", "7")


def test_damaged_rasters_are_refused_or_read_and_never_crash_nor_hang(tmp_path: Path) -> None:
    command = [sys.executable, Path(__file__).with_name("fuzz.py"), SEED, str(SECONDS), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 120)
    assert done.returncode == 0, done.stderr[-2000:]
    *wrong, counts = map(json.loads, done.stdout.splitlines())
    assert not wrong and "wrong" not in counts
    # Not all of one kind: the damage is neither always fatal nor always harmless.
    assert min(counts.get(kind, 0) for kind in ("refused", "another", "same")) > 3
