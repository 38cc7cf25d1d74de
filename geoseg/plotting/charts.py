"""Charts of numbers: confusion, IoU by class, reliability, the curves of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError, UsageError
from geoseg.legend import Legend
from geoseg.plotting.figure import ACCENT, INK, SOFT, new_figure, wrapped
from geoseg.scoring.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect

Normalise = Literal["rows", "columns"] | None

COLOURS = "cividis"
"""Dark to light in every kind of colour vision, and in grey."""
BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""What keeps a line from running through a number."""


def plot_confusion(matrix: ConfusionMatrix, legend: Legend, normalise: Normalise = "rows") -> Figure:
    """The confusion matrix with its numbers: rows truth, columns map.

    Args:
        normalise: "rows" for shares of each class's truth (recall on the diagonal), "columns" for shares of what the
            map shows as each class (precision), None for pixels.

    Ignored classes have no row; they have a column where the map shows them, as have missing predictions.
    Raises UsageError where matplotlib is missing or ``normalise`` is none of these.
    """
    if normalise not in ("rows", "columns", None):
        raise UsageError(f'a confusion matrix is normalised by "rows", "columns" or None, not {normalise!r}')
    counts = matrix.scored
    extra = [index for index in (*legend.ignored, len(legend)) if counts[:, index].any()]
    columns, names = [*legend.scored, *extra], (*legend.names, "no prediction")
    cells = _normalised(counts[list(legend.scored)][:, columns], normalise)
    side = 0.42 if len(columns) > 10 else 0.62
    figure = new_figure(3.6 + side * len(columns), 2.6 + side * len(legend.scored))
    axes = figure.add_subplot()
    image = axes.imshow(_shades(cells, normalise), cmap=COLOURS, vmin=0, vmax=1, aspect="equal")
    _write_cells(axes, cells, _shades(cells, normalise), normalise)
    # One line each: lines of slanted names would run into the next. The rows have the names in full.
    short = [wrapped(names[i], lines=1) for i in columns]
    axes.set_xticks(range(len(columns)), short, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(legend.scored)), [wrapped(names[i]) for i in legend.scored])
    axes.set_xlabel("map")
    axes.set_ylabel("truth")
    titles = {"rows": "% of each class's truth", "columns": "% of each class on the map", None: "pixels"}
    axes.set_title(titles[normalise])
    if normalise:
        bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=np.linspace(0, 1, 6))
        bar.ax.set_yticklabels([f"{tick}" for tick in range(0, 101, 20)])
        bar.set_label("%")
    return figure


