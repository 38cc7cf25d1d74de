"""Two legends made one, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError
from geoseg.legend import Legend, LegendClass
from geoseg.scoring.joining import join, read_mapping
from geoseg.scoring.score import score

CITY = Legend(
    "city",
    (
        LegendClass(10, "roof", (220, 0, 0)),
        LegendClass(20, "road", (90, 90, 90)),
        LegendClass(30, "tree", (0, 99, 0)),
        LegendClass(40, "cloud", (1, 1, 1)),
    ),
    ignore=(40,),
)
LAND = Legend(
    "land",
    (LegendClass(1, "built", (9, 9, 9)), LegendClass(2, "tree", (0, 80, 0)), LegendClass(3, "lake", (0, 0, 80))),
)
MAPPING = {"prediction": {"lake": None}, "truth": {"roof": "built", "road": "built"}}


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps(MAPPING), encoding="utf-8")
    return path


def test_classes_become_one(mapping: Path) -> None:
    joined = join(LAND, CITY, read_mapping(mapping), "mapping.json")
    assert joined.legend.names == ("built", "tree", "cloud")
    assert [c.code for c in joined.legend.classes] == [10, 30, 40] and joined.legend.ignore == (40,)
    assert joined.truth_classes == (0, 0, 1, 2) and joined.prediction_classes == (0, 1, 255)


def test_a_pair_of_two_legends_by_hand(make_raster: Callable[..., Path], mapping: Path) -> None:
    truth = make_raster(np.array([[10, 20, 20, 30, 30, 40, 255]], np.uint8), "truth.tif")
    maps = make_raster(np.array([[1, 1, 2, 2, 3, 1, 1]], np.uint8), "map.tif")
    report = score(maps, truth, CITY, prediction_legend=LAND, mapping=mapping)
    # built: two right, one taken for tree; tree: one right, one lake, which is no prediction.
    counts = np.array([[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]])
    assert report.matrix == ConfusionMatrix(counts, (2,))
    assert report.iou == pytest.approx({"built": 2 / 3, "tree": 1 / 3})


def test_legends_of_the_same_names_need_no_mapping(make_raster: Callable[..., Path]) -> None:
    renumbered = Legend("other codes", tuple(LegendClass(100 + c.code, c.name, c.colour) for c in CITY.classes[:3]))
    truth = make_raster(np.array([[10, 20, 30]], np.uint8), "truth.tif")
    maps = make_raster(np.array([[110, 130, 130]], np.uint8), "map.tif")
    report = score(maps, truth, CITY, prediction_legend=renumbered)
    assert report.matrix.counts[:3, :3].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_a_truth_class_renamed_to_nothing_is_left_out(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    path.write_text('{"truth": {"road": null}}', encoding="utf-8")
    truth = make_raster(np.array([[10, 20, 30]], np.uint8), "truth.tif")
    report = score(truth, truth, CITY, mapping=tmp_path / "mapping.json", prediction_legend=ROOFS_AND_TREES)
    assert report.matrix.total == 2 and report.legend.names == ("roof", "tree", "cloud")


ROOFS_AND_TREES = Legend("few", (CITY.classes[0], CITY.classes[2], LegendClass(20, "cloud", (1, 1, 1))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no mapping of classes"),
        ('{"map": {}}', "unknown keys"),
        ('{"prediction": {"lake": 3}}', "names are texts or null"),
        ('{"prediction": {"sea": "tree"}}', "'sea' is no class of the legend 'land'"),
        ('{"truth": {"river": "tree"}}', "'river' is no class of the legend 'city'"),
        ("{}", r"the prediction's 'built' \(as 'built'\), 'lake' \(as 'lake'\) has no partner"),
        ('{"prediction": {"lake": "sea", "built": "roof"}}', "'lake' .as 'sea'. has no partner"),
    ],
)
def test_mappings_that_cannot_be(make_raster: Callable[..., Path], tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(text, encoding="utf-8")
    truth, maps = make_raster(np.full((2, 2), 10, np.uint8), "t.tif"), make_raster(np.ones((2, 2), np.uint8), "m.tif")
    with pytest.raises(InputError, match=message):
        score(maps, truth, CITY, prediction_legend=LAND, mapping=path)


def test_a_missing_mapping_file(make_raster: Callable[..., Path], tmp_path: Path) -> None:
    truth = make_raster(np.full((2, 2), 10, np.uint8), "t.tif")
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        score(truth, truth, CITY, mapping=tmp_path / "nowhere.json")


def test_an_ignored_class_that_is_renamed_is_scored(tmp_path: Path) -> None:
    renamed = join(CITY, CITY, ({"cloud": "tree"}, {"cloud": "tree"}), "mapping.json").legend
    assert renamed.names == ("roof", "road", "tree") and renamed.ignored == ()
    kept = join(CITY, CITY, ({}, {}), "mapping.json").legend
    assert kept.names == CITY.names and kept.ignored == CITY.ignored


def test_an_ignored_class_under_a_new_name_stays_ignored() -> None:
    joined = join(LAND, CITY, ({"built": "void", "lake": "void"}, {"cloud": "void"}), "mapping.json").legend
    assert joined.names == ("roof", "road", "tree", "void") and joined.ignored == (3,)
