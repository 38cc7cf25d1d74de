"""geoseg.plot: a map as a figure, alone, over its image, or beside image, truth, errors and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from geoseg.errors import InputError, UsageError
from geoseg.grid import IDENTITY, Grid
from geoseg.legend import NO_CLASS, Legend
from geoseg.pictures import OUTCOME_COLOURS, OUTCOME_NAMES, Outcome, outcomes, visible
from geoseg.plotting.figure import new_figure, wrapped
from geoseg.plotting.ground import ground_of, ticks_of, upright
from geoseg.plotting.key import Entry
from geoseg.plotting.material import Amounts, AnyFile, AnyImage, AnyMap, Comparison, Material, fitted, gather, turned
from geoseg.plotting.sheet import ColourBar, Layout, Panel, Sheet, drawn, laid_out
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.raster.scores import BAND_NAMES
from geoseg.reporting.markup import Colour, css

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PanelName = Literal["image", "truth", "map", "errors", "confidence"]
AmountKind = Literal["area", "share", "none"]
MILLIMETRES = 25.4
WIDTH, DPI, ALPHA = 180.0, 300, 0.55
"""Millimetres, pixels an inch, and how much of a map hides the image below it."""
NARROWEST, MOST_PIXELS = 30.0, 20_000
"""Of a figure's width: millimetres at least, pixels at most."""
PAIR_PANEL = 2.4
"""Inches of the width of ``plot_pair`` for each of its panels."""
SMALL, LARGE = 1.0, 100_000.0
"""Hectares of the largest class below which areas are in square metres, and from which in square kilometres."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Brightness of red, green and blue (ITU-R BT.601)."""
CONFIDENCE = "viridis"
"""Dark to light in every kind of colour vision, and in grey."""
NEAR_WHITE = 235
"""From this brightness on a class is taken for missing data, where that is white."""


def plot(
    classes: AnyMap,
    *,
    legend: Legend | str | Path | None = None,
    scene: AnyImage | None = None,
    bands: Sequence[Band] | None = None,
    truth: AnyFile | np.ndarray | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    scores: AnyFile | None = None,
    panels: Sequence[PanelName] | None = None,
    alpha: float | None = None,
    all_classes: bool = False,
    amounts: AmountKind | None = None,
    coordinates: bool | None = None,
    title: str = "",
    width: float = WIDTH,
    dpi: float = DPI,
    progress: bool = False,
) -> Figure:
    """A map with its key and scale; with a truth image, truth, map and errors side by side.

    Args:
        classes: a class raster or colour mask by path or URL, a Prediction, or (H, W) codes.
        legend: None takes the one in the rasters' tags, else DeepGlobe's.
        scene: the image of the same extent: a file, files of one band each, an array, or a scene. Without a truth the
            map is drawn over it.
        bands: of image files, one or three, by number or name; None takes red, green and blue.
        truth: a class raster, colour mask, array of codes, or polygons (``label_field``, ``label_layer``). All is
            shown on its grid.
        label_field, label_layer: of polygons, as geoseg.score takes them.
        scores: what ``geoseg predict --scores`` wrote.
        panels: which, in which order; None takes all that there are rasters for.
        alpha: 0 to 1, how much of the map hides the image below it (default 0.55); the image is grey there.
        all_classes: the key has all classes of the legend, not those alone that occur.
        amounts: beside the names: "area" (true, in m², hectares or km²; shares where the map has no place on Earth),
            "share" of the pixels with a class, "none". They are the map's, counted over all its pixels; without them
            the overviews of a geoseg map are enough. None: areas where the map is the only panel with classes.
        coordinates: longitude and latitude at the edges; None where there is one panel.
        title: what stands above the figure.
        width: of the figure in millimetres, at most: around a tall map it is narrower.
        dpi: pixels an inch, at which rasters are read; save the figure with the same.
        progress: show a bar on stderr while large rasters are read.

    Raises InputError, GridMismatch, UsageError (also where matplotlib is missing).
    """
    new_figure(1, 1, None)
    wanted = _resolve_panels(panels, scene, truth, scores)
    amounts = amounts or ("none" if "truth" in wanted or "map" not in wanted else "area")
    _require_sound(alpha, amounts, width, dpi, scene)
    field = LabelField.asked(label_field, label_layer)
    if field is not None and truth is None:
        raise UsageError("a field or layer of labels is for a truth")
    found = gather(
        classes,
        round(width / MILLIMETRES * dpi),
        legend=legend,
        scene=scene if "image" in wanted or _laid_over(wanted, scene, alpha) else None,
        bands=bands,
        truth=truth if {"truth", "errors"} & set(wanted) else None,
        field=field,
        scores=scores if "confidence" in wanted else None,
        amounts=amounts != "none",
        progress=progress,
    )
    look = _Look(
        wanted,
        alpha if alpha is not None else ALPHA if _laid_over(wanted, scene, alpha) else None,
        all_classes,
        amounts,
        len(wanted) == 1 if coordinates is None else coordinates,
        title,
    )
    return draw(found, look, width / MILLIMETRES, dpi)


