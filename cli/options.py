"""Options that several commands share, each with its one meaning."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import click
from click.core import ParameterSource


def _be_quiet(context: click.Context, _: click.Parameter, quiet: bool) -> None:
    if quiet:
        context.ensure_object(dict)["progress"] = False
        logging.getLogger("geoseg").setLevel(logging.ERROR)


def given(names: Iterable[str]) -> list[str]:
    """As typed, the options of the running command that somebody gave, among those of the parameters ``names``."""
    context = click.get_current_context()
    typed = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    return [typed[name] for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT]


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
    """Band numbers from 1, separated by commas."""

    name = "N,N,..."

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not band numbers separated by commas, such as 3,2,1", param, context)
        if min(numbers) < 1:
            self.fail("bands are numbered from 1", param, context)
        return numbers


class NumberOrAuto(click.FloatRange):
    """A number in a range, or the word auto."""

    name = "number or auto"

    def convert(self, value, param, context):
        return value if value == "auto" else super().convert(value, param, context)


PIXELS = click.IntRange(min=1)

legend = click.option(
    "--legend", metavar="NAME|FILE", help="The classes: deepglobe, or a JSON file with codes, names and colours."
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
    "--pred-legend", "prediction_legend", metavar="NAME|FILE", help="The map's classes, where its legend is another."
)
mapping = click.option(
    "--mapping",
    metavar="FILE.json",
    help='Joins two legends: {"prediction": {"map class": "scored class" or null}, "truth": {...}}.',
)
split = click.option(
    "--split", metavar="paper|glnet|80/10/10|blocks:KM|FILE", help="Which scenes train, select and test."
)
rare_set = click.option(
    "--rare-set",
    type=click.Choice(["text", "table1"]),
    help="Rare in oversampling: rangeland and forest (the paper's text), or barren too (its Table 1).  [default: text]",
)
bands = click.option(
    "--bands", "--bidx", type=Bands(), help="Bands of the images, by number from 1.  [default: all but alpha]"
)
window = click.option("--window", type=PIXELS, metavar="PX", help="Side in scene pixels of the windows read at once.")
size = click.option(
    "--size", type=PIXELS, metavar="PX", help="Side in pixels as the network sees it; alone: of the whole scene."
)
device = click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, cuda:1, ...")
precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the hardware computes in it.",
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
