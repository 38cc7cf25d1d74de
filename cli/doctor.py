"""geoseg doctor"""

from __future__ import annotations

import json

import click

from geoseg.errors import ResourceError

from . import options


@click.command()
@options.json
@options.quiet
@options.debug
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look at this machine: versions, devices, memory, disk, GDAL's formats and settings, and what makes geoseg slow.

    Each finding has its remedy. The exit code is 0 where geoseg can be used, and 7 where something that it needs is
    broken.
    """
    import geoseg

    found = geoseg.check_installation()
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())
    if not found.usable:
        context.exit(ResourceError.exit_code)
