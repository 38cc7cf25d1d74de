"""geoseg sample"""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import options


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--scenes", type=click.IntRange(min=1), default=24, show_default=True, metavar="N", help="How many.")
@click.option(
    "--size", type=click.IntRange(32, 8192), default=256, show_default=True, metavar="PX", help="Side of a scene."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the world.")
@options.json
@options.quiet
@options.debug
@click.pass_obj
def sample(obj: dict, directory: Path, scenes: int, size: int, seed: int, as_json: bool) -> None:
    """Draw a SYNTHETIC land-cover data set into DIRECTORY.

    Scenes in the DeepGlobe layout with a split, and a larger georeferenced scene.tif with its truth.tif. No such place
    exists: it is there to try and to test geoseg.
    """
    from geoseg.datasets.synthetic import write_sample

    write_sample(directory, scenes=scenes, size=size, seed=seed, progress=obj["progress"])
    record = {"directory": str(directory), "scenes": scenes, "size": size, "seed": seed, "synthetic": True}
    text = f"{directory}: {scenes} synthetic scenes of {size} px, scene.tif and truth.tif"
    click.echo(json.dumps(record) if as_json else text)
    options.suggest("train", directory, "-o", "RUN")
