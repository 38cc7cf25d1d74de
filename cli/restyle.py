"""geoseg restyle"""

from __future__ import annotations

import json
from pathlib import Path

import click

from geoseg.source import Source

from . import options


@click.command()
@click.argument("map_path", metavar="MAP", type=options.RASTER)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="OUT.tif", help="[default: MAP itself is replaced]"
)
@options.legend
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help='Where names differ: {"old class": "new class", "another": null}; null is no data.',
)
@click.option("--qml", is_flag=True, help="Write the colours and names for QGIS beside the map, too.")
@options.overwrite
@options.opening
@options.json
@options.quiet
@options.debug
def restyle(map_path: Source, as_json: bool, **given) -> None:
    """Give the classes of MAP other colours, names or codes, without predicting again.

    A class is found in the new legend by its name; where all names at the old codes are new, by its code. Pixels are
    written anew only where codes change. How the map was made stays in its tags, with the legend that it had.
    """
    import geoseg

    done = geoseg.restyle(map_path, **given)
    click.echo(json.dumps(done.to_dict()) if as_json else done.to_text())
