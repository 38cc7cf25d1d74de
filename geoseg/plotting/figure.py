"""Figures of matplotlib, without its global state: made empty, measured, and written."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, ACCENT = "#222222", "#555555", "#b2182b"
HATCH, NO_DATA = "////", "#cccccc"
"""Lines where there is no data, and their colour."""
NAME_WIDTH = 30
"""Characters of a line of a class name."""
ENDINGS = (".png", ".pdf", ".svg")
"""Formats of figures, by the ending of the file."""
VECTOR_FONTS = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "geoseg"}
"""Text stays text in files that a journal's editors may open."""


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty figure of so many inches; raises UsageError where matplotlib is missing."""
    try:
        from geoseg.plotting.shown import ShownFigure
    except ImportError as error:
        raise UsageError("figures need matplotlib, which is not installed: pip install 'geoseg[figures]'") from error
    figure = ShownFigure((width, height), layout=layout, facecolor="white")
    if layout:
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def wrapped(name: str, lines: int = 2) -> str:
    """A name on so many lines at most."""
    return "\n".join(textwrap.wrap(name, NAME_WIDTH, max_lines=lines, placeholder=" …")) or name[:NAME_WIDTH]


def require_ending(path: Path) -> None:
    """Raise UsageError unless a figure can be written in the format that a file's ending names."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a figure ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def encoded(figure: Figure, ending: str, dpi: float) -> bytes:
    """A figure as a file of that ending holds it; equal figures give equal bytes."""
    import matplotlib

    data, form = io.BytesIO(), ending.lower().removeprefix(".")
    clock = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form, {"Software": "geoseg"})
    with matplotlib.rc_context(VECTOR_FONTS):
        figure.savefig(data, format=form, dpi=dpi, metadata=clock)
    return data.getvalue()
