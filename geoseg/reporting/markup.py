"""HTML elements whose texts are escaped, so that no name can become markup."""

from __future__ import annotations

from html import escape

Colour = tuple[int, int, int]
"""(red, green, blue), 0 to 255."""
VOID = ("img", "meta", "link", "br")
"""Elements without an end."""


class Markup(str):
    """Text that is HTML already."""


def element(tag: str, /, *parts: object, **attributes: object) -> Markup:
    """``<tag attributes>parts</tag>``; parts that are no Markup, and attributes, are escaped.

    ``class_`` is class; other underscores are hyphens. An attribute of None is left out.
    """
    there = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    given = "".join(f' {key}="{escape(str(value))}"' for key, value in there.items())
    if tag in VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(*parts)}</{tag}>")


def joined(*parts: object) -> Markup:
    """Parts one after the other, escaped where they are no Markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))


def css(colour: Colour) -> str:
    """A colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
