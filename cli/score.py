"""geoseg score"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from . import options

log = logging.getLogger("geoseg")


@click.command()
@click.argument("pred", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@options.legend
@click.option(
    "--ignore-missing", is_flag=True, help="Leave out truth without a prediction, which else counts as missed."
)
@options.json
@options.quiet
@options.debug
@click.pass_obj
def score(obj: dict, pred: Path, truth: Path, legend: str | None, ignore_missing: bool, as_json: bool) -> None:
    """Compare the map PRED with TRUTH: per-class IoU and their mean, pooled over all pixels.

    Both are class rasters or colour masks on equal grids or of equal extents, or two folders of them, matched by stem.
    """
    import geoseg

    report = geoseg.score(pred, truth, legend, ignore_missing=ignore_missing, progress=obj["progress"])
    for note in report.notes:
        log.info(note)
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
