"""geoseg export"""

from __future__ import annotations

import json
from pathlib import Path

import click

from . import options

FOR_ONNX = "output", "valid_input", "deepness"
FOR_STAC = "datetime", "bbox"


@click.command()
@click.argument("model", type=click.Path(path_type=Path), shell_complete=options.completed.models)
@click.option("--onnx", type=click.Path(path_type=Path), metavar="FILE.onnx", help="The network, to run elsewhere.")
@click.option(
    "--output",
    type=click.Choice(["scores", "logits", "classes"]),
    default="scores",
    show_default=True,
    help="What the ONNX file gives: scores of the classes that can be predicted, logits of all, or codes.",
)
@click.option(
    "--valid-input",
    is_flag=True,
    help="The ONNX file also takes a mask of valid pixels; the others enter as the band means.",
)
@click.option("--deepness", is_flag=True, help="As the QGIS plugin Deepness takes ONNX files.")
@click.option(
    "--stac", type=click.Path(path_type=Path), metavar="FILE.json", help="A STAC Item of the model (MLM extension)."
)
@options.datetime
@click.option("--bbox", type=options.Bounds(), metavar="W,S,E,N", help="In degrees, the ground that the model is for.")
@options.overwrite
@options.json
@options.quiet
@options.debug
def export(
    model: Path, onnx: Path | None, stac: Path | None, datetime, bbox, overwrite: bool, as_json: bool, **how
) -> None:
    """Write MODEL, a run folder or a model file, in forms that others read: --onnx, --stac, or both.

    The ONNX file takes raw pixels (N, C, H, W) of any size, as they are in rasters: normalisation is part of it. It is
    run beside the model before it is put in its place. pip install 'geoseg[onnx]' brings what that needs.
    """
    import geoseg
    from geoseg.stac.item import require_item_place

    if not (onnx or stac):
        raise click.UsageError("say what to write: --onnx FILE.onnx, --stac FILE.json, or both")
    if not onnx and (idle := options.given(FOR_ONNX)):
        raise click.UsageError(f"{', '.join(idle)} without --onnx: there is no ONNX file to shape")
    if not stac and (idle := options.given(FOR_STAC)):
        raise click.UsageError(f"{', '.join(idle)} without --stac: there is no Item to hold it")
    if stac:
        require_item_place(stac, overwrite)
    record = {}
    if onnx:
        written = geoseg.export_onnx(model, onnx, overwrite=overwrite, **how)
        record["onnx"] = written.to_dict()
    if stac:
        geoseg.stac_model_item(model, stac, onnx=onnx, datetime=datetime, bbox=bbox, overwrite=overwrite)
        record["stac"] = {"path": str(stac)}
    if as_json:
        click.echo(json.dumps(record))
        return
    for line in filter(None, (onnx and written.to_text(), stac)):
        click.echo(line)
