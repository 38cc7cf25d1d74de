"""The key of a figure: classes and outcomes behind their colours, amounts beside them, in columns that are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geoseg.plotting.figure import HATCH, INK, NO_DATA, SOFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 8.0
"""Points of the key's text."""
LINE, SWATCH, GAP, COLUMN_GAP = 0.133, (0.22, 0.105), 0.075, 0.28
"""Inches: height of a line of text, width and height of a colour, between parts of an entry, between columns."""
SPACE = 0.06
"""Inches between entries."""
BASELINE = 0.035
"""Inches from the middle of a line down to where its letters stand."""


@dataclass(frozen=True)
class Entry:
    """One line of a key."""

    label: str
    colour: str | None
    """As matplotlib writes it; None for white with lines, as where there is no data."""
    amount: str = ""
    group: int = 0
    """Entries of another group begin a row of their own below the others."""


@dataclass(frozen=True)
class Key:
    """Entries that were measured, and how they are laid out; all lengths in inches."""

    entries: tuple[Entry, ...]
    columns: int
    label_width: float
    amount_width: float
    heights: tuple[float, ...] = field(default=())
    """Of each row."""

    @property
    def column_width(self) -> float:
        """Of one column of entries."""
        amount = 2 * GAP + self.amount_width if self.amount_width else 0
        return SWATCH[0] + GAP + self.label_width + amount

    @property
    def width(self) -> float:
        """Of all columns."""
        return self.columns * self.column_width + (self.columns - 1) * COLUMN_GAP

    @property
    def height(self) -> float:
        """Of all rows."""
        return sum(self.heights) + SPACE * max(len(self.heights) - 1, 0)

    @property
    def rows(self) -> list[list[Entry]]:
        """The entries row by row; down the columns within a group."""
        return [row for group in _groups(self.entries) for row in _rows(group, self.columns)]


def measured(figure: Figure, entries: Sequence[Entry], columns: int | None = None, width: float = math.inf) -> Key:
    """The key of some entries in so many columns, or in as many as go into ``width``."""
    label = max((text_size(figure, one.label)[0] for one in entries), default=0.0)
    amount = max((text_size(figure, one.amount)[0] for one in entries if one.amount), default=0.0)
    single = Key(tuple(entries), 1, label, amount)
    if columns is None:
        most = max((len(group) for group in _groups(entries)), default=1)
        columns = min(max(1, int((width + COLUMN_GAP) / (single.column_width + COLUMN_GAP))), most)
        # As many rows need no more columns than this.
        columns = math.ceil(most / math.ceil(most / columns)) if most else 1
    rows = [row for group in _groups(entries) for row in _rows(group, columns)]
    heights = tuple(LINE * max(one.label.count("\n") + 1 for one in row) for row in rows)
    return Key(tuple(entries), columns, label, amount, heights)


def draw_key(figure: Figure, key: Key, left: float, top: float) -> None:
    """Draw a key with its upper left corner at (left, top), in inches from the figure's lower left corner."""
    from matplotlib.patches import Rectangle

    wide, high = figure.get_size_inches()
    y = top
    for row, height in zip(key.rows, key.heights, strict=True):
        for number, entry in enumerate(row):
            x = left + number * (key.column_width + COLUMN_GAP)
            middle = y - LINE / 2
            corner = (x / wide, (middle - SWATCH[1] / 2) / high)
            styles = [{"facecolor": entry.colour or "none", "edgecolor": SOFT, "linewidth": 0.5}]
            if entry.colour is None:
                # Lines have the colour of the edge, so that the frame is drawn by itself.
                styles.insert(0, {"facecolor": "white", "edgecolor": NO_DATA, "linewidth": 0, "hatch": HATCH})
            for style in styles:
                box = Rectangle(corner, SWATCH[0] / wide, SWATCH[1] / high, transform=figure.transFigure, **style)
                figure.add_artist(box)
            # Names are no formulas, whatever signs they hold.
            text = {"fontsize": SIZE, "color": INK, "va": "baseline", "parse_math": False}
            first = middle - BASELINE
            for below, line in enumerate(entry.label.split("\n")):
                figure.text((x + SWATCH[0] + GAP) / wide, (first - below * LINE) / high, line, **text)
            if entry.amount:
                figure.text((x + key.column_width) / wide, first / high, entry.amount, ha="right", **text)
        y -= height + SPACE


def text_size(figure: Figure, text: str, size: float = SIZE, weight: str = "normal") -> tuple[float, float]:
    """(width, height) of a text in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = figure.text(0, 0, text, fontsize=size, fontweight=weight, linespacing=1.1, parse_math=False)
    box = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    drawn.remove()
    return box.width / figure.dpi, box.height / figure.dpi


def broken(figure: Figure, text: str, width: float, size: float, weight: str = "normal") -> str:
    """A text in as many lines as keep it within ``width`` inches; words are not broken."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_size(figure, longer, size, weight)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    numbers = sorted({one.group for one in entries})
    return [[one for one in entries if one.group == number] for number in numbers]


def _rows(group: list[Entry], columns: int) -> list[list[Entry]]:
    """Down the first column, then down the next."""
    height = math.ceil(len(group) / columns)
    return [group[row::height] for row in range(height)]
