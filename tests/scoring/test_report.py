"""Reports: the numbers by name, as JSON, as text and as a notebook shows them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend, LegendClass
from geoseg.scoring.pair import Pair
from geoseg.scoring.report import Report

LEGEND = Legend(
    "city",
    tuple(
        LegendClass(code, name, (code, 0, 0))
        for code, name in ((5, "cloud"), (10, "roof"), (20, "<road>"), (30, "snow"), (40, "tree"))
    ),
    ignore=(5,),
)
"""The ignored class comes first, so that names and positions cannot be confused."""
FIRST = np.array([[9] * 6, [0, 5, 1, 0, 0, 2], [0, 2, 3, 0, 1, 0], [0] * 6, [0] * 6])
SECOND = np.array([[0] * 6, [0] * 6, [1, 0, 4, 0, 0, 0], [0] * 6, [0] * 6])
REPORT = Report(
    LEGEND,
    {
        "a.png": Pair("map.tif", ConfusionMatrix(FIRST, (0,))),
        "b.png": Pair("map2.tif", ConfusionMatrix(SECOND, (0,))),
    },
    ("note",),
)
IOU = {"roof": 5 / 10, "<road>": 7 / 12, "snow": None, "tree": 0.0}
MEAN = (5 / 10 + 7 / 12 + 0) / 3


def test_scores_are_pooled_over_the_scenes() -> None:
    assert REPORT.matrix == ConfusionMatrix(FIRST + SECOND, (0,))
    assert REPORT.iou == pytest.approx({name: np.nan if v is None else v for name, v in IOU.items()}, nan_ok=True)
    assert REPORT.mean_iou == pytest.approx(MEAN)
    assert REPORT.pixel_accuracy == pytest.approx(12 / 19)


def test_a_class_absent_from_both_is_listed_and_one_only_predicted_is_not() -> None:
    assert REPORT.absent == ["snow"]


def test_images_are_the_scenes_whose_truth_holds_a_class() -> None:
    assert REPORT.images == {"roof": 1, "<road>": 2, "snow": 0, "tree": 0}


def test_the_majority_baseline_has_a_name() -> None:
    assert REPORT.majority_baseline == ("<road>", pytest.approx(11 / 19 / 2))


def test_json_holds_every_figure_and_null_for_nan() -> None:
    record = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert {name: row["iou"] for name, row in record["classes"].items()} == pytest.approx(IOU)
    assert (record["average"], record["mean_iou"]) == ("pooled", pytest.approx(MEAN))
    assert (record["scored_pixels"], record["missing_predictions"]) == (19, 2)
    assert (record["absent_classes"], list(record["scenes"]), record["notes"]) == (
        ["snow"],
        ["a.png", "b.png"],
        ["note"],
    )
    assert record["schema"] == "geoseg.report/1"
    assert record["confusion"]["counts"] == (FIRST + SECOND).tolist()
    assert record["confusion"]["classes"] == ["cloud", "roof", "<road>", "snow", "tree"]
    assert (record["majority_class"], record["pixel_accuracy"]) == ("<road>", pytest.approx(12 / 19))


def test_a_row_holds_a_class_s_figures() -> None:
    rows = {row["class"]: row for row in REPORT.rows()}
    assert list(rows) == ["roof", "<road>", "snow", "tree"]
    assert rows["<road>"] == {
        "class": "<road>",
        "code": LEGEND.classes[2].code,
        "iou": pytest.approx(7 / 12),
        "precision": pytest.approx(7 / 8),
        "recall": pytest.approx(7 / 11),
        "f1": pytest.approx(14 / 19),
        "truth_pixels": 11,
        "predicted_pixels": 8,
        "iou_by_average": rows["<road>"]["iou_by_average"],
        "truth_hectares": None,
        "predicted_hectares": None,
        "images": 2,
    }


def test_the_counts_give_the_report_back() -> None:
    record = json.loads(json.dumps(REPORT.to_dict()))
    assert ConfusionMatrix(np.array(record["confusion"]["counts"]), (0,)) == REPORT.matrix


def test_the_text_says_all_of_it() -> None:
    lines = REPORT.to_text().split("\n")
    table = {line.split()[0]: line.split()[1:] for line in lines[:5]}
    assert table["roof"] == ["0.5000", "0.7143", "0.6250", "0.6667", "8", "1"]
    assert table["<road>"] == ["0.5833", "0.8750", "0.6364", "0.7368", "11", "2"]
    assert table["snow"] == ["n/a", "n/a", "n/a", "n/a", "0", "0"]
    assert "cloud" not in table and len({len(line) for line in lines[:5]}) == 1
    assert "mean IoU 0.3611 (pooled over 2 scene(s), 3 classes), pixel accuracy 0.6316" in lines
    assert "majority baseline (all <road>): mean IoU 0.2895" in lines
    assert "absent from truth and map, left out of the mean: snow" in lines
    assert "2 truth pixels have no prediction and count as missed" in lines


def test_a_notebook_shows_a_table_with_names_escaped() -> None:
    html = REPORT._repr_html_()
    assert "&lt;road&gt;</td><td>0.5833</td>" in html and "<road>" not in html
    assert "mean IoU (pooled)</th><td><strong>0.3611</strong>" in html and "snow</td><td>n/a</td>" in html


def test_nothing_scored_is_no_number() -> None:
    empty = Report(LEGEND, {"a.png": Pair("map.tif", ConfusionMatrix.empty(5, (0,)))})
    record = json.loads(json.dumps(empty.to_dict(), allow_nan=False))
    assert record["mean_iou"] is record["pixel_accuracy"] is None and "mean IoU n/a" in empty.to_text()
    assert empty.absent == ["roof", "<road>", "snow", "tree"]
