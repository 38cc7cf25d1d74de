"""Options that several commands share, each with its one meaning."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import reduce, wraps
from pathlib import Path

import click
from click.core import ParameterSource

from geoseg.redaction import redact
from geoseg.source import OpeningPolicy, Source

from . import completion as completed


def _be_quiet(context: click.Context, _: click.Parameter, quiet: bool) -> None:
    if quiet:
        context.ensure_object(dict)["progress"] = False
        logging.getLogger("geoseg").setLevel(logging.ERROR)


def given(names: Iterable[str]) -> list[str]:
    """As typed, the options of the running command that somebody gave, among those of the parameters ``names``."""
    context = click.get_current_context()
    typed = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    return [typed[name] for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT]


class Raster(click.ParamType):
    """A raster by its path or URL, or a folder of rasters."""

    name = "PATH|URL"

    def convert(self, value, param, context):
        return Source.of(value)

    def shell_complete(self, context, param, incomplete):
        return completed.files(context, param, incomplete)


RASTER = Raster()


def opening(command: Callable) -> Callable:
    """Options of what may be opened beyond single files of the usual formats: the command's rasters carry them."""
    flags = (
        click.option(
            "--allow-external", is_flag=True, help="VRTs may name files outside of their folder, and on the network."
        ),
        click.option("--allow-archives", is_flag=True, help="Read /vsizip/A.zip/B.tif and /vsitar/A.tar/B.tif."),
        click.option("--allow-large", is_flag=True, help="Read rasters whose declared size looks like a trap."),
        click.option(
            "--allow-driver", multiple=True, metavar="NAME", help="Read another of GDAL's formats, too, such as HFA."
        ),
    )

    @wraps(command)
    def with_policy(*args, allow_external, allow_archives, allow_large, allow_driver, **given):
        policy = OpeningPolicy(allow_external, allow_archives, allow_large, allow_driver)
        named = {key: value for key, value in given.items() if _is_rasters(value)}
        if policy != OpeningPolicy() and not named:
            raise click.UsageError(f"{policy.options[0]} is for rasters and folders that are named")
        for key, value in named.items():
            given[key] = value.under(policy) if isinstance(value, Source) else tuple(one.under(policy) for one in value)
        return command(*args, **given)

    return reduce(lambda function, flag: flag(function), reversed(flags), with_policy)


def _is_rasters(value: object) -> bool:
    return isinstance(value, Source) or (isinstance(value, tuple) and any(isinstance(one, Source) for one in value))


def suggest(*words: object) -> None:
    """Say which command is next, as a message: silent with -q. Words in capitals are for the user to fill in."""
    logging.getLogger("geoseg").info("next: %s", shlex.join(["geoseg", *(redact(str(word)) for word in words)]))


def typed() -> str:
    """The command as it was typed, without credentials."""
    return shlex.join(["geoseg", *map(redact, sys.argv[1:])])


# Both are also taken after the name of a command, where people type them.
quiet = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_be_quiet,
    help="Only results and errors: no progress, no messages.",
)
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback where an error occurs.")


class Bands(click.ParamType):
    """Bands by number from 1 or by name, separated by commas."""

    name = "BAND,BAND,..."

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        bands = tuple(map(_number_or_name, value.split(",")))
        if "" in bands:
            self.fail(f"{value!r} is not bands separated by commas, such as 3,2,1 or B04,B03,B02", param, context)
        if any(isinstance(band, int) and band < 1 for band in bands):
            self.fail("bands are numbered from 1", param, context)
        return bands


