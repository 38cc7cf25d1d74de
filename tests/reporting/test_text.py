"""The terminal: coloured where it is one, plain and aligned in a pipe."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import geoseg
from geoseg.reporting.tables import hectares
from geoseg.reporting.text import show


def test_plain_text_is_aligned_and_without_escapes(report: geoseg.Report) -> None:
    lines = report.to_text().split("\n")
    assert "\x1b" not in report.to_text()
    assert len({len(line) for line in lines[:6]}) == 1 and max(map(len, lines)) <= 130
    assert lines[0].split("  ")[0] == "class" and "95 % interval" in lines[0] and "truth ha" in lines[0]
    # Numbers end under their heads.
    end = lines[0].index("IoU") + 3
    assert all(line[end - 1] in "0123456789a" and line[end] == " " for line in lines[1:6])


def test_plain_text_has_every_figure(report: geoseg.Report) -> None:
    text, record = report.to_text(), report.to_dict()
    for name, value in record["mean_iou_by_average"].items():
        assert f"{name} {value:.4f}" in text
    for key in ("kappa", "frequency_weighted_iou", "quantity_disagreement", "allocation_disagreement"):
        assert f"{record[key]:.4f}" in text
    mean = record["intervals"]["overall"]["mean_iou"]
    assert f"mean IoU {mean['low']:.4f} to {mean['high']:.4f}" in text
    assert f"truth pixels left out: {record['left_out']['unlabelled_or_ignored']:,} unlabelled or ignored" in text
    assert "intervals: 1,000 resamples of 3 scenes, seed 0" in text and "absent from truth and map" in text


def test_one_scene_has_no_interval_over_scenes(lone_report: geoseg.Report) -> None:
    assert "no interval over scenes" in lone_report.to_text() and "95 %" not in lone_report.to_text()


def test_intervals_asked_of_one_scene_are_told_not_to_be(folders: Path, legend_file: Path) -> None:
    report = geoseg.score(folders / "maps" / "one.tif", folders / "labels" / "one.tif", legend_file, draws=1000)
    text = report.to_text()
    assert "1 scene: how figures vary over scenes is unknown" in text and "95 %" not in text and "resamples" not in text


def test_the_intervals_are_those_of_the_average(report: geoseg.Report) -> None:
    # Of three scenes the ends of wider intervals are those of one scene alone, the same under each average.
    intervals = geoseg.bootstrap(report.matrices.values(), level=0.5)
    text = replace(report, average="image-absent0", intervals=intervals).to_text()
    interval = intervals.per_class["iou_image_absent0"][1]
    assert "50 % interval" in text
    assert f"{interval.estimate:.4f}  {interval.low:.4f} to {interval.high:.4f}" in text


@pytest.mark.parametrize("colour", [False, True])
def test_a_terminal_gets_tables(
    report: geoseg.Report, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, colour: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    show(report.to_dict())
    shown = capsys.readouterr().out
    assert ("\x1b[1m" in shown) or not colour
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown) or colour
    for name in ("[red]wäld", "<road>", "image-absent0", "quantity disagreement"):
        assert name in shown
    assert f"{report.mean_iou:.4f}" in shown


@pytest.mark.parametrize(
    ("area", "words"), [(None, "n/a"), (0.0, "0"), (0.12345, "0.1235"), (97.812, "97.81"), (1597.6, "1,598")]
)
def test_areas_have_the_digits_they_need(area: float | None, words: str) -> None:
    assert hectares(area) == words
