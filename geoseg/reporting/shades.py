"""Shades of cells and bars with whiskers: what a page draws of numbers."""

from __future__ import annotations

from geoseg.reporting.markup import Colour, Markup, element, joined
from geoseg.reporting.tables import Record

LIGHT, DARK = (255, 255, 255), (8, 64, 129)
"""Ends of the ramp: one hue whose lightness falls evenly, so that it reads in grey too."""
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def shade(share: float) -> Colour:
    """The ramp's colour of a share between 0 and 1."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True))
    return red, green, blue


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read better; their contrast to the colour is at least 4.58 (WCAG 2.2, 1.4.3)."""
    return max((BLACK, WHITE), key=lambda ink: contrast(ink, colour))


def contrast(first: Colour, second: Colour) -> float:
    """Ratio of the relative luminances of two colours (WCAG 2.2), 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2), 0 to 1."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def bar(value: float | None, interval: Record | None, label: str) -> Markup:
    """A share from 0 to 1 as a bar, with a whisker from end to end of its interval."""
    parts = [element("rect", x=0, y=5, width=100, height=12, class_="track")]
    if value is not None:
        parts.append(element("rect", x=0, y=5, width=f"{100 * value:.2f}", height=12, class_="value"))
    if interval is not None:
        low, high = (100 * interval[end] for end in ("low", "high"))
        parts += [_line(low, high, 11, 11), _line(low, low, 6, 16), _line(high, high, 6, 16)]
    return element(
        "svg",
        joined(*parts),
        viewBox="0 0 100 22",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="bar",
    )


def _line(x1: float, x2: float, y1: float, y2: float) -> Markup:
    return element("line", x1=f"{x1:.2f}", x2=f"{x2:.2f}", y1=y1, y2=y2, class_="whisker")
