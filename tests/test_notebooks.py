"""The notebooks run from the first cell to the last, and what they show is no plain text."""

from __future__ import annotations

import ast
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples" / "notebooks").glob("*.ipynb"))
SMALL = {
    "quick_start": "SCENES, EPOCHS = 8, 1",
    "predict_large": "SCENES, EPOCHS, REPEATS = 8, 1, 3",
    "score_and_areas": "SCENES, EPOCHS, POINTS = 12, 6, 200",
    "ablation": "SCENES, EPOCHS, SEEDS = 8, 1, 1",
}
"""What stands in place of the parameters of each."""


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def run_cell(code: str, names: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does; the value of its last line, if that is one."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = 0
    for cell in cells(path):
        if cell["cell_type"] == "code":
            value = run_cell(
                SMALL[path.stem] if "parameters" in cell["metadata"].get("tags", []) else source(cell), names
            )
            if value is not None:
                shown += 1
                png = value._repr_png_()[0] if hasattr(value, "_repr_png_") else None
                assert png or value._repr_html_().startswith('<div class="geoseg">')
    assert shown >= 4


def test_every_notebook_is_there_and_is_kept_without_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SMALL)
    for path in NOTEBOOKS:
        found = cells(path)
        assert found[0]["cell_type"] == "markdown" and source(found[0]).startswith("# ")
        assert [cell for cell in found if "parameters" in cell["metadata"].get("tags", [])] == [
            next(cell for cell in found if cell["cell_type"] == "code")
        ]
        for cell in found:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [] and cell["execution_count"] is None
                assert max(map(len, source(cell).splitlines())) <= 120
        linked = re.findall(r"`(\w+\.ipynb)`", "".join(map(source, found)))
        assert {path.with_name(name) for name in linked} <= set(NOTEBOOKS)
