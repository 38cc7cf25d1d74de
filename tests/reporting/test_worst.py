"""Finding and reading again what is worst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

import geoseg
from geoseg.grid import Window
from geoseg.legend import DEEPGLOBE, NO_CLASS, Legend
from geoseg.pictures import (
    DOT,
    HATCH,
    MISSED,
    PAPER,
    RIGHT,
    WRONG,
    picture_of_classes,
    picture_of_image,
    picture_of_outcomes,
    visible,
)
from geoseg.raster.labels import Labels
from geoseg.raster.resample import nearest
from geoseg.raster.scene import Scene
from geoseg.reporting import worst
from geoseg.reporting.worst import find_image, read_views, worst_scenes, worst_windows
from geoseg.source import OpeningPolicy, Source

MakeRaster = Callable[..., Path]
TRUTH = np.random.default_rng(4).integers(0, 7, (37, 53)).astype(np.uint8)
"""DeepGlobe's codes, 6 ignored."""


@pytest.fixture
def pair(make_raster: MakeRaster) -> tuple[Path, Path]:
    """A map that is wrong in its lower right corner, and has no prediction in its first row; and its truth."""
    found = np.where(TRUTH == 6, 0, TRUTH)
    found[30:, 45:] = (found[30:, 45:] + 1) % 6
    found[0] = 255
    return make_raster(found, "labels/map_of_it.tif", nodata=255), make_raster(TRUTH, "labels/t.tif")


def test_windows_are_a_quarter_of_a_small_truth_and_the_wrongest_comes_first(pair: tuple[Path, Path]) -> None:
    report = geoseg.score(*pair, DEEPGLOBE, details=True)
    assert {blocks.side for blocks in (found.blocks for found in report.pairs.values())} == {14}
    places = worst_windows(report, 6)
    assert places[0].window == Window(28, 42, 9, 11)
    assert [place.wrong for place in places] == sorted((place.wrong for place in places), reverse=True)
    assert len(places) == worst.MOST_OF_SCENE


def test_details_change_no_count(pair: tuple[Path, Path]) -> None:
    plain, detailed = (geoseg.score(*pair, DEEPGLOBE, details=details) for details in (False, True))
    assert plain.matrix == detailed.matrix and plain.hectares == pytest.approx(detailed.hectares, rel=1e-5)


def test_details_make_no_intervals_of_blocks(report: geoseg.Report) -> None:
    assert report.intervals.units == 3 and report.intervals.resampling.block is None
    assert all(pair.blocks is not None for pair in report.pairs.values())


def test_scenes_come_by_their_own_mean_iou(report: geoseg.Report) -> None:
    means = [place.matrix.mean_iou() for place in worst_scenes(report, 3)]
    assert means == sorted(means) and len(worst_scenes(report, 2)) == 2


