"""An ablation as one HTML file, made of the parts that reports are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoseg.ablation.claims import PER_IMAGE
from geoseg.ablation.sections import Section, sections
from geoseg.ablation.tables import confusion_of, lead, signed
from geoseg.legend import Legend
from geoseg.pictures import enlarged, jpeg, picture_of_classes, picture_of_image, png
from geoseg.reporting.curves import Line, key, plot
from geoseg.reporting.layout import card, document, laid_out, matrix_of, named, panel, paragraph, shares_said
from geoseg.reporting.markup import Markup, element, joined
from geoseg.reporting.tables import Record, figure
from geoseg.reporting.worst import View

PANEL = 320
"""Pixels of the longer side of a panel."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A test scene with what the rows made of it."""

    stem: str
    views: Mapping[str, View]
    """By row; image and truth are the same in all."""


def to_html(record: Record, legend: Legend, scenes: Sequence[Shown] = (), missing: str = "") -> str:
    """The page; ``scenes`` are those to look at, ``missing`` says why there are none."""
    drawn = {
        "claims": _claims(record),
        "epochs": _curves(record),
        "confusion": _confusion(record, legend),
        "look": _look(scenes, legend) or paragraph(missing),
    }
    bodies = [(one.name, one.title, _body(one, drawn.get(one.name), legend)) for one in sections(record)]
    above = [_headline(record), _notes(record)]
    return document("Ablation: the paper's settings compared", _title(record), above, bodies, record, "ablation")


def _body(section: Section, drawn: Markup | None, legend: Legend) -> Markup:
    """What is said, over its tables or what is drawn in their place."""
    return joined(paragraph(section.said), drawn or joined(*(laid_out(table, legend) for table in section.tables)))


def _title(record: Record) -> Markup:
    data, rows = record["data"], record["rows"]
    said = f"{data['folder']}, split {data['split']}: {len(rows)} rows, {data['scenes']['test']} test scenes"
    return element("header", element("h1", "Ablation"), element("p", said, class_="soft"))


def _headline(record: Record) -> Markup:
    """The pooled mean IoU of each row, and what tells it from the baseline."""
    return element("dl", *(_card(record, row) for row in record["rows"]), class_="cards")


def _card(record: Record, row: str) -> Markup:
    mean = record["rows"][row]["scores"][record["shown"]]["mean_iou"]
    difference = record["differences"][record["shown"]].get(row)
    below = f"pooled mean IoU; {PER_IMAGE} {figure(mean[PER_IMAGE]['mean'])}"
    if difference is not None:
        gain, p = difference["mean_iou"]["pooled"]["difference"], difference["p_holm"]
        below = joined(below, element("br"), f"less the baseline's, seeds together: {signed(gain)}, p {figure(p)}")
    return card(row, mean["pooled"]["mean"], below)


def _notes(record: Record) -> Markup:
    notes = [element("li", note) for note in record["notes"]]
    return element("aside", element("ul", *notes), class_="notes", aria_label="Notes") if notes else Markup()


def _claims(record: Record) -> Markup:
    return element("dl", *(_claim(claim) for claim in record["claims"]), class_="claims")


def _claim(claim: Record) -> Markup:
    verdict = element("span", claim["verdict"], class_=f"verdict {claim['verdict'].replace(' ', '-')}")
    source = element("span", f" (paper, {claim['source']})", class_="soft")
    figures = joined(claim["sentence"], "" if claim["lead"] is None else f" Lead {lead(claim)}.")
    return element("div", element("dt", verdict, " ", claim["claim"], source), element("dd", figures))


def _curves(record: Record) -> Markup:
    """Figures 2, 8 and 9 of the paper for every row."""
    parts = []
    for up, prefix, title in (
        ("IoU", "val_iou_", "IoU of each class on the validation scenes, mean over seeds"),
        ("loss", "", "Loss, mean over seeds"),
    ):
        plots = {row: lines_of(record, row, prefix) for row in record["rows"]}
        if any(plots.values()):
            drawn = [
                element("figure", element("figcaption", row), plot(row, lines, "epoch", up))
                for row, lines in plots.items()
            ]
            entries = key([line for lines in plots.values() for line in lines])
            parts += [element("h3", title), entries, element("div", *drawn, class_="plots")]
    return joined(*parts)


def lines_of(record: Record, row: str, prefix: str) -> list[Line]:
    """Of one row, the mean over its seeds: IoU of each class with the prefix val_iou_, both losses without one."""
    histories = [run["history"] for run in record["runs"] if run["setting"] == row]
    if prefix:
        names = {f"{prefix}{name}": name for name in record["data"]["classes"]}
    else:
        names = {"train_loss": "training", "val_loss": "validation"}
    drawn = ((place, label, _mean_by_epoch(histories, column)) for place, (column, label) in enumerate(names.items()))
    return [Line(label, points, place) for place, label, points in drawn if points]


def _mean_by_epoch(histories: Sequence[Sequence[Record]], column: str) -> tuple[tuple[float, float], ...]:
    """Over the runs that have the epoch."""
    found: dict[float, list[float]] = {}
    for history in histories:
        for line in history:
            if column in line:
                found.setdefault(line["epoch"], []).append(line[column])
    return tuple((epoch, sum(values) / len(values)) for epoch, values in sorted(found.items()))


def _confusion(record: Record, legend: Legend) -> Markup:
    parts = [paragraph("The darker a cell, the larger its share of the row. Framed cells are right.")]
    for row in record["rows"]:
        found = confusion_of(record, row, record["shown"])
        parts += [element("h3", row), *(matrix_of(found, values, legend) for values in ("row_percent", "counts"))]
    return joined(*parts)


def _look(scenes: Sequence[Shown], legend: Legend) -> Markup:
    if not scenes:
        return Markup()
    said = "Image, truth and the map of each row, of its first seed. The scenes are the first of the test part."
    entries = element("ul", *(element("li", named(entry.name, legend)) for entry in legend.classes), class_="key")
    return joined(element("p", said), entries, *(_scene(scene, legend) for scene in scenes))


def _scene(scene: Shown, legend: Legend) -> Markup:
    first = next(iter(scene.views.values()))
    shape, panels = first.truth.shape, []
    if first.image is not None:
        image = picture_of_image(first.image, first.image_valid)
        panels.append(panel("image", jpeg(enlarged(image, PANEL)), f"Image of {scene.stem}", shape, "photo"))
    pictures = [("truth", first.truth), *((row, view.prediction) for row, view in scene.views.items())]
    for title, index in pictures:
        told = f"{title.capitalize()} of {scene.stem}: {shares_said(index, legend)}"
        panels.append(panel(title, png(enlarged(picture_of_classes(index, legend), PANEL)), told, shape))
    caption = element("figcaption", element("strong", scene.stem))
    return element("figure", caption, element("div", *panels, class_="panels"), class_="view")
