"""Run: the folder that a training run leaves."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.files import disk_errors, replace_file
from geoseg.legend import Legend
from geoseg.models.storage import LAST_FILE, MODEL_FILE, read_model_file
from geoseg.scoring.plots import plot_history

RUNS = Path("runs")
REPORT_FILE, HISTORY_FILE, CONFIG_FILE, CURVES_FILE = "report.json", "history.csv", "config.toml", "curves.png"


class Run:
    """A run folder: the best model, the last, history.csv, config.toml; when it is done report.json and curves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.last = folder / MODEL_FILE, folder / LAST_FILE

    @classmethod
    def create(cls, folder: str | Path | None, name: str) -> Run:
        """A run to begin, by default in ./runs/NAME, or NAME-2 and so on; the folder is made with its first file.

        Raises OutputError where a run is there already or no folder can be made.
        """
        folder = _free_folder(name) if folder is None else Path(folder)
        if any((folder / file).exists() for file in (MODEL_FILE, LAST_FILE)):
            raise OutputError(f"{folder}: holds a run already; --resume goes on with it, or name another folder")
        require_makeable(folder)
        return cls(folder)

    @classmethod
    def reopen(cls, folder: str | Path | None) -> Run:
        """The folder of a run to go on with, from its start where no epoch was finished; raises ModelError for none."""
        if folder is None:
            raise UsageError("--resume needs the run's folder: name it with -o RUN")
        run = cls(Path(folder))
        if not (run.folder / CONFIG_FILE).is_file():
            raise ModelError(f"{folder}: holds no run to go on with")
        return run

    def begun(self) -> dict[str, Any] | None:
        """The config of the last saved model; None where no epoch was finished."""
        return read_model_file(self.last)[0]["config"] if self.last.is_file() else None

    def write_config(self, asked: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
        """config.toml, the first file of a run: what was asked for, as ``geoseg train --config`` takes it again, and
        what was decided, one value a line."""
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._write(CONFIG_FILE, f"{_table('train', asked)}\n{_table('decided', decided)}")

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """history.csv: one row an epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write(HISTORY_FILE, text.getvalue())

    def write_curves(self, rows: Sequence[Mapping[str, Any]], legend: Legend) -> None:
        """curves.png: loss and IoU over the epochs, where matplotlib is installed."""
        if find_spec("matplotlib") is None:
            return
        picture = io.BytesIO()
        plot_history(rows, legend).savefig(picture, format="png", dpi=120)
        replace_file(self.folder / CURVES_FILE, picture.getvalue())

    def write_report(self, record: Mapping[str, Any]) -> None:
        """report.json: its presence says that the run is finished."""
        self._write(REPORT_FILE, json.dumps(record, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        replace_file(self.folder / name, text.encode())


def require_makeable(folder: Path) -> None:
    """Raise OutputError unless ``folder`` is a folder to write into, or can become one."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise OutputError(f"{folder}: cannot be made, {existing} is a file")
    if not os.access(existing, os.W_OK):
        raise OutputError(f"{folder}: no right to write in {existing}")


def newest_finished_run(runs: Path = RUNS) -> Path:
    """The folder below ./runs whose run finished last; raises ModelError where there is none."""
    finished = [report.parent for report in runs.glob(f"*/{REPORT_FILE}") if (report.parent / MODEL_FILE).is_file()]
    if not finished:
        raise ModelError("no finished run under ./runs; train one with geoseg train, or name a model with --model")
    return max(finished, key=lambda folder: ((folder / REPORT_FILE).stat().st_mtime_ns, folder.name))


def _free_folder(name: str) -> Path:
    number = 1
    while (folder := RUNS / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{name}]", *lines]) + "\n"


def _toml(value: Any) -> str:
    # TOML's strings, numbers, booleans and arrays of them are written as JSON's, but for pairs of surrogates and DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
