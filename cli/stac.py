"""geoseg stac"""

from __future__ import annotations

import json
from pathlib import Path

import click

from geoseg.source import Source

from . import options


@click.command()
@click.argument("class_raster", metavar="MAP", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="ITEM.json", help="[default: MAP's name with .json]"
)
@options.datetime
@click.option(
    "--scene",
    "scenes",
    type=options.RASTER,
    multiple=True,
    help="What was mapped; repeat for several.  [default: the file that MAP names, where it is there]",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="RUN|FILE|ITEM.json",
    help="What made MAP, or the model's own STAC Item.",
    shell_complete=options.completed.models,
)
@options.opening
@options.overwrite
@options.json
@options.quiet
@options.debug
def stac(
    class_raster: Path,
    output: Path | None,
    datetime: str | None,
    scenes: tuple[Source, ...],
    model: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Describe MAP, which geoseg predicted, as a STAC 1.1 Item beside it.

    The Item has the outline of the data on the Earth, CRS and grid, the classes with their colours, size and checksum
    of the file, and links to the scene and the model. A map carries no clock: the time is that of the scenes' tags, or
    that of --datetime. geoseg export MODEL --stac FILE describes models.
    """
    import geoseg

    output = output or class_raster.with_suffix(".json")
    item = geoseg.stac_item(class_raster, output, datetime=datetime, scenes=scenes, model=model, overwrite=overwrite)
    click.echo(json.dumps(item) if as_json else output)
