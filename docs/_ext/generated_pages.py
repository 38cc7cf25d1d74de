"""Pages that are made of the program when the documentation is built.

``reference/commands/`` has a page for every command of the group ``geoseg``, ``reference/api/`` one for every name that
``geoseg`` exports, ``notebooks/`` a copy of every notebook of the examples. What is added to the program appears by
itself; a page whose origin is gone is removed.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from blocks import code_blocks
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.rst import escape

import geoseg
from geoseg_cli.main import cli

GROUPS = {
    "Map": ("prediction", "models", "jobs"),
    "Score": ("scoring", "confusion", "reporting"),
    "Figures": ("plotting",),
    "Vectors and catalogues": ("vectorizing", "stac"),
    "Train": ("training", "datasets"),
    "Ablation": ("ablation",),
    "Rasters": ("raster", "source", "scaling", "grid"),
    "Classes and points": ("legend", "points"),
    "This machine": ("doctor",),
}
"""Headings of the list of names, and the modules or packages of geoseg whose names stand below each."""


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", list_parameters)
    app.connect("autodoc-process-signature", name_no_factories)
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    written = dict(hand_written(docs))
    write_folder(docs / "reference/commands", command_pages(written))
    write_folder(docs / "reference/api", name_pages(written))
    copy_notebooks(docs.parent / "examples/notebooks", docs / "notebooks")


def write_folder(folder: Path, pages: dict[str, str]) -> None:
    """Write the files that differ, so that a second build reads only these, and remove those that are no page."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def hand_written(docs: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the pages that people wrote, in the order in which they are listed as places to read on."""
    for pattern in ("tutorial.md", "howto/*.md", "concepts/*.md", "*.md"):
        for path in sorted(docs.glob(pattern)):
            if path.stem not in ("index", "contributing", "changes"):
                yield path.relative_to(docs).with_suffix("").as_posix(), path.read_text(encoding="utf-8")


def shown_in(pages: dict[str, str], pattern: str) -> str:
    """Links to the pages whose code blocks hold the pattern."""
    wanted = re.compile(pattern, re.MULTILINE)
    found = [name for name, text in pages.items() if any(wanted.search(block.code) for block in code_blocks(text))]
    links = " · ".join(f":doc:`/{name}`" for name in found)
    return f"\n.. container:: shown-in\n\n   Shown in: {links}\n" if found else ""


# Commands


def command_pages(written: dict[str, str]) -> dict[str, str]:
    commands = list(leaves(cli, ("geoseg",)))
    pages = {f"{page_of(path)}.rst": command_page(path, command, written) for path, command in commands}
    rows = "".join(
        f"   * - :doc:`{' '.join(path)} <commands/{page_of(path)}>`\n     - {escape(command.get_short_help_str(200))}\n"
        for path, command in commands
    )
    toctree = "".join(f"   commands/{page_of(path)}\n" for path, _ in commands)
    pages["list.txt"] = f".. list-table::\n   :widths: 25 75\n\n{rows}\n.. toctree::\n   :hidden:\n\n{toctree}"
    return pages


