"""geoseg vectorize"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from geoseg.source import Source

from . import options

log = logging.getLogger("geoseg")


@click.command()
@click.argument("map_path", metavar="MAP", type=options.RASTER)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The polygons: .gpkg, .fgb, .geojson (in longitude and latitude) or .parquet.",
)
@click.option("--classes", metavar="NAME,NAME,...", help="Write these only, by name or code.  [default: all]")
@click.option(
    "--connectivity",
    type=click.Choice(["4", "8"]),
    default="4",
    show_default=True,
    help="4: pixels that share edges make a polygon; 8: also those that meet in corners (multipolygons).",
)
@options.min_area
@options.min_pixels
@click.option(
    "--simplify",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Fewer points, by triangles up to M x M metres; neighbours keep common borders.",
)
@click.option("--layer", metavar="NAME", help="[default: the file's name]")
@options.overwrite
@options.opening
@options.legend
@options.json
@options.quiet
@options.debug
@click.pass_obj
def vectorize(
    obj: dict, map_path: Source, output: Path, classes: str | None, connectivity: str, as_json: bool, **given
) -> None:
    """Write the patches of MAP as polygons: class, code, colour, true area and perimeter.

    They are those of the whole raster, whatever its size. A GeoPackage opens in QGIS with the legend's colours.
    """
    import geoseg

    chosen = None if classes is None else [name.strip() for name in classes.split(",")]
    written = geoseg.vectorize(
        map_path, output, classes=chosen, connectivity=int(connectivity), progress=obj["progress"], **given
    )
    for note in written.notes:
        log.info(note)
    click.echo(json.dumps(written.to_dict()) if as_json else written.to_text())
