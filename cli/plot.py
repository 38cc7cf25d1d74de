"""geoseg plot"""

from __future__ import annotations

import json
from pathlib import Path

import click

from geoseg.source import Source

from . import options

PANELS = "image", "truth", "map", "errors", "confidence"


class Panels(click.ParamType):
    """Names of panels, separated by commas."""

    name = "PANEL,PANEL,..."

    def convert(self, value, param, context):
        names = value.split(",") if isinstance(value, str) else value
        if unknown := [name for name in names if name not in PANELS]:
            self.fail(f"no panel {unknown[0]!r}; there are {', '.join(PANELS)}", param, context)
        return tuple(names)


@click.command()
@click.argument("map_path", metavar="MAP", type=options.RASTER)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The figure: .png, .pdf or .svg, by the ending.",
)
@click.option(
    "--scene",
    "scenes",
    multiple=True,
    type=options.RASTER,
    metavar="IMAGE",
    help="The image of the same extent; the map is drawn over it. Given more than once: files of one band each.",
)
@click.option(
    "--bands",
    "--bidx",
    type=options.Bands(),
    help="Of the image, one or three, by number or name.  [default: red,green,blue, else the first three]",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="How much of the map hides the image below it.  [default: 0.55]",
)
@click.option("--truth", type=options.RASTER, metavar="FILE", help="Image, truth, map and errors side by side.")
@options.label_field
@options.label_layer
@click.option(
    "--scores", type=options.RASTER, metavar="FILE", help="What predict wrote with --scores: how sure the map is, too."
)
@click.option("--panels", type=Panels(), help=f"Which, in which order: {', '.join(PANELS)}.  [default: all there are]")
@options.legend
@click.option("--all-classes", is_flag=True, help="The key has all classes, not only those that occur.")
@click.option(
    "--amounts",
    type=click.Choice(["area", "share", "none"]),
    help="The map's, beside the classes' names, of all its pixels; with none the overviews of a large map are enough.  "
    "[default: area; none beside a truth]",
)
@click.option(
    "--coordinates/--no-coordinates",
    default=None,
    help="Longitude and latitude at the edges of a single panel.  [default: where it has a CRS]",
)
@click.option("--title", default="", metavar="TEXT")
@click.option(
    "--width",
    type=click.FloatRange(min=30),
    default=180,
    show_default=True,
    metavar="MM",
    help="Of the figure in millimetres, at most: around a tall map it is narrower.",
)
@click.option("--dpi", type=click.FloatRange(min=20), default=300, show_default=True, metavar="N")
@options.opening
@options.overwrite
@options.json
@options.quiet
@options.debug
@click.pass_obj
def plot(obj: dict, map_path: Source, output: Path, scenes: tuple[Source, ...], overwrite: bool, as_json, **given):
    """Draw the class raster MAP as a figure, with the key of its classes, their areas, and a scale.

    With --scene the map lies over the image; with --truth image, truth, map and errors stand side by side; with
    --scores there is a panel of confidence. Rasters are read at the figure's resolution: classes by the most frequent
    one, images by means; those of more than 8 bits are stretched between their 2nd and 98th percentile.
    """
    from geoseg.files import replace_file, require_place
    from geoseg.plotting.figure import encoded, require_ending

    require_ending(output)
    require_place(output, overwrite)
    import geoseg

    scene = None if not scenes else scenes[0] if len(scenes) == 1 else scenes
    figure = geoseg.plot(map_path, scene=scene, progress=obj["progress"], **given)
    replace_file(output, encoded(figure, output.suffix, given["dpi"]))
    width, height = (round(25.4 * inches, 1) for inches in figure.get_size_inches())
    click.echo(json.dumps({"path": str(output), "width_mm": width, "height_mm": height}) if as_json else str(output))
