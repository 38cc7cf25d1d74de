"""Figures from Python: what they say is what the numbers are, at 2, 6 and 20 classes, and pyplot is left alone."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError, UsageError
from geoseg.legend import DEEPGLOBE, NO_CLASS, Legend, LegendClass
from geoseg.pictures import MISSED, RIGHT, WRONG
from geoseg.plotting.charts import (
    _count_text,
    _share_text,
    plot_confusion,
    plot_history,
    plot_iou,
    plot_reliability,
)
from geoseg.plotting.figure import NAME_WIDTH
from geoseg.plotting.plot import plot_pair
from geoseg.scoring.calibration import Reliability

LONG = "Broad-leaved deciduous forest with a closed canopy of more than forty in a hundred "


def legend_of(classes: int) -> Legend:
    entries = (LegendClass(3 * i, f"{LONG}{i}", (12 * i, 255 - 12 * i, 40)) for i in range(classes))
    return Legend("some", tuple(entries))


def matrix_of(legend: Legend, seed: int = 0) -> ConfusionMatrix:
    counts = np.random.default_rng(seed).integers(1, 10**6, (len(legend), len(legend) + 1))
    return ConfusionMatrix(counts, legend.ignored)


def indices(seed: int, shape: tuple[int, int] = (37, 53), classes: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)


def draw(figure: Figure) -> np.ndarray:
    """(H, W, 3) as a PNG holds it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def texts(figure: Figure, axes: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].texts]


# Confusion


def test_the_cells_hold_the_shares_of_rows_and_of_columns() -> None:
    legend = Legend("two", (LegendClass(0, "land", (9, 9, 9)), LegendClass(1, "water", (0, 0, 255))))
    matrix = ConfusionMatrix(np.array([[90, 10, 0], [30, 20, 0]]))
    assert texts(plot_confusion(matrix, legend)) == ["90.0", "10.0", "60.0", "40.0"]
    assert texts(plot_confusion(matrix, legend, "columns")) == ["75.0", "33.3", "25.0", "66.7"]
    assert texts(plot_confusion(matrix, legend, None)) == ["90", "10", "30", "20"]
    axes = plot_confusion(matrix, legend).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("map", "truth", "% of each class's truth")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["land", "water"]


def test_missing_and_ignored_predictions_have_columns_only_where_there_are_any() -> None:
    counts = np.zeros((7, 8), int)
    counts[0, [0, 6, 7]] = 5, 3, 2
    counts[6, 1] = 9
    axes = plot_confusion(ConfusionMatrix(counts, (6,)), DEEPGLOBE).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [*DEEPGLOBE.names, "no prediction"] and len(axes.get_yticklabels()) == 6
    assert [text.get_text() for text in axes.texts[:8]] == ["50.0", "0", "0", "0", "0", "0", "30.0", "20.0"]
    assert axes.texts[8].get_text() == "–"
    assert len(plot_confusion(ConfusionMatrix(np.eye(7, dtype=int), (6,)), DEEPGLOBE).axes[0].get_xticklabels()) == 6


