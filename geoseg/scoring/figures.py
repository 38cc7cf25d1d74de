"""Pictures of scenes, truths and maps, labelled, with the legend underneath."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoseg.legend import Legend

MARGIN = 12
"""Pixels around and between the panels."""
LINE = 26
"""Height of a line of text in pixels."""
INK, PAPER, FRAME = (30, 30, 30), (255, 255, 255), (120, 120, 120)


def panels(pictures: Sequence[tuple[str, np.ndarray]], legend: Legend, path: str | Path, side: int = 420) -> None:
    """Write labelled pictures side by side as a PNG, and the colours of the legend's scored classes below them.

    Args:
        pictures: (title, (3, H, W) uint8) from left to right.
        side: pixels of the longer side of each panel.
    """
    images = [(title, _shrink(picture, side)) for title, picture in pictures]
    width = MARGIN + sum(image.width + MARGIN for _, image in images)
    height = max(image.height for _, image in images) + 2 * LINE + 3 * MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = MARGIN
    for title, image in images:
        draw.text((left, MARGIN // 2), title, INK, font=_font())
        sheet.paste(image, (left, LINE + MARGIN // 2))
        draw.rectangle(
            (left, LINE + MARGIN // 2, left + image.width - 1, LINE + MARGIN // 2 + image.height - 1), outline=FRAME
        )
        left += image.width + MARGIN
    _draw_legend(draw, legend, top=height - LINE - MARGIN // 2)
    sheet.save(path)


def _shrink(picture: np.ndarray, side: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, -1)))
    factor = side / max(image.size)
    # Nearest keeps the legend's colours; enlarging by it shows the pixels as they are.
    return image.resize([max(1, round(length * factor)) for length in image.size], Image.Resampling.NEAREST)


def _draw_legend(draw: ImageDraw.ImageDraw, legend: Legend, top: int) -> None:
    left = MARGIN
    for index in legend.scored:
        entry = legend.classes[index]
        draw.rectangle((left, top + 3, left + 16, top + 19), fill=entry.colour, outline=FRAME)
        draw.text((left + 22, top), entry.name, INK, font=_font())
        left += 22 + round(draw.textlength(entry.name, font=_font())) + 2 * MARGIN


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=16)
