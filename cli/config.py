"""--config FILE: options of commands in a TOML file, each command's in its own table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from .completion import files

RECORD = "decided"
"""The table in which a run's config.toml says what training decided: not an option of anything."""
NOT_IN_FILES = ("config", "debug", "help", "version")


def configurable(command: click.Command, *, group: str = "") -> click.Command:
    """The command with an option --config, whose file has defaults for its other options.

    Of a group each command has one, and a table such as [job.plan].
    """
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            configurable(inner, group=f"{command.name}.")
        return command
    option = click.Option(
        ["--config"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_take,
        shell_complete=files,
        help=f"Options from the table [{group}{command.name}] of a file; those on the command line win.",
    )
    # Above -q and --debug, which stand last.
    command.params.insert(len(command.params) - 2, option)
    return command


def _take(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    root = context.find_root().command
    tables, commands = _tables(_read(path), root), _commands(root)
    for name, table in tables.items():
        _check_table(path, name, table, commands)
    name = next(name for name, command in commands.items() if command is context.command)
    own = tables.get(name)
    if own is None:
        there = ", ".join(f"[{name}]" for name in tables if name != RECORD) or "none"
        raise click.UsageError(f"{path}: has no table [{name}]; there is {there}")
    known = _parameters(context.command)
    context.default_map = {
        known[_plain(key)].name: _typed(path, key, value, known[_plain(key)]) for key, value in own.items()
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise click.UsageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: cannot be read as TOML ({error})") from error


def _commands(root: click.Group) -> dict[str, click.Command]:
    """The commands by the names of their tables: predict, job.plan."""
    found = {}
    for name, command in root.commands.items():
        is_group = isinstance(command, click.Group)
        found |= {f"{name}.{inner}": one for inner, one in command.commands.items()} if is_group else {name: command}
    return found


def _tables(read: dict[str, Any], root: click.Group) -> dict[str, Any]:
    """The tables by their names, those of a group's commands with both: job.plan."""
    found = {}
    for name, table in read.items():
        of_group = isinstance(root.commands.get(name), click.Group) and isinstance(table, dict)
        found |= {f"{name}.{inner}": one for inner, one in table.items()} if of_group else {name: table}
    return found


def _check_table(path: Path, name: str, table: Any, commands: dict[str, click.Command]) -> None:
    if not isinstance(table, dict):
        raise click.UsageError(f"{path}: {name} stands in no table; put it below [train], [predict] or another command")
    if name == RECORD:
        return
    if name not in commands:
        raise click.UsageError(f"{path}: there is no command {name}{_nearest(name, commands)}")
    known = _parameters(commands[name])
    meant = [known[_plain(key)].name for key in table if _plain(key) in known]
    if twice := next((one for one in meant if meant.count(one) > 1), None):
        raise click.UsageError(f"{path}: [{name}] has {twice} twice, under two spellings")
    for key in table:
        if _plain(key) not in known:
            raise click.UsageError(
                f"{path}: geoseg {name.replace('.', ' ')} has no option {key}{_nearest(_plain(key), known)}"
            )


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    """By each name that a file may use: as it is typed, with - or _, and an argument's own."""
    found = {}
    for parameter in command.params:
        if parameter.name not in NOT_IN_FILES:
            found |= dict.fromkeys((_plain(name) for name in _names(parameter)), parameter)
    return found


def _names(parameter: click.Parameter) -> Iterator[str]:
    if isinstance(parameter, click.Argument):
        yield parameter.name
        return
    yield from (name[2:] for name in parameter.opts if name.startswith("--"))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _nearest(name: str, known) -> str:
    near = get_close_matches(name, known, 1, 0.4)
    return f"; did you mean {near[0]}?" if near else ""


def _typed(path: Path, key: str, value: Any, parameter: click.Parameter) -> Any:
    """A value as click has those from a command line, so that it is checked in the same way."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    if is_flag != isinstance(value, bool):
        raise click.UsageError(
            f"{path}: {key} is {'true or false' if is_flag else 'a value, not true or false'}, got {value!r}"
        )
    if is_flag:
        return value
    if parameter.multiple or parameter.nargs != 1:
        return [_text(path, key, one) for one in _listed(value, parameter)]
    return _text(path, key, value)


def _listed(value: Any, parameter: click.Parameter) -> list[Any]:
    """One value in place of a list of one; of an option of pairs, such as scale, one pair too."""
    if not isinstance(value, list):
        return [value]
    pair = parameter.multiple and value and not any(isinstance(one, list | str) for one in value)
    return [value] if pair else value


def _text(path: Path, key: str, value: Any) -> str:
    """As it is typed: lists with commas."""
    if isinstance(value, list):
        return ",".join(_text(path, key, one) for one in value)
    if isinstance(value, bool | dict):
        raise click.UsageError(f"{path}: {key} cannot be {value!r}")
    return str(value)
