"""The reports of an ablation: ablation.json, ablation.md and ablation.html, from one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from geoseg.ablation.evaluate import NATIVE
from geoseg.ablation.page import PANEL, Shown, to_html
from geoseg.ablation.results import Ablation, Finished
from geoseg.ablation.sections import sections
from geoseg.datasets.dataset import Pair
from geoseg.errors import GeosegError
from geoseg.files import replace_file
from geoseg.reporting.markdown import laid_out, plain
from geoseg.reporting.tables import Record
from geoseg.reporting.worst import Place, read_views
from geoseg.scoring.pair import Pair as ScoredPair
from geoseg.scoring.report import Report
from geoseg.source import Source

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
    parts = ["# Ablation", *([] if not record["notes"] else ["\n".join(f"- {plain(n)}" for n in record["notes"])])]
    for section in sections(record):
        body = [*([plain(section.said)] if section.said else []), *map(laid_out, section.tables)]
        parts += [f"## {section.title}", *body] if body else []
    return "\n\n".join(parts) + "\n"


def _shown(ablation: Ablation, stem: str, pair: Pair) -> Shown:
    """What the first seed of each row made of a scene, read from the maps that were kept."""
    first = {row: next(run for run in ablation.runs if run.plan.row == row) for row in ablation.rows}
    return Shown(stem, {row: next(_views(ablation, run, stem, pair)) for row, run in first.items()})


def _views(ablation: Ablation, run: Finished, stem: str, pair: Pair):
    matrix = run.tested.matrices[NATIVE][stem]
    map_source = Source.of(run.tested.maps[stem])
    scored = ScoredPair(str(map_source), matrix, sources=(map_source, pair.labels), field=pair.field)
    report = Report(ablation.legend, {str(pair.labels): scored})
    return read_views(report, [Place(str(pair.labels), None, matrix)], PANEL, pair.image)
