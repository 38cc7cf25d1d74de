"""Relative links lead to files, and anchors to headings."""

from __future__ import annotations

import re
from pathlib import Path

from blocks import FENCED

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)


def prose_of(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub and myst make them of headings."""
    found: set[str] = set()
    for heading in HEADING.findall(prose_of(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = sum(other.rpartition("-")[0] == slug or other == slug for other in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def test_relative_links_resolve(page: Path) -> None:
    for target in LINK.findall(prose_of(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists() and path.is_relative_to(ROOT), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(path), f"{target}: no such heading; there are {sorted(anchors(path))}"


def test_every_page_is_in_a_table_of_contents() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    listed = {name for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for name in block.split()}
    listed = {name.strip("<>") for name in listed}
    written = (path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md"))
    assert {name for name in written if name != "index"} <= listed


def test_every_picture_is_shown() -> None:
    shown = {Path(target).name for page in pages() for target in LINK.findall(page.read_text(encoding="utf-8"))}
    assert {path.name for path in (ROOT / "docs/images").iterdir()} <= shown


def pages() -> list[Path]:
    return [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
