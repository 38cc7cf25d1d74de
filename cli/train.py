"""geoseg train"""

from __future__ import annotations

import json
from pathlib import Path

import click

from geoseg.source import Source

from . import options


@click.command()
@click.argument("data", required=False, type=options.RASTER)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="RUN", help="Run folder.  [default: a new one in ./runs]"
)
@click.option(
    "--setting",
    type=click.Choice(["baseline", "focal", "augment", "resnet34"]),
    help="A row of the paper's ablation.  [default: baseline]",
)
@click.option(
    "--preset", type=click.Choice(["recommended"]), help="Our own recipe, in place of --setting (docs/training.md)."
)
@click.option("--loss", type=click.Choice(["ce", "focal"]), help="Weighted cross-entropy, or focal loss.")
@click.option("--gamma", type=float, metavar="X", help="Focusing parameter of the focal loss, 0 or >= 1.  [default: 2]")
@click.option(
    "--region-loss", type=click.Choice(["none", "dice", "lovasz"]), help="Added to the loss.  [default: none]"
)
@click.option(
    "--class-weights",
    type=click.Choice(["median", "sqrt", "none"]),
    help="In the loss: median frequency, its square root, or all equal.  [default: median]",
)
@click.option(
    "--encoder",
    metavar="plain|resnet34|TIMM",
    help="The paper's own U-Net, or one on a timm encoder.",
    shell_complete=options.completed.encoders,
)
@click.option(
    "--decoder",
    type=click.Choice(["transposed", "nearest"]),
    help="On a timm encoder: the paper's, or segmentation-models-pytorch's.  [default: transposed]",
)
@click.option("--encoder-weights", metavar="imagenet|none|FILE", help="Where the timm encoder starts from.")
@click.option(
    "--init",
    metavar="RUN|FILE",
    help="Start from a model of geoseg; it gives the network.",
    shell_complete=options.completed.models,
)
@click.option(
    "--normalise", type=click.Choice(["none", "imagenet"]), help="Of pixels, before the network.  [default: none]"
)
@click.option("--norm", type=click.Choice(["none", "batch", "group"]), help="Normalisation layers (the paper: none).")
@click.option(
    "--width", type=click.IntRange(min=1), metavar="N", help="Channels of the plain U-Net's first block.  [default: 64]"
)
@options.size
@options.window
@options.gsd
@options.nodata
@options.split
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Flips, rotation and colour jitter, of all samples but the first copy of oversampled scenes.",
)
@click.option(
    "--oversample/--no-oversample", default=None, help="Repeat scenes that show rare classes; see --rare-set."
)
@options.rare_set
@click.option(
    "--balance-crops/--no-balance-crops",
    default=None,
    help="Place every other window on a class drawn evenly, so that rare ones are seen.",
)
@options.legend
@options.label_field
@options.label_layer
@options.bands
@options.scaling
@options.scale
@options.percentiles
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="[default: 30; 10 on the embedded sample]")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Stop after N optimiser steps instead.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="[default: 2]")
@click.option("--accumulate", type=click.IntRange(min=1), metavar="N", help="Batches that make one step.  [default: 1]")
@click.option("--optimizer", type=click.Choice(["adam", "adamw"]), help="[default: adam]")
@click.option("--lr", type=float, metavar="X", help="Learning rate at its height.  [default: 1e-4]")
@click.option("--encoder-lr", type=float, metavar="X", help="Another one for a timm encoder.  [default: as --lr]")
@click.option("--weight-decay", type=float, metavar="X", help="Of kernels, not of biases and norms.  [default: 0]")
@click.option(
    "--schedule", type=click.Choice(["constant", "cosine"]), help="Of the learning rate.  [default: constant]"
)
@click.option("--warmup", type=float, metavar="N|SHARE", help="Steps, or a share of all, in which the rate rises.")
@click.option("--clip", type=float, metavar="X", help="Longest gradient, as the norm over all parameters.")
@click.option("--ema", type=float, metavar="DECAY", help="Keep a moving average of the weights, such as 0.999.")
@click.option(
    "--patience", type=click.IntRange(min=1), metavar="N", help="Stop after N epochs without a better validation."
)
@click.option(
    "--compile/--no-compile", default=None, help="Compile the network: minutes at the start, then faster on GPUs."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="[default: 0]")
@click.option(
    "--cache",
    type=click.Path(path_type=str),
    metavar="DIR|none",
    help="Where decoded scenes are kept.  [default: $GEOSEG_CACHE, or the user's cache folder]",
)
@options.opening
@options.device
@options.precision
@click.option("--resume", is_flag=True, help="Go on with the run in -o where it stopped.")
@options.json
@options.quiet
@options.debug
@click.pass_obj
def train(obj: dict, data: Source | None, output: Path | None, as_json: bool, **given) -> None:
    """Train a segmenter on DATA.

    DATA is a folder in the DeepGlobe layout (<id>_sat.jpg, <id>_mask.png) or one with images/, labels/ and legend.json.
    Labels are rasters, or polygons and points: labels/X.gpkg for images/X.tif, or one labels.gpkg for all images.
    Without it: $GEOSEG_DATA, then ./data, then the embedded synthetic sample.

    The run folder gets model.safetensors (the epoch with the best validation mean IoU), last.safetensors, history.csv,
    config.toml and report.json. Without --size and --window whole scenes are resampled to 1024 px, never enlarged;
    --window alone trains at native resolution on windows cut at random places.
    """
    import geoseg
    from geoseg.training.processes import is_first

    segmenter = geoseg.train(data, output, progress=obj["progress"], **given)
    run = Path(segmenter.origin["path"]).parent
    if not is_first():
        return
    click.echo(json.dumps({"run": str(run), **json.loads((run / "report.json").read_text())}) if as_json else run)
    options.suggest("predict", "SCENE", "-o", "MAP.tif", "--model", run)
