"""Run: the folder that a training run leaves."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.files import disk_errors, replace_file
from geoseg.legend import Legend
from geoseg.models.segmenter import SegmenterConfig, model_facts, network_name
from geoseg.models.storage import LAST_FILE, MODEL_FILE, read_model_file, read_record
from geoseg.plotting.charts import plot_history
from geoseg.reporting.curves import Line, key, plot
from geoseg.reporting.markup import Markup
from geoseg.reporting.notebook import details, facts, frame, never_failing

RUNS = Path("runs")
REPORT_FILE, HISTORY_FILE, CONFIG_FILE, CURVES_FILE = "report.json", "history.csv", "config.toml", "curves.png"


class Run:
    """A run folder: the best model, the last, history.csv, config.toml; when it is done report.json and curves."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.model, self.last = self.folder / MODEL_FILE, self.folder / LAST_FILE

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
        if not has_begun(folder):
            raise ModelError(f"{folder}: holds no run to go on with")
        return cls(Path(folder))

    def begun(self) -> dict[str, Any] | None:
        """The config of the last saved model; None where no epoch was finished."""
        return read_model_file(self.last)[0]["config"] if self.last.is_file() else None

    @property
    def finished(self) -> bool:
        """True where the training came to its end."""
        return (self.folder / REPORT_FILE).is_file()

    def history(self) -> tuple[dict[str, float], ...]:
        """The epochs of the run as ``read_history`` gives them; none before the first has ended."""
        return read_history(self.folder) if (self.folder / HISTORY_FILE).is_file() else ()

    @never_failing
    def _repr_html_(self) -> str:
        """Where the run stands, its curves, and its model, for notebooks."""
        history = self.history()
        state = "finished" if self.finished else "stopped, --resume goes on with it" if history else "not begun"
        known: dict[str, object] = {"state": f"{state}, {len(history)} epochs"}
        if scored := [row for row in history if "val_mean_iou" in row]:
            best = max(scored, key=lambda row: row["val_mean_iou"])
            known["best validation mean IoU"] = f"{best['val_mean_iou']:.4f} in epoch {best['epoch']:.0f}"
        if self.model.is_file():
            config = SegmenterConfig.from_dict(read_record(self.model)["config"])
            known |= {"network": network_name(config)} | model_facts(config)
        return frame("Run", str(self.folder), facts(known), _curves(history))

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


def has_begun(folder: str | Path) -> bool:
    """True where a folder holds a run, begun at least."""
    return (Path(folder) / CONFIG_FILE).is_file()


def read_history(folder: Path) -> tuple[dict[str, float], ...]:
    """The epochs of a run: numbers by name, empty cells left out."""
    with open(folder / HISTORY_FILE, newline="", encoding="utf-8") as file:
        return tuple(
            {name: float(value) for name, value in row.items() if _is_number(value)} for row in csv.DictReader(file)
        )


def _curves(history: Sequence[Mapping[str, float]]) -> Markup:
    """Losses and mean IoU over the epochs."""
    drawn = []
    for up, columns in (
        ("loss", {"train_loss": "training", "val_loss": "validation"}),
        ("mean IoU", {"val_mean_iou": "validation"}),
    ):
        lines = [
            Line(name, tuple((row["epoch"], row[column]) for row in history if column in row), place)
            for place, (column, name) in enumerate(columns.items())
        ]
        lines = [line for line in lines if line.points]
        drawn += [key(lines), plot(up, lines, "epoch", up)] if lines else []
    return details("curves", *drawn) if drawn else Markup()


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


def _is_number(text: str | None) -> bool:
    try:
        return text not in (None, "") and math.isfinite(float(text))
    except ValueError:
        return False
