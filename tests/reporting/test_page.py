"""The page: sound HTML, names that stay names, the same figures as the JSON."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.reporting.page import to_html
from geoseg.reporting.shades import bar, contrast, ink_on, luminance, shade
from geoseg.reporting.write import write_report
from geoseg.scoring.pair import Pair

NO_END = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Elements in order, what they hold, and whether each ends where it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in NO_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag][-1] += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(report: geoseg.Report, tmp_path: Path, **options: object) -> str:
    write_report(report, tmp_path / "r.html", overwrite=True, **options)
    return (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_page_is_sound(report: geoseg.Report, tmp_path: Path) -> None:
    outline = Outline(page_of(report, tmp_path))
    assert len(outline.all("h1")) == 1 and outline.all("html") == [{"lang": "en"}]
    assert len(outline.all("caption")) == len(outline.all("table")) == len(outline.tables) >= 10
    assert all(cell.get("scope") in ("row", "col") for cell in outline.all("th"))
    assert all(len({len(row) for row in table}) == 1 for table in outline.tables)
    assert all("alt" in image for image in outline.all("img"))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"] for link in outline.all("a")} <= {f"#{name}" for name in ids}


def test_nothing_runs_and_nothing_is_loaded(report: geoseg.Report, tmp_path: Path) -> None:
    text = page_of(report, tmp_path)
    outline = Outline(text)
    assert outline.all("script") == [{"type": "application/json", "id": "report"}]
    assert not [a for _, attributes in outline.elements for a in attributes if a.startswith("on")]
    sources = [
        attributes.get(key) for _, attributes in outline.elements for key in ("src", "href") if key in attributes
    ]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_json_inside_is_the_report(report: geoseg.Report, tmp_path: Path) -> None:
    text = page_of(report, tmp_path)
    (inside,) = Outline(text).texts["script"]
    assert json.loads(inside) == json.loads(json.dumps(report.to_dict()))
    assert text.count("</script") == 1


def test_names_stay_names(report: geoseg.Report, tmp_path: Path) -> None:
    text = page_of(report, tmp_path)
    outline = Outline(text)
    shown = {cell for table in outline.tables for row in table for cell in row}
    assert {"<road>", 'R&D "x"', "a|b", "[red]wäld", "two & <three>.tif"} <= shown
    assert not {"road", "three", "data", "b"} & {tag for tag, _ in outline.elements}
    assert any('R&D "x"' in image["alt"] for image in outline.all("img"))


def test_an_attribute_cannot_be_left(report: geoseg.Report) -> None:
    pair = next(iter(report.pairs.values()))
    names = ('"><img src=x onerror=alert(1)>', "</script><b>", "<!--", "'", "&lt;", "z")
    classes = tuple(replace(entry, name=name) for entry, name in zip(report.legend.classes, names, strict=True))
    hostile = geoseg.Report(replace(report.legend, classes=classes), {"</title><i>": pair}, notes=("<u>",))
    outline = Outline(to_html(hostile.to_dict(), hostile.legend))
    assert not {"b", "i", "u"} & {tag for tag, _ in outline.elements}
    assert not [a for _, attributes in outline.elements for a in attributes if a.startswith("on")]
    assert json.loads(outline.texts["script"][0])["notes"] == ["<u>"]


def test_the_tables_have_the_figures(report: geoseg.Report, tmp_path: Path) -> None:
    record = report.to_dict()
    tables = Outline(page_of(report, tmp_path)).tables
    (classes,) = [table for table in tables if table[0][:2] == ["class", "IoU"]]
    road = dict(zip(classes[0], next(row for row in classes if row[0] == "<road>"), strict=True))
    expected, interval = record["classes"]["<road>"], record["intervals"]["classes"]["<road>"]["iou"]
    assert road["IoU"] == f"{expected['iou']:.4f}" and road["recall"] == f"{expected['recall']:.4f}"
    assert road["95 % interval"] == f"{interval['low']:.4f} to {interval['high']:.4f}"
    absent = next(row for row in classes if row[0] == "a|b")
    assert absent[1:6] == ["n/a", "no interval", "n/a", "n/a", "n/a"]
    counts = next(table for table in tables if table[0][0] == "truth \\ map")
    assert [row[0] for row in counts[1:]] == list(record["classes"]) and counts[0][-1] == "no prediction"
    cells = [[int(cell.replace(",", "")) for cell in row[1:]] for row in counts[1:]]
    assert cells == [line[1:] for line in record["confusion"]["counts"][1:]]


def test_the_diagonal_is_framed_past_an_ignored_class(report: geoseg.Report, tmp_path: Path) -> None:
    text = page_of(report, tmp_path)
    matrix = report.matrix.counts
    framed = [int(cell.replace(",", "")) for cell in re.findall(r'class="right">([\d,]+)<', text)]
    assert framed == np.diagonal(matrix)[1:].tolist()


def test_shaded_cells_can_be_read() -> None:
    assert min(contrast(ink_on(shade(i / 100)), shade(i / 100)) for i in range(101)) >= 4.5
    light = [luminance(shade(i / 100)) for i in range(101)]
    assert light == sorted(light, reverse=True) and contrast(shade(0), shade(1)) > 9


def test_a_bar_has_the_whiskers_of_its_interval() -> None:
    drawn = bar(0.5, {"low": 0.25, "high": 0.75}, "<x>")
    assert 'width="50.00"' in drawn and 'x1="25.00" x2="75.00"' in drawn and 'aria-label="&lt;x&gt;"' in drawn
    assert "line" not in bar(0.5, None, "") and "value" not in bar(None, None, "")


def test_one_scene_says_that_it_has_no_interval(lone_report: geoseg.Report, tmp_path: Path) -> None:
    text = page_of(lone_report, tmp_path)
    assert "one scene: how figures vary over scenes is unknown" in text and "95 %" not in text


def test_twenty_classes_fit_in_small_type() -> None:
    legend = Legend("wide", tuple(LegendClass(i, f"class number {i}", (i, i, 10 * i)) for i in range(20)))
    counts = np.random.default_rng(1).integers(0, 10**9, (20, 20))
    report = geoseg.Report(legend, {"t": Pair("m", ConfusionMatrix(counts))})
    outline = Outline(to_html(report.to_dict(), legend))
    assert [table.get("class") for table in outline.all("table")].count("matrix many") == 3


def test_nothing_scored_makes_a_page() -> None:
    report = geoseg.Report(DEEPGLOBE, {"t": Pair("m", ConfusionMatrix.empty(7, (6,)))})
    outline = Outline(to_html(report.to_dict(), DEEPGLOBE))
    assert "n/a" in outline.texts["dd"] and "NaN" not in "".join(outline.texts["html"])


def test_boundary_and_calibration_appear_where_they_are(lone_report: geoseg.Report) -> None:
    names = list(lone_report.iou)
    record = lone_report.to_dict() | {
        "boundary": {"distance": 12.5, "unit": "m", "mean_iou": 0.25, "classes": dict.fromkeys(names, 0.125)},
        "calibration": {
            "ece": 0.0625,
            "bins": [{"low": 0.5, "high": 1.0, "pixels": 1234, "confidence": 0.75, "accuracy": None}],
        },
    }
    tables = Outline(to_html(record, lone_report.legend)).tables
    assert ["mean", "0.2500"] in [row for table in tables for row in table]
    assert ["0.50 to 1.00", "1,234", "0.7500", "n/a"] in [row for table in tables for row in table]
    classes = next(table for table in tables if table[0][:2] == ["class", "IoU"])
    assert classes[1][classes[0].index("boundary IoU")] == "0.1250"


# Pictures


def pictures(text: str) -> list[tuple[str, np.ndarray]]:
    found = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+)"', text)
    return [(alt, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))) for data, alt in found]


def test_the_worst_are_shown(report: geoseg.Report, tmp_path: Path) -> None:
    found = pictures(page_of(report, tmp_path))
    assert len(found) == 4 * (3 + 6)
    assert all(max(picture.shape) <= 320 for _, picture in found)
    assert [alt.split()[0] for alt, _ in found[:4]] == ["Image", "Truth", "Map", "Errors"]


def test_without_images_three_panels_are_left(
    report: geoseg.Report, folders: Path, tmp_path: Path, make_raster: Callable[..., Path]
) -> None:
    elsewhere = make_raster(np.ones((3, 20, 30), np.uint8), "images/one.tif").parent
    text = page_of(report, tmp_path, images=elsewhere)
    assert not [alt for alt, _ in pictures(text) if alt.startswith("Image")]
    assert "one.tif does not cover the truth&#x27;s extent" in text


def test_rasters_that_are_gone_cost_the_pictures_only(lone_report: geoseg.Report, tmp_path: Path) -> None:
    there = next(iter(lone_report.pairs.values()))
    gone = replace(lone_report, pairs={"/gone/t.tif": replace(there, sources=None)})
    text = page_of(gone, tmp_path)
    assert not pictures(text) and "Figures of each class" in text
    assert "no pictures" in text
