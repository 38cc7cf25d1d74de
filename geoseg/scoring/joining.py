"""Two legends made one: a map and its truth that name other classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend, LegendClass

Renaming = Mapping[str, str | None]
"""Name of a raster's class to the name of the class it is scored as; None for no class."""


@dataclass(frozen=True)
class JoinedLegends:
    """The legends of two rasters, and the one that both are scored in."""

    legend: Legend
    """The classes that are scored."""
    prediction: Legend
    """The classes of the prediction's own raster."""
    truth: Legend
    prediction_classes: tuple[int, ...]
    """For each class index of the prediction's legend the index in ``legend``, NO_CLASS for none."""
    truth_classes: tuple[int, ...]

    @classmethod
    def of_one(cls, legend: Legend) -> JoinedLegends:
        """Both rasters have the classes that are scored."""
        same = tuple(range(len(legend)))
        return cls(legend, legend, legend, same, same)

    def scored_prediction(self, value_classes: np.ndarray) -> np.ndarray:
        """(256,) own class indices of values, as the scored legend's; NO_CLASS and -1 stay."""
        return _taken(self.prediction_classes, value_classes)

    def scored_truth(self, value_classes: np.ndarray) -> np.ndarray:
        """As ``scored_prediction``, of the truth."""
        return _taken(self.truth_classes, value_classes)


def _taken(classes: tuple[int, ...], value_classes: np.ndarray) -> np.ndarray:
    table = np.full(257, -1, np.int16)
    table[: len(classes)] = classes
    table[NO_CLASS] = NO_CLASS
    # -1, unknown, is the last entry.
    return table[value_classes]


def read_mapping(path: str | Path) -> tuple[Renaming, Renaming]:
    """The renamings of the prediction's and of the truth's classes in a JSON file.

    ``{"prediction": {"paddy": "field", "cloud": null}, "truth": {"road": "background"}}``; either may be left out.
    Raises InputError.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        parts = tuple(dict(record.get(side, {})) for side in ("prediction", "truth"))
        unknown = set(record) - {"prediction", "truth"}
        names = [name for part in parts for pair in part.items() for name in pair if name is not None]
        if unknown or not all(isinstance(name, str) for name in names):
            raise ValueError(f"unknown keys {sorted(unknown)}" if unknown else "names are texts or null")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: is no mapping of classes ({error}); expected "
            '{"prediction": {"map class": "scored class" or null, ...}, "truth": {...}}'
        ) from error
    return parts


def join(prediction: Legend, truth: Legend, renamings: tuple[Renaming, Renaming], source: str) -> JoinedLegends:
    """The classes that both legends are scored in.

    These are the truth's classes, renamed: classes renamed to one name become one, and a class renamed to null has no
    truth. A prediction's class is scored as its renaming says, else under its own name; renamed to null it is no
    prediction. A class is ignored where all that become it are.

    Raises InputError for names that the legends do not have, and for a class of the prediction without a partner.
    """
    of_prediction, of_truth = renamings
    _require_names(of_prediction, prediction, source)
    _require_names(of_truth, truth, source)
    scored_names = [of_truth.get(name, name) for name in truth.names]
    wanted = list(dict.fromkeys(name for name in scored_names if name is not None))
    legend = Legend(
        f"{prediction.name} and {truth.name}" if prediction.name != truth.name else truth.name,
        tuple(_joined_class(name, truth, scored_names) for name in wanted),
        ignore=tuple(code for code in truth.ignore if code not in {c.code for c in truth.classes}),
    )
    ignored = {
        name for name in wanted if all(i in truth.ignored for i, scored in enumerate(scored_names) if scored == name)
    }
    codes = tuple(entry.code for entry in legend.classes if entry.name in ignored)
    legend = replace(legend, ignore=(*legend.ignore, *codes))
    targets = [of_prediction.get(name, name) for name in prediction.names]
    strange = {f"{a!r} (as {b!r})" for a, b in zip(prediction.names, targets, strict=True) if b not in (*wanted, None)}
    if strange:
        raise InputError(
            f"{source}: the prediction's {', '.join(sorted(strange))} has no partner among the scored classes "
            f"{', '.join(wanted)}; name one, or null for none"
        )
    indices = {name: i for i, name in enumerate(wanted)} | {None: NO_CLASS}
    return JoinedLegends(
        legend, prediction, truth, tuple(indices[n] for n in targets), tuple(indices[n] for n in scored_names)
    )


def _joined_class(name: str, truth: Legend, scored_names: list[str | None]) -> LegendClass:
    """The truth's class of that name; else the first of those renamed to it, under the new name."""
    own = truth.names.index(name) if name in truth.names and scored_names[truth.names.index(name)] == name else None
    first = truth.classes[scored_names.index(name) if own is None else own]
    return LegendClass(first.code, name, first.colour, first.description)


def _require_names(renaming: Renaming, legend: Legend, source: str) -> None:
    strange = sorted(set(renaming) - set(legend.names))
    if strange:
        raise InputError(
            f"{source}: {', '.join(map(repr, strange))} is no class of the legend {legend.name!r} "
            f"({', '.join(legend.names)})"
        )
