"""Scoring files and folders: hand-worked pairs, window by window, and what is said about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.io import MemoryFile

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import GridMismatch, InputError
from geoseg.grid import IDENTITY, Grid
from geoseg.legend import DEEPGLOBE, NODATA, Legend, LegendClass
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ClassRasterWriter
from geoseg.scoring import tally as tally_module
from geoseg.scoring.inputs import find_pairs
from geoseg.scoring.score import score
from geoseg.source import Source

MakeRaster = Callable[..., Path]
ROAD, ROOF, TREE = (90, 90, 90), (220, 0, 0), (0, 99, 0)
CITY = Legend("city", (LegendClass(20, "road", ROAD), LegendClass(10, "roof", ROOF), LegendClass(3, "tree", TREE)))
HALF = Affine(1.0, 0.0, 441_754.5, 0.0, -1.5, 5_417_386.25)
"""The fixture's default transform with pixels of twice the size."""


def index(seed: int, shape: tuple[int, int] = (37, 53), classes: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)


def write_map(path: Path, codes: np.ndarray, like: Path, legend: Legend) -> Path:
    """A map as geoseg predict leaves it: with its legend in its tags."""
    with ClassRasterWriter(path, Scene(like).grid, legend) as writer:
        writer.write(writer.grid.window, codes)
    return path


def test_a_pair_on_one_grid_by_hand(make_raster: MakeRaster) -> None:
    truth = np.array([[0, 0, 1], [1, 4, 6]], np.uint8)
    prediction = np.array([[0, 1, 1], [4, 4, 0]], np.uint8)
    report = score(make_raster(prediction, "map.tif"), make_raster(truth, "truth.tif"), "deepglobe")
    absent = ["rangeland", "forest", "barren"]
    expected = {"urban": 1 / 2, "agriculture": 1 / 3, "water": 1 / 2} | dict.fromkeys(absent, np.nan)
    assert report.iou == pytest.approx(expected, nan_ok=True)
    assert report.mean_iou == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    assert report.absent == absent
    assert report.pixel_accuracy == pytest.approx(3 / 5)


def test_every_pixel_counts_once(make_raster: MakeRaster) -> None:
    report = score(make_raster(index(1), "map.tif"), make_raster(index(2), "truth.tif"), DEEPGLOBE)
    assert report.matrix == ConfusionMatrix.from_pair(index(2), index(1), 7, (6,))
    assert report.matrix.total == 37 * 53


@pytest.mark.parametrize("side", [7, 16, 53])
@pytest.mark.parametrize("georeferenced", [True, False])
def test_windows_add_up_to_the_whole(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, side: int, georeferenced: bool
) -> None:
    place = {} if georeferenced else {"crs": None, "transform": None}
    rgb = DEEPGLOBE.to_rgb(index(2))
    rgb[:, 20:22, 30] = [[255], [0], [0]]
    maps, truth = make_raster(index(1), "map.tif", **place), make_raster(rgb, "truth.tif", **place)
    whole = score(maps, truth, DEEPGLOBE)
    monkeypatch.setattr(tally_module, "WINDOW", side)
    windowed = score(maps, truth, DEEPGLOBE)
    assert windowed.matrix == whole.matrix and windowed.notes == whole.notes and whole.matrix.total == 37 * 53 - 2


def test_undefined_colours_are_ignored_and_counted(make_raster: MakeRaster) -> None:
    rgb = DEEPGLOBE.to_rgb(index(2))
    rgb[:, 20:23, 30] = [[255], [0], [0]]
    report = score(make_raster(index(1), "map.tif"), make_raster(rgb, "truth.tif"))
    assert report.matrix.total == 37 * 53 - 3
    assert [note for note in report.notes if "truth.tif: 3 pixels" in note]


@pytest.mark.parametrize("georeferenced", [True, False])
def test_a_map_of_half_the_size_is_laid_over_by_nearest(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, georeferenced: bool
) -> None:
    monkeypatch.setattr(tally_module, "WINDOW", 3)
    truth = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [4, 4, 4, 4], [4, 4, 0, 0]], np.uint8)
    coarse, fine = ({"transform": HALF}, {}) if georeferenced else [{"crs": None, "transform": None}] * 2
    maps = make_raster(np.array([[0, 1], [4, 4]], np.uint8), "map.tif", **coarse)
    report = score(maps, make_raster(truth, "truth.tif", **fine), DEEPGLOBE)
    assert report.matrix.counts[[0, 1, 4]][:, [0, 1, 4, 7]].tolist() == [[4, 1, 2, 0], [0, 3, 0, 0], [0, 0, 6, 0]]
    assert "nearest from 2 x 2 px onto the truth's 4 x 4 px" in " ".join(report.notes)


