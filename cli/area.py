"""geoseg area"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from geoseg.source import Source

from . import options

log = logging.getLogger("geoseg")

OF_POINTS = "legend", "label_field", "stratum_field", "drop_unlabelled"
"""Parameters that mean nothing to counts."""


@click.command()
@click.argument("map_path", metavar="[MAP]", required=False, type=options.RASTER)
@click.option(
    "--sample", type=click.Path(path_type=Path), help="Labelled points: .gpkg, .geojson, .shp, .fgb, .kml or .csv."
)
@click.option("--key", type=click.Path(path_type=Path), help="The file of strata that geoseg design --key put aside.")
@click.option(
    "--counts",
    type=click.Path(path_type=Path),
    help="In place of MAP and --sample: a CSV of counts, rows map, columns reference, and area_ha or pixels.",
)
@click.option("--pixel-ha", type=click.FloatRange(min=0, min_open=True), help="Hectares of a pixel, with --counts.")
@click.option("--label-field", default="reference", show_default=True, help="Column of the reference classes.")
@click.option("--stratum-field", default="stratum", show_default=True, help="Column of the strata of the design.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence level of the intervals.",
)
@click.option(
    "--drop-unlabelled",
    is_flag=True,
    help="Leave out points without a label: sound only where that has nothing to do with their class.",
)
@options.opening
@options.legend
@options.json
@options.quiet
@options.debug
@click.pass_obj
def area(
    obj: dict,
    map_path: Source | None,
    sample: Path | None,
    key: Path | None,
    counts: Path | None,
    pixel_ha: float | None,
    label_field: str,
    stratum_field: str,
    level: float,
    drop_unlabelled: bool,
    legend: str | None,
    as_json: bool,
) -> None:
    """Estimate the true areas of the classes of MAP, and its accuracy, from points drawn at random and labelled.

    Areas are in hectares, with confidence intervals. The points come from geoseg design, or from any other
    probability sample.
    """
    import geoseg

    if (counts is None) == (map_path is None or sample is None) or (counts and (map_path or sample or key)):
        raise click.UsageError("give MAP and --sample, or --counts alone")
    if counts is not None and (idle := options.given(OF_POINTS)):
        raise click.UsageError(f"{', '.join(idle)} is for MAP and --sample: --counts has neither points nor a legend")
    if counts is not None:
        found = geoseg.areas_from_counts(counts, pixel_ha=pixel_ha, level=level)
    elif pixel_ha is not None:
        raise click.UsageError("--pixel-ha goes with --counts: a map's pixels have their true areas")
    else:
        found = geoseg.estimate_areas(
            map_path,
            sample,
            legend,
            key=key,
            label_field=label_field,
            stratum_field=stratum_field,
            level=level,
            drop_unlabelled=drop_unlabelled,
            progress=obj["progress"],
        )
    for note in found.notes:
        log.info(note)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())
