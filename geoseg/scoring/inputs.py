"""Which rasters are scored against which, and in which classes."""

from __future__ import annotations

import re
from pathlib import Path

from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE, Legend, find_legend
from geoseg.raster.labels import Labels, own_legend
from geoseg.raster.scene import Scene
from geoseg.scoring.joining import JoinedLegends, join, read_mapping
from geoseg.source import Source

RASTER_ENDINGS = (".tif", ".tiff", ".png", ".vrt", ".jp2")
MASK_SUFFIXES = re.compile(r"(_mask|_sat|_pred|_scores)+$")
"""Left out where files of two folders are matched by stem, so that 7_sat.tif meets 7_mask.png."""


def find_pairs(prediction: Source, truth: Source) -> tuple[list[tuple[Source, Source]], list[str]]:
    """Pairs of (map, truth): the two files, or the files of two folders by stem; and a note on what is left out."""
    if not prediction.is_dir() and not truth.is_dir():
        return [(prediction, truth)], []
    for source in (prediction, truth):
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    if not (prediction.is_dir() and truth.is_dir()):
        raise InputError(f"{prediction} and {truth}: two files or two folders, not one of each")
    maps, truths = _by_stem(prediction), _by_stem(truth)
    common = sorted(maps.keys() & truths.keys())
    if not common:
        raise InputError(f"{prediction} and {truth}: no raster of the one has the stem of one of the other")
    notes = _left_out(prediction, maps.keys() - truths.keys()) + _left_out(truth, truths.keys() - maps.keys())
    return [(maps[stem], truths[stem]) for stem in common], notes


def find_scores(scores: Source, pairs: list[tuple[Source, Source]]) -> dict[Source, Source]:
    """The file of scores of each map: ``scores`` itself, or the file of the map's stem in that folder.

    Raises InputError where a map has none.
    """
    if not scores.is_dir():
        if len(pairs) > 1:
            raise InputError(f"{scores}: one file of scores for {len(pairs)} maps; give a folder with one each")
        return {pairs[0][0]: scores}
    there = _by_stem(scores)
    found = {source: there.get(MASK_SUFFIXES.sub("", source.stem)) for source, _ in pairs}
    for source, file in found.items():
        if file is None:
            raise InputError(f"{scores}: holds no scores of {source} (by its stem)")
    return found


def _left_out(folder: Source, stems: set[str]) -> list[str]:
    listed = ", ".join(sorted(stems)[:4]) + (", ..." if len(stems) > 4 else "")
    return [f"{folder}: {len(stems)} raster(s) without a partner left out ({listed})"] if stems else []


def _by_stem(folder: Source) -> dict[str, Source]:
    rasters = [path for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in RASTER_ENDINGS]
    rasters = [path for path in rasters if path.is_file() and not path.name.startswith(".")]
    # In a DeepGlobe folder the masks are the labels, and the pictures lie beside them.
    masked = {path.stem.removesuffix("_mask") for path in rasters if path.stem.endswith("_mask")}
    found: dict[str, Path] = {}
    for path in rasters:
        if path.stem.endswith("_sat") and path.stem.removesuffix("_sat") in masked:
            continue
        stem = MASK_SUFFIXES.sub("", path.stem)
        if stem in found:
            raise InputError(f"{folder}: {found[stem].name} and {path.name} have the same stem {stem!r}; keep one")
        found[stem] = path
    return {stem: folder.at(path) for stem, path in found.items()}


def resolve_legends(
    pair: tuple[Source, Source],
    legend: Legend | str | Path | None,
    prediction_legend: Legend | str | Path | None,
    mapping: str | Path | None,
) -> tuple[JoinedLegends, list[str]]:
    """The legends of map and truth and the one they are scored in, and a note on what was assumed."""
    if mapping is None and prediction_legend is None:
        found, notes = resolve_legend(pair[::-1], legend)
        return JoinedLegends.of_one(found), notes + _other_ignores(pair, found)
    truth, notes = resolve_legend(pair[1:], legend)
    prediction = _own_or(pair[0], prediction_legend, truth)
    renamings = ({}, {}) if mapping is None else read_mapping(mapping)
    return join(prediction, truth, renamings, str(mapping or "no mapping given (--mapping)")), notes


def _other_ignores(rasters: tuple[Source, ...], legend: Legend) -> list[str]:
    """What to say of rasters whose own legends ignore other classes than the one that is scored with."""
    notes = []
    for source in rasters:
        with Scene(source) as scene:
            own = own_legend(scene)
        if own is not None and own.names == legend.names and own.ignored != legend.ignored:
            ignored = ", ".join(own.names[i] for i in own.ignored) or "no class"
            notes.append(f"{source}: its own legend ignores {ignored}, which is not followed here")
    return notes


def _own_or(source: Source, wanted: Legend | str | Path | None, other: Legend) -> Legend:
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted)
    with Scene(source) as scene:
        return own_legend(scene) or other


def resolve_legend(rasters: tuple[Source, ...], wanted: Legend | str | Path | None) -> tuple[Legend, list[str]]:
    """The legend asked for; else the first in the tags of the rasters; else DeepGlobe's, and a note."""
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted), []
    for source in rasters:
        with Scene(source) as scene:
            if (own := own_legend(scene)) is not None:
                return own, []
    return DEEPGLOBE, ["no legend given and none in the rasters' tags: taken as DeepGlobe's"]


def require_own_legend(labels: Labels) -> None:
    """A raster that says which legend it was made with is not read with another."""
    own, legend = own_legend(labels.scene), labels.legend
    if own is not None and [(c.code, c.name) for c in own.classes] != [(c.code, c.name) for c in legend.classes]:
        raise InputError(
            f"{labels.name}: was made with the legend {own.name!r} ({', '.join(own.names)}), "
            f"not with {legend.name!r} ({', '.join(legend.names)}); join the two with --mapping"
        )
