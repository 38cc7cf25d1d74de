"""A report as one HTML file: nothing is loaded from elsewhere, and nothing in it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.legend import Legend
from geoseg.metrics import or_none
from geoseg.pictures import (
    OUTCOME_NAMES,
    enlarged,
    jpeg,
    picture_of_classes,
    picture_of_image,
    picture_of_outcomes,
    png,
)
from geoseg.reporting.layout import (
    card,
    document,
    laid_out,
    matrix_of,
    named,
    panel,
    paragraph,
    shares_said,
    tables,
)
from geoseg.reporting.markup import Markup, css, element, joined
from geoseg.reporting.shades import bar
from geoseg.reporting.tables import (
    Record,
    Table,
    agreement_table,
    alignment_table,
    area_table,
    average_table,
    boundary_table,
    calibration_table,
    class_interval,
    class_table,
    count,
    figure,
    has_intervals,
    interval_name,
    left_out_table,
    map_tables,
    overall_interval,
    pair_notes,
    provenance_table,
    remarks,
    scene_table,
    short_name,
    span,
)
from geoseg.reporting.worst import MOST_OF_SCENE, View
from geoseg.scoring.averages import iou_name

PANEL = 320
"""Pixels of the longer side of a panel."""
MOST_SCENES = 50
"""Rows of the table of scenes; the data in the file has all."""
MOST_NOTES = 6
"""Notes that are seen without opening the rest."""


def to_html(
    record: Record, legend: Legend, scenes: Sequence[View] = (), windows: Sequence[View] = (), missing: str = ""
) -> str:
    """The page; ``scenes`` and ``windows`` are those to look at, worst first; ``missing`` says why there are none."""
    sections = [
        ("classes", "Classes", _classes(record, legend)),
        ("averages", "All classes together", tables(average_table(record), agreement_table(record))),
        ("confusion", "What was taken for what", _confusion(record, legend)),
        ("areas", "Areas", _areas(record, legend)),
        ("boundaries", "Borders of classes", tables(boundary_table(record))),
        ("calibration", "Confidence", tables(calibration_table(record))),
        ("pixels", "Pixels left out", tables(left_out_table(record))),
        ("scenes", "Scenes", tables(scene_table(record, MOST_SCENES), alignment_table(record, MOST_SCENES))),
        ("look", "Where the map is worst", _views(scenes, windows, legend) or paragraph(missing)),
        ("made", "How this was made", _made(record, legend)),
    ]
    title = f"Accuracy of the map: mean IoU {figure(record['mean_iou'])}"
    return document(title, _title(record), [_headline(record), _notes(record)], sections, record, "report")


def _title(record: Record) -> Markup:
    scenes, pixels = len(record["scenes"]), count(record["scored_pixels"])
    what = f"{scenes} scene{'s' if scenes > 1 else ''}, {len(record['classes'])} classes, {pixels} scored pixels"
    sides = [record["provenance"].get(side) for side in ("prediction", "truth")]
    against = f"{short_name(sides[0])} against {short_name(sides[1])}: " if all(sides) else ""
    return element("header", element("h1", "Accuracy of the map"), element("p", against + what, class_="soft"))


def _headline(record: Record) -> Markup:
    average, majority = record["average"], record["majority_class"]
    mean = overall_interval(record, f"mean_{iou_name(average)}")
    cards = [
        card(f"Mean IoU ({average})", record["mean_iou"], _spread(record, mean)),
        card("Pixel accuracy", record["pixel_accuracy"], _spread(record, overall_interval(record, "pixel_accuracy"))),
        card("Cohen's kappa", record["kappa"], _spread(record, overall_interval(record, "kappa"))),
        card("Baseline", record["majority_baseline_mean_iou"], f"mean IoU of a map of {majority} alone"),
    ]
    return element("dl", *cards, class_="cards")


def _spread(record: Record, interval: Record | None) -> str | Markup:
    if not has_intervals(record):
        return ""
    return "no interval" if interval is None else joined(interval_name(record), element("br"), span(interval))


def _notes(record: Record) -> Markup:
    """What must be known of the figures; where there are many notes on pairs, the last ones wait to be opened."""
    notes = [element("li", note) for note in (*remarks(record), *pair_notes(record))]
    first, rest = notes[:MOST_NOTES], notes[MOST_NOTES:]
    summary = element("summary", f"{len(rest)} more")
    parts = [element("ul", *first), element("details", summary, element("ul", *rest)) if rest else Markup()]
    return element("aside", *parts, class_="notes", aria_label="Notes") if notes else Markup()


def _classes(record: Record, legend: Legend) -> Markup:
    whiskers = f" The line across a bar is the {interval_name(record)}." if has_intervals(record) else ""
    caption = f"IoU ({record['average']}) from 0 to 1: the share that truth and map have in common.{whiskers}"
    rows = [_bar_row(record, name, legend) for name in record["classes"]]
    bars = element("figure", element("figcaption", caption), element("div", *rows, class_="bars"))
    return joined(bars, laid_out(class_table(record), legend))


def _bar_row(record: Record, name: str, legend: Legend) -> Markup:
    value, interval = record["classes"][name]["iou"], class_interval(record, name)
    spread = f"  {span(interval)}" if has_intervals(record) else ""
    return element(
        "div",
        element("span", named(name, legend), class_="name"),
        element("span", element("strong", figure(value)), element("span", spread, class_="soft"), class_="reading"),
        bar(value, interval, f"IoU of {name}: {figure(value)} {spread}".strip()),
    )


def _confusion(record: Record, legend: Legend) -> Markup:
    said = element(
        "p",
        "Rows are classes of the truth, columns classes of the map. The darker a cell, the larger its share of the row "
        "(of the column in the last table). Framed cells are right.",
    )
    return joined(said, *(matrix_of(record, values, legend) for values in ("counts", "row_percent", "column_percent")))


def _areas(record: Record, legend: Legend) -> Markup:
    table = area_table(record)
    if table is None:
        return Markup()
    warning = (
        "True ground areas of the scored pixels. Areas counted from a map are biased by its errors; the ratio shows by "
        "how much, where the truth is known."
    )
    return joined(element("p", warning), laid_out(table, legend))


def _views(scenes: Sequence[View], windows: Sequence[View], legend: Legend) -> Markup:
    if not scenes and not windows:
        return Markup()
    parts = [_key(legend)]
    if scenes:
        parts += [element("h3", "Scenes of the lowest mean IoU"), *(_view(view, legend) for view in scenes)]
    if windows:
        parts += [
            element("h3", f"Windows with most wrong pixels, at most {MOST_OF_SCENE} of a scene"),
            *(_view(view, legend) for view in windows),
        ]
    return joined(*parts)


def _key(legend: Legend) -> Markup:
    """What colours and patterns mean; the patterns are drawn as in the pictures."""
    entries = [element("li", named(entry.name, legend)) for entry in legend.classes]
    patterns = [
        element("li", element("img", src=png(sample), alt="", class_="pattern"), name) for name, sample in _samples()
    ]
    said = element(
        "p",
        "Each row shows image, truth, map and errors, at most 320 px wide: classes by nearest neighbour, images by "
        "area means. Images of more than 8 bits are stretched from their 2nd to their 98th percentile, to be seen.",
    )
    return joined(said, element("ul", *entries, *patterns, class_="key"))


def _samples() -> list[tuple[str, np.ndarray]]:
    """Errors of each kind, drawn by what draws the panels."""
    return [
        (name, picture_of_outcomes(np.full((12, 18), outcome, np.uint8))) for outcome, name in OUTCOME_NAMES.items()
    ]


def _view(view: View, legend: Legend) -> Markup:
    place, matrix = view.place, view.place.matrix
    where = "" if place.window is None else f", rows {place.window.row} to {place.window.row_stop}, "
    where += "" if place.window is None else f"columns {place.window.col} to {place.window.col_stop}"
    figures = f"accuracy {figure(or_none(matrix.pixel_accuracy()))}, mean IoU {figure(or_none(matrix.mean_iou()))}"
    said = f"{count(place.wrong)} of {count(matrix.total)} scored pixels wrong; {figures}. {_most_often(view, legend)}"
    caption = element(
        "figcaption",
        element("strong", short_name(place.truth) + where),
        element("br"),
        said + (view.note and f" {view.note}."),
    )
    return element("figure", caption, element("div", *_panels(view, legend), class_="panels"), class_="view")


def _panels(view: View, legend: Legend) -> list[Markup]:
    name, shape, panels = short_name(view.place.truth), view.truth.shape, []
    if view.image is not None:
        image = picture_of_image(view.image, view.image_valid)
        panels = [panel("image", jpeg(enlarged(image, PANEL)), f"Image of {name}", shape, "photo")]
    wrong = float((view.scored & (view.prediction != view.truth)).sum() / max(view.scored.sum(), 1))
    for title, picture, told in (
        ("truth", picture_of_classes(view.truth, legend), f"Truth of {name}: {shares_said(view.truth, legend)}"),
        (
            "map",
            picture_of_classes(view.prediction, legend),
            f"Map of {name}: {shares_said(view.prediction, legend)}",
        ),
        ("errors", picture_of_outcomes(view.outcome), f"Errors in {name}: {wrong:.0%} of the scored pixels are wrong"),
    ):
        panels.append(panel(title, png(enlarged(picture, PANEL)), told, shape))
    return panels


def _most_often(view: View, legend: Legend) -> str:
    """The commonest mistake, in words."""
    wrong = view.place.matrix.scored
    np.fill_diagonal(wrong, 0)
    truth, found = np.unravel_index(int(wrong.argmax()), wrong.shape)
    if not wrong[truth, found]:
        return "Nothing is wrong."
    taken = f"taken for {legend.names[found]}" if found < len(legend) else "without a prediction"
    return f"Most often {legend.names[truth]} {taken} ({count(int(wrong[truth, found]))} px)."


def _made(record: Record, legend: Legend) -> Markup:
    rows = tuple(
        (
            entry.name,
            str(entry.code),
            css(entry.colour),
            "ignored" if entry.code in legend.ignore else "scored",
            entry.description,
        )
        for entry in legend.classes
    )
    table = Table(f"Legend {legend.name}", ("class", "code", "colour", "use", "description"), rows, 5)
    parts = [tables(provenance_table(record), *map_tables(record)), laid_out(table, legend)]
    return joined(
        *parts, element("p", "This file holds all its figures as JSON, too, in its last element.", class_="soft")
    )