def leaves(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The commands of a group and of the groups in it, with all words that call them."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


def page_of(path: tuple[str, ...]) -> str:
    return "-".join(path[1:])


def command_page(path: tuple[str, ...], command: click.Command, written: dict[str, str]) -> str:
    title = " ".join(path)
    context = click.Context(command, info_name=title, max_content_width=10_000)
    usage = " ".join([title, *command.collect_usage_pieces(context)])
    parts = [
        f"{title}\n{'=' * len(title)}\n\n.. program:: {title}\n\n.. code-block:: text\n\n   {usage}\n",
        prose(command.help or ""),
        shown_in(written, rf"^\s*(?:\$ )?{title}\b"),
        "Options\n-------\n",
        *(option(parameter, context) for parameter in command.params if isinstance(parameter, click.Option)),
    ]
    return "\n".join(parts)


def option(parameter: click.Option, context: click.Context) -> str:
    """One option as click itself would explain it."""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, text = record
    text, *extra = re.split(r"(?:^|\s\s)\[(?=default|required|x[<>]|\d)", text)
    described = literal_options(text) + "".join(f" :extra:`{plain_range(part)}`" for part in extra)
    return f".. option:: {names.strip()}\n\n   {described}\n"


def plain_range(text: str) -> str:
    """What click writes in brackets, in words: x>=1 as at least 1."""
    text = re.sub(r"\bx>=(\S+)", r"at least \1", text.rstrip("]"))
    return escape(re.sub(r"\bx>(\S+)", r"above \1", text))


def prose(text: str) -> str:
    """A command's help: paragraphs, and those after a line of \\b with their lines kept."""
    paragraphs = inspect.cleandoc(text.replace("\f", "")).split("\n\n")
    return (
        "\n\n".join(
            "\n".join(f"| {literal_options(line)}" for line in paragraph.removeprefix("\b\n").splitlines())
            if paragraph.startswith("\b")
            else literal_options(" ".join(paragraph.split()))
            for paragraph in paragraphs
        )
        + "\n"
    )


def literal_options(text: str) -> str:
    """Plain text as reStructuredText, with options and file names set as code."""
    endings = "tif|jpg|png|json|html|md|csv|gpkg|safetensors|toml"
    word = re.compile(rf"(?<![\w<-])(--?[a-z][\w-]*|[\w./*<>-]+\.(?:{endings}))(?!\w)")
    pieces = word.split(text)
    return "".join(f"``{piece}``\\ " if number % 2 else escape(piece) for number, piece in enumerate(pieces)).strip()


# Names


def name_pages(written: dict[str, str]) -> dict[str, str]:
    names = [name for name in geoseg.__all__ if not name.startswith("_")]
    pages = {f"geoseg.{name}.rst": name_page(name, written) for name in names}
    pages["list.txt"] = "\n".join(table(heading, group) for heading, group in grouped(names).items())
    return pages


def grouped(names: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {heading: [] for heading in (*GROUPS, "Others")}
    for name in names:
        home = geoseg._HOMES[name].split(".")[1]
        heading = next((heading for heading, homes in GROUPS.items() if home in homes), "Others")
        groups[heading].append(name)
    # Functions before classes: they are what one looks for first.
    return {
        heading: sorted(group, key=lambda name: (inspect.isclass(getattr(geoseg, name)), name.lower()))
        for heading, group in groups.items()
        if group
    }


def table(heading: str, names: list[str]) -> str:
    rows = "".join(
        f"   * - :doc:`{name} <api/geoseg.{name}>`\n     - {docstring(name).splitlines()[0]}\n" for name in names
    )
    toctree = "".join(f"   api/geoseg.{name}\n" for name in names)
    return (
        f".. rubric:: {heading}\n\n.. list-table::\n   :widths: 30 70\n\n{rows}\n.. toctree::\n   :hidden:\n\n{toctree}"
    )


def docstring(name: str) -> str:
    """That of a class or function; of a value, the text below it in the module where it is made."""
    value = getattr(geoseg, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return inspect.getdoc(value) or ""
    analyzer = ModuleAnalyzer.for_module(geoseg._HOMES[name])
    analyzer.analyze()
    return "\n".join(analyzer.attr_docs.get(("", name), ["(without a docstring)"]))


def name_page(name: str, written: dict[str, str]) -> str:
    value = getattr(geoseg, name)
    home = geoseg._HOMES[name]
    import_module(home)
    title = f"geoseg.{name}"
    if inspect.isclass(value):
        body = f".. autoclass:: {title}\n   :members:\n   :inherited-members: Module, Exception\n"
    elif inspect.isroutine(value):
        body = f".. autofunction:: {title}\n"
    else:
        text = "\n".join(f"   {line}" for line in docstring(name).splitlines())
        body = f".. py:data:: {title}\n   :type: {type(value).__name__}\n\n{text}\n"
    return f"{name}\n{'=' * len(name)}\n\n{body}" + shown_in(written, rf"geoseg\.{name}\b")


def list_parameters(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Make a list of what a docstring says under "Args:", where one text may be of several parameters."""
    if "Args:" not in lines:
        return
    start = lines.index("Args:")
    stop = next((n for n in range(start + 1, len(lines)) if lines[n] and not lines[n].startswith(" ")), len(lines))
    entry = re.compile(r"^    (\w[\w, ]*): ")
    told = [entry.sub(lambda found: f"    * {in_bold(found[1])}: ", line) for line in lines[start + 1 : stop]]
    # What goes on is indented by 8; the text of a list's entry is by 6.
    lines[start:stop] = [":Parameters:", *(line.removeprefix("  ") if line[:8].isspace() else line for line in told)]


def in_bold(names: str) -> str:
    return ", ".join(f"**{name}**" for name in names.split(", "))


def name_no_factories(app: Sphinx, what: str, name: str, value: object, options: object, signature, returns):
    """Signatures whose defaults are made when they are needed could not be read."""
    return (signature.replace("<factory>", "..."), returns) if signature else None


# Notebooks


def copy_notebooks(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    notebooks = sorted(source.glob("*.ipynb"))
    if notebooks:
        target.mkdir()
    for notebook in notebooks:
        shutil.copy2(notebook, target)
