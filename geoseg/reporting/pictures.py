"""Views as pictures inside a page: image, truth, map and errors, told apart by lightness and hatching, too."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from geoseg.legend import NO_CLASS, Colour, Legend
from geoseg.reporting.worst import View

RIGHT, WRONG, HATCH, MISSED, PAPER, DOT = (
    (214, 218, 222),
    (213, 94, 0),
    (92, 32, 0),
    (20, 26, 44),
    (255, 255, 255),
    (150, 150, 150),
)
"""Vermilion is told from grey by readers of every colour vision; hatching and lightness tell the rest."""
SHOWN_SHARE = (2, 98)
"""Percentiles of an image of more than 8 bits that become black and white."""


def picture_of_image(view: View) -> np.ndarray | None:
    """(3, H, W) uint8: 8 bits as they are, others stretched between two percentiles a band; None without an image."""
    if view.image is None:
        return None
    pixels = view.image if view.image.dtype == np.uint8 else stretched(view.image, view.image_valid)
    return np.where(view.image_valid, np.broadcast_to(pixels, (3, *pixels.shape[1:])), nothing(pixels.shape[1:]))


def stretched(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(C, H, W) of any dtype to uint8, for the eye alone."""
    found = np.zeros(pixels.shape, np.uint8)
    for band, out in zip(pixels.astype(np.float64), found, strict=True):
        if valid.any():
            low, high = np.percentile(band[valid], SHOWN_SHARE)
            scaled = (np.where(valid, band, low) - low) / max(high - low, np.finfo(float).tiny)
            out[:] = np.clip(scaled * 255, 0, 255)
    return found


def picture_of_classes(index: np.ndarray, legend: Legend) -> np.ndarray:
    """(3, H, W) uint8 in the legend's colours; white with dots where there is no class."""
    return np.where(index == NO_CLASS, nothing(index.shape), legend.to_rgb(index))


def picture_of_errors(view: View) -> np.ndarray:
    """(3, H, W) uint8: right grey, wrong vermilion and hatched, without a prediction dark, not scored white dotted."""
    height, width = view.truth.shape
    lines = (np.arange(height)[:, None] + np.arange(width)) % 6 < 2
    missing = view.scored & (view.prediction == NO_CLASS)
    wrong = view.scored & ~missing & (view.prediction != view.truth)
    picture = nothing(view.truth.shape)
    for where, colour in ((view.scored, RIGHT), (wrong, WRONG), (wrong & lines, HATCH), (missing, MISSED)):
        picture[:, where] = np.array(colour, np.uint8)[:, None]
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


def css(colour: Colour) -> str:
    """A colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
