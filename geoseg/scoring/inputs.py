"""Which rasters are scored against which, and in which classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.legend import DEEPGLOBE, Legend, find_legend
from geoseg.raster.features import VECTOR_ENDINGS, LabelField, is_vector
from geoseg.raster.labels import Labels, own_legend
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels, remarks
from geoseg.scoring.joining import JoinedLegends, join, read_mapping
from geoseg.source import Source

FilePairs = list[tuple[Source, Source]]
"""Maps, each with the file of its truth."""
RASTER_ENDINGS = (".tif", ".tiff", ".png", ".vrt", ".jp2")
MASK_SUFFIXES = re.compile(r"(_mask|_sat|_pred|_scores)+$")
"""Left out where files of two folders are matched by stem, so that 7_sat.tif meets 7_mask.png."""


def find_pairs(prediction: Source, truth: Source) -> tuple[FilePairs, list[str]]:
    """Pairs of (map, truth): the two files, the files of two folders by stem, or all maps of a folder with one vector
    file; and a note on what is left out."""
    if not prediction.is_dir() and not truth.is_dir():
        return [(prediction, truth)], []
    for source in (prediction, truth):
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    if prediction.is_dir() and is_vector(truth):
        return _with_one_truth(prediction, truth), []
    if not (prediction.is_dir() and truth.is_dir()):
        raise InputError(f"{prediction} and {truth}: two files or two folders, not one of each")
    maps, truths = _by_stem(prediction), _by_stem(truth, RASTER_ENDINGS + VECTOR_ENDINGS)
    common = sorted(maps.keys() & truths.keys())
    if not common:
        raise InputError(f"{prediction} and {truth}: no file of the one has the stem of one of the other")
    notes = _left_out(prediction, maps.keys() - truths.keys()) + _left_out(truth, truths.keys() - maps.keys())
    return [(maps[stem], truths[stem]) for stem in common], notes


def _with_one_truth(prediction: Source, truth: Source) -> FilePairs:
    if not (maps := _by_stem(prediction)):
        raise InputError(f"{prediction}: holds no raster to score")
    return [(path, truth) for path in maps.values()]


def truth_names(pairs: FilePairs) -> list[str]:
    """How reports call the truths: by their files, with the map's stem where several maps have one."""
    shared = _share_truth(pairs)
    return [f"{truth} ({MASK_SUFFIXES.sub('', path.stem)})" if shared else str(truth) for path, truth in pairs]


def look_at_vectors(pairs: FilePairs, legend: Legend, field: LabelField | None) -> tuple[FilePairs, list[str]]:
    """The pairs, less maps on which nothing of the one vector file of several maps lies; and what is to be said.

    Raises UsageError where a field is named and no truth is a vector file, GridMismatch where nothing lies on any map,
    InputError where features cannot be used.
    """
    laid = {pair: _laid_over(*pair, legend, field) for pair in pairs if is_vector(pair[1])}
    if field is not None and not laid:
        raise UsageError(f"{pairs[0][1]}: a raster has neither --label-field nor --label-layer")
    notes = remarks(laid.values())
    for features in dict.fromkeys(labels.features for labels in laid.values()):
        if features.points and features.drawn_by_class:
            notes.append(
                f"{features.name}: points that were drawn by class: figures that count them alike are not those of the "
                "whole map, which geoseg area estimates"
            )
    bare = [pair for pair, labels in laid.items() if not len(labels.shapes)] if _share_truth(pairs) else []
    if not bare:
        return pairs, notes
    if len(bare) == len(pairs):
        raise GridMismatch(f"{pairs[0][1]}: nothing of it lies on any of the {len(pairs)} maps; is its CRS right?")
    notes += _left_out(Path(pairs[0][0]).parent, {path.stem for path, _ in bare})
    return [pair for pair in pairs if pair not in bare], notes


def _laid_over(path: Source, truth: Source, legend: Legend, field: LabelField | None) -> VectorLabels:
    with Scene(path) as scene:
        return VectorLabels(truth, legend, scene, field)


def _share_truth(pairs: FilePairs) -> bool:
    return len({truth for _, truth in pairs}) < len(pairs)


def find_scores(scores: Source, pairs: FilePairs) -> dict[Source, Source]:
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
    return [f"{folder}: {len(stems)} file(s) without a partner left out ({listed})"] if stems else []


def _by_stem(folder: Source, endings: tuple[str, ...] = RASTER_ENDINGS) -> dict[str, Source]:
    rasters = [path for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in endings]
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
    for source in _rasters(rasters):
        with Scene(source) as scene:
            own = own_legend(scene)
        if own is not None and own.names == legend.names and own.ignored != legend.ignored:
            ignored = ", ".join(own.names[i] for i in own.ignored) or "no class"
            notes.append(f"{source}: its own legend ignores {ignored}, which is not followed here")
    return notes


def _rasters(sources: Sequence[Source]) -> list[Source]:
    """Those that may have tags."""
    return [source for source in sources if not is_vector(source)]


def _own_or(source: Source, wanted: Legend | str | Path | None, other: Legend) -> Legend:
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted)
    with Scene(source) as scene:
        return own_legend(scene) or other


def resolve_legend(rasters: tuple[Source, ...], wanted: Legend | str | Path | None) -> tuple[Legend, list[str]]:
    """The legend asked for; else the first in the tags of the rasters; else DeepGlobe's, and a note."""
    if wanted is not None:
        return wanted if isinstance(wanted, Legend) else find_legend(wanted), []
    for source in _rasters(rasters):
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
