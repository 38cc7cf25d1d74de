"""Panels on one sheet, with what stands around them: title, key, scale, north, coordinates. All lengths in inches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg.plotting.figure import HATCH, INK, NO_DATA, SOFT, new_figure
from geoseg.plotting.ground import Ground, nice_length, ticks_of
from geoseg.plotting.key import Entry, Key, broken, draw_key, measured, text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geoseg.grid import Grid

MARGIN, GUTTER, BESIDE, BELOW = 0.06, 0.12, 0.2, 0.12
"""Around everything, between panels, between panels and what stands beside or below them."""
TITLE_SIZE, HEAD_SIZE, SMALL = 10.0, 8.5, 7.0
"""Points of the title, of panels' titles, of coordinates and scales."""
HEAD, TICK_ROOM, SCALE_ROOM = 0.22, 0.2, 0.27
"""Heights of a panel's title, of coordinates at an edge, of a scale."""
SCALE_GAP = 0.07
"""Between a scale and the key below it."""
BAR_ROOM, BAR = 0.47, (1.7, 0.09)
"""Height of a colour bar with its numbers; width and height of its colours."""
TALLEST = 1.3
"""Height of the panels together by the sheet's width, at most."""
BESIDE_FROM = 0.62
"""Height by width of a panel from which the key may stand beside it."""
WIDE, WIDEST = 1.9, 5.0
"""Width by height of a panel from which panels stand in two columns, and in one."""
LEAST_PANEL, HEAD_LINE = 1.2, 0.65
"""Width of panels that stand side by side, and height of a title's further lines by that of its first."""
NARROWEST = 0.04
"""Sides of a panel at least, however long and thin a raster is."""
TICK_APART = 0.9
"""Between two coordinates along an edge, at least."""


@dataclass(frozen=True)
class ColourBar:
    """What the colours of a panel of numbers mean."""

    name: str
    colours: str
    """A colour map of matplotlib."""
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture."""

    title: str
    layers: tuple[np.ndarray, ...]
    """(h, w, 3 or 4) uint8, drawn over each other."""
    smooth: bool = False
    """True for photographs: their pixels need not be seen."""
    hatched: bool = False
    """True where lines show through what is clear."""
    marks: tuple[tuple[float, float, str], ...] = ()
    """(column, row, text) in the picture's pixels."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a figure shows, before it has a size."""

    panels: tuple[Panel, ...]
    grid: Grid
    ground: Ground
    entries: tuple[Entry, ...]
    bar: ColourBar | None = None
    title: str = ""
    coordinates: bool = False
    """Longitudes and latitudes at the edges of a single panel."""

    @property
    def ratio(self) -> float:
        """Height of a panel by its width."""
        height, width = self.grid.shape
        return height * self.ground.aspect / width


@dataclass(frozen=True)
class Layout:
    """Where things are, from the upper left corner."""

    width: float
    height: float
    panel: tuple[float, float]
    """(width, height)."""
    corners: tuple[tuple[float, float], ...]
    """(left, top) of each panel."""
    title: str
    heads: tuple[str, ...]
    """Titles of the panels; both in lines that are no wider than what they stand above."""
    key: Key
    key_corner: tuple[float, float]
    beside: bool
    """True where the key stands to the right of the panels."""
    scale_corner: tuple[float, float]
    bar_corner: tuple[float, float]


class _Panels(NamedTuple):
    """How the panels stand, and the key that goes with them."""

    size: tuple[float, float]
    """(width, height) of each."""
    columns: int
    heads: tuple[str, ...]
    head: float
    """Height of the heads."""
    key: Key


class _Around(NamedTuple):
    """Where the rest goes; (left, top) each."""

    key: tuple[float, float]
    scale: tuple[float, float]
    bar: tuple[float, float]
    whole: tuple[float, float]
    """(width, height) of the sheet."""


Box = tuple[float, float, float, float]
"""(left, top, right, bottom) of all panels."""


