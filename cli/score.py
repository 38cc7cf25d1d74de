"""geoseg score"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import click

from geoseg.source import Source

from . import options

log = logging.getLogger("geoseg")


@click.command()
@click.argument("pred", type=options.RASTER)
@click.argument("truth", type=options.RASTER)
@options.legend
@options.label_field
@options.label_layer
@options.prediction_legend
@options.mapping
@click.option(
    "--average",
    type=click.Choice(["pooled", "image", "image-present", "image-absent0", "image-absent1"]),
    default="pooled",
    show_default=True,
    help="Which mean IoU: of all pixels together, or a mean of the scenes' own, by what an absent class counts.",
)
@click.option(
    "--ignore-missing", is_flag=True, help="Leave out truth without a prediction, which else counts as missed."
)
@click.option(
    "--boundary",
    type=click.FloatRange(min=0, min_open=True),
    metavar="METRES",
    help="Boundary IoU too: of the pixels within that distance of a class's border; in pixels without a CRS.",
)
@click.option(
    "--scores",
    type=options.RASTER,
    metavar="FILE|DIR",
    help="What predict wrote with --scores top or all: calibration too.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report: .json, .csv, .md or .html, by the ending; more than once for several.",
)
@click.option(
    "--images",
    type=options.RASTER,
    metavar="FILE|DIR",
    help="The image, or a folder of images, that an .html report shows.  [default: beside the truths]",
)
@options.opening
@options.overwrite
@options.bootstrap
@options.seed_of_draws
@options.level
@options.block
@options.json
@options.quiet
@options.debug
@click.pass_obj
def score(obj: dict, pred: Source, truth: Source, legend: str | None, as_json: bool, **given) -> None:
    """Compare the map PRED with TRUTH: per-class IoU and their mean, precision, recall and agreement.

    Both are class rasters or colour masks, or two folders of them, matched by stem. The map is laid onto the truth's
    grid by nearest neighbour where CRS, resolution or extent differ, and how is said. TRUTH may be polygons or points,
    too (.gpkg, .geojson, .fgb, .shp, ...; one file may serve a folder of maps): then the map's own pixels are scored
    that they label.
    """
    _require_bootstrap(given["draws"], given["reports"])
    import geoseg
    from geoseg.reporting.text import show
    from geoseg.reporting.worst import require_images
    from geoseg.reporting.write import require_writable

    reports, images, overwrite = (given.pop(name) for name in ("reports", "images", "overwrite"))
    require_writable(reports, overwrite)
    page = _has_page(reports)
    if images and not page:
        raise click.UsageError("--images is for a --report that ends in .html")
    if images:
        require_images(images, pred.is_dir())
    report = geoseg.score(pred, truth, legend, details=page, progress=obj["progress"], **given)
    report = replace(report, provenance={**report.provenance, "command": options.typed()})
    for note in report.notes:
        log.info(note)
    for path in reports:
        geoseg.write_report(report, path, overwrite=overwrite, images=images)
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    elif sys.stdout.isatty():
        show(report.to_dict())
    else:
        click.echo(report.to_text())


def _has_page(reports: tuple[Path, ...]) -> bool:
    return any(path.suffix.lower() == ".html" for path in reports)


def _require_bootstrap(draws: int | None, reports: tuple[Path, ...]) -> None:
    """Blocks serve the pictures of a page, too; the rest says nothing without intervals."""
    idle = options.given(("seed", "level") if _has_page(reports) else ("seed", "level", "block"))
    if draws is None and idle:
        raise click.UsageError(f"{', '.join(idle)} without --bootstrap: there are no intervals to draw")