def test_a_map_elsewhere_is_refused_with_both_grids(make_raster: MakeRaster) -> None:
    truth = make_raster(index(2), "truth.tif")
    maps = make_raster(index(1), "map.tif", transform=Affine(0.5, 0, 441_854.5, 0, -0.75, 5_417_386.25))
    with pytest.raises(GridMismatch, match=r"map.tif .*origin \(441854.5.*truth.tif .*origin \(441754.5.*no ground"):
        score(maps, truth, DEEPGLOBE)


def test_a_missing_prediction_is_missed_unless_left_out(make_raster: MakeRaster) -> None:
    truth = np.array([[0, 0, 0, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, NODATA, NODATA, 1, 0, NODATA]], np.uint8)
    pair = make_raster(prediction, "map.tif", nodata=255), make_raster(truth, "truth.tif", nodata=255)
    missed, left_out = score(*pair, DEEPGLOBE), score(*pair, DEEPGLOBE, ignore_missing=True)
    assert (missed.matrix.missing, missed.iou["urban"], missed.iou["agriculture"]) == (2, 1 / 4, 1 / 2)
    assert (left_out.matrix.missing, left_out.iou["urban"], left_out.matrix.total) == (0, 1 / 2, 3)
    assert "2 truth pixels have no prediction" in missed.to_text() and "no prediction" not in left_out.to_text()


def test_a_palette_map_meets_a_truth_of_codes(make_raster: MakeRaster, tmp_path: Path) -> None:
    truth = index(2, classes=3)
    image = Image.fromarray(np.array([5, 0, 2], np.uint8)[truth])
    black = (0, 0, 0)
    image.putpalette([*ROOF, *black, *TREE, *black, *black, *ROAD])
    image.save(tmp_path / "map.png")
    report = score(tmp_path / "map.png", make_raster(CITY.encode(truth), "truth.tif"), CITY)
    assert list(report.iou.values()) == [1, 1, 1]


# Legends


def test_a_map_of_another_legend_is_refused(make_raster: MakeRaster, tmp_path: Path) -> None:
    truth = make_raster(index(2, classes=2), "truth.tif")
    maps = write_map(tmp_path / "map.tif", CITY.encode(index(1, classes=3)), truth, CITY)
    with pytest.raises(InputError, match=r"map.tif: was made with the legend 'city' \(road, roof, tree\), not with"):
        score(maps, truth, "deepglobe")


@pytest.mark.parametrize("tagged", ["map", "truth"])
def test_without_a_legend_the_tags_are_asked(make_raster: MakeRaster, tmp_path: Path, tagged: str) -> None:
    plain = make_raster(CITY.encode(index(2, classes=3)), "plain.tif")
    made = write_map(tmp_path / "made.tif", CITY.encode(index(1, classes=3)), plain, CITY)
    report = score(made, plain) if tagged == "map" else score(plain, made)
    assert report.legend == CITY and not [note for note in report.notes if "DeepGlobe" in note]


def test_without_legend_and_tags_it_is_deepglobe_s_and_said(make_raster: MakeRaster) -> None:
    report = score(make_raster(index(1), "map.tif"), make_raster(index(2), "truth.tif"))
    assert report.legend is DEEPGLOBE and [note for note in report.notes if "taken as DeepGlobe's" in note]


def test_a_legend_file_is_read(make_raster: MakeRaster, tmp_path: Path) -> None:
    (tmp_path / "legend.json").write_text(json.dumps(CITY.to_dict()))
    pair = [make_raster(CITY.encode(index(i, classes=3)), f"{i}.tif") for i in (1, 2)]
    assert score(*pair, tmp_path / "legend.json").legend == CITY


def test_codes_of_another_legend_are_refused_by_file(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match=r"truth.tif: .*city"):
        score(make_raster(CITY.encode(index(1, classes=3)), "map.tif"), make_raster(index(2), "truth.tif"), CITY)


# Folders


def test_folders_are_matched_by_stem(make_raster: MakeRaster) -> None:
    for number, name in ((7, "7_sat.tif"), (8, "8.tif"), (9, "9_pred.tif"), (11, "11.tif")):
        make_raster(index(number), f"maps/{name}")
    for number in (7, 8, 9, 10):
        path = make_raster(DEEPGLOBE.to_rgb(index(number + 20)), f"truths/{number}_mask.png", driver="PNG")
    folder = path.parent
    (folder / "notes.txt").write_text("no raster")
    Image.new("RGB", (53, 37)).save(folder / "7_sat.jpg")
    report = score(folder.parent / "maps", folder, DEEPGLOBE)
    assert [Path(name).name for name in report.matrices] == ["7_mask.png", "8_mask.png", "9_mask.png"]
    for number in (7, 8, 9):
        expected = ConfusionMatrix.from_pair(index(number + 20), index(number), 7, (6,))
        assert report.matrices[str(folder / f"{number}_mask.png")] == expected
    assert report.matrix.total == 3 * 37 * 53
    assert any("10" in note and "truths" in note for note in report.notes)
    assert any("11" in note and "maps" in note for note in report.notes)