def plot_iou(
    iou: ConfusionMatrix | Mapping[str, float] | Sequence[float],
    legend: Legend,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    label: str = "IoU",
) -> Figure:
    """One bar a scored class in its colour, in the legend's order, and the mean.

    Args:
        iou: a matrix (its pooled IoU), values by class name (Report.iou), or one value a class of the legend.
        intervals: (low, high) by class name, drawn as whiskers.
        label: what the values are; any figure from 0 to 1 will do.

    NaN is written as "absent". Raises UsageError where matplotlib is missing, InputError where values do not fit.
    """
    values = _by_scored_class(iou, legend)
    figure = new_figure(6.4, 1.3 + 0.36 * len(values))
    axes = figure.add_subplot()
    names, colours = _scored(legend)
    places = range(len(values))
    axes.barh(places, np.nan_to_num(values), color=colours, edgecolor=INK, linewidth=0.8, zorder=2)
    ends = dict(zip(names, np.nan_to_num(values), strict=True))
    for place, name in enumerate(names):
        if intervals and name in intervals and not math.isnan(values[place]):
            low, high = intervals[name]
            # White below black is seen on every bar's colour.
            axes.plot([low, high], [place, place], color="white", linewidth=4, solid_capstyle="butt", zorder=3)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.4, marker="|", markersize=8, zorder=4)
            ends[name] = max(ends[name], high)
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        text = "absent" if math.isnan(value) else f"{value:.3f}"
        axes.annotate(
            text, (ends[name], place), (5, 0), textcoords="offset points", va="center", color=INK, bbox=BLANK, zorder=5
        )
    _draw_mean(axes, values)
    axes.set_yticks(places, [wrapped(name) for name in names])
    axes.set(xlim=(0, 1.12), ylim=(len(values) - 0.4, -0.6), xlabel=label)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_reliability(reliability: Reliability, bins: int = 15) -> Figure:
    """How often the map is right at each score: on the diagonal it is as often as it says. Below, how many pixels.

    Raises UsageError where matplotlib is missing or ``bins`` do not fit the histogram.
    """
    table = reliability.bins(bins)
    figure = new_figure(5.0, 5.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    width, filled = 1 / bins, table.count > 0
    middles = table.low[filled] + width / 2
    accuracy, confidence = table.accuracy[filled], table.confidence[filled]
    above.bar(middles, accuracy, width, color="#4477aa", edgecolor="white", label="share that is right", zorder=2)
    above.vlines(confidence, accuracy, confidence, color=ACCENT, linewidth=2.2, label="gap to the mean score", zorder=4)
    above.plot(confidence, confidence, linestyle="none", marker="_", color=ACCENT, markersize=9, zorder=4)
    above.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="as sure as right", zorder=3)
    above.set(ylim=(0, 1), xlim=(0, 1), ylabel="share of pixels that are right")
    above.legend(loc="upper left", frameon=False)
    above.set_title(f"expected calibration error {reliability.ece(bins):.4f}, {bins} bins")
    below.bar(middles, 100 * table.share[filled], width, color="#888888", edgecolor="white")
    below.set(xlabel="score of the map's class", ylabel="% of pixels")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_history(history: Sequence[Mapping[str, float | None]], legend: Legend) -> Figure:
    """The curves of a training run: loss in training and validation, and validation IoU by class with its mean.

    Args:
        history: rows as geoseg.train writes them to history.csv: "epoch", "train_loss", and after a validation
            "val_loss", "val_mean_iou" and "val_iou_NAME" for each scored class; None where a figure is undefined.

    Raises InputError for no rows, UsageError where matplotlib is missing.
    """
    if not history:
        raise InputError("a history without epochs has no curves")
    figure = new_figure(8.5, 3.4)
    losses, ious = figure.subplots(1, 2)
    _draw_curve(losses, history, "train_loss", label="training", color=INK)
    _draw_curve(losses, history, "val_loss", label="validation", color=ACCENT, linestyle="--")
    for name, colour in zip(*_scored(legend), strict=True):
        style = {"color": colour, "path_effects": _edged(), "markeredgecolor": SOFT, "markeredgewidth": 0.5}
        _draw_curve(ious, history, f"val_iou_{name}", label=wrapped(name, lines=1), **style)
    _draw_curve(ious, history, "val_mean_iou", label="mean", color=INK, linestyle="--", linewidth=2)
    ious.set_ylim(0, 1)
    for axes, what in ((losses, "loss"), (ious, "validation IoU")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8, ncols=1 + len(axes.lines) // 8)
    return figure


def _scored(legend: Legend) -> tuple[list[str], list[tuple[float, ...]]]:
    """Names and colours (0 to 1) of the scored classes."""
    entries = [legend.classes[index] for index in legend.scored]
    return [c.name for c in entries], [tuple(part / 255 for part in c.colour) for c in entries]


# Confusion


def _normalised(counts: np.ndarray, normalise: Normalise) -> np.ndarray:
    """Shares (NaN where there is nothing to share), or the counts themselves."""
    if normalise is None:
        return counts
    total = counts.sum(1 if normalise == "rows" else 0, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def _shades(cells: np.ndarray, normalise: Normalise) -> np.ndarray:
    """From 0 to 1; counts by their logarithm, as classes differ by orders of magnitude."""
    shades = np.nan_to_num(cells.astype(float))
    return shades if normalise else np.log1p(shades) / max(np.log1p(shades.max()), 1)


def _write_cells(axes: Axes, cells: np.ndarray, shades: np.ndarray, normalise: Normalise) -> None:
    few = cells.shape[1] <= 10
    for (row, col), value in np.ndenumerate(cells):
        text = _count_text(value) if normalise is None else _share_text(100 * value, few)
        colour = "white" if shades[row, col] < 0.5 else "black"
        axes.text(col, row, text, ha="center", va="center", color=colour, fontsize=9 if few else 7.5)


def _share_text(percent: float, few: bool) -> str:
    if math.isnan(percent):
        return "–"
    least = 0.05 if few else 0.5
    if 0 < percent < least:
        return f"<{2 * least:g}"
    return "0" if percent == 0 else f"{percent:.{1 if few else 0}f}"


def _count_text(count: int) -> str:
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}" if count < 999.5 * unit else f"{count / unit:.0f}{letter}"
    return str(count)


# Bars


def _by_scored_class(iou: ConfusionMatrix | Mapping[str, float] | Sequence[float], legend: Legend) -> np.ndarray:
    names, _ = _scored(legend)
    if isinstance(iou, Mapping):
        unknown = sorted(set(iou) - set(legend.names))
        if unknown:
            raise InputError(f"values of classes that the legend {legend.name!r} does not know: {', '.join(unknown)}")
        return np.array([iou.get(name, math.nan) for name in names], float)
    values = np.asarray(iou.iou() if isinstance(iou, ConfusionMatrix) else iou, float)
    if values.shape != (len(legend),):
        raise InputError(f"{values.shape} values for the {len(legend)} classes of the legend {legend.name!r}")
    return values[list(legend.scored)]


def _draw_mean(axes: Axes, values: np.ndarray) -> None:
    if np.isnan(values).all():
        return
    mean = float(np.nanmean(values))
    axes.axvline(mean, color=INK, linewidth=1, linestyle="--", zorder=1)
    axes.set_title(f"mean {mean:.3f} (dashed)", fontsize=10)


def _edged() -> list[AbstractPathEffect]:
    """A dark edge along a line, without which white is not seen on white."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=2.6, foreground=SOFT), Normal()]


def _draw_curve(axes: Axes, history: Sequence[Mapping[str, float | None]], key: str, **style: object) -> None:
    """A line over the epochs, with a gap where there is no figure; none where there never is."""
    values = [math.nan if row.get(key) is None else float(row[key]) for row in history]
    if not np.isnan(values).all():
        axes.plot([row["epoch"] for row in history], values, marker="o", markersize=3, **style)
