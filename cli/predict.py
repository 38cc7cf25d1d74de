"""geoseg predict"""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import options


@click.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, metavar="MASK.tif|DIR/", help="The map; for several scenes a folder, ending in /."
)
@click.option(
    "--model", type=click.Path(path_type=Path), metavar="RUN|FILE", help="[default: the newest finished run in ./runs]"
)
@options.size
@options.window
@click.option(
    "--overlap", type=click.IntRange(min=0), metavar="PX", help="Scene pixels that windows share.  [default: an eighth]"
)
@options.bands
@click.option(
    "--nodata-rule",
    type=click.Choice(["all", "any"]),
    default="all",
    show_default=True,
    help="Invalid where all bands are nodata, or any.",
)
@options.device
@options.precision
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tiles in one forward pass.  [default: 1 on a CPU, 4 on a GPU]",
)
@options.overwrite
@click.option("--dry-run", is_flag=True, help="Say what would be done, in tiles and memory, and stop.")
@options.json
@options.quiet
@options.debug
@click.pass_obj
def predict(obj: dict, scenes, output: str, model, dry_run: bool, overwrite: bool, as_json: bool, **given) -> None:
    """Label every pixel of SCENE and write a class raster on the same grid.

    Without --window and --size the scene is read as the model was trained. --window alone: windows at native
    resolution. --size alone: the whole scene resampled to that side. Both: each window resampled to that side.
    """
    from geoseg.predict_scenes import plan_scenes, predict_scenes

    if dry_run:
        plans = plan_scenes(scenes, output, model, overwrite=overwrite, **given)
        click.echo(json.dumps([p.summary() for p in plans]) if as_json else "\n".join(p.describe() for p in plans))
        return
    results = []
    for result in predict_scenes(scenes, output, model, overwrite=overwrite, progress=obj["progress"], **given):
        results.append(result.to_dict())
        if not as_json:
            click.echo(result.to_text())
    if as_json:
        click.echo(json.dumps(results if len(scenes) > 1 else results[0]))
