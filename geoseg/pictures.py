"""Arrays as pictures: images stretched, classes in their colours, errors told apart by lightness and hatching, too."""

from __future__ import annotations

import base64
import io
import math
from enum import IntEnum

import numpy as np
from PIL import Image

from geoseg.legend import NO_CLASS, Legend
from geoseg.reporting.markup import Markup, element

RIGHT, WRONG, HATCH, MISSED, PAPER, DOT = (
    (214, 218, 222),
    (213, 94, 0),
    (92, 32, 0),
    (20, 26, 44),
    (255, 255, 255),
    (150, 150, 150),
)
"""Vermilion is told from grey by readers of every colour vision; hatching and lightness tell the rest."""


class Outcome(IntEnum):
    """What came of a pixel of the truth."""

    RIGHT, WRONG, MISSED, UNSCORED = range(4)


OUTCOME_COLOURS = {Outcome.RIGHT: RIGHT, Outcome.WRONG: WRONG, Outcome.MISSED: MISSED}
OUTCOME_NAMES = {
    Outcome.RIGHT: "right",
    Outcome.WRONG: "wrong",
    Outcome.MISSED: "no prediction",
    Outcome.UNSCORED: "not scored",
}
SHOWN_SHARE = (2, 98)
"""Percentiles of an image of more than 8 bits that become black and white."""
DARK, STRONGEST = 0.3, 0.4
"""The brightness below which half of an image is too dark, and the exponent that brightens it most."""


def picture_of_image(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) of any dtype to (3, H, W) uint8: 8 bits as they are, others stretched between two percentiles a
    band; white with dots where there is no data."""
    return np.where(valid, visible(pixels, valid), nothing(valid.shape))


def visible(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W) of any dtype to (3, H, W) uint8: 8 bits as they are, others ``stretched``."""
    pixels = pixels if pixels.dtype == np.uint8 else stretched(pixels, valid)
    return np.broadcast_to(pixels, (3, *pixels.shape[1:]))


def stretched(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(C, H, W) of any dtype to uint8, for the eye alone: from one percentile of each band to another, and brightened
    where most pixels would be dark.

    Pixels that are 0 in all bands do not count, as they mostly lie around a scene that does not declare them missing.
    """
    counted = valid & (pixels != 0).any(0)
    if not counted.any():
        return np.zeros(pixels.shape, np.uint8)
    shares = np.zeros(pixels.shape, np.float32)
    for band, out in zip(pixels, shares, strict=True):
        low, high = np.percentile(band[counted].astype(np.float64), SHOWN_SHARE)
        span = max(high - low, np.finfo(float).tiny)
        out[counted] = np.clip((band[counted].astype(np.float64) - low) / span, 0, 1)
    middle = float(np.median(shares[:, counted]))
    if 0 < middle < DARK:
        shares **= max(math.log(DARK) / math.log(middle), STRONGEST)
    return (255 * shares).astype(np.uint8)


def picture_of_classes(index: np.ndarray, legend: Legend) -> np.ndarray:
    """(3, H, W) uint8 in the legend's colours; white with dots where there is no class."""
    return np.where(index == NO_CLASS, nothing(index.shape), legend.to_rgb(index))


def outcomes(truth: np.ndarray, prediction: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """(H, W) uint8 Outcome of each pixel, from class indices and where they are scored."""
    found = np.where(truth == prediction, np.uint8(Outcome.RIGHT), np.uint8(Outcome.WRONG))
    found[prediction == NO_CLASS] = Outcome.MISSED
    found[~scored] = Outcome.UNSCORED
    return found


def picture_of_outcomes(outcome: np.ndarray) -> np.ndarray:
    """(3, H, W) uint8: right grey, wrong vermilion and hatched, without a prediction dark, not scored white dotted."""
    height, width = outcome.shape
    lines = (np.arange(height)[:, None] + np.arange(width)) % 6 < 2
    picture = nothing(outcome.shape)
    for one, colour in OUTCOME_COLOURS.items():
        picture[:, outcome == one] = np.array(colour, np.uint8)[:, None]
    picture[:, (outcome == Outcome.WRONG) & lines] = np.array(HATCH, np.uint8)[:, None]
    return picture


def nothing(shape: tuple[int, int]) -> np.ndarray:
    """(3, H, W) uint8: white with dots, as no class looks like."""
    rows, cols = np.indices(shape)
    dots = (rows % 6 == 2) & ((cols + 3 * (rows // 6 % 2)) % 6 == 2)
    return np.where(dots, *(np.array(colour, np.uint8)[:, None, None] for colour in (DOT, PAPER)))


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """Every pixel as a square, so that small windows fill what they may."""
    factor = max(1, side // max(picture.shape[-2:]))
    return picture.repeat(factor, -2).repeat(factor, -1)


def png(picture: np.ndarray) -> str:
    """A picture of few colours as a data URI."""
    return _data_uri(picture, "PNG", optimize=True)


def jpeg(picture: np.ndarray) -> str:
    """A photograph as a data URI, a fifth the size of a PNG."""
    return _data_uri(picture, "JPEG", quality=88)


def _data_uri(picture: np.ndarray, form: str, **options: object) -> str:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, -1))).save(data, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def thumbnail(pixels: np.ndarray, valid: np.ndarray, told: str) -> Markup:
    """(1 or 3, H, W) of any dtype as an element of a page, clear where there is no data; ``told`` is for those who do
    not see it."""
    seen = visible(pixels, valid)
    source = jpeg(seen) if valid.all() else png(np.concatenate([seen, np.where(valid, 255, 0).astype(np.uint8)[None]]))
    height, width = valid.shape
    return element("img", src=source, alt=told, width=width, height=height)


def thumbnail_of_classes(index: np.ndarray, legend: Legend, told: str) -> Markup:
    """(H, W) uint8 class indices as ``thumbnail``, in the legend's colours."""
    clear = np.where(index == NO_CLASS, 0, 255).astype(np.uint8)
    height, width = index.shape
    source = png(np.concatenate([legend.to_rgb(index), clear[None]]))
    return element("img", src=source, alt=told, width=width, height=height)
