"""The code blocks of a Markdown page."""

from __future__ import annotations

import re
from typing import NamedTuple

FENCED = re.compile(r"^(`{3,})([\w{}-]*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]*\n)+")


class Block(NamedTuple):
    """A block of code."""

    language: str
    """As the page says: bash, python, text, ...; "" where it says nothing, and of indented blocks."""
    code: str


def code_blocks(page: str) -> list[Block]:
    """Fenced blocks in the order of the page, then indented ones."""
    fenced = [Block(language, code) for _, language, code in FENCED.findall(page)]
    indented = INDENTED.findall(FENCED.sub("", page))
    return fenced + [Block("", re.sub(r"^    ", "", code, flags=re.MULTILINE)) for code in indented]


def shell_lines(code: str) -> list[str]:
    """The commands of a block, those that go on over several lines as one, without what stands behind a #."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("$ ") for line in lines) if line]
