"""How values look in notebooks: one frame, one style, in dark and in light; nothing is run or loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.resources import files
from typing import Any

from geoseg.reporting.markup import Colour, Markup, css, element, joined

MOST_CELL = 400
"""Characters of a fact; the rest is left out."""


def never_failing(build: Callable[[Any], str]) -> Callable[[Any], str]:
    """A ``_repr_html_`` that gives the value's text where it cannot give more: a notebook must always show a value."""

    @wraps(build)
    def shown(value: Any) -> str:
        try:
            return build(value)
        except Exception:
            return element("pre", repr(value))

    return shown


def frame(kind: str, name: str, *parts: Markup, aside: Markup | None = None) -> Markup:
    """What a value is and how it is called, above all else; ``aside`` is a picture to the left."""
    style = files("geoseg.reporting").joinpath("notebook.css").read_text(encoding="utf-8")
    head = element("div", element("span", kind, class_="kind"), " ", element("strong", name), class_="head")
    beside = [element("div", aside, class_="aside")] if aside else []
    body = element("div", *beside, element("div", *parts, class_="main"), class_="body")
    return element("div", element("style", Markup(style)), head, body, class_="geoseg")


def facts(found: Mapping[str, object]) -> Markup:
    """Names and values, one a line; those of None are left out."""
    rows = [
        element(
            "tr", element("th", name, scope="row"), element("td", value if isinstance(value, Markup) else _cut(value))
        )
        for name, value in found.items()
        if value is not None
    ]
    return element("table", element("tbody", *rows), class_="facts")


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: int = 1,
    colours: Mapping[str, Colour] | None = None,
    caption: str = "",
) -> Markup:
    """A table of cells in words: ``texts`` first columns hold words, the rest numbers; names in the first stand behind
    their colours."""
    colours = colours or {}

    def cell(tag: str, text: str, place: int, **more: str) -> Markup:
        shown = joined(swatch(colours[text]), text) if place == 0 and text in colours else text
        return element(tag, shown, class_="words" if place < texts else None, **more)

    top = element("tr", *(cell("th", text, place, scope="col") for place, text in enumerate(head)))
    body = [element("tr", *(cell("td", text, place) for place, text in enumerate(row))) for row in rows]
    said = [element("caption", caption)] if caption else []
    return element("table", *said, element("thead", top), element("tbody", *body), class_="rows")


def swatch(colour: Colour) -> Markup:
    """A small square of a colour."""
    return element("span", class_="swatch", style=f"background:{css(colour)}", aria_hidden="true")


def swatches(colours: Mapping[str, Colour]) -> Markup:
    """Names behind their colours, in a line."""
    return joined(*(element("span", swatch(colour), name, class_="entry") for name, colour in colours.items()))


def notes(said: Sequence[str]) -> Markup:
    """What must be known, one a line; nothing where there is nothing."""
    return element("ul", *(element("li", note) for note in said), class_="notes") if said else Markup()


def details(summary: str, *parts: Markup) -> Markup:
    """What is seen when it is opened."""
    return element("details", element("summary", summary), *parts)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_CELL else f"{text[:MOST_CELL]} …"
