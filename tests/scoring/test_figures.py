"""Figures: panels side by side that keep every colour of the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoseg.legend import DEEPGLOBE
from geoseg.scoring.figures import INK, LINE, MARGIN, panels

COLOURS = np.array([c.colour for c in DEEPGLOBE.classes], np.uint8)


def picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return DEEPGLOBE.to_rgb(np.random.default_rng(seed).integers(0, 6, shape).astype(np.uint8))


def draw(path: Path, *pictures: np.ndarray, side: int = 420) -> np.ndarray:
    """(H, W, 3) of the sheet."""
    panels([(f"panel {i}", p) for i, p in enumerate(pictures)], DEEPGLOBE, path, side)
    return np.asarray(Image.open(path))


def test_each_picture_is_enlarged_by_nearest_in_its_place(tmp_path: Path) -> None:
    first, second = picture((4, 7), 1), picture((4, 7), 2)
    sheet = draw(tmp_path / "figure.png", first, second, side=420)
    for number, pixels in enumerate((first, second)):
        left, top = MARGIN + number * (420 + MARGIN), LINE + MARGIN // 2
        panel = sheet[top : top + 240, left : left + 420]
        assert np.array_equal(panel[30::60, 30::60], np.moveaxis(pixels, 0, -1))
    assert sheet.shape == (240 + 2 * LINE + 3 * MARGIN, 2 * 420 + 3 * MARGIN, 3)


def test_shrinking_mixes_no_colours(tmp_path: Path) -> None:
    sheet = draw(tmp_path / "figure.png", picture((900, 700)), side=300)
    top = LINE + MARGIN // 2 + 1
    inside = sheet[top : top + 298, MARGIN + 1 : MARGIN + 232]
    assert set(map(tuple, inside.reshape(-1, 3))) <= set(map(tuple, COLOURS[:6]))


@pytest.mark.parametrize("entry", range(6))
def test_the_legend_shows_each_scored_colour(tmp_path: Path, entry: int) -> None:
    sheet = draw(tmp_path / "figure.png", np.full((3, 40, 70), 128, np.uint8), np.full((3, 40, 70), 128, np.uint8))
    below = sheet[-LINE - MARGIN // 2 :]
    assert (below == COLOURS[entry]).all(-1).sum() >= 15 * 15
    assert not (below == COLOURS[6]).all(-1).any()


def test_every_panel_has_its_title(tmp_path: Path) -> None:
    sheet = draw(tmp_path / "figure.png", *[np.full((3, 40, 70), 128, np.uint8)] * 2)
    head = (sheet[: LINE + MARGIN // 2] == INK).all(-1)
    assert head[:, : 420 + MARGIN].any() and head[:, 420 + 2 * MARGIN :].any()


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1)])
def test_a_thin_picture_keeps_a_pixel(tmp_path: Path, shape: tuple[int, int]) -> None:
    assert draw(tmp_path / "figure.png", picture(shape)).size
