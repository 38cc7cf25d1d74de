"""The house: what imports what, what a light import loads, and what the wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "timm", "rasterio", "torchvision", "PIL", "shapely", "pyogrio", "scipy")


def loaded_by(code: str) -> set[str]:
    report = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_import_geoseg_is_light() -> None:
    assert loaded_by("import geoseg, geoseg.errors; dir(geoseg)") == set()


def test_numbers_alone_need_no_torch() -> None:
    code = "import geoseg; geoseg.ConfusionMatrix; geoseg.DEEPGLOBE; geoseg.median_frequency_weights; geoseg.Window"
    assert loaded_by(code) == set()


COMMANDS = "", "sample", "stats", "train", "ablate", "predict", "score", "compare", "design", "area", "import", "info"
COMMANDS += "plot", "vectorize", "restyle", "export", "stac", "doctor"
COMMANDS += "job", "job plan", "job run", "job status", "job merge"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_light(command: str) -> None:
    words = [*command.split(), "--help"]
    code = (
        f"from geoseg_cli.main import cli\ntry:\n    cli({words!r})\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert loaded_by(code) == set()


def test_completion_is_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    (run / "model.safetensors").touch()
    monkeypatch.setenv("_GEOSEG_COMPLETE", "bash_complete")
    asked = (("predict --model ru", "file,ru\nplain,runs/first"), ("score a --legend d", "file,d\nplain,deepglobe"))
    asked += (
        ("train --setting b", "plain,baseline"),
        ("train --encoder resnet3", "plain,resnet34"),
        ("st", "plain,stac"),
    )
    for words, offered in asked:
        monkeypatch.setenv("COMP_WORDS", f"geoseg {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        code = "from geoseg_cli.main import cli\ntry:\n    cli(prog_name='geoseg')\nexcept SystemExit: pass"
        report = f"import sys\n{code}\nassert not [m for m in {HEAVY!r} if m in sys.modules]"
        done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(offered)


def test_every_public_name_is_there() -> None:
    import geoseg

    assert all(getattr(geoseg, name) is not None for name in geoseg.__all__)
    with pytest.raises(AttributeError, match="frob"):
        _ = geoseg.frob


def house() -> list[str]:
    """Modules in the order of the table in docs/architecture.md."""
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## The house")[1].split("\n\n## ")[0]
    found: list[str] = []
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([^`]+\.py)`", row):
            folder = name.rpartition("/")[0] or folder
            found.append(name if "/" in name or not folder else f"{folder}/{name}")
    return found


def imported_modules(path: Path) -> set[str]:
    """Files below geoseg/ that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "geoseg":
            names |= {f"geoseg.{alias.name}" for alias in node.names} if node.module == "geoseg" else {node.module}
        assert not (isinstance(node, ast.ImportFrom) and node.level and path.parent.name != "cli"), f"{path}: relative"
    return {name.removeprefix("geoseg").lstrip(".").replace(".", "/") + ".py" for name in names - {"geoseg"}}


def test_the_table_of_modules_is_complete() -> None:
    there = {str(path.relative_to(ROOT / "geoseg")) for path in (ROOT / "geoseg").rglob("*.py")}
    assert {name for name in there if not name.endswith("__init__.py")} == set(house())


def test_each_module_imports_only_what_stands_above_it() -> None:
    order = house()
    for place, name in enumerate(order):
        below = imported_modules(ROOT / "geoseg" / name) - set(order[:place])
        assert not below, f"geoseg/{name} imports {sorted(below)}"


def test_only_raster_opens_raster_files() -> None:
    opening = re.compile(r"rasterio\.open\(|DatasetReader\(")
    found = {path for path in (ROOT / "geoseg").rglob("*.py") if opening.search(path.read_text(encoding="utf-8"))}
    assert {path.parent.name for path in found} == {"raster"}


def test_no_pickle() -> None:
    loading = re.compile(r"\bimport pickle|torch\.load\(|torch\.save\(|np\.load\(.*allow_pickle")
    sources = [*(ROOT / "geoseg").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    assert not [path for path in sources if loading.search(path.read_text(encoding="utf-8"))]


def test_the_wheel_holds_every_package_and_no_cli(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in (("geoseg", "geoseg"), ("cli", "geoseg_cli")):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".json", ".css"):
                assert f"{package}/{path.relative_to(ROOT / folder)}" in packed
    assert not [name for name in packed if name.startswith(("cli/", "tests/", "examples/"))]