@pytest.mark.parametrize("normalise", ["rows", "columns", None])
@pytest.mark.parametrize("classes", [2, 6, 20])
def test_numbers_stand_out_from_their_cells(classes: int, normalise: str | None) -> None:
    axes = plot_confusion(matrix_of(legend_of(classes)), legend_of(classes), normalise).axes[0]
    image = axes.get_images()[0]
    shades = image.cmap(image.norm(image.get_array()))[..., :3]
    for text in axes.texts:
        col, row = map(round, text.get_position())
        assert contrast(to_rgb(text.get_color()), shades[row, col]) > 4


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """WCAG 2.1's ratio of relative luminances, 1 to 21."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_numbers_in_words_of_few_characters() -> None:
    counts = (0, 999, 1000, 999_499, 999_600, 1_234_567, 5_400_000_000)
    assert [_count_text(n) for n in counts] == ["0", "999", "1k", "999k", "1000k", "1.23M", "5.4G"]
    assert [_share_text(p, True) for p in (0, 0.04, 0.06, 100, np.nan)] == ["0", "<0.1", "0.1", "100.0", "–"]
    assert [_share_text(p, False) for p in (0, 0.4, 0.6, 99.6)] == ["0", "<1", "1", "100"]


@pytest.mark.parametrize("classes", [2, 20])
def test_long_names_are_broken_or_cut(classes: int) -> None:
    axes = plot_confusion(matrix_of(legend_of(classes)), legend_of(classes)).axes[0]
    for labels, lines in ((axes.get_xticklabels()[:classes], 1), (axes.get_yticklabels(), 2)):
        for label in labels:
            parts = label.get_text().split("\n")
            assert len(parts) <= lines and max(map(len, parts)) <= NAME_WIDTH and parts[-1].endswith("…")


def test_another_normalisation_is_refused() -> None:
    with pytest.raises(UsageError, match="not 'all'"):
        plot_confusion(matrix_of(DEEPGLOBE), DEEPGLOBE, "all")


# IoU


def test_bars_in_the_legend_s_colours_and_order() -> None:
    values = {"urban": 0.5, "water": 0.25, "forest": float("nan")}
    axes = plot_iou(values, DEEPGLOBE, {"urban": (0.4, 0.55), "forest": (0.1, 0.2)}).axes[0]
    bars = axes.patches
    assert [bar.get_width() for bar in bars] == [0.5, 0, 0, 0, 0.25, 0]
    colours = [tuple(round(255 * part) for part in bar.get_facecolor()[:3]) for bar in bars]
    assert colours == [DEEPGLOBE.classes[index].colour for index in DEEPGLOBE.scored]
    assert [text.get_text() for text in axes.texts] == ["0.500", "absent", "absent", "absent", "0.250", "absent"]
    assert axes.get_title() == "mean 0.375 (dashed)"
    whiskers = [line.get_xdata() for line in axes.lines if len(set(line.get_ydata())) == 1]
    assert [list(ends) for ends in whiskers] == [[0.4, 0.55]] * 2
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_values_come_from_a_matrix_a_mapping_or_an_array() -> None:
    matrix = matrix_of(DEEPGLOBE)
    by_name = dict(zip(DEEPGLOBE.names, matrix.iou(), strict=True))
    given = (matrix, by_name, matrix.iou())
    drawn = [[bar.get_width() for bar in plot_iou(values, DEEPGLOBE).axes[0].patches] for values in given]
    assert drawn[0] == drawn[1] == drawn[2] == list(matrix.iou()[:6])


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(6,\) values for the 7 classes"):
        plot_iou(np.ones(6), DEEPGLOBE)
    with pytest.raises(InputError, match="does not know: sea"):
        plot_iou({"sea": 1.0}, DEEPGLOBE)


# Reliability


def test_the_diagram_shows_the_table() -> None:
    truth, prediction = indices(1), indices(1)
    prediction[:9] = 0
    scores = np.random.default_rng(2).integers(60, 255, truth.shape).astype(np.uint8)
    found = Reliability.from_pair(truth, prediction, scores, 7, (6,))
    figure, table = plot_reliability(found, 10), found.bins(10)
    above, below = figure.axes
    filled = table.count > 0
    assert 5 < filled.sum() < 10
    assert [bar.get_height() for bar in above.patches] == list(table.accuracy[filled])
    assert [bar.get_height() for bar in below.patches] == pytest.approx(100 * table.share[filled])
    assert above.get_title() == f"expected calibration error {found.ece(10):.4f}, 10 bins"
    gaps = np.array([segment[:, 1] for segment in above.collections[0].get_segments()])
    assert np.allclose(gaps, np.stack((table.accuracy, table.confidence), 1)[filled])


def test_a_diagram_of_nothing_is_drawn() -> None:
    assert draw(plot_reliability(Reliability.empty(3))).size


# Pairs


def shown(figure: Figure, axes: int) -> np.ndarray:
    """(h, w, 4) of a panel's upper layer."""
    return np.asarray(figure.axes[axes].get_images()[-1].get_array())


def heads(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]


def test_the_panels_show_image_truth_map_and_errors() -> None:
    truth, prediction = indices(1), indices(2)
    truth[0, :9], prediction[1, :7] = 6, NO_CLASS
    image = np.random.default_rng(3).integers(0, 255, (3, 37, 53)).astype(np.uint8)
    figure = plot_pair(truth, prediction, DEEPGLOBE, image)
    assert np.array_equal(shown(figure, 0)[..., :3], np.moveaxis(image, 0, -1))
    for axes, index in ((1, truth), (2, prediction)):
        pixels, expected = shown(figure, axes), np.moveaxis(DEEPGLOBE.to_rgb(index), 0, -1)
        assert np.array_equal(pixels[index != NO_CLASS][:, :3], expected[index != NO_CLASS])
        assert ((pixels[..., 3] == 255) == (index != NO_CLASS)).all()
    scored, missing, errors = truth != 6, prediction == NO_CLASS, shown(figure, 3)
    for where, colour in (
        (scored & ~missing & (truth != prediction), WRONG),
        (scored & missing, MISSED),
        (scored & (truth == prediction), RIGHT),
    ):
        assert np.array_equal((errors[..., :3] == colour).all(-1), where)
    assert np.array_equal(errors[..., 3] == 0, ~scored)
    right = (scored & (truth == prediction)).sum() / scored.sum()
    assert heads(figure) == ["image", "truth", "map", f"errors: {right:.1%} right"]


