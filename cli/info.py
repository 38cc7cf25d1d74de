"""geoseg info"""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import options


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.json
@options.quiet
@options.debug
def info(file: Path, as_json: bool) -> None:
    """Say what FILE is: a raster, a model, or a run folder."""
    from geoseg.describe import describe

    record = describe(file)
    if as_json:
        click.echo(json.dumps(record))
        return
    for key, value in record.items():
        click.echo(f"{key:12} {value if isinstance(value, str) else json.dumps(value)}")
