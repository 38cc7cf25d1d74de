"""Lines over epochs as pictures inside a page: colours with dashes, and a key that shows both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geoseg.reporting.markup import Markup, element, joined

WIDTH, HEIGHT = 460, 250
RIGHT, TOP, BOTTOM = 10, 12, 36
"""Room in the picture's own units around the plot; what there is to the left depends on the ticks."""
TITLE, DIGIT = 22, 7.5
"""Room for the title of the upright axis, and for a digit of its ticks."""
COLOURS = ("#0b5394", "#c04a00", "#00735a", "#9a3c86", "#6b5b00", "#1c2430")
"""Read on white by every colour vision; from the seventh line on with another dash."""
DASHES = (None, "7 4", "2 3", "9 3 2 3")
TICKS = 5
"""At most so many steps along an axis."""


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(x, y) from left to right."""
    style: int
    """Its place among colours and dashes; lines of one style share an entry of the key."""


def plot(title: str, lines: Sequence[Line], across: str, up: str) -> Markup:
    """Lines in one plot, y from 0; ``across`` and ``up`` are the titles of its axes."""
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup()
    last, highest = (max(values) for values in zip(*points, strict=True))
    x_ticks, y_ticks = ticks(max(last, 1)), ticks(highest)
    left = TITLE + DIGIT * max(len(f"{value:g}") for value in y_ticks)
    frame = _Frame(max(last, 1), max(y_ticks[-1], highest) or 1, left)
    parts = [*_axis(frame, x_ticks, y_ticks, across, up), *(_drawn(line, frame) for line in lines)]
    said = f"{title}: {up} over {across}, {', '.join(line.name for line in lines)}"
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said, class_="plot")


def key(lines: Sequence[Line]) -> Markup:
    """What the lines are, one entry a style."""
    entries = {line.style: line.name for line in lines}
    return element(
        "ul", *(element("li", _sample(style), name) for style, name in sorted(entries.items())), class_="key"
    )


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 up to the first one at or above ``highest``, at most TICKS steps."""
    if not highest > 0:
        return [0.0, 1.0]
    magnitude = 10.0 ** math.floor(math.log10(highest / TICKS))
    step = next(size * magnitude for size in (1, 2, 5, 10) if size * magnitude * TICKS >= highest * (1 - 1e-9))
    return [round(number * step, 12) for number in range(math.ceil(highest / step - 1e-9) + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where a point of the data lies in the picture."""

    last: float
    highest: float
    left: float
    """Where the plot begins."""

    def x(self, value: float) -> float:
        return self.left + (WIDTH - self.left - RIGHT) * value / self.last

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.highest


def _axis(frame: _Frame, x_ticks: list[float], y_ticks: list[float], across: str, up: str) -> list[Markup]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_ticks:
        y = frame.y(value)
        parts.append(_rule(frame.left, right, y, y))
        parts.append(_text(f"{value:g}", frame.left - 6, y + 4, "end"))
    for value in x_ticks:
        if value <= frame.last and value == int(value):
            parts.append(_text(f"{value:g}", frame.x(value), bottom + 15, "middle"))
    parts.append(_text(across, (frame.left + right) / 2, HEIGHT - 4, "middle"))
    parts.append(_text(up, -(TOP + bottom) / 2, 11, "middle", transform="rotate(-90)"))
    return parts


def _drawn(line: Line, frame: _Frame) -> Markup:
    places = [(frame.x(x), frame.y(y)) for x, y in line.points]
    ink, dash = _style(line.style)
    if len(places) == 1:
        (x, y) = places[0]
        return element("circle", element("title", line.name), cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, fill=ink)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return element(
        "polyline", element("title", line.name), points=path, stroke=ink, stroke_dasharray=dash, class_="curve"
    )


def _sample(style: int) -> Markup:
    ink, dash = _style(style)
    drawn = element("polyline", points="0,6 28,6", stroke=ink, stroke_dasharray=dash, class_="curve")
    return element("svg", drawn, viewBox="0 0 28 12", class_="line", aria_hidden="true")


def _style(number: int) -> tuple[str, str | None]:
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def _rule(x1: float, x2: float, y1: float, y2: float) -> Markup:
    return element("line", x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=f"{y1:.1f}", y2=f"{y2:.1f}", class_="rule")


def _text(text: str, x: float, y: float, anchor: str, **more: str) -> Markup:
    return element("text", joined(text), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **more)
