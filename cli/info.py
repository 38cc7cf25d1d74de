"""geoseg info"""

from __future__ import annotations

import json

import click

from geoseg.source import Source

from . import options


@click.command()
@click.argument("file", type=options.RASTER)
@options.opening
@options.json
@options.quiet
@options.debug
def info(file: Source, as_json: bool) -> None:
    """Say what FILE is: a raster or vector file, a model, a run folder, or a data folder."""
    from geoseg.describe import describe

    record = describe(file)
    if as_json:
        click.echo(json.dumps(record))
        return
    for key, value in record.items():
        click.echo(f"{key:12} {value if isinstance(value, str) else json.dumps(value)}")
