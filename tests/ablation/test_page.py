"""The page and the Markdown of an ablation: sound, loading nothing, with the figures of the JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import geoseg
from geoseg.ablation.page import lines_of, to_html
from geoseg.ablation.report import to_markdown
from geoseg.ablation.tables import class_table, confusion_of, row_table, score_table, share_table, to_text
from geoseg.legend import DEEPGLOBE
from geoseg.reporting.curves import DIGIT, HEIGHT, RIGHT, TITLE, WIDTH, Line, plot, ticks
from geoseg.reporting.tables import confusion_table


@pytest.fixture(scope="session")
def record(ablated: geoseg.Ablation) -> dict[str, Any]:
    return json.loads(json.dumps(ablated.to_dict()))


@pytest.fixture(scope="session")
def of_the_paper(ablated: geoseg.Ablation) -> dict[str, Any]:
    """As though the data were the paper's split of DeepGlobe."""
    return replace(ablated, data={**ablated.data, "paper": True}).to_dict()


@pytest.fixture
def page(ablated: geoseg.Ablation, folder: Path) -> str:
    return (folder / "ablation.html").read_text(encoding="utf-8")


def test_the_page_is_sound(page: str, reporting_tests: dict[str, Any]) -> None:
    outline = reporting_tests["Outline"](page)
    assert len(outline.all("h1")) == 1 and outline.all("html") == [{"lang": "en"}]
    assert len(outline.all("caption")) == len(outline.all("table")) >= 12
    assert all(len({len(row) for row in table}) == 1 for table in outline.tables)
    assert all("alt" in image for image in outline.all("img"))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in outline.all("a")} <= {f"#{name}" for name in ids}


