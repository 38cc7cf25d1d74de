"""geoseg import"""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import options


class Normalisation(click.ParamType):
    """imagenet, none, or the means and the standard deviations of the bands."""

    name = "normalisation"

    def convert(self, value, param, context):
        if not isinstance(value, str) or value in ("imagenet", "none"):
            return value
        try:
            means, deviations = (tuple(float(part) for part in side.split(",")) for side in value.split("/"))
        except ValueError:
            self.fail(f"{value!r} is not imagenet, none, or numbers such as 0.4,0.4,0.3/0.2,0.2,0.2", param, context)
        return means, deviations


@click.command("import")
@click.argument("file", metavar="FILE.safetensors", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="MODEL.safetensors", help="The model."
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="As smp calls it: resnet34, tu-convnext_tiny.  [default: as smp's config.json says]",
)
@click.option(
    "--legend",
    required=True,
    metavar="NAME|FILE",
    help="The classes in the order of the network's outputs: deepglobe, or a JSON file.",
)
@click.option(
    "--normalise",
    required=True,
    type=Normalisation(),
    metavar="imagenet|none|MEAN,.../STD,...",
    help="What was done to pixels / 255: the encoder's ImageNet statistics, nothing, or (x - MEAN) / STD in each band.",
)
@click.option("--raw", is_flag=True, help="It was done to pixels of 0 to 255 as they are.")
@options.window
@click.option(
    "--size", type=options.PIXELS, metavar="PX", help="Side that windows are resampled to.  [default: the window's]"
)
@click.option("--gsd", type=click.FloatRange(0, min_open=True), metavar="M", help="Metres per pixel, as trained.")
@options.bands
@options.overwrite
@options.json
@options.quiet
@options.debug
def import_(file: Path, output: Path, as_json: bool, **given) -> None:
    """Make a model of geoseg of FILE: weights of a U-Net of segmentation-models-pytorch (smp), or of torchgeo.

    FILE holds the weights of an smp.Unet of depth 5 with smp's own decoder, or of a Lightning module with one: smp's
    save_pretrained writes it, and safetensors' save_model does. Without --window the model is used with windows of
    1024 px at native resolution.

    How pixels were normalised in training is not in FILE: --normalise says it, and what is understood is printed.
    """
    import geoseg
    from geoseg.describe import describe

    geoseg.import_model(file, output, **given)
    click.echo(json.dumps(describe(output)) if as_json else output)
    options.suggest("predict", "SCENE", "-o", "MAP.tif", "--model", output)