def test_names_and_codes_tell_the_classes_apart_without_colour() -> None:
    truth = np.zeros((30, 40), np.uint8)
    truth[10:25, 5:20] = 4
    figure = plot_pair(truth, np.full_like(truth, NO_CLASS), DEEPGLOBE)
    assert len(figure.axes) == 3 and texts(figure, 0) == ["0", "4"] and texts(figure, 1) == []
    col, row = figure.axes[0].texts[1].get_position()
    assert truth[int(row), int(col)] == 4 and 11 < row < 23 and 7 < col < 17
    assert [text.get_text() for text in figure.texts] == ["0 urban", "4 water", "no prediction"]


def test_large_rasters_are_thinned_and_their_share_is_not() -> None:
    truth = np.zeros((30, 12_500), np.uint8)
    prediction = truth.copy()
    prediction[1] = 1
    figure = plot_pair(truth, prediction, DEEPGLOBE)
    assert shown(figure, 0).shape[1] < 3000
    assert heads(figure)[2] == "errors: 96.7% right"


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"truth \(37, 53\), prediction \(37, 52\)"):
        plot_pair(indices(1), indices(1)[:, 1:], DEEPGLOBE)
    with pytest.raises(InputError, match=r"image \(4, 37, 53\)"):
        plot_pair(indices(1), indices(1), DEEPGLOBE, np.zeros((4, 37, 53), np.uint8))


# All


@pytest.mark.parametrize("classes", [2, 6, 20])
@pytest.mark.filterwarnings("error")
def test_every_figure_is_drawn_without_a_warning(classes: int) -> None:
    legend = legend_of(classes)
    matrix, truth, prediction = matrix_of(legend), indices(1, classes=classes), indices(2, classes=classes)
    figures = [plot_confusion(matrix, legend), plot_iou(matrix, legend), plot_pair(truth, prediction, legend)]
    for figure in figures:
        assert draw(figure).min() < 100


def test_the_figures_are_public_and_leave_matplotlib_s_state_alone() -> None:
    code = (
        "import sys, geoseg, numpy as np\n"
        "geoseg.plot_iou; geoseg.plot_confusion; geoseg.plot_pair; geoseg.plot_reliability\n"
        "assert 'matplotlib' not in sys.modules and 'scipy' not in sys.modules\n"
        "import matplotlib\nbefore = matplotlib.rcParams.copy()\n"
        "index = np.zeros((9, 9), np.uint8)\n"
        "figure = geoseg.plot_pair(index, index, geoseg.DEEPGLOBE)\n"
        "geoseg.plot_confusion(geoseg.ConfusionMatrix(np.eye(7, dtype=int)), geoseg.DEEPGLOBE)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and before == matplotlib.rcParams.copy()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "geoseg.plotting.shown", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'geoseg\[figures\]'"):
        geoseg.plot_iou(np.ones(7), DEEPGLOBE)


# Curves


def history(epochs: int, validated: bool = True) -> list[dict[str, float | None]]:
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "step": 2 * epoch, "train_loss": 1 / epoch}
        if validated:
            row |= {"val_loss": 1.5 / epoch, "val_mean_iou": 1 - 1 / epoch, "prior_tau": 0.0}
            row |= {f"val_iou_{DEEPGLOBE.names[i]}": None if i == 4 else epoch / 10 - i / 50 for i in DEEPGLOBE.scored}
            row["val_iou_forest"] = None if epoch == 2 else 0.5
        rows.append(row)
    return rows


def test_curves_show_the_figures_of_every_epoch() -> None:
    figure = plot_history(history(4), DEEPGLOBE)
    losses, ious = figure.axes
    assert [list(line.get_ydata()) for line in losses.lines] == [[1, 1 / 2, 1 / 3, 1 / 4], [1.5, 0.75, 0.5, 0.375]]
    drawn = {line.get_label(): line for line in ious.lines}
    assert list(drawn) == ["urban", "agriculture", "rangeland", "forest", "barren", "mean"]
    assert list(drawn["urban"].get_xdata()) == [1, 2, 3, 4]
    assert drawn["urban"].get_ydata() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert np.isnan(drawn["forest"].get_ydata()).tolist() == [False, True, False, False]
    assert to_rgb(drawn["urban"].get_color()) == pytest.approx(np.array(DEEPGLOBE.classes[0].colour) / 255)
    assert draw(figure).std() > 5


def test_curves_of_one_epoch_or_without_validation() -> None:
    figure = plot_history(history(1, validated=False), DEEPGLOBE)
    assert [len(axes.lines) for axes in figure.axes] == [1, 0]
    draw(figure)
    with pytest.raises(InputError, match="without epochs"):
        plot_history([], DEEPGLOBE)
