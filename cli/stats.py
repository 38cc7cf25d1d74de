"""geoseg stats"""

from __future__ import annotations

import json

import click

from geoseg.source import Source

from . import options


@click.command()
@click.argument("data", required=False, type=options.RASTER)
@options.split
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="Which scenes of the split.",
)
@options.rare_set
@options.opening
@options.legend
@options.label_field
@options.label_layer
@options.bands
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of ratio splits.")
@options.json
@options.quiet
@options.debug
@click.pass_obj
def stats(obj: dict, data: Source | None, as_json: bool, **given) -> None:
    """Class shares of DATA's training scenes, before and after oversampling and augmentation.

    DATA is a folder as geoseg train takes it. The shares after are expected over seeds, with the part that rotation
    leaves without data; for DeepGlobe's 803 scenes the paper's Table 1 stands beside them.
    """
    import geoseg

    found = geoseg.stats(data, progress=obj["progress"], **given)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())
