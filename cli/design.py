"""geoseg design"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from geoseg.source import Source

from . import options

log = logging.getLogger("geoseg")


class Accuracy(click.ParamType):
    """A user's accuracy for all classes, or CLASS=accuracy."""

    name = "X or CLASS=X"

    def convert(self, value, param, context):
        name, _, number = value.rpartition("=")
        try:
            return name or None, float(number)
        except ValueError:
            self.fail(f"{value!r} is neither an accuracy such as 0.8 nor CLASS=0.9", param, context)


@click.command()
@click.argument("map_path", metavar="MAP", type=options.RASTER)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The points: .gpkg, .geojson or .csv."
)
@click.option("--size", type=click.IntRange(min=1), help="Number of points.")
@click.option(
    "--target-se",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="In place of --size: standard error of overall accuracy to reach, such as 0.01.",
)
@click.option(
    "--expected-ua",
    type=Accuracy(),
    multiple=True,
    help="User's accuracy to expect, for --target-se; repeat for classes.  [default: 0.8]",
)
@click.option(
    "--allocation",
    type=click.Choice(["proportional", "equal", "mixed"]),
    default="mixed",
    show_default=True,
    help="How points are shared out; mixed: a least number of each class, the rest by area.",
)
@click.option("--min-per-class", type=click.IntRange(min=2), default=50, show_default=True, help="That least number.")
@options.seed_of_draws
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="A .csv for the strata, so that the points tell a labeller nothing of the map; geoseg area takes it back.",
)
@options.overwrite
@options.opening
@options.legend
@options.json
@options.quiet
@options.debug
@click.pass_obj
def design(
    obj: dict,
    map_path: Source,
    output: Path,
    size: int | None,
    target_se: float | None,
    expected_ua: tuple[tuple[str | None, float], ...],
    allocation: str,
    min_per_class: int,
    seed: int,
    key: Path | None,
    overwrite: bool,
    legend: str | None,
    as_json: bool,
) -> None:
    """Draw a stratified random sample of the pixels of MAP, to be labelled by a person.

    The points carry an empty column "reference". In a GeoPackage QGIS offers the classes in a list and hides the
    map's class. When all points are labelled, geoseg area gives the areas.
    """
    import geoseg

    expected = dict(expected_ua)
    drawn = geoseg.design_sample(
        map_path,
        output,
        legend,
        size=size,
        target_se=target_se,
        expected_ua=expected.pop(None, 0.8),
        class_ua=expected,
        allocation=allocation,
        min_per_class=min_per_class,
        seed=seed,
        key=key,
        overwrite=overwrite,
        progress=obj["progress"],
    )
    for note in drawn.notes:
        log.info(note)
    click.echo(json.dumps(drawn.to_dict()) if as_json else drawn.to_text())
