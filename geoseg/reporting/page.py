"""A report as one HTML file: nothing is loaded from elsewhere, and nothing in it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from geoseg.legend import NO_CLASS, Legend
from geoseg.metrics import or_none
from geoseg.reporting.markup import Markup, element, joined
from geoseg.reporting.pictures import (
    css,
    enlarged,
    jpeg,
    picture_of_classes,
    picture_of_errors,
    picture_of_image,
    png,
)
from geoseg.reporting.shades import bar, ink_on, shade
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
    confusion_table,
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
    shown_columns,
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
MANY = 9
"""From so many columns on a matrix is set in small type."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers refuse whatever is not in the file itself."""


def to_html(
    record: Record, legend: Legend, scenes: Sequence[View] = (), windows: Sequence[View] = (), missing: str = ""
) -> str:
    """The page; ``scenes`` and ``windows`` are those to look at, worst first; ``missing`` says why there are none."""
    sections = [
        ("classes", "Classes", _classes(record, legend)),
        ("averages", "All classes together", _tables(average_table(record), agreement_table(record))),
        ("confusion", "What was taken for what", _confusion(record, legend)),
        ("areas", "Areas", _areas(record, legend)),
        ("boundaries", "Borders of classes", _tables(boundary_table(record))),
        ("calibration", "Confidence", _tables(calibration_table(record))),
        ("pixels", "Pixels left out", _tables(left_out_table(record))),
        ("scenes", "Scenes", _tables(scene_table(record, MOST_SCENES), alignment_table(record, MOST_SCENES))),
        ("look", "Where the map is worst", _views(scenes, windows, legend) or _said(missing)),
        ("made", "How this was made", _made(record, legend)),
    ]
    there = [(key, title, body) for key, title, body in sections if body]
    links = element("nav", *(element("a", title, href=f"#{key}") for key, title, _ in there), aria_label="Contents")
    main = element(
        "main",
        _headline(record),
        _notes(record),
        links,
        *(element("section", element("h2", title), body, id=key) for key, title, body in there),
    )
    page = element("html", _head(record), element("body", _title(record), main, _data(record)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _head(record: Record) -> Markup:
    style = files("geoseg.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", f"Accuracy of the map: mean IoU {figure(record['mean_iou'])}"),
        element("style", Markup(style)),
    )


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
        _card(f"Mean IoU ({average})", record["mean_iou"], _spread(record, mean)),
        _card("Pixel accuracy", record["pixel_accuracy"], _spread(record, overall_interval(record, "pixel_accuracy"))),
        _card("Cohen's kappa", record["kappa"], _spread(record, overall_interval(record, "kappa"))),
        _card("Baseline", record["majority_baseline_mean_iou"], f"mean IoU of a map of {majority} alone"),
    ]
    return element("dl", *cards, class_="cards")


def _card(title: str, value: float | None, below: str | Markup) -> Markup:
    return element(
        "div",
        element("dt", title),
        element("dd", figure(value), class_="figure"),
        element("dd", below or Markup("&nbsp;")),
    )


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
    return joined(bars, _laid_out(class_table(record), legend))


def _bar_row(record: Record, name: str, legend: Legend) -> Markup:
    value, interval = record["classes"][name]["iou"], class_interval(record, name)
    spread = f"  {span(interval)}" if has_intervals(record) else ""
    return element(
        "div",
        element("span", _named(name, legend), class_="name"),
        element("span", element("strong", figure(value)), element("span", spread, class_="soft"), class_="reading"),
        bar(value, interval, f"IoU of {name}: {figure(value)} {spread}".strip()),
    )


def _confusion(record: Record, legend: Legend) -> Markup:
    said = element(
        "p",
        "Rows are classes of the truth, columns classes of the map. The darker a cell, the larger its share of the row "
        "(of the column in the last table). Framed cells are right.",
    )
    return joined(said, *(_matrix(record, values, legend) for values in ("counts", "row_percent", "column_percent")))


def _matrix(record: Record, values: str, legend: Legend) -> Markup:
    table, confusion = confusion_table(record, values), record["confusion"]
    shares = confusion["row_percent" if values == "counts" else values]
    shown = [place for place, there in enumerate(shown_columns(record)) if there]
    lines = [
        (place, line) for place, line in enumerate(shares) if confusion["classes"][place] not in confusion["ignored"]
    ]
    rows = [
        element(
            "tr",
            _row_head(row[0], legend),
            *(_shaded(cell, line[col], place == col) for cell, col in zip(row[1:], shown, strict=True)),
        )
        for row, (place, line) in zip(table.rows, lines, strict=True)
    ]
    many = " many" if len(table.head) > MANY else ""
    return _scrolling(table, element("tbody", *rows), f"matrix{many}", legend)


