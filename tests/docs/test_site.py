"""The site builds without a warning, and has a page of every command and name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg
from geoseg_cli.main import cli

for module in ("sphinx", "furo", "myst_nb", "sphinx_copybutton"):
    pytest.importorskip(module, reason="the documentation's tools are not installed: pip install '.[docs]'")

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    """With the builder that resolves all references and writes nothing."""
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("commands", "api", "notebooks"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("CONTRIBUTING.md", "CHANGES.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dummy", docs, tmp_path / "built"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    predict = (docs / "reference/commands/predict.rst").read_text(encoding="utf-8")
    assert ".. option:: -o, --output" in predict and "/tutorial" in predict
    assert {path.stem for path in (docs / "reference/commands").glob("*.rst")} >= {
        name for name, command in cli.commands.items() if not hasattr(command, "commands")
    }
    assert {path.stem for path in (docs / "reference/api").glob("*.rst")} == {
        f"geoseg.{name}" for name in geoseg.__all__ if not name.startswith("_")
    }
