"""The tutorial's commands, run in its order with settings that take seconds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from blocks import code_blocks, shell_lines

from geoseg_cli.main import cli

TUTORIAL = Path(__file__).resolve().parents[2] / "docs/tutorial.md"
SMALL = {
    "sample": ["--scenes", "12", "--size", "64"],
    "train": ["--window", "64", "--epochs", "1", "--batch-size", "2", "--device", "cpu"],
    "design": ["--min-per-class", "2"],
}
"""Options at the end of a command, where the last one counts."""


def run(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a line prints on stdout and stderr; lines that are no call of geoseg print nothing."""
    name, *words = shlex.split(line)
    if name != "geoseg" or words == ["--version"]:
        return ""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli([*words, *SMALL.get(words[0], [])])
    out, err = capsys.readouterr()
    assert end.value.code == 0, (line, err)
    return err + out


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    said, checked = "", 0
    for language, code in code_blocks(TUTORIAL.read_text(encoding="utf-8")):
        if language == "bash":
            said = "".join(run(line, capsys) for line in shell_lines(code))
        elif language == "python":
            capsys.readouterr()
            exec(compile(code, str(TUTORIAL), "exec"), {})
            said = capsys.readouterr().out
        elif language == "text":
            checked += 1
            for word in first_words(code):
                assert word in first_words(said), f"{word!r} is not at the beginning of a line of\n{said}"
    assert checked >= 9
    assert {"map.tif", "map.png", "report.html", "labelled.csv"} <= {path.name for path in tmp_path.iterdir()}


def first_words(text: str) -> set[str]:
    """Of lines that stand at the margin; without numbers and paths, which are other ones here."""
    words = {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith(" ")}
    return {word for word in words if not re.match(r"[\d/]", word)}