@dataclass(frozen=True)
class _Look:
    """What a figure is to show, and how."""

    panels: tuple[PanelName, ...]
    alpha: float | None = None
    """None: the map is not drawn over the image."""
    all_classes: bool = False
    amounts: AmountKind = "none"
    coordinates: bool = False
    title: str = ""
    numbered: bool = False
    """Classes have their codes on the panels, so that colour is not all that tells them apart."""


def draw(material: Material, look: _Look, width: float, dpi: float) -> Figure:
    """A figure of what was read, ``width`` inches wide at most."""
    grid, axes = upright(material.grid)
    material = turned(material, axes, grid) if axes else material
    sheet = _sheet(material, look)
    layout = laid_out(sheet, width)
    smaller = fitted(material, _pixels_of(layout, dpi, material.index.shape))
    return drawn(_sheet(smaller, look), layout)


def plot_pair(truth: np.ndarray, prediction: np.ndarray, legend: Legend, image: np.ndarray | None = None) -> Figure:
    """Image, truth, map, and where they differ, side by side. Classes are numbered by their codes on the panels.

    Args:
        truth, prediction: (H, W) uint8 class indices, NO_CLASS where there is none.
        image: (3, H, W) uint8, or (1, H, W) for grey; None leaves its panel out.

    Raises UsageError where matplotlib is missing, InputError where the shapes do not fit.
    """
    if truth.shape != prediction.shape or (
        image is not None and (image.shape[1:] != truth.shape or len(image) not in (1, 3))
    ):
        shapes = f"truth {truth.shape}, prediction {prediction.shape}"
        shapes += "" if image is None else f", image {image.shape}"
        raise InputError(f"{shapes}: an image is (3, H, W) or (1, H, W), the others (H, W) of the same size")
    outcome = outcomes(truth, prediction, ~np.isin(truth, (NO_CLASS, *legend.ignored)))
    counts = np.bincount(outcome.ravel(), minlength=len(Outcome))
    both = Comparison(truth, outcome, int(counts[Outcome.RIGHT]), int(counts.sum() - counts[Outcome.UNSCORED]))
    valid = np.ones(truth.shape, bool)
    seen = None if image is None else (visible(image, valid), valid)
    material = Material(Grid(None, IDENTITY, truth.shape), legend, prediction, image=seen, comparison=both)
    names = ("truth", "map", "errors") if image is None else ("image", "truth", "map", "errors")
    return draw(material, _Look(names, numbered=True), PAIR_PANEL * len(names), DPI)


# What is asked for


def _resolve_panels(
    panels: Sequence[PanelName] | None, scene: object, truth: object, scores: object
) -> tuple[PanelName, ...]:
    """Those that were asked for, else all that there are rasters for; raises UsageError where one is missing."""
    needs = {"image": (scene, "scene"), "truth": (truth, "truth"), "errors": (truth, "truth")}
    needs |= {"map": (True, ""), "confidence": (scores, "scores")}
    if panels is None:
        others = truth is not None or scores is not None
        there = {name for name, (raster, _) in needs.items() if raster is not None}
        return tuple(name for name in get_args(PanelName) if name in there - (set() if others else {"image"}))
    if not panels or len(set(panels)) < len(panels):
        raise UsageError("panels are named once each, and one at least")
    for name in panels:
        if name not in needs:
            raise UsageError(f"no panel {name!r}; there are {', '.join(get_args(PanelName))}")
        if needs[name][0] is None:
            raise UsageError(f"the panel {name} needs a {needs[name][1]}: name it with --{needs[name][1]}")
    return tuple(panels)


def _laid_over(panels: Sequence[PanelName], scene: object, alpha: float | None) -> bool:
    """True where the map is drawn over the image: where that has no panel of its own, or by an alpha."""
    return "map" in panels and scene is not None and ("image" not in panels or alpha is not None)