def laid_out(sheet: Sheet, width: float) -> Layout:
    """Place everything on a sheet that is ``width`` wide at most: of a tall panel it is narrower."""
    probe = new_figure(1, 1, None)
    title = broken(probe, sheet.title, width - 2 * MARGIN, TITLE_SIZE, "bold")
    across, high = text_size(probe, title, TITLE_SIZE, "bold") if title else (0.0, 0.0)
    ticks = TICK_ROOM if sheet.coordinates else 0.0
    usable, tallest = width - 2 * MARGIN - ticks, TALLEST * width
    beside = len(sheet.panels) == 1 and _stands_beside(sheet, probe, usable)
    panels = (_panel_beside_key if beside else _panels_above_key)(sheet, probe, usable, tallest)
    corners = _corners(panels, len(sheet.panels), MARGIN + ticks, MARGIN + (high + 0.1 if title else 0.0))
    right, bottom = (max(ends) + side for ends, side in zip(zip(*corners, strict=True), panels.size, strict=True))
    around = (_around_beside if beside else _around_below)(sheet, panels.key, (*corners[0], right, bottom), ticks)
    wide, whole_high = around.whole
    whole = max(wide, 2 * MARGIN + across) if title else wide, whole_high
    rest = around.key, beside, around.scale, around.bar
    return Layout(*whole, panels.size, corners, title, panels.heads, panels.key, *rest)


def _panel_beside_key(sheet: Sheet, probe: Figure, usable: float, tallest: float) -> _Panels:
    key = measured(probe, sheet.entries, columns=1)
    return _Panels(_panel_size(sheet.ratio, usable - BESIDE - _aside(sheet, key), tallest), 1, ("",), 0.0, key)


def _panels_above_key(sheet: Sheet, probe: Figure, usable: float, tallest: float) -> _Panels:
    columns = _columns(len(sheet.panels), sheet.ratio, usable)
    head = HEAD if any(one.title for one in sheet.panels) else 0.0
    rows = math.ceil(len(sheet.panels) / columns)
    across = (usable - (columns - 1) * GUTTER) / columns
    size = _panel_size(sheet.ratio, across, (tallest - rows * head - (rows - 1) * GUTTER) / rows)
    heads = tuple(broken(probe, one.title, size[0], HEAD_SIZE) for one in sheet.panels)
    head *= 1 + HEAD_LINE * max(text.count("\n") for text in heads)
    used = columns * size[0] + (columns - 1) * GUTTER
    key = measured(probe, sheet.entries, width=max(used, min(usable, 2.2)))
    return _Panels(size, columns, heads, head, key)


def _aside(sheet: Sheet, key: Key) -> float:
    """Width of what stands to the right of a panel."""
    return max(key.width, BAR[0] if sheet.bar else 0.0, 1.0)


def _corners(panels: _Panels, count: int, left: float, top: float) -> tuple[tuple[float, float], ...]:
    (width, height), head = panels.size, panels.head
    return tuple(
        (left + col * (width + GUTTER), top + head + row * (height + head + GUTTER))
        for row, col in (divmod(number, panels.columns) for number in range(count))
    )


def _around_beside(sheet: Sheet, key: Key, box: Box, ticks: float) -> _Around:
    """Key and bar to the right from the top down, the scale at the bottom there."""
    _, top, right, bottom = box
    scale, bar = _rooms(sheet)
    left = right + BESIDE
    bar_top = top + key.height + (GUTTER if sheet.entries else 0)
    low = max(bottom, bar_top + bar + (GUTTER + scale if scale else 0.0))
    whole = left + _aside(sheet, key) + MARGIN, max(low, bottom + ticks) + MARGIN
    return _Around((left, top), (left, low - scale), (left, bar_top), whole)


def _around_below(sheet: Sheet, key: Key, box: Box, ticks: float) -> _Around:
    """Scale and bar below, in one row where there is room, and the key below these."""
    left, _, right, bottom = box
    scale, bar = _rooms(sheet)
    under = bottom + ticks + BELOW
    in_one_row = scale > 0 and right - left > BAR[0] + 1.6
    bar_corner = (right - BAR[0], under) if in_one_row else (left, under + scale)
    key_top = under + (max(scale, bar) if in_one_row else scale + bar) + (SCALE_GAP if scale and not bar else 0)
    low = key_top + (key.height if sheet.entries else -BELOW)
    whole = max(right, left + key.width if sheet.entries else 0, left + 1.0) + MARGIN, low + MARGIN
    return _Around((left, key_top), (left, under), bar_corner, whole)


def _rooms(sheet: Sheet) -> tuple[float, float]:
    """Heights that the scale and the colour bar take."""
    return SCALE_ROOM if _has_scale(sheet) else 0.0, BAR_ROOM if sheet.bar else 0.0