def test_nothing_runs_and_nothing_is_loaded(page: str, reporting_tests: dict[str, Any]) -> None:
    outline = reporting_tests["Outline"](page)
    assert outline.all("script") == [{"type": "application/json", "id": "ablation"}]
    assert not [a for _, attributes in outline.elements for a in attributes if a.startswith("on")]
    sources = [e[1][key] for e in outline.elements for key in ("src", "href") if key in e[1]]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(|@import|https?://", page)


def test_the_json_inside_is_the_record(page: str, record: dict[str, Any], reporting_tests: dict[str, Any]) -> None:
    (inside,) = reporting_tests["Outline"](page).texts["script"]
    assert json.loads(inside) == record


def test_the_page_shows_three_scenes_under_every_row(page: str, reporting_tests: dict[str, Any]) -> None:
    told = [image["alt"].split(" of ")[0] for image in reporting_tests["Outline"](page).all("img")]
    assert told == ["Image", "Truth", "Baseline", "Focal"] * 3


def test_curves_of_every_row(page: str, reporting_tests: dict[str, Any]) -> None:
    plots = [one for one in reporting_tests["Outline"](page).all("svg") if one["class"] == "plot"]
    assert len(plots) == 4 and "IoU over epoch" in plots[0]["aria-label"]


def test_where_rasters_are_gone_the_page_says_so(record: dict[str, Any]) -> None:
    text = to_html(record, DEEPGLOBE, (), "no pictures: a.tif: gone")
    assert "no pictures: a.tif: gone" in text


def test_names_stay_names(ablated: geoseg.Ablation, reporting_tests: dict[str, Any]) -> None:
    hostile = replace(
        ablated,
        data={**ablated.data, "folder": "</title><b>"},
        failed=(geoseg.ablation.results.Failed("x", 0, "<i>no</i>"),),
    )
    outline = reporting_tests["Outline"](to_html(hostile.to_dict(), hostile.legend))
    assert not {"b", "i"} & {tag for tag, _ in outline.elements}


def test_tables_hold_the_record_s_figures(record: dict[str, Any]) -> None:
    table = score_table(record, "native")
    assert table.head == ("figure", "baseline", "focal")
    pooled = record["rows"]["focal"]["scores"]["native"]["mean_iou"]["pooled"]
    assert table.rows[0][2] == f"{pooled['mean']:.4f} ± {pooled['sd']:.4f}"
    counts = confusion_table(confusion_of(record, "focal", "native"), "counts")
    urban = record["rows"]["focal"]["confusion"]["native"]["counts"][0]
    assert counts.rows[0][:3] == ("urban", f"{urban[0]:,}", f"{urban[1]:,}")


def test_table_1_stands_in_every_report(
    record: dict[str, Any], of_the_paper: dict[str, Any], page: str, reporting_tests: dict[str, Any]
) -> None:
    table = share_table(record)
    assert table.head == ("class", "training", "oversampled", "test", "weight")
    assert [row[0] for row in table.rows] == [*DEEPGLOBE.names, "no data", "sum"]
    assert table.rows[-1][1:4] == ("100.00", "100.00", "100.00")
    for column, lost in ((1, 0), (2, record["oversampling"]["expected_ignored_share"]), (3, 0)):
        assert sum(float(row[column]) for row in table.rows[:-1] if row[column] != "n/a") == pytest.approx(
            100, abs=0.05
        )
        assert table.rows[7][column] == f"{100 * lost:.2f}"
    water = record["class_shares"]["oversampled"]["water"]
    assert table.rows[4][2] == f"{100 * water:.2f}" and f"| {100 * water:.2f} |" in to_markdown(record)
    assert list(table.head) in [one[0] for one in reporting_tests["Outline"](page).tables]
    beside = share_table(of_the_paper)
    columns = {name: [row[place] for row in beside.rows] for place, name in enumerate(beside.head)}
    assert columns["paper: training"][4:] == ["3.11", "8.64", "0.06", "0.00", "100.00"]
    assert columns["paper: oversampled"][4:] == ["3.86", "9.21", "0.07", "5.02", "100.00"]


def test_the_shares_are_those_of_stats(record: dict[str, Any], small_data: Path) -> None:
    expected = geoseg.stats(small_data, split="30/10/60").to_dict()
    assert record["oversampling"]["expected_items"] == expected["expected_items"]
    for row in expected["classes"]:
        assert record["class_shares"]["train"][row["class"]] == pytest.approx(row["share"])
        assert record["class_shares"]["oversampled"][row["class"]] == pytest.approx(row["augmented_share"])


def test_rows_of_other_weights_have_columns_of_their_own(record: dict[str, Any]) -> None:
    rows = dict(record["rows"])
    rows["recommended"] = rows["focal"] | {"class_weights": dict.fromkeys(DEEPGLOBE.names, 1.0)}
    table = share_table(record | {"rows": rows})
    assert table.head[-2:] == ("weight, paper's rows", "weight, recommended")
    assert table.rows[0][-1] == "1.0000" != table.rows[0][-2]


def test_what_rows_differ_in_is_told(record: dict[str, Any]) -> None:
    assert row_table(record).rows == (("loss", "ce", "focal"), ("gamma", "", "2"))
    runs = [dict(run) for run in record["runs"]]
    runs[1]["settings"] = runs[1]["settings"] | {
        "encoder": "resnet34",
        "encoder_lr": None,
        "window": 64,
        "augment": True,
    }
    found = {row[0]: row[1:] for row in row_table(record | {"runs": runs}).rows}
    assert found["window"] == ("whole scenes", "64") and found["augment"] == ("no", "yes")
    assert found["width"] == ("4", "") and found["encoder lr"] == ("", "none") and "seed" not in found


def test_what_is_missing_is_said(record: dict[str, Any], reporting_tests: dict[str, Any]) -> None:
    """No validation scenes, and the baseline alone."""
    runs = [run | {"history": [{"epoch": 1.0, "train_loss": 1.5}], "epochs": 1} for run in record["runs"][::2]]
    data = record["data"] | {"scenes": record["data"]["scenes"] | {"val": 0}}
    rows = {"baseline": record["rows"]["baseline"]}
    alone = record | {"data": data, "runs": runs, "rows": rows, "differences": {"network": {}, "native": {}}}
    for text in (to_markdown(alone), to_html(alone, DEEPGLOBE, (), "no pictures")):
        assert "The baseline is the only row, so there is nothing to compare it with." in text
        assert "The split has no validation scenes: there are no curves of IoU" in text
        assert "One epoch is a point: baseline made no more." in text
    later = record | {"rows": {"focal": record["rows"]["focal"]}, "differences": {}}
    assert "No run of the baseline finished" in to_markdown(later)


def test_the_paper_s_numbers_are_shown_for_its_own_data_alone(
    record: dict[str, Any], of_the_paper: dict[str, Any], reporting_tests: dict[str, Any]
) -> None:
    assert record["paper"] is None and "Table 3," not in to_markdown(record)
    rows = {row[0]: row[1:] for row in score_table(of_the_paper, "native").rows}
    assert rows["paper, pooled"] == ("0.4177", "0.3796") and rows["paper, Table 3"] == ("0.2700", "0.2000")
    pooled, image = (class_table(of_the_paper, "native", name) for name in ("pooled", "image-absent0"))
    assert pooled.head[-3:] == ("paper: baseline", "paper: focal", "paper: augment")
    assert pooled.rows[1][-3:] == ("0.6621", "0.5952", "0.6161")
    assert image.rows[0][-4:] == ("0.4600", "0.3500", "0.4000", "0.5800")
    assert len(class_table(of_the_paper, "native", "image").head) == 3
    reporting_tests["Outline"](to_html(of_the_paper, DEEPGLOBE))


def test_markdown_and_text(record: dict[str, Any]) -> None:
    text = to_markdown(record)
    titles = "Scores", "Against the baseline", "The paper's claims", "Classes", "What was taken for what"
    for title in (*titles, "Errors and areas", "Shares of the classes", "How this was made"):
        assert f"\n## {title}\n" in text
    for line in text.splitlines():
        assert not re.search(r"\b(None|nan)\b", line)
    assert to_text(record).startswith("Table 3: mean IoU at the size that the paper's rows see")


def test_the_page_in_a_browser(page: str, tmp_path: Path, reporting_tests: dict[str, Any]) -> None:
    if reporting_tests["BROWSER"] is None:
        pytest.skip("no chromium or google-chrome is installed")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    seen = reporting_tests["browse"](tmp_path / "page.html")
    assert (seen.console, seen.requests) == ([], [])
    for width in (1280, 400):
        assert reporting_tests["needed_width"](tmp_path / "page.html", width) <= width


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.123, [0, 0.05, 0.1, 0.15]),
        (30, [0, 10, 20, 30]),
        (0, [0, 1]),
        (2.3, [0, 0.5, 1, 1.5, 2, 2.5]),
    ],
)
def test_ticks_are_round_and_reach_the_highest(highest: float, expected: list[float]) -> None:
    assert ticks(highest) == expected


