"""geoseg ablate"""

from __future__ import annotations

import json
from pathlib import Path

import click

from geoseg.source import Source

from . import options

FINISHED_WITH_FAILED_PARTS = 6


@click.command()
@click.argument("data", required=False, type=options.RASTER)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of runs and reports."
)
@click.option(
    "--settings",
    metavar="A,B,...",
    help="Rows, the baseline among them, of baseline, focal, augment, resnet34 (the paper's) and recommended (our own "
    "recipe).  [default: all]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Train each row N times, with the seeds 0 to N - 1.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="[default: 30; 10 on the embedded sample]")
@click.option(
    "--fixed-steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="N optimiser steps for every row instead, so that no row trains longer than another.",
)
@options.size
@options.window
@options.gsd
@click.option("--split", metavar="paper|glnet|80/10/10|FILE", help="Which scenes train, select and test; once for all.")
@options.legend
@options.label_field
@options.label_layer
@options.bands
@options.scaling
@options.scale
@options.percentiles
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Of the paper's rows.  [default: 2]")
@click.option("--lr", type=float, metavar="X", help="Learning rate of the paper's rows.  [default: 1e-4]")
@click.option("--width", type=click.IntRange(min=1), metavar="N", help="Channels of the plain U-Net's first block.")
@click.option(
    "--norm",
    type=click.Choice(["none", "batch", "group"]),
    help="Normalisation layers of the paper's rows (its: none).",
)
@options.rare_set
@click.option("--encoder-weights", metavar="imagenet|none|FILE", help="Where rows with a timm encoder start from.")
@options.opening
@options.device
@options.precision
@click.option("--keep-maps", is_flag=True, help="Keep the maps of all test scenes, not just of those that are shown.")
@click.option("--sweep", is_flag=True, help="Train the baseline with 1e-3 and 1e-4, and look at 1/3, 2/3, all epochs.")
@options.json
@options.quiet
@options.debug
@click.pass_context
def ablate(context: click.Context, data: Source | None, settings: str | None, as_json: bool, **given) -> None:
    """Train and compare the rows of the paper's ablation, and our own recipe, on DATA.

    Every row is trained on the same split with every seed, each in DIR/runs/ROW-seedN, and tested on the same scenes.
    DIR/ablation.html, .md and .json hold the paper's tables and figures for these data, with intervals and p-values,
    and what they say to the paper's claims. The same command goes on where it was stopped; finished runs are not
    repeated. A row that cannot be trained is named, the others go on, and the exit code is 6.

    With --size PX the paper's rows see whole scenes of PX pixels, and our recipe windows of as many; with --window all
    see the same windows. The recipe keeps its own batch size, learning rate and normalisation.
    """
    import geoseg

    rows = None if settings is None else [name.strip() for name in settings.split(",")]
    found = geoseg.ablate(data, settings=rows, command=options.typed(), progress=context.obj["progress"], **given)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())
    if found.failed:
        context.exit(FINISHED_WITH_FAILED_PARTS)
