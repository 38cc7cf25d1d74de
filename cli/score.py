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
@options.prediction_legend
@options.mapping
@click.option(
    "--average",
    type=click.Choice(["pooled", "image", "image-present", "image-absent0", "image-absent1"]),
    default="pooled",
    show_default=True,
    help="Which mean IoU: of all pixels together, or a mean of the scenes' own, by what an absent class counts.",
)
@click.option(
    "--ignore-missing", is_flag=True, help="Leave out truth without a prediction, which else counts as missed."
)
@click.option(
    "--boundary",
    type=click.FloatRange(min=0, min_open=True),
    metavar="METRES",
    help="Boundary IoU too: of the pixels within that distance of a class's border; in pixels without a CRS.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="What predict wrote with --scores top or all: calibration too.",
)
@options.bootstrap
@options.seed_of_draws
@options.level
@options.block
@options.json
@options.quiet
@options.debug
@click.pass_obj
def score(obj: dict, pred: Path, truth: Path, legend: str | None, as_json: bool, **given) -> None:
    """Compare the map PRED with TRUTH: per-class IoU and their mean, precision, recall and agreement.

    Both are class rasters or colour masks, or two folders of them, matched by stem. The map is laid onto the truth's
    grid by nearest neighbour where CRS, resolution or extent differ, and how is said.
    """
    import geoseg

    report = geoseg.score(pred, truth, legend, progress=obj["progress"], **given)
    for note in report.notes:
        log.info(note)
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
