"""What the Python reference is made of: every public name explains itself."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator

import pytest

import geoseg

NAMES = [name for name in geoseg.__all__ if not name.startswith("_")]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(geoseg, name))]
FUNCTIONS = [name for name in NAMES if inspect.isroutine(getattr(geoseg, name))]

EVERYWHERE = {"overwrite", "progress"}
"""Parameters that mean the same in every function: files that exist are replaced, a bar is shown on stderr."""


def names(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_explained_in_one_sentence(name: str) -> None:
    first = (inspect.getdoc(getattr(geoseg, name)) or "").partition("\n\n")[0]
    assert first.rstrip().endswith((".", ":", ")")), f"geoseg.{name}: {first!r}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_tells_its_parameters_and_errors(name: str) -> None:
    """A parameter that is called as its type (legend: Legend) need not be told."""
    function = getattr(geoseg, name)
    text = inspect.getdoc(function) or ""
    untold = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in names(text) | EVERYWHERE
        and parameter.name not in str(parameter.annotation).lower().replace("confusionmatrix", "matrix")
    ]
    assert not untold, f"geoseg.{name} does not tell {untold}"
    assert "Raises" in text, f"geoseg.{name} does not tell which errors it raises"


def methods(kind: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties that the class itself defines."""
    for name, value in vars(kind).items():
        function = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
        if not name.startswith("_") and (inspect.isfunction(function) or isinstance(value, functools.cached_property)):
            yield name, function


@pytest.mark.parametrize("name", CLASSES)
def test_methods_have_docstrings(name: str) -> None:
    without = [method for method, function in methods(getattr(geoseg, name)) if not inspect.getdoc(function)]
    assert not without, f"geoseg.{name}: {without}"


@pytest.mark.parametrize("name", [name for name in CLASSES if dataclasses.is_dataclass(getattr(geoseg, name))])
def test_fields_have_docstrings(name: str) -> None:
    kind = getattr(geoseg, name)
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
    told = {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    own = {field.name for field in dataclasses.fields(kind) if field.name in kind.__annotations__}
    assert not {field for field in own - told if not field.startswith("_")}