def test_a_plot_lies_in_its_frame() -> None:
    drawn = plot("t", [Line("<a>", ((1, 0.0), (2, 0.5), (4, 1.0)), 0), Line("b", ((2, 0.3),), 7)], "epoch", "IoU")
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', drawn).group(1).split()]
    left = TITLE + 3 * DIGIT
    assert points[0] == (pytest.approx(left + (WIDTH - left - RIGHT) / 4, abs=0.06), pytest.approx(HEIGHT - 36))
    assert points[-1] == (WIDTH - RIGHT, pytest.approx(12))
    assert "<a>" not in drawn and "&lt;a&gt;" in drawn and "<circle" in drawn
    assert plot("t", [Line("a", (), 0)], "epoch", "IoU") == ""


def test_the_title_of_an_axis_stands_beside_its_numbers() -> None:
    drawn = plot("t", [Line("a", ((1, 1.0), (2, 1234.0)), 0)], "epoch", "loss")
    numbers = [float(x) for x in re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="end"', drawn)]
    title = float(re.search(r'y="([\d.]+)" text-anchor="middle" transform="rotate', drawn).group(1))
    # A digit is 0.6 of the type's 12 units wide in the widest of its fonts, and the title's letters reach 3 below it.
    assert len(numbers) > 2 and min(numbers) - 4 * 0.64 * 12 > title + 3


def test_lines_are_means_over_the_row_s_seeds(ablated: geoseg.Ablation, record: dict[str, Any]) -> None:
    first, second = (run.history for run in ablated.runs if run.plan.row == "focal")
    training, validation = lines_of(record, "focal", "")
    expected = [(a["epoch"], (a["val_loss"] + b["val_loss"]) / 2) for a, b in zip(first, second, strict=True)]
    assert (training.name, validation.name) == ("training", "validation")
    assert list(validation.points) == expected
    assert {line.name for line in lines_of(record, "focal", "val_iou_")} <= set(DEEPGLOBE.names[:6])