def drawn(sheet: Sheet, layout: Layout) -> Figure:
    """The figure."""
    figure = new_figure(layout.width, layout.height, None)
    for panel, head, corner in zip(sheet.panels, layout.heads, layout.corners, strict=True):
        axes = _add_axes(figure, corner, layout.panel)
        _draw_panel(axes, panel, sheet.grid.shape)
        if head:
            axes.set_title(head, loc="left", fontsize=HEAD_SIZE, color=INK, pad=4, linespacing=1.1)
        if sheet.coordinates:
            _draw_coordinates(axes, sheet.grid, layout.panel)
    if layout.title:
        place = MARGIN / layout.width, 1 - MARGIN / layout.height
        style = {"fontsize": TITLE_SIZE, "fontweight": "bold", "color": INK, "va": "top", "linespacing": 1.1}
        figure.text(*place, layout.title, parse_math=False, **style)
    if sheet.entries:
        draw_key(figure, layout.key, layout.key_corner[0], layout.height - layout.key_corner[1])
    if _has_scale(sheet):
        _draw_scale(figure, sheet, layout)
    if sheet.bar:
        _draw_bar(figure, sheet.bar, layout)
    return figure


def _stands_beside(sheet: Sheet, probe: Figure, usable: float) -> bool:
    """True where a key to the right leaves more of the panel than one below would."""
    if sheet.ratio < BESIDE_FROM or not (sheet.entries or sheet.bar):
        return False
    return measured(probe, sheet.entries, columns=1).column_width < 0.45 * usable


def _panel_size(ratio: float, width: float, tallest: float) -> tuple[float, float]:
    width = min(width, tallest / ratio)
    return max(width, NARROWEST), max(width * ratio, NARROWEST)


def _columns(count: int, ratio: float, usable: float) -> int:
    if ratio * WIDEST < 1:
        return 1
    if ratio * WIDE < 1:
        return 2 if count % 2 == 0 else 1
    most = count if count <= 4 else 3
    fitting = [columns for columns in range(1, most + 1) if (usable + GUTTER) / columns - GUTTER >= LEAST_PANEL]
    return 2 if count == 4 and fitting == [1, 2, 3] else max(fitting, default=1)


def _has_scale(sheet: Sheet) -> bool:
    return sheet.ground.metres is not None or sheet.ground.north is not None


def _add_axes(figure: Figure, corner: tuple[float, float], size: tuple[float, float]) -> Axes:
    wide, high = figure.get_size_inches()
    (left, top), (width, height) = corner, size
    return figure.add_axes((left / wide, (high - top - height) / high, width / wide, height / high))


def _draw_panel(axes: Axes, panel: Panel, shape: tuple[int, int]) -> None:
    height, width = shape
    if panel.hatched:
        axes.set_facecolor("white")
        axes.patch.set(hatch=HATCH, edgecolor=NO_DATA, linewidth=0)
    for layer in panel.layers:
        # Shrinking is done before, by area or by the most frequent class.
        how = "antialiased" if panel.smooth else "nearest"
        axes.imshow(layer, extent=(0, width, height, 0), aspect="auto", interpolation=how)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.spines[:].set(linewidth=0.5, edgecolor=INK)
    if panel.marks:
        _draw_marks(axes, panel, (height, width))


def _draw_marks(axes: Axes, panel: Panel, shape: tuple[int, int]) -> None:
    from matplotlib.patheffects import withStroke

    height, width = panel.layers[0].shape[:2]
    outline = [withStroke(linewidth=2.5, foreground="white")]
    place = {"ha": "center", "va": "center", "fontsize": 9, "fontweight": "bold"}
    for col, row, text in panel.marks:
        at = (col + 0.5) * shape[1] / width, (row + 0.5) * shape[0] / height
        axes.text(*at, text, color="black", path_effects=outline, **place)


