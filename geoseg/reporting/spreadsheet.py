"""The classes of a report as CSV, one row each."""

from __future__ import annotations

import csv
import io
from typing import Any

from geoseg.reporting.tables import Record, class_interval
from geoseg.scoring.averages import iou_name

FORMULA = ("=", "+", "-", "@")
"""A spreadsheet runs a cell that begins so."""
PLAIN = ("iou", "precision", "recall", "f1", "boundary_iou")
COUNTS = ("truth_pixels", "predicted_pixels", "truth_hectares", "predicted_hectares", "images")


def to_csv(record: Record) -> str:
    """A header and one row a class, figures in full; empty cells where a figure is undefined."""
    rows = [_row(record, name) for name in record["classes"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(record: Record, name: str) -> dict[str, Any]:
    figures = dict(record["classes"][name])
    if record.get("boundary") is not None:
        figures["boundary_iou"] = record["boundary"]["classes"].get(name)
    row = {"class": f"'{name}" if name.startswith(FORMULA) else name, "code": figures["code"]}
    for key in (key for key in PLAIN if key in figures):
        row |= {key: figures[key]} | _ends(record, name, key, iou_name(record["average"]) if key == "iou" else key)
    for average, value in figures["iou_by_average"].items():
        key = f"iou_{average.replace('-', '_')}"
        row |= {key: value} | _ends(record, name, key, iou_name(average))
    return row | {key: figures[key] for key in COUNTS}


def _ends(record: Record, name: str, key: str, figure: str) -> dict[str, float | None]:
    """Both ends of an interval as columns, where there are intervals."""
    if record["intervals"] is None or figure not in record["intervals"]["classes"][name]:
        return {}
    interval = class_interval(record, name, figure) or {"low": None, "high": None}
    return {f"{key}_low": interval["low"], f"{key}_high": interval["high"]}