def folders(root: Path) -> tuple[Source, Source]:
    return Source.of(root / "maps"), Source.of(root / "truths")


@pytest.mark.parametrize("name", ["7.tif", "7_sat.tif", "7_mask.png", "7_pred.TIF"])
def test_a_mask_meets_its_map(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "maps" / name, tmp_path / "truths" / "7_mask.png"):
        path.parent.mkdir()
        path.touch()
    assert find_pairs(*folders(tmp_path))[0] == [
        (Source(f"{tmp_path}/maps/{name}"), Source(f"{tmp_path}/truths/7_mask.png"))
    ]


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    for name in ("maps/7.tif", "maps/7_pred.png", "truths/7.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"7.tif and 7_pred.png have the same stem '7'"):
        find_pairs(*folders(tmp_path))


def test_folders_without_a_common_stem_or_one_folder_are_refused(tmp_path: Path) -> None:
    for name in ("maps/7.tif", "truths/8.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no file of the one has the stem"):
        find_pairs(*folders(tmp_path))
    for maps, truth in (("maps", "truths/8.tif"), ("maps/7.tif", "truths")):
        with pytest.raises(InputError, match="two files or two folders"):
            find_pairs(Source.of(tmp_path / maps), Source.of(tmp_path / truth))


def test_a_missing_file_is_refused(make_raster: MakeRaster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing.tif: no such file"):
        geoseg.score(tmp_path / "missing.tif", make_raster(index(2), "truth.tif"))


def test_a_damaged_truth_is_refused_by_name(make_raster: MakeRaster) -> None:
    truth = make_raster(index(2), "truth.png", driver="PNG", crs=None, transform=None)
    truth.write_bytes(truth.read_bytes()[: truth.stat().st_size // 2])
    with pytest.raises(InputError, match=r"truth.png: cannot be"):
        score(make_raster(index(1), "map.tif"), truth, DEEPGLOBE)


def test_the_handles_are_closed(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Labels, "close", lambda self: closed.append(Path(self.name).name))
    score(make_raster(index(1), "map.tif"), make_raster(index(2), "truth.tif"), DEEPGLOBE)
    assert sorted(closed) == ["map.tif", "truth.tif"]


def test_a_truth_of_another_legend_is_refused(tmp_path: Path) -> None:
    grid = Grid(None, IDENTITY, (8, 8))
    other = Legend("other", tuple(LegendClass(i, f"c{i}", (i, i, i)) for i in range(7)))
    for name, legend in (("map.tif", DEEPGLOBE), ("truth.tif", other)):
        with ClassRasterWriter(tmp_path / name, grid, legend) as writer:
            writer.write(grid.window, np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=r"map\.tif: was made with the legend 'deepglobe'.*not with 'other'"):
        score(tmp_path / "map.tif", tmp_path / "truth.tif")


def test_a_folder_with_some_masks_leaves_none_of_the_others_out(make_raster: MakeRaster) -> None:
    truths = make_raster(index(1), "truths/a_mask.tif").parent
    make_raster(index(1), "truths/b.tif")
    make_raster(np.zeros((3, 37, 53), np.uint8), "truths/a_sat.tif")
    make_raster(index(1), "truths/.hidden.tif")
    maps = make_raster(index(1), "maps/a.tif").parent
    make_raster(index(2), "maps/b.tif")
    report = score(maps, truths, DEEPGLOBE)
    assert [Path(name).name for name in report.pairs] == ["a_mask.tif", "b.tif"] and report.mean_iou < 1


def test_what_is_ignored_is_the_truth_s_to_say(make_raster: MakeRaster, tmp_path: Path) -> None:
    like = make_raster(index(2), "like.tif")
    every = Legend("city", CITY.classes)
    trees_ignored = Legend("city", CITY.classes, ignore=(3,))
    codes = np.where(index(2) < 3, 20, 3).astype(np.uint8)
    maps = write_map(tmp_path / "map.tif", codes, like, trees_ignored)
    truth = write_map(tmp_path / "truth.tif", codes, like, every)
    report = score(maps, truth)
    assert report.legend.ignored == () and report.matrix.total == 37 * 53
    assert any("map.tif: its own legend ignores tree, which is not followed here" in note for note in report.notes)


def test_a_missing_folder_is_named(make_raster: MakeRaster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        score(tmp_path / "nowhere", make_raster(index(1)).parent, DEEPGLOBE)
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        score(tmp_path / "nowhere", make_raster(index(1)), DEEPGLOBE)


def test_rasters_in_memory_are_scored() -> None:
    with MemoryFile() as maps, MemoryFile() as truth:
        for file, seed in ((maps, 1), (truth, 2)):
            with file.open(driver="GTiff", count=1, height=37, width=53, dtype="uint8") as dataset:
                dataset.write(index(seed), 1)
        report = score(maps.name, truth.name, DEEPGLOBE)
    assert report.matrix == ConfusionMatrix.from_pair(index(2), index(1), 7, (6,))
