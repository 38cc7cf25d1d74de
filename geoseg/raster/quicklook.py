"""write_quicklook: a class raster as a small picture with its legend."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoseg.files import replace_file
from geoseg.legend import NODATA, Legend
from geoseg.raster.scene import Scene
from geoseg.tiling import fitting

INK, PAPER, NO_DATA = (40, 40, 40), (255, 255, 255), (160, 160, 160)


def write_quicklook(raster: str | Path, legend: Legend, path: str | Path, longest: int = 1024) -> None:
    """Write a PNG of a class raster, at most ``longest`` px on its longer side, beside the names of its classes.

    Pixels without data are grey. Raises InputError, OutputError, ResourceError.
    """
    with Scene(raster) as scene:
        # Of a map's overviews, which hold the most frequent classes.
        pixels, valid = scene.read_overview(fitting(scene.grid.shape, longest))
    codes = np.where(valid, pixels[0], np.uint8(NODATA))
    colours = np.full((256, 3), NO_DATA, np.uint8)
    for one in legend.classes:
        colours[one.code] = one.colour
    picture = Image.fromarray(colours[codes])
    seen = [(one.name, one.colour) for one in legend.classes if (codes == one.code).any()]
    seen += [("no data", NO_DATA)] if (codes == NODATA).any() else []
    data = io.BytesIO()
    _beside(picture, seen).save(data, "PNG")
    replace_file(Path(path), data.getvalue())


def _beside(picture: Image.Image, entries: list[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    font = ImageFont.load_default(14)
    line, box, gap = 22, 14, 10
    wide = max((int(font.getlength(name)) for name, _ in entries), default=0) + box + 3 * gap
    sheet = Image.new("RGB", (picture.width + wide, max(picture.height, line * len(entries) + 2 * gap)), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, (name, colour) in enumerate(entries):
        x, y = picture.width + gap, gap + number * line
        draw.rectangle((x, y, x + box, y + box), fill=colour, outline=INK)
        draw.text((x + box + gap, y), name, fill=INK, font=font)
    return sheet