def _require_sound(alpha: float | None, amounts: str, width: float, dpi: float, scene: object) -> None:
    if alpha is not None and not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 and 1, got {alpha:g}")
    if alpha is not None and scene is None:
        raise UsageError("alpha is how much of the map hides the image: name that with --scene")
    if amounts not in get_args(AmountKind):
        raise UsageError(f"no amounts {amounts!r}; there are {', '.join(get_args(AmountKind))}")
    if not (width >= NARROWEST and dpi > 0 and width / MILLIMETRES * dpi <= MOST_PIXELS):
        raise UsageError(
            f"a figure is {NARROWEST:g} mm wide or wider and has {MOST_PIXELS:,} pixels across at most; got "
            f"{width:g} mm at {dpi:g} dpi"
        )


# What is drawn


def _sheet(material: Material, look: _Look) -> Sheet:
    ground = ground_of(material.grid)
    panels = tuple(_panel(name, material, look) for name in look.panels)
    bar = _colour_bar(material) if "confidence" in look.panels else None
    alone = look.coordinates and len(panels) == 1 and ticks_of(material.grid, 1, 1) is not None
    return Sheet(panels, material.grid, ground, _entries(material, look), bar, look.title, alone)


def _panel(name: PanelName, material: Material, look: _Look) -> Panel:
    title = "" if len(look.panels) == 1 else name
    both = material.comparison
    if name == "image":
        return Panel(title, (_clear(*material.image),), smooth=True)
    if name == "errors":
        right = f"{both.right / both.scored:.1%} right" if both.scored else "nothing scored"
        return Panel(f"errors: {right}" if title else "", (_painted_outcomes(both.outcome),))
    if name == "confidence":
        return Panel(title, (_painted_scores(material),))
    index = both.truth if name == "truth" else material.index
    marks = _marks(index, material.legend) if look.numbered else ()
    hatched = _hides_gaps(index, material.legend)
    if name == "map" and look.alpha is not None:
        painted = _painted(index, material.legend, look.alpha)
        return Panel(title, (_clear(_grey(material.image[0]), material.image[1]), painted), marks=marks)
    return Panel(title, (_painted(index, material.legend),), hatched=hatched, marks=marks)


def _painted(index: np.ndarray, legend: Legend, alpha: float = 1.0) -> np.ndarray:
    """(h, w, 4) uint8 in the legend's colours, clear without a class."""
    hiding = np.where(index == NO_CLASS, 0, round(255 * alpha)).astype(np.uint8)
    return np.moveaxis(np.concatenate([legend.to_rgb(index), hiding[None]]), 0, -1)


