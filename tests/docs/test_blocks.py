"""Commands in the pages parse as the program has them, and Python compiles. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from blocks import FENCED, code_blocks, shell_lines

import geoseg
from geoseg_cli.main import cli

SHELL = ("bash", "console", "sh", "")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OF_OTHERS = {"--nproc-per-node", "--signal"}
"""Options of other programs."""


def invocations(line: str) -> Iterator[list[str]]:
    """The words after ``geoseg`` of every call of it in a line of shell."""
    words = shlex.split(re.sub(r"[;|]|&&", " ; ", line), comments=True)
    while words:
        stop = words.index(";") if ";" in words else len(words)
        command, words = words[:stop], words[stop + 1 :]
        if command[:1] == ["exec"]:
            command = command[1:]
        if command[:1] == ["geoseg"]:
            yield command[1:]
        elif "geoseg_cli" in command:
            yield command[command.index("geoseg_cli") + 1 :]


def find_command(words: list[str]) -> tuple[click.Command, str, list[str]]:
    """The command that the words call, through groups; raises KeyError for one that is not there."""
    command, name = cli, "geoseg"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    return command, name, words


def check(line: str) -> None:
    """Raises where a call of geoseg in the line has an option, a value or a number of arguments that it cannot have."""
    for words in invocations(line):
        command, name, rest = find_command(words)
        leaves_out = "..." in rest
        try:
            command.make_context(name, without_config([word for word in rest if word != "..."], command))
        except click.MissingParameter:
            assert leaves_out, line
        except click.exceptions.Exit:
            pass
        except click.ClickException as error:
            raise AssertionError(f"{line}: {error.format_message()}") from error


def test_commands_parse(page: Path) -> None:
    for block in code_blocks(page.read_text(encoding="utf-8")):
        for line in shell_lines(block.code) if block.language in SHELL else ():
            if re.search(r"\bgeoseg\b|geoseg_cli", line) and "geoseg COMMAND" not in line and is_shell(line):
                check(line)


def is_shell(line: str) -> bool:
    """Synopses in square brackets, and Python in indented blocks, are no shell."""
    try:
        shlex.split(line)
    except ValueError:
        return False
    return not re.search(r"\[-|\w\(|= geoseg\.|^(import|from) ", line)


def without_config(words: list[str], command: click.Command) -> list[str]:
    """The words without --config FILE, which would be read, where the command has that option."""
    if "--config" in words and "--config" in all_options(command):
        place = words.index("--config")
        return words[:place] + words[place + 2 :]
    return words


def all_options(command: click.Command) -> set[str]:
    if isinstance(command, click.Group):
        return set().union({"--version"}, *map(all_options, command.commands.values()))
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def test_options_in_the_text_exist(page: Path) -> None:
    known = all_options(cli) | OF_OTHERS
    for code in INLINE.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
        assert named <= known, f"`{code}`: {sorted(named - known)} is no option"
        if found := re.match(r"geoseg ([a-z]+)\b", code):
            assert found[1] in cli.commands, f"`{code}`: no such command"


def test_python_compiles(page: Path) -> None:
    for block in code_blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            compile(block.code, str(page), "exec")


def test_names_of_geoseg_in_python_exist(page: Path) -> None:
    for block in code_blocks(page.read_text(encoding="utf-8")):
        for name in re.findall(r"\bgeoseg\.(\w+)", block.code) if block.language == "python" else ():
            assert name in geoseg.__all__ or is_module(name), f"geoseg.{name} in {page.name}"


def is_module(name: str) -> bool:
    folder = Path(geoseg.__file__).parent
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


@pytest.mark.parametrize(
    "line",
    [
        "geoseg predict scene.tif -o map.tif --windw 512",
        "geoseg predict scene.tif",
        "geoseg score map.tif",
        "cd data && geoseg train . --setting best",
        "torchrun -m geoseg_cli train data --batch-size many",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)