@pytest.mark.parametrize("side", [320, 20, 7])
def test_a_view_shows_the_pixels_of_the_truth_s_grid(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(worst, "READ_AT_ONCE", 53 * 5)
    report = geoseg.score(*pair, DEEPGLOBE)
    (view,) = read_views(report, worst_scenes(report, 1), side)
    shape = worst.fitting(TRUTH.shape, side)
    assert view.truth.shape == shape and max(shape) == min(side, 53)
    assert (view.truth == nearest(TRUTH, shape)).all()
    assert (view.prediction == nearest(Labels(pair[0], DEEPGLOBE).read(), shape)).all()
    assert (view.scored == (view.truth != 6)).all()


def test_a_window_counts_as_the_report_does(pair: tuple[Path, Path]) -> None:
    report = geoseg.score(*pair, DEEPGLOBE, details=True)
    for view in read_views(report, worst_windows(report, 6), 320):
        wrong = view.scored & (view.truth != view.prediction)
        assert (wrong.sum(), view.scored.sum()) == (view.place.wrong, view.place.matrix.total)


def test_a_map_of_another_grid_and_legend_is_seen_as_it_was_scored(make_raster: MakeRaster, tmp_path: Path) -> None:
    turned = DEEPGLOBE.classes[5], *DEEPGLOBE.classes[:5], DEEPGLOBE.classes[6]
    own = Legend("own", tuple(turned), (6,), 128)
    place = Affine(1.0, 0.0, 441_754.5 + 5, 0.0, -1.5, 5_417_386.25 - 3)
    maps = make_raster(np.random.default_rng(5).integers(0, 6, (19, 30)).astype(np.uint8), "map.tif", transform=place)
    report = geoseg.score(maps, make_raster(TRUTH, "t.tif"), DEEPGLOBE, prediction_legend=own, details=True)
    (view,) = read_views(report, worst_scenes(report, 1), 320)
    assert view.scored.sum() == report.matrix.total < (TRUTH != 6).sum()
    assert (view.scored & (view.truth == view.prediction)).sum() == report.matrix.hits.sum()


# Images


def test_the_image_is_found_beside_the_truth(tmp_path: Path) -> None:
    for name in (
        "dg/7_sat.jpg",
        "dg/7_mask.png",
        "data/labels/a.tif",
        "data/images/a.PNG",
        "other/a.tif",
        "other/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    policy = OpeningPolicy(external=True)

    def found(truth: str, images: str | None = None) -> str | None:
        image = find_image(Source(f"{tmp_path}/{truth}", policy), images and Source(f"{tmp_path}/{images}", policy))
        assert image is None or image.policy == policy
        return image and image.location.removeprefix(f"{tmp_path}/")

    assert found("dg/7_mask.png") == "dg/7_sat.jpg"
    assert found("data/labels/a.tif") == "data/images/a.PNG"
    assert found("other/a.tif") is None
    assert found("data/labels/a.tif", "other") == "other/a.tif"
    assert found("dg/7_mask.png", "other") is None
    assert found("dg/7_mask.png", "other/b.jpg") == "other/b.jpg"
    assert found("x_mask.png", "dg") is None
    assert find_image(Source("https://host/labels/a.tif"), None) is None


def test_an_image_of_twice_the_resolution_lies_under_the_window(
    pair: tuple[Path, Path], make_raster: MakeRaster
) -> None:
    fine = np.kron(TRUTH * 40, np.ones((2, 2), np.uint8))
    place = Affine(0.25, 0.0, 441_754.5, 0.0, -0.375, 5_417_386.25)
    image = make_raster(fine, "images/t.tif", transform=place)
    report = geoseg.score(*pair, DEEPGLOBE, details=True)
    view = next(iter(read_views(report, worst_windows(report, 1), 320)))
    assert (view.image[0] == view.truth * 40).all() and not view.note
    image.write_bytes(b"no raster")
    view = next(iter(read_views(report, worst_windows(report, 1), 320)))
    assert view.image is None and "t.tif" in view.note and "left out" in view.note


def test_an_image_elsewhere_is_left_out_with_a_note(pair: tuple[Path, Path], make_raster: MakeRaster) -> None:
    place = Affine(0.5, 0.0, 441_764.5, 0.0, -0.75, 5_417_386.25)
    make_raster(TRUTH, "images/t.tif", transform=place)
    report = geoseg.score(*pair, DEEPGLOBE)
    (view,) = read_views(report, worst_scenes(report, 1), 320)
    assert view.image is None and "does not cover" in view.note


def test_the_colours_of_the_file_decide_what_is_red(make_raster: MakeRaster) -> None:
    four = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((5, 6), np.uint8)
    flagged = make_raster(four, "bgr.tif", photometric="rgb")
    assert Scene(flagged).visible == (1, 2, 3)
    assert Scene(flagged, (3, 2, 1)).visible == (1, 2, 3)
    assert Scene(make_raster(four[:2], "two.tif")).visible == (1,)
    plain = make_raster(np.concatenate([four, four]), "eight.tif", photometric="minisblack")
    assert Scene(plain, (5, 4, 3, 2)).visible == (5, 4, 3)


# Pictures


def test_errors_are_told_by_lightness_and_hatching(pair: tuple[Path, Path]) -> None:
    report = geoseg.score(*pair, DEEPGLOBE)
    (view,) = read_views(report, worst_scenes(report, 1), 320)
    picture = np.moveaxis(picture_of_outcomes(view.outcome), 0, -1)
    missing = view.scored & (view.prediction == NO_CLASS)
    wrong = view.scored & ~missing & (view.prediction != view.truth)
    for where, colours in (
        (missing, {MISSED}),
        (wrong, {WRONG, HATCH}),
        (view.scored & ~missing & ~wrong, {RIGHT}),
        (~view.scored, {PAPER, DOT}),
    ):
        assert {tuple(int(part) for part in colour) for colour in picture[where]} == colours
    lightness = [sum(colour) for colour in (MISSED, WRONG, RIGHT, PAPER)]
    assert lightness == sorted(lightness) and min(np.diff(lightness)) > 50


def test_classes_have_the_legend_s_colours_and_nothing_has_dots() -> None:
    index = np.array([[0, 5, NO_CLASS]], np.uint8).repeat(9, 0)
    picture = picture_of_classes(index, DEEPGLOBE)
    assert picture[:, 0, :2].T.tolist() == [[0, 255, 255], [255, 255, 255]]
    assert {tuple(colour.tolist()) for colour in picture[:, :, 2].T} <= {PAPER, DOT}


def test_eight_bits_stay_and_others_are_stretched() -> None:
    values = np.linspace(1000, 3000, 37 * 53).reshape(1, 37, 53)
    valid = np.ones((37, 53), bool)
    valid[0] = False
    for dtype in (np.uint16, np.float32):
        picture = picture_of_image(values.astype(dtype), valid)
        assert picture.shape == (3, 37, 53) and picture[:, 1:].min() == 0 and picture[:, 1:].max() == 255
        assert (picture[:, 0] >= 150).all()
    grey = np.arange(37 * 53, dtype=np.uint8).reshape(1, 37, 53)
    assert (picture_of_image(grey, np.ones((37, 53), bool)) == grey).all()


def test_a_collar_of_zeros_stretches_nothing_and_dark_land_is_brightened() -> None:
    random = np.random.default_rng(8)
    values = np.sort(random.gamma(2, 300, 900)).reshape(1, 30, 30) + 7000
    values[:, :, 27:] = 15_000
    framed = np.pad(values, ((0, 0), (20, 20), (20, 20))).astype(np.uint16)
    seen = visible(framed, np.ones((70, 70), bool))
    assert (seen[:, 20:50, 20:50] == visible(values.astype(np.uint16), np.ones((30, 30), bool))).all()
    assert (seen[:, :20] == 0).all() and 60 < np.median(seen[:, 20:50, 20:47]) < 130
    assert (np.diff(seen[0, 20:50, 20:47].ravel().astype(int)) >= 0).all()
