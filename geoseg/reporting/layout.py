"""How pages look: the document around them, its sections, tables, cards and panels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from geoseg.legend import NO_CLASS, Legend
from geoseg.reporting.markup import Markup, css, element, joined
from geoseg.reporting.notebook import swatch
from geoseg.reporting.shades import ink_on, shade
from geoseg.reporting.tables import Record, Table, confusion_table, figure, shown_columns

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers refuse whatever is not in the file itself."""

MANY = 9
"""From so many columns on a matrix is set in small type."""

Section = tuple[str, str, Markup]
"""Name in links, title, contents; one without contents is left out."""


def document(
    title: str, header: Markup, above: Sequence[Markup], sections: Sequence[Section], record: Record, key: str
) -> str:
    """A page: a header, what stands above the links to the sections, the sections, and the record in a last element.

    Args:
        title: of the browser's window.
        key: id of the element that holds the record as JSON.
    """
    there = [(name, head, body) for name, head, body in sections if body]
    links = element("nav", *(element("a", head, href=f"#{name}") for name, head, _ in there), aria_label="Contents")
    parts = (element("section", element("h2", head), body, id=name) for name, head, body in there)
    body = element("body", header, element("main", *above, links, *parts), _data(record, key))
    return f"<!DOCTYPE html>\n{element('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    style = files("geoseg.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(style)),
    )


def _data(record: Record, key: str) -> Markup:
    # No name in it may end the element: "<" is written as JSON's escape of it.
    text = json.dumps(record).replace("<", "\\u003c")
    return element("script", Markup(text), type="application/json", id=key)


def card(title: str, value: float | None, below: str | Markup) -> Markup:
    """A figure in large type, under its name."""
    return element(
        "div",
        element("dt", title),
        element("dd", figure(value), class_="figure"),
        element("dd", below or Markup("&nbsp;")),
    )


def tables(*some: Table | None) -> Markup:
    """Those that there are, one below the other."""
    return joined(*(laid_out(table) for table in some if table is not None))


def laid_out(table: Table, legend: Legend | None = None) -> Markup:
    """A table; names of the legend's classes stand behind their colours."""
    rows = [
        element(
            "tr",
            row_head(row[0], legend),
            *(_cell(cell, place < table.texts) for place, cell in enumerate(row[1:], 1)),
        )
        for row in table.rows
    ]
    return scrolling(table, element("tbody", *rows), "", legend)


def scrolling(table: Table, body: Markup, kind: str, legend: Legend | None) -> Markup:
    """A table in a box of its own, so that a wide one moves alone; the keyboard reaches it."""
    head = element(
        "tr",
        *(
            element(
                "th",
                element("span", named(name, legend)),
                scope="col",
                class_="words" if place < table.texts else None,
            )
            for place, name in enumerate(table.head)
        ),
    )
    drawn = element("table", element("caption", table.caption), element("thead", head), body, class_=kind or None)
    return element("div", drawn, class_="scroll", role="region", aria_label=table.caption, tabindex=0)


def matrix_of(record: Record, values: str, legend: Legend) -> Markup:
    """A confusion matrix; ``values`` as confusion_table takes them."""
    table, confusion = confusion_table(record, values), record["confusion"]
    shares = confusion["row_percent" if values == "counts" else values]
    shown = [place for place, there in enumerate(shown_columns(record)) if there]
    lines = [
        (place, line) for place, line in enumerate(shares) if confusion["classes"][place] not in confusion["ignored"]
    ]
    rows = [
        element(
            "tr",
            row_head(row[0], legend),
            *(shaded(cell, line[col], place == col) for cell, col in zip(row[1:], shown, strict=True)),
        )
        for row, (place, line) in zip(table.rows, lines, strict=True)
    ]
    many = " many" if len(table.head) > MANY else ""
    return scrolling(table, element("tbody", *rows), f"matrix{many}", legend)


def row_head(name: str, legend: Legend | None) -> Markup:
    """The first cell of a row."""
    return element("th", named(name, legend), scope="row", class_="words")


def _cell(text: str, words: bool) -> Markup:
    return element("td", text, class_="words" if words else None)


def named(name: str, legend: Legend | None) -> Markup:
    """A name, behind its colour where it is a class's."""
    colours = {} if legend is None else legend.colours
    return joined(swatch(colours[name]), name) if name in colours else joined(name)


def shaded(cell: str, percent: float | None, right: bool) -> Markup:
    """A cell of a matrix, the darker the larger its percentage; framed where it is ``right``."""
    colour = shade((percent or 0) / 100)
    style = f"background:{css(colour)};color:{css(ink_on(colour))}"
    return element("td", cell, style=style, class_="right" if right else None)


def paragraph(text: str) -> Markup:
    """A text, nothing where it is empty."""
    return element("p", text) if text else Markup()


def panel(title: str, source: str, told: str, shape: tuple[int, int], kind: str | None = None) -> Markup:
    """A picture over its title; ``told`` is for those who do not see it."""
    height, width = shape
    return element("div", element("img", src=source, alt=told, width=width, height=height, class_=kind), title)


def shares_said(index: np.ndarray, legend: Legend) -> str:
    """The three most frequent classes, in words."""
    shares = np.bincount(index[index != NO_CLASS], minlength=len(legend))[: len(legend)] / max(index.size, 1)
    first = [i for i in np.argsort(-shares, kind="stable")[:3] if shares[i] > 0]
    return ", ".join(f"{legend.names[i]} {shares[i]:.0%}" for i in first) or "no class"
