"""geoseg compare"""

from __future__ import annotations

import json
import logging

import click

from geoseg.source import Source

from . import options

log = logging.getLogger("geoseg")


@click.command()
@click.argument("first", metavar="A", type=options.RASTER)
@click.argument("second", metavar="B", type=options.RASTER)
@click.argument("truth", type=options.RASTER)
@options.legend
@options.label_field
@options.label_layer
@options.prediction_legend
@options.mapping
@click.option(
    "--draws",
    type=click.IntRange(min=1000),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Resamples of the scenes, and exchanges of the test where more than 12 scenes differ.",
)
@options.seed_of_draws
@options.level
@options.block
@options.opening
@options.json
@options.quiet
@options.debug
@click.pass_obj
def compare(obj: dict, first: Source, second: Source, truth: Source, as_json: bool, **given) -> None:
    """Compare the maps A and B of one TRUTH: the difference B - A of every figure, with interval and p-value.

    Each is a raster as geoseg score takes it, or a folder of them, matched by stem. The scenes are drawn again, the
    same for both maps; in the test the two maps change places scene by scene. One scene gives no interval.
    """
    import geoseg

    comparison = geoseg.compare(first, second, truth, progress=obj["progress"], **given)
    for note in comparison.notes:
        log.info(note)
    click.echo(json.dumps(comparison.to_dict()) if as_json else comparison.to_text())
