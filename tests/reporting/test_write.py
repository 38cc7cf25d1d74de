"""Reports as files: the format by the ending, whole, never over another without being told."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import geoseg
from geoseg import write_report
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.reporting import write as write_module
from geoseg.reporting.write import require_writable


@pytest.mark.parametrize("ending", [".json", ".csv", ".md", ".html", ".HTML"])
def test_the_ending_decides(report: geoseg.Report, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"report{ending}"
    write_report(report, path)
    begins = {".json": "{", ".csv": "\ufeffclass,code,iou,", ".md": "# Accuracy", ".html": "<!DOCTYPE html>"}
    assert path.read_text(encoding="utf-8").startswith(begins[ending.lower()])
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_json_is_the_record(report: geoseg.Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(report.to_dict()))


def test_another_ending_is_refused_with_the_list(report: geoseg.Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"report.pdf: a report ends in .json, .csv, .md or .html"):
        write_report(report, tmp_path / "report.pdf")


def test_a_report_is_not_replaced_unless_asked(report: geoseg.Report, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_report(report, path)
    assert path.read_text() == "mine"
    write_report(report, path, overwrite=True)
    assert json.loads(path.read_text())["schema"] == "geoseg.report/1"


def test_a_folder_a_missing_folder_and_one_name_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.md").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        require_writable([tmp_path / "r.md"], overwrite=True)
    with pytest.raises(OutputError, match="there is no folder"):
        require_writable([tmp_path / "nowhere" / "r.md"], overwrite=False)
    with pytest.raises(UsageError, match="twice"):
        require_writable([tmp_path / "r.json"] * 2, overwrite=False)


def test_one_file_by_two_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for other in (tmp_path / "r.json", Path("./link/r.json")):
        with pytest.raises(UsageError, match="twice"):
            require_writable([Path("r.json"), other], overwrite=True)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path or not mode & os.W_OK)
    with pytest.raises(OutputError, match="nothing can be written in the folder"):
        require_writable([tmp_path / "r.json"], overwrite=False)


def test_names_may_have_255_bytes(report: geoseg.Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / f"{'r' * 250}.json")
    for path in (tmp_path / f"{'r' * 251}.json", tmp_path / ("f" * 256) / "r.json"):
        with pytest.raises(OutputError, match=r"cannot be written there \(File name too long\)") as caught:
            require_writable([path], overwrite=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".json", ".csv", ".md", ".html"])
def test_names_that_are_no_utf_8_are_shown_in_escapes(report: geoseg.Report, tmp_path: Path, ending: str) -> None:
    odd = os.fsdecode(b"caf\xe9.tif")
    named = replace(
        report,
        pairs={odd: replace(next(iter(report.pairs.values())), prediction=odd)},
        notes=(f"{odd}: shifted",),
        provenance={"prediction": odd, "truth": odd, "legend": "x", "command": f"geoseg score {odd}"},
    )
    write_report(named, tmp_path / f"r{ending}")
    text = (tmp_path / f"r{ending}").read_text(encoding="utf-8")
    assert ("caf\\udce9" in text) == (ending != ".csv")


def test_what_fails_leaves_the_old_report(
    report: geoseg.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.md"
    path.write_text("mine")
    monkeypatch.setattr(write_module, "to_markdown", lambda record: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(report, path, overwrite=True)
    assert path.read_text() == "mine"


def test_images_that_are_not_there_or_one_for_several_are_refused(
    report: geoseg.Report, folders: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such image"):
        write_report(report, tmp_path / "r.html", images=folders / "nowhere")
    with pytest.raises(UsageError, match="one image for several scenes"):
        write_report(report, tmp_path / "r.html", images=folders / "images" / "one.tif")


# CSV


def rows_of(report: geoseg.Report, tmp_path: Path) -> dict[str, dict[str, str]]:
    write_report(report, tmp_path / "r.csv", overwrite=True)
    text = (tmp_path / "r.csv").read_text(encoding="utf-8-sig")
    return {row["class"]: row for row in csv.DictReader(io.StringIO(text))}


def test_csv_has_every_figure_in_full(report: geoseg.Report, tmp_path: Path) -> None:
    rows, record = rows_of(report, tmp_path), report.to_dict()
    assert list(rows) == ["<road>", 'R&D "x"', "a|b", "'=sum(1)", "[red]wäld"]
    road, expected = rows["<road>"], record["classes"]["<road>"]
    for key in ("code", "iou", "precision", "recall", "f1", "truth_pixels", "truth_hectares", "images"):
        assert float(road[key]) == expected[key]
    interval = record["intervals"]["classes"]["<road>"]["iou"]
    assert [float(road["iou_low"]), float(road["iou_high"])] == [interval["low"], interval["high"]]
    assert float(road["iou_image_absent1"]) == expected["iou_by_average"]["image-absent1"]
    assert rows["a|b"]["iou"] == rows["a|b"]["iou_low"] == ""


def test_csv_without_intervals_has_no_columns_for_them(lone_report: geoseg.Report, tmp_path: Path) -> None:
    assert not [name for name in rows_of(lone_report, tmp_path)["<road>"] if name.endswith(("_low", "_high"))]


# Markdown


def test_markdown_tables_hold_their_columns(report: geoseg.Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for lines in tables:
        bars = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines]
        assert len(set(bars)) == 1, lines
    assert "a\\|b" in text and "&lt;road&gt;" in text and "<road>" not in text and "\\[red\\]" in text
    assert "R&amp;D" in text


# The command


def test_the_command_checks_reports_before_it_scores(folders: Path, tmp_path: Path, run_score) -> None:
    missing = tmp_path / "no.tif", tmp_path / "no2.tif"
    assert run_score(*missing, "--report", tmp_path / "r.pdf", code=2).stderr.startswith("geoseg: ")
    (tmp_path / "r.md").write_text("mine")
    run_score(*missing, "--report", tmp_path / "r.json", "--report", tmp_path / "r.md", code=5)
    run_score(*missing, "--report", tmp_path / "new.md", "--images", tmp_path, code=2)
    run_score(*missing, "--report", tmp_path / "new.html", "--images", tmp_path / "nowhere", code=3)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["r.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", 0], "--seed"),
        (["--level", 0.9, "--seed", 3], "--seed, --level"),
        (["--block", 16], "--block"),
        (["--block", 16, "--report", "r.md"], "--block"),
        (["--level", 0.9, "--report", "r.html"], "--level"),
    ],
)
def test_options_of_intervals_need_bootstrap(words: list, said: str, tmp_path: Path, run_score) -> None:
    words = [tmp_path / word if str(word).startswith("r.") else word for word in words]
    missing = tmp_path / "no.tif", tmp_path / "no2.tif"
    assert f"{said} without --bootstrap" in run_score(*missing, *words, code=2).stderr
    run_score(*missing, *words, "--bootstrap", 1000, code=3)


def test_blocks_are_for_a_page_too(tmp_path: Path, run_score) -> None:
    run_score(tmp_path / "no.tif", tmp_path / "no2.tif", "--block", 16, "--report", tmp_path / "r.html", code=3)


def test_the_command_writes_each_report(folders: Path, legend_file: Path, tmp_path: Path, run_score) -> None:
    names = [tmp_path / f"r{ending}" for ending in (".json", ".csv", ".md", ".html")]
    words = [word for name in names for word in ("--report", name)]
    result = run_score(folders / "maps", folders / "labels", "--legend", legend_file, *words, "--json")
    assert json.loads(result.stdout) == json.loads(names[0].read_text())
    assert all(name.stat().st_size for name in names)
    assert json.loads(result.stdout)["provenance"]["command"].startswith("geoseg")