def _clear(picture: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(3, h, w) as (h, w, 4) uint8, clear without data."""
    return np.moveaxis(np.concatenate([picture, np.where(valid, 255, 0).astype(np.uint8)[None]]), 0, -1)


def _grey(picture: np.ndarray) -> np.ndarray:
    """(3, h, w) uint8 without its colours, so that those over it are the classes' alone."""
    grey = np.tensordot(LUMA, picture, 1).round().astype(np.uint8)
    return np.broadcast_to(grey, picture.shape)


def _painted_outcomes(outcome: np.ndarray) -> np.ndarray:
    table = np.zeros((len(Outcome), 4), np.uint8)
    for one, colour in OUTCOME_COLOURS.items():
        table[one] = (*colour, 255)
    return table[outcome]


def _painted_scores(material: Material) -> np.ndarray:
    from matplotlib import colormaps

    bar, values = _colour_bar(material), material.confidence.values
    scaled = np.clip((values - bar.low) / (bar.high - bar.low), 0, 1)
    painted = colormaps[CONFIDENCE](np.nan_to_num(scaled), bytes=True)
    painted[np.isnan(values), 3] = 0
    return painted


def _colour_bar(material: Material) -> ColourBar:
    """The highest score is at least its share of all classes; a lead may be 0."""
    kind = material.confidence.kind
    name = BAND_NAMES["margin" if kind == "margin" else "top"]
    return ColourBar(name, CONFIDENCE, 0.0 if kind == "margin" else 1 / len(material.legend.scored), 1.0)


def _marks(index: np.ndarray, legend: Legend) -> tuple[tuple[float, float, str], ...]:
    """Each class's code in the middle of where it is widest."""
    from scipy.ndimage import distance_transform_edt

    marks = []
    for number in np.unique(index[index != NO_CLASS]):
        inside = np.pad(index == number, 1)
        row, col = np.unravel_index(distance_transform_edt(inside).argmax(), inside.shape)
        marks.append((float(col - 1), float(row - 1), str(legend.classes[number].code)))
    return tuple(marks)


def _hides_gaps(index: np.ndarray, legend: Legend) -> bool:
    """True where pixels without a class would be taken for a class that is nearly white."""
    white = [number for number, one in enumerate(legend.classes) if min(one.colour) >= NEAR_WHITE]
    return bool((index == NO_CLASS).any() and np.isin(index, white).any())


# The key


def _entries(material: Material, look: _Look) -> tuple[Entry, ...]:
    shown, both = [], material.comparison
    if "map" in look.panels:
        shown.append(material.index)
    if "truth" in look.panels:
        shown.append(both.truth)
    entries = _class_entries(material, look, shown) if shown else []
    if (look.alpha is None or "truth" in look.panels) and any(_hides_gaps(one, material.legend) for one in shown):
        entries.append(Entry("no data", None))
    if "errors" in look.panels:
        there = [outcome for outcome in Outcome if (both.outcome == outcome).any()]
        colours = {one: css(colour) for one, colour in OUTCOME_COLOURS.items()}
        entries += [Entry(OUTCOME_NAMES[one], colours.get(one, "white"), group=1) for one in there]
    return tuple(entries)


def _class_entries(material: Material, look: _Look, shown: Sequence[np.ndarray]) -> list[Entry]:
    """Classes in the legend's order: those that occur in any pixel, or all."""
    legend, amounts = material.legend, material.amounts
    there = {int(number) for index in shown for number in np.unique(index)}
    if amounts is not None and "map" in look.panels:
        there |= set(np.flatnonzero(amounts.pixels).tolist())
    places = [place for place in range(len(legend)) if look.all_classes or place in there]
    said = _amounts_said(amounts, places, look.amounts) if "map" in look.panels else [""] * len(places)
    entries = []
    for place, amount in zip(places, said, strict=True):
        one = legend.classes[place]
        label = wrapped(f"{one.code} {one.name}" if look.numbered else one.name, lines=3)
        entries.append(Entry(label, css(_as_seen(one.colour, material, look)), amount))
    return entries


def _as_seen(colour: Colour, material: Material, look: _Look) -> Colour:
    """A colour as it looks over the image, where the map is drawn over it and nowhere else."""
    if look.alpha is None or "truth" in look.panels:
        return colour
    picture, valid = material.image
    below = float(_grey(picture)[0][valid].mean()) if valid.any() else 255.0
    red, green, blue = (round(look.alpha * part + (1 - look.alpha) * below) for part in colour)
    return red, green, blue


def _amounts_said(amounts: Amounts | None, places: Sequence[int], kind: AmountKind) -> list[str]:
    if amounts is None or kind == "none":
        return [""] * len(places)
    if kind == "area" and amounts.hectares is not None:
        return areas_said([float(amounts.hectares[place]) for place in places])
    total = amounts.pixels[:NO_CLASS].sum()
    return [share_said(float(amounts.pixels[place] / total)) if total else "" for place in places]


def areas_said(hectares: Sequence[float]) -> list[str]:
    """Areas in one unit and with as many decimals, about three figures of the largest."""
    most = max(hectares, default=0.0)
    unit, size = ("km²", 100.0) if most >= LARGE else ("ha", 1.0) if most >= SMALL else ("m²", 1e-4)
    decimals = max(0, 2 - int(np.floor(np.log10(most / size)))) if most > 0 else 0
    return [_at_least(value / size, decimals, unit) for value in hectares]


def share_said(share: float) -> str:
    """A share in percent."""
    return _at_least(100 * share, 1, "%")


def _at_least(value: float, decimals: int, unit: str) -> str:
    least = 10.0**-decimals
    if 0 < value < least / 2:
        return f"<{least:.{decimals}f} {unit}"
    return f"{value:,.{decimals}f} {unit}"


def _pixels_of(layout: Layout, dpi: float, shape: tuple[int, int]) -> tuple[int, int]:
    """Pixels of a panel in the figure, or of its rasters where those have fewer."""
    width, height = layout.panel
    return min(max(round(height * dpi), 1), shape[0]), min(max(round(width * dpi), 1), shape[1])
