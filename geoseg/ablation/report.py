"""The reports of an ablation: ablation.json, ablation.md and ablation.html, from one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from geoseg.ablation.evaluate import NATIVE
from geoseg.ablation.page import PANEL, Shown, to_html
from geoseg.ablation.results import Ablation, Finished
from geoseg.ablation.tables import (
    PER_IMAGE,
    area_table,
    claim_table,
    class_table,
    confusion_of,
    difference_table,
    error_table,
    option_table,
    run_table,
    score_table,
    share_table,
    sweep_table,
)
from geoseg.datasets.dataset import Pair
from geoseg.errors import GeosegError
from geoseg.files import replace_file
from geoseg.reporting.markdown import laid_out, plain
from geoseg.reporting.tables import Record, confusion_table
from geoseg.reporting.worst import Place, read_views
from geoseg.scoring.pair import Pair as ScoredPair
from geoseg.scoring.report import Report

NAME = "ablation"


def write_reports(ablation: Ablation, folder: Path, scenes: Mapping[str, Pair]) -> None:
    """Write the three reports into ``folder``, over those of an earlier call.

    Args:
        scenes: the test scenes to show, by stem; where their rasters are gone the page says so.
    """
    record = ablation.to_dict()
    try:
        shown, missing = [_shown(ablation, stem, pair) for stem, pair in scenes.items()], ""
    except GeosegError as error:
        shown, missing = [], f"no pictures: {error}"
    texts = {
        ".json": json.dumps(record, indent=1) + "\n",
        ".md": to_markdown(record),
        ".html": to_html(record, ablation.legend, shown, missing),
    }
    for ending, text in texts.items():
        replace_file(folder / f"{NAME}{ending}", text.encode())


def to_markdown(record: Record) -> str:
    """All tables; curves and pictures are in the page alone."""
    resolutions, shown = record["resolutions"], record["shown"]
    classes = [class_table(record, name, average) for name in resolutions for average in ("pooled", PER_IMAGE)]
    sections = (
        ("Scores", [score_table(record, name) for name in resolutions]),
        ("Against the baseline", [difference_table(record, name) for name in resolutions]),
        ("The paper's claims", [claim_table(record)]),
        ("Classes", classes),
        (
            "Errors and areas",
            [area_table(record), *(error_table(record, f"false_{w}") for w in ("positives", "negatives"))],
        ),
        ("Shares of the classes", [share_table(record)]),
        ("Learning rate and epochs", [sweep_table(record)]),
        ("How it was made", [run_table(record), option_table(record)]),
    )
    parts = ["# Ablation", *([] if not record["notes"] else ["\n".join(f"- {plain(n)}" for n in record["notes"])])]
    for title, tables in sections:
        there = [table for table in tables if table is not None]
        parts += [f"## {title}", *map(laid_out, there)] if there else []
    parts.append("## Confusion")
    for row in record["rows"]:
        found = confusion_of(record, row, shown)
        parts += [f"### {row}", *(laid_out(confusion_table(found, values)) for values in ("counts", "row_percent"))]
    return "\n\n".join(parts) + "\n"


def _shown(ablation: Ablation, stem: str, pair: Pair) -> Shown:
    """What the first seed of each row made of a scene, read from the maps that were kept."""
    first = {row: next(run for run in ablation.runs if run.plan.setting == row) for row in ablation.rows}
    return Shown(stem, {row: next(_views(ablation, run, stem, pair)) for row, run in first.items()})


def _views(ablation: Ablation, run: Finished, stem: str, pair: Pair):
    matrix = run.tested.matrices[NATIVE][stem]
    scored = ScoredPair(str(run.tested.maps[stem]), matrix, field=pair.field)
    report = Report(ablation.legend, {str(pair.labels): scored})
    return read_views(report, [Place(str(pair.labels), None, matrix)], PANEL, pair.image)