def _number_or_name(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text.strip()


class Pair(click.ParamType):
    """Two numbers separated by a comma."""

    name = "LOW,HIGH"

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        try:
            low, high = map(float, value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers separated by a comma, such as 0,10000", param, context)
        return low, high


class NumberOrAuto(click.FloatRange):
    """A number in a range, or the word auto."""

    name = "number or auto"

    def convert(self, value, param, context):
        return value if value == "auto" else super().convert(value, param, context)


class Bounds(click.ParamType):
    """West, south, east and north, separated by commas."""

    name = "W,S,E,N"

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        try:
            west, south, east, north = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not four numbers separated by commas: west,south,east,north", param, context)
        return west, south, east, north


PIXELS = click.IntRange(min=1)

min_area = click.option(
    "--min-area",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HA",
    help="Merge patches of one class below so many hectares into their largest neighbour.",
)
min_pixels = click.option(
    "--min-pixels", type=click.IntRange(min=2), metavar="N", help="The same, below so many pixels."
)

legend = click.option(
    "--legend",
    metavar="NAME|FILE",
    help="The classes: deepglobe, or a JSON file with codes, names and colours.",
    shell_complete=completed.legends,
)
label_field = click.option(
    "--label-field",
    metavar="NAME",
    help='Of polygons or points: the field with the classes, by name or code.  [default: the only one, or "reference"]',
)
label_layer = click.option(
    "--label-layer", metavar="NAME", help="Of polygons or points: their layer.  [default: the only one]"
)
prediction_legend = click.option(
    "--pred-legend",
    "prediction_legend",
    metavar="NAME|FILE",
    help="The map's classes, where its legend is another.",
    shell_complete=completed.legends,
)
mapping = click.option(
    "--mapping",
    metavar="FILE.json",
    help='Joins two legends: {"prediction": {"map class": "scored class" or null}, "truth": {...}}.',
    shell_complete=completed.files,
)
split = click.option(
    "--split", metavar="paper|glnet|80/10/10|blocks:KM|FILE", help="Which scenes train, select and test."
)
rare_set = click.option(
    "--rare-set",
    type=click.Choice(["text", "table1", "shares"]),
    help="Rare in oversampling: rangeland and forest (the paper's text), barren too (its Table 1), or by the classes' "
    "shares of the training pixels, with any legend.  [default: text; in stats and ablate, shares for other legends]",
)
bands = click.option(
    "--bands",
    "--bidx",
    type=Bands(),
    help="By number from 1 or by name: 4,3,2, B04,B03,B02, red,green,blue.  [default: the model's, or all but alpha]",
)
gsd = click.option(
    "--gsd",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="Ground resolution in metres per pixel of scenes whose files tell none.",
)
nodata = click.option(
    "--nodata",
    type=float,
    metavar="VALUE",
    help="A value that means no data, beside what the files declare.",
)
scaling = click.option(
    "--scaling",
    type=click.Choice(["range", "statistics", "percentile"]),
    help="What becomes 0 and 1: LOW and HIGH of --scale; 3 standard deviations around the training pixels' mean; "
    "percentiles of each raster.  [default: range 0,255 for uint8, else statistics]",
)
scale = click.option(
    "--scale",
    type=Pair(),
    multiple=True,
    callback=lambda context, parameter, pairs: pairs or None,
    help="For --scaling range; once, or once a band: --scale 0,10000.",
)
percentiles = click.option("--percentiles", type=Pair(), help="For --scaling percentile.  [default: 2,98]")
window = click.option("--window", type=PIXELS, metavar="PX", help="Side in scene pixels of the windows read at once.")
size = click.option(
    "--size", type=PIXELS, metavar="PX", help="Side in pixels as the network sees it; alone: of the whole scene."
)
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="D",
    help="auto, cpu, cuda, cuda:1, ...",
    shell_complete=completed.devices,
)
precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the hardware computes in it.",
)
datetime = click.option(
    "--datetime",
    metavar="TIME|START/END",
    help="When it is of: 2024-05-01T10:30:00Z, 2024-05-01, 2024-05, 2024, or two of them.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
json = click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
bootstrap = click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(min=1000),
    metavar="N",
    help="Intervals of every figure from N resamples of the scenes, at least 1000.",
)
seed_of_draws = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the draws."
)
level = click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    metavar="X",
    help="Share of the resamples inside an interval.",
)
block = click.option(
    "--block",
    type=PIXELS,
    metavar="PX",
    help="Draw blocks of that side in place of scenes; neighbours are alike, so intervals come out too narrow.",
)

_PLANNING = (
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        metavar="RUN|FILE",
        help="[default: the newest finished run in ./runs]",
        shell_complete=completed.models,
    ),
    size,
    window,
    click.option(
        "--overlap",
        type=click.IntRange(min=0),
        metavar="PX",
        help="Scene pixels that windows share.  [default: an eighth, or 96 px of a small tile]",
    ),
    click.option(
        "--match-gsd",
        is_flag=True,
        help="See the scene at the ground resolution the model was trained at; the map stays on the scene's grid.",
    ),
    gsd,
    click.option(
        "--aoi",
        metavar="FILE[:LAYER]",
        help="Map only what lies in the polygons of a vector file: pixels whose centres do; nodata elsewhere.",
        shell_complete=completed.files,
    ),
    click.option("--bbox", type=Bounds(), metavar="W,S,E,N", help="Map only what lies in a box, in the scene's CRS."),
    click.option("--bbox-crs", metavar="CRS", help="Another CRS of the box, such as EPSG:4326."),
    click.option(
        "--mosaic", is_flag=True, help="The SCENEs are files of one scene; where they overlap the first counts."
    ),
    bands,
    click.option("--stack", is_flag=True, help="The SCENEs are files of one band each, in order, and make one scene."),
    click.option(
        "--nodata-rule",
        type=click.Choice(["all", "any"]),
        default="all",
        show_default=True,
        help="Invalid where all bands are nodata, or any.",
    ),
    nodata,
    device,
    precision,
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Tiles in one forward pass.  [default: 1 on a CPU, as many as fit on a GPU, up to 8]",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "plain", "folded", "compiled"]),
        default="auto",
        show_default=True,
        help="How the network runs: as trained, with folded normalisation, or compiled too (takes a minute first).",
    ),
    click.option(
        "--tta", is_flag=True, help="See each window in all eight rotations and reflections (8 times the work)."
    ),
    click.option(
        "--prior-correction",
        type=NumberOrAuto(0, 2),
        metavar="TAU|auto",
        help="Divide scores by the training's class weights to the power TAU; auto: the one validation found.",
    ),
)


def planning(command: Callable) -> Callable:
    """What decides a prediction: the model, what of which scenes it sees, and how it computes."""

    @wraps(command)
    def with_rule(*args, nodata_rule, nodata, **given):
        from geoseg.raster.nodata import NodataRule

        return command(*args, nodata_rule=NodataRule(nodata_rule, nodata), **given)

    return reduce(lambda function, option: option(function), reversed(_PLANNING), with_rule)


creation_options = click.option(
    "--co",
    "creation_options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=lambda context, parameter, texts: _key_values(texts),
    help="Creation option of GDAL, such as COMPRESS=ZSTD.",
)


def _key_values(texts: Iterable[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise click.UsageError(f"--co takes KEY=VALUE, got {text!r}")
    return dict(text.split("=", 1) for text in texts)
