"""Run folders: where they are made, what they hold, which one is the newest."""

from __future__ import annotations

import csv
import json
import os
import tomllib
from pathlib import Path

import pytest

from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.legend import DEEPGLOBE
from geoseg.training.run import REPORT_FILE, Run, newest_finished_run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def begin(folder: str) -> Run:
    run = Run.create(folder, "")
    run.write_config({}, {})
    return run


def finish(folder: str, time_ns: int) -> Path:
    run = begin(folder)
    run.model.write_bytes(b"")
    run.write_report({"padding": "x" * (1000 - time_ns)})
    os.utime(run.folder / REPORT_FILE, ns=(time_ns, time_ns))
    return run.folder


def test_default_folders_are_numbered():
    for expected in ("runs/focal", "runs/focal-2", "runs/focal-3"):
        run = Run.create(None, "focal")
        run.write_config({}, {})
        assert str(run.folder) == expected


def test_the_folder_is_made_with_its_first_file():
    run = Run.create("deep/mine", "")
    assert not run.folder.exists()
    run.write_config({}, {})
    assert [path.name for path in run.folder.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("file", ["model.safetensors", "last.safetensors"])
def test_a_folder_with_a_run_is_refused(file):
    Path("mine").mkdir()
    Path("mine", file).write_bytes(b"x")
    with pytest.raises(OutputError, match="holds a run already; --resume"):
        Run.create("mine", "baseline")


def test_a_folder_without_a_run_is_taken():
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    assert Run.create("mine", "baseline").folder == Path("mine")


@pytest.mark.parametrize("folder", ["mine", "mine/deeper/still"])
def test_a_file_in_the_place_of_the_folder(folder):
    Path("mine").write_text("")
    with pytest.raises(OutputError, match=f"{folder}: cannot be made, .*mine is a file"):
        Run.create(folder, "baseline")


def test_reopen_needs_a_run_to_go_on_with():
    with pytest.raises(UsageError, match="-o RUN"):
        Run.reopen(None)
    with pytest.raises(ModelError, match="holds no run to go on with"):
        Run.reopen("mine")
    run = begin("mine")
    assert Run.reopen("mine").folder == run.folder


def test_config_is_toml():
    record = {"name": 'a "quoted" \\ name é', "lr": 1e-4, "tiny": 1e-20, "seed": 3, "flag": True, "bands": [1, 2]}
    run = Run.create("mine", "")
    record |= {"emoji": "\U0001f6f0", "control": "a\x01\x7f\n"}
    run.write_config(record | {"none": None}, {"size": 64})
    assert tomllib.loads((run.folder / "config.toml").read_text("utf-8")) == {"train": record, "decided": {"size": 64}}


def test_history_is_a_table():
    run = begin("mine")
    for rows in ([{"epoch": 1, "loss": 0.5}], [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]):
        run.write_history(rows)
        with open(run.folder / "history.csv", newline="") as file:
            expected = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
            assert list(csv.DictReader(file)) == expected


def test_report_is_json():
    run = begin("mine")
    run.write_report({"a": [1, None]})
    assert json.loads((run.folder / REPORT_FILE).read_text()) == {"a": [1, None]}


def test_the_newest_finished_run_is_that_whose_report_is_newest():
    for name, time_ns in (("a", 10), ("c", 30), ("b", 20)):
        finish(f"runs/{name}", time_ns)
    begin("runs/unfinished").model.write_bytes(b"")
    (finish("runs/without-model", 40) / "model.safetensors").unlink()
    assert newest_finished_run() == Path("runs/c")


def test_without_a_finished_run_the_remedy_is_said():
    with pytest.raises(ModelError, match="train one with geoseg train"):
        newest_finished_run()


def test_curves_are_drawn_where_matplotlib_is(monkeypatch):
    run, rows = begin("mine"), [{"epoch": 1, "train_loss": 0.5}]
    with monkeypatch.context() as patch:
        patch.setattr("geoseg.training.run.find_spec", lambda name: None)
        run.write_curves(rows, DEEPGLOBE)
        assert not (run.folder / "curves.png").exists()
    run.write_curves(rows, DEEPGLOBE)
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