def _shaded(cell: str, percent: float | None, right: bool) -> Markup:
    colour = shade((percent or 0) / 100)
    style = f"background:{css(colour)};color:{css(ink_on(colour))}"
    return element("td", cell, style=style, class_="right" if right else None)


def _areas(record: Record, legend: Legend) -> Markup:
    table = area_table(record)
    if table is None:
        return Markup()
    warning = (
        "True ground areas of the scored pixels. Areas counted from a map are biased by its errors; the ratio shows by "
        "how much, where the truth is known."
    )
    return joined(element("p", warning), _laid_out(table, legend))


def _tables(*tables: Table | None) -> Markup:
    return joined(*(_laid_out(table) for table in tables if table is not None))


def _laid_out(table: Table, legend: Legend | None = None) -> Markup:
    rows = [
        element(
            "tr",
            _row_head(row[0], legend),
            *(_cell(cell, place < table.texts) for place, cell in enumerate(row[1:], 1)),
        )
        for row in table.rows
    ]
    return _scrolling(table, element("tbody", *rows), "", legend)


def _scrolling(table: Table, body: Markup, kind: str, legend: Legend | None) -> Markup:
    """A table in a box of its own, so that a wide one moves alone; the keyboard reaches it."""
    head = element(
        "tr",
        *(
            element(
                "th",
                element("span", _named(name, legend)),
                scope="col",
                class_="words" if place < table.texts else None,
            )
            for place, name in enumerate(table.head)
        ),
    )
    drawn = element("table", element("caption", table.caption), element("thead", head), body, class_=kind or None)
    return element("div", drawn, class_="scroll", role="region", aria_label=table.caption, tabindex=0)


def _row_head(name: str, legend: Legend | None) -> Markup:
    return element("th", _named(name, legend), scope="row", class_="words")


def _cell(text: str, words: bool) -> Markup:
    return element("td", text, class_="words" if words else None)


def _named(name: str, legend: Legend | None) -> Markup:
    """A name, behind its colour where it is a class's."""
    colours = {} if legend is None else {entry.name: entry.colour for entry in legend.classes}
    if name not in colours:
        return joined(name)
    return joined(element("span", class_="swatch", style=f"background:{css(colours[name])}", aria_hidden="true"), name)


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


def _said(text: str) -> Markup:
    return element("p", text) if text else Markup()


def _key(legend: Legend) -> Markup:
    """What colours and patterns mean; the patterns are drawn as in the pictures."""
    entries = [element("li", _named(entry.name, legend)) for entry in legend.classes]
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
    shape = (12, 18)
    truth, scored = np.zeros(shape, np.uint8), np.ones(shape, bool)
    kinds = {
        "right": (0, scored),
        "wrong": (1, scored),
        "no prediction": (NO_CLASS, scored),
        "not scored": (0, ~scored),
    }
    return [
        (name, picture_of_errors(View(None, truth, np.full(shape, index, np.uint8), where, None, None)))
        for name, (index, where) in kinds.items()
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
    name, image = short_name(view.place.truth), picture_of_image(view)
    panels = [] if image is None else [_panel("image", jpeg(enlarged(image, PANEL)), f"Image of {name}", view, "photo")]
    wrong = float((view.scored & (view.prediction != view.truth)).sum() / max(view.scored.sum(), 1))
    for title, picture, told in (
        ("truth", picture_of_classes(view.truth, legend), f"Truth of {name}: {_shares(view.truth, legend)}"),
        ("map", picture_of_classes(view.prediction, legend), f"Map of {name}: {_shares(view.prediction, legend)}"),
        ("errors", picture_of_errors(view), f"Errors in {name}: {wrong:.0%} of the scored pixels are wrong"),
    ):
        panels.append(_panel(title, png(enlarged(picture, PANEL)), told, view))
    return panels


def _panel(title: str, source: str, told: str, view: View, kind: str | None = None) -> Markup:
    height, width = view.truth.shape
    return element("div", element("img", src=source, alt=told, width=width, height=height, class_=kind), title)


def _shares(index: np.ndarray, legend: Legend) -> str:
    """The three most frequent classes, in words."""
    shares = np.bincount(index[index != NO_CLASS], minlength=len(legend))[: len(legend)] / max(index.size, 1)
    first = [i for i in np.argsort(-shares, kind="stable")[:3] if shares[i] > 0]
    return ", ".join(f"{legend.names[i]} {shares[i]:.0%}" for i in first) or "no class"


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
    parts = [_tables(provenance_table(record), *map_tables(record)), _laid_out(table, legend)]
    return joined(
        *parts, element("p", "This file holds all its figures as JSON, too, in its last element.", class_="soft")
    )


def _data(record: Record) -> Markup:
    # No name in it may end the element: "<" is written as JSON's escape of it.
    text = json.dumps(record).replace("<", "\\u003c")
    return element("script", Markup(text), type="application/json", id="report")