def _draw_coordinates(axes: Axes, grid: Grid, size: tuple[float, float]) -> None:
    across, down = (max(1, int(length / TICK_APART)) for length in size)
    ticks = ticks_of(grid, across, down)
    if ticks is None:
        return
    axes.tick_params(left=True, bottom=True, labelleft=True, labelbottom=True)
    axes.tick_params(length=2.5, width=0.5, pad=2, labelsize=SMALL, color=INK, labelcolor=SOFT)
    height, width = grid.shape
    for axis, found, length, inches in (
        (axes.xaxis, ticks.across, width, size[0]),
        (axes.yaxis, ticks.down, height, size[1]),
    ):
        # A label in a corner would stand out over the edge.
        kept = [(place, said) for place, said in found if 0.25 < place / length * inches < inches - 0.25]
        axis.set_ticks([place for place, _ in kept], [said for _, said in kept])
    for label in axes.get_yticklabels():
        label.set(rotation=90, va="center", rotation_mode="default")


def _draw_scale(figure: Figure, sheet: Sheet, layout: Layout) -> None:
    """A bar of a round length, half black and half white, its length above it; and north where it is not up."""
    from matplotlib.patches import Rectangle

    wide, high = layout.width, layout.height
    left, top = layout.scale_corner
    ground, width = sheet.ground, sheet.grid.shape[1]
    if ground.metres is not None:
        per_inch = ground.metres * width / layout.panel[0]
        longest = min(1.6, 0.4 * layout.panel[0]) if not layout.beside else min(1.2, 0.5 * layout.panel[0])
        length = nice_length(max(longest, 0.12) * per_inch)
        drawn_length, y = length / per_inch, high - top - 0.22
        for part, colour in enumerate((INK, "white")):
            corner = ((left + part * drawn_length / 2) / wide, y / high)
            size = drawn_length / 2 / wide, 0.045 / high
            style = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.5}
            figure.add_artist(Rectangle(corner, *size, transform=figure.transFigure, **style))
        said = f"{length / 1000:,g} km" if length >= 1000 else f"{length:g} m"
        if ground.latitude is not None:
            said += f" at {abs(ground.latitude):.1f}°{'N' if ground.latitude >= 0 else 'S'}"
        figure.text(left / wide, (y + 0.075) / high, said, fontsize=SMALL + 0.5, color=INK, va="bottom", ha="left")
        left += max(drawn_length, text_size(figure, said, SMALL + 0.5)[0]) + 0.3
    if ground.north is not None:
        _draw_north(figure, ground.north, (left + 0.12, high - top - 0.135))


def _draw_north(figure: Figure, north: float, middle: tuple[float, float]) -> None:
    from matplotlib.patches import Polygon

    wide, high = figure.get_size_inches()
    turn = math.radians(north)
    along, aside = np.array([math.sin(turn), math.cos(turn)]), np.array([math.cos(turn), -math.sin(turn)])
    centre = np.array(middle)
    for side, colour in ((1, INK), (-1, "white")):
        corners = [centre + 0.1 * along, centre - 0.08 * along + side * 0.05 * aside, centre - 0.04 * along]
        placed = np.array(corners) / (wide, high)
        style = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.5, "joinstyle": "miter"}
        figure.add_artist(Polygon(placed, closed=True, transform=figure.transFigure, **style))
    x, y = (centre + 0.165 * along) / (wide, high)
    figure.text(x, y, "N", fontsize=SMALL, color=INK, ha="center", va="center_baseline")


def _draw_bar(figure: Figure, bar: ColourBar, layout: Layout) -> None:
    axes = _add_axes(figure, (layout.bar_corner[0], layout.bar_corner[1] + 0.14), BAR)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=bar.colours, aspect="auto", extent=(bar.low, bar.high, 0, 1))
    axes.spines[:].set(linewidth=0.5, edgecolor=INK)
    axes.set_yticks([])
    axes.set_xticks(_bar_ticks(bar))
    axes.tick_params(length=2.5, width=0.5, pad=1.5, labelsize=SMALL, color=INK, labelcolor=SOFT)
    first, *_, last = axes.get_xticklabels()
    first.set_ha("left")
    last.set_ha("right")
    axes.text(0, 1.35, bar.name, transform=axes.transAxes, fontsize=SMALL + 0.5, color=INK, va="bottom")


def _bar_ticks(bar: ColourBar) -> Sequence[float]:
    """Both ends, and round numbers between that do not come near them."""
    between = [tick for tick in np.linspace(0, 1, 6) if bar.low + 0.12 < tick < bar.high - 0.12]
    return [round(bar.low, 2), *(round(float(tick), 2) for tick in between), bar.high]
