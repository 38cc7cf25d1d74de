"""One pair, window by window: what is inside, outside, missing, near borders, and what scores are worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import DEEPGLOBE
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ScoreRasterWriter
from geoseg.scoring import tally as tally_module
from geoseg.scoring.boundary import count_boundary
from geoseg.scoring.calibration import Reliability
from geoseg.scoring.score import score
from geoseg.scoring.tally import compared_windows

MakeRaster = Callable[..., Path]
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)


def patches(seed: int, shape: tuple[int, int] = (37, 53), classes: int = 6) -> np.ndarray:
    """Blocky classes, as maps have."""
    small = np.random.default_rng(seed).integers(0, classes, (shape[0] // 4 + 1, shape[1] // 5 + 1), np.uint8)
    return np.kron(small, np.ones((4, 5), np.uint8))[: shape[0], : shape[1]]


def matrix_of(truth: np.ndarray, prediction: np.ndarray) -> ConfusionMatrix:
    return ConfusionMatrix.from_pair(truth, prediction, 7, (6,))


def test_a_shifted_map_meets_its_neighbours(make_raster: MakeRaster) -> None:
    truth, prediction = patches(1), patches(2)
    shifted = make_raster(prediction, "map.tif", transform=PLACE @ Affine.translation(3, -2))
    report = score(shifted, make_raster(truth, "truth.tif"), DEEPGLOBE)
    (pair,) = report.pairs.values()
    assert report.matrix == matrix_of(truth[:35, 3:], prediction[2:, :50])
    assert pair.outside == 37 * 53 - 35 * 50 and pair.overlap == pytest.approx(35 * 50 / (37 * 53))
    assert any("-2.00 px down and +3.00 px right" in note and "-1.50 m and +1.50 m" in note for note in report.notes)
    assert any("89.24% of its pixels" in note and "211 pixels of a class lie outside" in note for note in report.notes)


def test_what_the_map_does_not_say_within_its_extent_is_missed(make_raster: MakeRaster) -> None:
    truth, prediction = patches(1), patches(2)
    prediction[5:9, 7:20] = 255
    part = Window(4, 6, 20, 30)
    grid = Grid(CRS.from_epsg(32631), PLACE, (37, 53))[part]
    maps = make_raster(prediction[part.slices], "map.tif", transform=grid.transform, nodata=255)
    report = score(maps, make_raster(truth, "truth.tif"), DEEPGLOBE)
    assert report.matrix == matrix_of(truth[part.slices], prediction[part.slices])
    assert report.matrix.missing == 4 * 13


@pytest.mark.parametrize("side", [5, 16, 100])
@pytest.mark.parametrize("shift", [0, 3])
def test_windows_change_nothing(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, side: int, shift: int
) -> None:
    place = PLACE @ Affine.translation(shift, 0)
    # Tiles: of a file of strips whole rows are read.
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    truth = make_raster(patches(1), "truth.tif", **tiles)
    maps = make_raster(patches(2), "map.tif", transform=place, **tiles)
    asked = {"boundary": 1.6} | ({} if shift else {"scores": write_scores(tmp_path, maps)})
    whole = score(maps, truth, DEEPGLOBE, **asked)
    monkeypatch.setattr(tally_module, "WINDOW", side)
    windowed = score(maps, truth, DEEPGLOBE, **asked)
    assert windowed.matrix == whole.matrix and windowed.boundary == whole.boundary
    assert windowed.hectares == pytest.approx(whole.hectares, rel=1e-5)
    if not shift:
        assert windowed.reliability.to_dict() == whole.reliability.to_dict()
        expected = count_boundary(patches(1), patches(2), Window(0, 0, 37, 53), (0.75, 0.5), 1.6, 7, (6,))
        assert whole.boundary == expected


def write_scores(folder: Path, maps: Path, kind: str = "top") -> Path:
    steps = np.random.default_rng(5).integers(60, 255, (37, 53), np.uint8)
    path = folder / "scores.tif"
    names = ["score of the class" if kind == "top" else "lead over the second class"]
    with ScoreRasterWriter(path, Scene(maps).grid, names) as writer:
        writer.write(Window(0, 0, 37, 53), steps[None])
    return path


def test_scores_of_another_map_are_refused(make_raster: MakeRaster, tmp_path: Path) -> None:
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(patches(2), "map.tif")
    elsewhere = make_raster(patches(2), "other.tif", transform=PLACE @ Affine.translation(9, 0))
    with pytest.raises(GridMismatch, match=r"is not on the grid of .*map\.tif"):
        score(maps, truth, DEEPGLOBE, scores=write_scores(tmp_path, elsewhere))


def test_calibration_by_hand(make_raster: MakeRaster, tmp_path: Path) -> None:
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(patches(2), "map.tif")
    report = score(maps, truth, DEEPGLOBE, scores=write_scores(tmp_path, maps))
    steps = np.random.default_rng(5).integers(60, 255, (37, 53), np.uint8)
    assert report.reliability.to_dict() == Reliability.from_pair(patches(1), patches(2), steps, 7, (6,)).to_dict()
    assert report.to_dict()["calibration"]["pixels"] == 37 * 53


def test_scores_that_cannot_be_used(make_raster: MakeRaster, tmp_path: Path) -> None:
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(patches(2), "map.tif")
    with pytest.raises(UsageError, match="margin"):
        score(maps, truth, DEEPGLOBE, scores=write_scores(tmp_path, maps, "margin"))
    (tmp_path / "scores.tif").unlink()
    scores = write_scores(tmp_path, maps)
    shifted = make_raster(patches(2), "shifted.tif", transform=PLACE @ Affine.translation(3, 0))
    with pytest.raises(GridMismatch, match="calibration needs a map on the truth's own grid"):
        score(shifted, truth, DEEPGLOBE, scores=scores)
    with pytest.raises(InputError, match="holds no scores of"):
        score(maps, truth, DEEPGLOBE, scores=make_raster(patches(2), "empty/other.tif").parent)


def test_areas_are_true_areas(make_raster: MakeRaster) -> None:
    truth = patches(1)
    report = score(make_raster(truth, "map.tif"), make_raster(truth, "truth.tif"), DEEPGLOBE)
    # UTM's scale in the middle of the zone's west side: areas differ from the grid's by less than 1e-3.
    expected = np.bincount(truth.ravel(), minlength=7)[:6] * 0.5 * 0.75 / 10_000
    assert report.hectares.sum(1)[:6] == pytest.approx(expected, rel=1e-3)
    rows = {row["class"]: row for row in report.rows()}
    assert (
        rows["water"]["truth_hectares"] == rows["water"]["predicted_hectares"] == pytest.approx(expected[4], rel=1e-3)
    )


def test_blocks_cover_the_truth_once(make_raster: MakeRaster) -> None:
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(patches(2), "map.tif")
    report = score(maps, truth, DEEPGLOBE, block=8, draws=1000)
    (pair,) = report.pairs.values()
    seen = np.zeros((37, 53), int)
    for window, matrix in zip(pair.blocks.windows, pair.blocks.matrices((6,)), strict=True):
        seen[window.slices] += 1
        assert matrix == matrix_of(patches(1)[window.slices], patches(2)[window.slices])
    assert (seen == 1).all() and report.intervals.units == 5 * 7


def test_one_scene_has_no_interval_over_scenes(make_raster: MakeRaster) -> None:
    maps = make_raster(patches(2), "map.tif")
    report = score(maps, maps, DEEPGLOBE, draws=1000)
    assert np.isnan(report.intervals.overall["mean_iou"].low) and "no interval" in report.intervals.notes[0]


def test_the_average_that_was_asked_for(make_raster: MakeRaster) -> None:
    folder = make_raster(patches(2), "maps/a.tif").parent
    make_raster(patches(3), "maps/b.tif")
    make_raster(patches(1), "truths/b.tif")
    truths = make_raster(patches(2), "truths/a.tif").parent
    pooled, by_image = (score(folder, truths, DEEPGLOBE, average=name) for name in ("pooled", "image"))
    single = score(folder / "b.tif", truths / "b.tif", DEEPGLOBE)
    assert by_image.iou["water"] == pytest.approx((1 + single.iou["water"]) / 2)
    assert pooled.mean_iou == by_image.to_dict()["mean_iou_by_average"]["pooled"] != by_image.mean_iou
    with pytest.raises(UsageError, match="no average 'mean'"):
        score(folder, truths, DEEPGLOBE, average="mean")


@pytest.mark.parametrize("block", [7, 16, 48, 5000])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
def test_blocks_do_not_depend_on_the_windows(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, block: int, layout: dict
) -> None:
    truth = make_raster(patches(1, (100, 70)), "truth.tif", **layout)
    maps = make_raster(patches(2, (100, 70)), "map.tif", **layout)
    monkeypatch.setattr(tally_module, "WINDOW", 16)
    seen = np.zeros((100, 70), int)
    for window in compared_windows(Scene(truth)):
        seen[window.slices] += 1
    (pair,) = score(maps, truth, DEEPGLOBE, block=block).pairs.values()
    for window, matrix in zip(pair.blocks.windows, pair.blocks.matrices((6,)), strict=True):
        assert window.row % block == window.col % block == 0
        assert matrix == matrix_of(patches(1, (100, 70))[window.slices], patches(2, (100, 70))[window.slices])
    assert (seen == 1).all() and len(pair.blocks.windows) == -(-100 // block) * -(-70 // block)


def test_unknown_codes_are_named(make_raster: MakeRaster) -> None:
    truth, odd = patches(1), patches(2)
    odd[3, 4:6] = 77
    for first, second in ((odd, truth), (truth, odd)):
        with pytest.raises(InputError, match=r"odd.*2 pixels.*77"):
            paths = [make_raster(v, "odd.tif" if v is odd else "other.tif") for v in (first, second)]
            score(*paths, DEEPGLOBE)


def test_a_masked_raster_is_decoded_pixel_by_pixel(make_raster: MakeRaster) -> None:
    import rasterio

    truth = make_raster(patches(1), "truth.tif")
    with rasterio.open(truth, "r+") as dataset:
        mask = np.full((37, 53), 255, np.uint8)
        mask[:4, :9] = 0
        dataset.write_mask(mask)
    expected = patches(1)
    expected[:4, :9] = 255
    report = score(make_raster(patches(2), "map.tif"), truth, DEEPGLOBE)
    assert report.matrix == matrix_of(expected, patches(2))
    labels = Labels(truth, DEEPGLOBE)
    assert (labels.read_values()[0] == expected).all()


def test_nodata_of_a_class_s_code_is_no_class(make_raster: MakeRaster) -> None:
    truth = make_raster(patches(1), "truth.tif", nodata=2)
    expected = np.where(patches(1) == 2, 255, patches(1)).astype(np.uint8)
    assert score(make_raster(patches(2), "map.tif"), truth, DEEPGLOBE).matrix == matrix_of(expected, patches(2))


def test_what_is_left_out_is_counted_by_its_reason(make_raster: MakeRaster) -> None:
    truth = patches(1)
    truth[:3], truth[:, :4], truth[30:34, 40:45] = 255, 6, 255
    # The map begins two rows further down, and is nodata in a corner.
    prediction = patches(2)
    prediction[5:8, 10:14] = 255
    maps = make_raster(prediction, "map.tif", transform=PLACE @ Affine.translation(0, 2), nodata=255)
    report = score(maps, make_raster(truth, "truth.tif"), DEEPGLOBE)
    (pair,) = report.pairs.values()
    inside = np.arange(37)[:, None] + np.zeros(53, int) >= 2
    assert pair.outside == ((truth != 255) & ~inside).sum() == 2 * 4
    assert pair.unlabelled == (np.isin(truth, (6, 255)) & inside).sum()
    assert report.matrix.total + pair.unlabelled + 2 * 53 == 37 * 53
    assert report.to_dict()["left_out"]["unlabelled_or_ignored"] == pair.unlabelled


def test_missing_predictions_leave_every_count_where_they_are_ignored(make_raster: MakeRaster) -> None:
    prediction = patches(2)
    prediction[5:8, 10:14] = 255
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(prediction, "map.tif")
    counted, ignoring = (score(maps, truth, DEEPGLOBE, block=8, ignore_missing=flag) for flag in (False, True))
    (pair,) = ignoring.pairs.values()
    assert counted.matrix.missing == 12 and ignoring.matrix.missing == 0
    assert ignoring.matrix.total == counted.matrix.total - 12
    assert pair.blocks.counts.sum() == ignoring.matrix.total and pair.hectares[:, -1].sum() == 0


def test_areas_of_truth_and_map_are_told_apart(make_raster: MakeRaster) -> None:
    truth = patches(1)
    truth[:, :7] = 6
    report = score(make_raster(patches(2), "map.tif"), make_raster(truth, "truth.tif"), DEEPGLOBE)
    pixel = report.hectares.sum() / report.matrix.total
    matrix = matrix_of(truth, patches(2))
    for row, index in zip(report.rows(), range(6), strict=True):
        assert row["truth_hectares"] == pytest.approx(matrix.support[index] * pixel, rel=1e-5)
        assert row["predicted_hectares"] == pytest.approx(matrix.predicted[index] * pixel, rel=1e-5)


def test_areas_follow_each_class_where_pixels_shrink_towards_the_pole(make_raster: MakeRaster) -> None:
    # The northern half of the rows is urban, the southern agriculture; pixels there are more than twice as large.
    truth = np.repeat(np.array([[0], [1]], np.uint8), 25, axis=0) * np.ones((1, 40), np.uint8)
    place = {"crs": "EPSG:4326", "transform": Affine(1, 0, 10, 0, -1, 85)}
    report = score(make_raster(truth, "m.tif", **place), make_raster(truth, "t.tif", **place), DEEPGLOBE)
    exact = AreaTally(Grid(CRS.from_epsg(4326), place["transform"], truth.shape))
    exact.add(Window(0, 0, 50, 40), truth)
    assert exact.hectares[1] > 2 * exact.hectares[0]
    assert np.diagonal(report.hectares)[:2] == pytest.approx(exact.hectares[:2], rel=5e-4)


@pytest.mark.parametrize(("crs", "x", "y", "pixel"), [(4326, 5.0, 70.0, 0.003), (3857, 2e5, 8.4e6, 300.0)])
def test_areas_in_stretched_grids(make_raster: MakeRaster, crs: int, x: float, y: float, pixel: float) -> None:
    truth = np.repeat(patches(3, (600, 60)), 3, axis=1)
    place = {"crs": f"EPSG:{crs}", "transform": Affine(pixel, 0, x, 0, -pixel, y)}
    report = score(make_raster(truth, "m.tif", **place), make_raster(truth, "t.tif", **place), DEEPGLOBE)
    exact = AreaTally(Grid(CRS.from_epsg(crs), place["transform"], truth.shape))
    exact.add(Window(0, 0, *truth.shape), truth)
    assert np.diagonal(report.hectares)[:6] == pytest.approx(exact.hectares[:6], rel=5e-4)


def test_a_grid_without_a_place_on_earth_is_scored_without_areas(make_raster: MakeRaster) -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    truth, maps = (make_raster(patches(seed), f"{seed}.tif", crs=local) for seed in (1, 2))
    report = score(maps, truth, DEEPGLOBE, boundary=2)
    assert report.matrix == matrix_of(patches(1), patches(2)) and report.hectares is None
    assert report.boundary.unit == "px"


def test_scenes_with_and_without_a_place_have_no_common_distance(make_raster: MakeRaster) -> None:
    folder = make_raster(patches(1), "t/a.tif").parent
    make_raster(patches(1), "t/b.tif", crs=None, transform=None)
    with pytest.raises(InputError, match=r"b\.tif: boundary distances are in px there, and in m in .*a\.tif"):
        score(folder, folder, DEEPGLOBE, boundary=2)


def test_ignored_missing_predictions_are_told_and_reach_the_borders(make_raster: MakeRaster) -> None:
    prediction = patches(1)
    prediction[10:20, 10:30] = 255
    truth, maps = make_raster(patches(1), "truth.tif"), make_raster(prediction, "map.tif")
    report = score(maps, truth, DEEPGLOBE, ignore_missing=True, boundary=1)
    assert report.to_dict()["left_out"]["without_prediction"] == 200 and report.matrix.total == 37 * 53 - 200
    assert report.boundary.mean_iou() == 1 and report.mean_iou == 1


def test_undefined_colours_are_counted_once(make_raster: MakeRaster) -> None:
    rgb = DEEPGLOBE.to_rgb(patches(1))
    rgb[:, 20, 10:40] = [[255], [0], [0]]
    report = score(make_raster(patches(2), "map.tif"), make_raster(rgb, "truth.tif"), DEEPGLOBE)
    left = report.to_dict()["left_out"]
    assert (left["of_undefined_colours"], left["unlabelled_or_ignored"]) == (30, 0)
    assert report.matrix.total == 37 * 53 - 30


def test_rasters_of_several_blocks_are_read_by_several_threads(make_raster: MakeRaster) -> None:
    """Small rasters are one block, which one thread reads."""
    truth = np.arange(600 * 37, dtype=np.uint8).reshape(600, 37) % 6
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    report = geoseg.score(make_raster(truth, "map.tif", **tiled), make_raster(truth, "truth.tif", **tiled))
    assert report.mean_iou == 1
