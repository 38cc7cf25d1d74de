"""geoseg predict"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from geoseg.redaction import redact

from . import options


@click.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...", type=options.RASTER)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="MASK.tif|DIR/",
    help="The map; for several scenes a folder, ending in /.",
    shell_complete=options.completed.files,
)
@options.planning
@click.option(
    "--scores",
    nargs=2,
    type=(click.Choice(["top", "margin", "all"]), click.Path(path_type=Path)),
    metavar="top|margin|all FILE",
    help="Write scores too: the highest, its lead over the second, or one band a class.",
)
@options.min_area
@options.min_pixels
@click.option("--cog", is_flag=True, help="Write Cloud Optimised GeoTIFF.")
@options.creation_options
@click.option("--quicklook", type=click.Path(path_type=Path), metavar="FILE.png", help="A small picture of the map.")
@click.option("--qml", is_flag=True, help="Write the colours and names for QGIS beside the map, too.")
@click.option("--stac", is_flag=True, help="Write a STAC Item beside each map: MASK.json.")
@options.datetime
@options.opening
@options.overwrite
@click.option("--resume", is_flag=True, help="Go on where the same command was stopped.")
@click.option("--dry-run", is_flag=True, help="Say what would be done: tiles, memory, disk, time; and stop.")
@options.json
@options.quiet
@options.debug
@click.pass_obj
def predict(obj: dict, scenes, output: str, model, dry_run: bool, as_json: bool, scores, quicklook, **given) -> None:
    """Label every pixel of SCENE and write a class raster on the same grid.

    Without --window and --size the scene is read as the model was trained. --window alone: windows at native
    resolution. --size alone: the whole scene resampled to that side. Both: each window resampled to that side.

    Bands are found by their descriptions where the model knows names, else by number; --stack red.tif green.tif
    blue.tif makes one scene of files of one band each.

    A run that is stopped keeps its finished parts beside the output; --resume continues it.
    """
    from geoseg.predict_scenes import plan_scenes, predict_scenes

    kind, scores_output = scores or ("none", None)
    if dry_run:
        of_files = ("cog", "creation_options", "qml", "stac", "datetime")
        planning = {key: value for key, value in given.items() if key not in of_files}
        plans = plan_scenes(scenes, output, model, scores=kind, **planning)
        click.echo(json.dumps([p.summary() for p in plans]) if as_json else "\n".join(p.describe() for p in plans))
        return
    several = len(scenes) > 1 and not (given["stack"] or given["mosaic"])
    if quicklook and several:
        raise click.UsageError("--quicklook is for one scene")
    if given["datetime"] and not given["stac"]:
        raise click.UsageError("--datetime is of the Items that --stac writes")
    written = {"scores": kind, "scores_output": scores_output}
    results = []
    try:
        for result in predict_scenes(scenes, output, model, progress=obj["progress"], **written, **given):
            results.append(result.to_dict())
            if quicklook:
                result.write_quicklook(quicklook)
            if not as_json:
                click.echo(result.to_text())
    except (KeyboardInterrupt, SystemExit):
        click.echo(f"geoseg: to go on: {_resume_command(sys.argv)}{_withheld(scenes)}", err=True)
        raise
    if as_json:
        click.echo(json.dumps(results if several else results[0] if results else None))
    options.suggest("score", output if several else results[0]["path"] if results else output, "TRUTH")


def _resume_command(arguments: list[str]) -> str:
    kept = [redact(argument) for argument in arguments[1:] if argument not in ("--resume", "--overwrite")]
    return shlex.join(["geoseg", *kept, "--resume"])


def _withheld(scenes) -> str:
    return " (with the credentials in its URL)" if any(scene.has_secrets for scene in scenes) else ""
