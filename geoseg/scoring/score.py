"""geoseg.score: maps against truths, window by window."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE, Legend, find_legend
from geoseg.raster.labels import Labels, own_legend
from geoseg.raster.scene import Scene
from geoseg.scoring.alignment import Alignment, align
from geoseg.scoring.report import Report
from geoseg.tiling import blocks

WINDOW = 2048
"""Side of the windows that are compared at a time, in truth pixels: a few tens of MB whatever the rasters' size."""

RASTER_ENDINGS = (".tif", ".tiff", ".png", ".vrt", ".jp2")
MASK_SUFFIXES = re.compile(r"(_mask|_sat|_pred)+$")
"""Left out where files of two folders are matched by stem, so that 7_sat.tif meets 7_mask.png."""


def score(
    prediction: str | Path,
    truth: str | Path,
    legend: Legend | str | Path | None = None,
    *,
    ignore_missing: bool = False,
    progress: bool = False,
) -> Report:
    """Compare a map with its truth, or the maps of a folder with the truths of another, matched by stem.

    Args:
        prediction, truth: class rasters (codes or palettes) or colour masks, or two folders of them.
        legend: a legend, its name, or its file. None takes the one in the rasters' own tags, else DeepGlobe's.
        ignore_missing: leave out truth pixels without a prediction, which else count as missed.

    Every scored truth pixel counts once, on the truth's grid. Raises InputError: unreadable, not alignable, codes or
    colours that are not the legend's.
    """
    pairs, notes = find_pairs(Path(prediction), Path(truth))
    if not isinstance(legend, Legend):
        legend, note = resolve_legend(pairs[0], legend)
        notes += note
    matrices, alignments = {}, Counter()
    for map_path, truth_path in tqdm(pairs, unit="pair", disable=not progress or len(pairs) == 1, leave=False):
        matrix, alignment, undefined = score_pair(map_path, truth_path, legend)
        matrices[str(truth_path)] = matrix.without_missing() if ignore_missing else matrix
        alignments[alignment.message] += 1
        if undefined:
            notes.append(f"{truth_path}: {undefined} pixels of a colour that is no class, ignored")
    notes += [f"{count} pair(s): {message}" for message, count in alignments.items()]
    return Report(legend, matrices, tuple(notes))


def score_pair(prediction: Path, truth: Path, legend: Legend) -> tuple[ConfusionMatrix, Alignment, int]:
    """The confusion matrix of one pair, how they were aligned, and the truth's pixels of an undefined colour."""
    maps, truths = Labels(prediction, legend), Labels(truth, legend)
    for labels in (maps, truths):
        require_own_legend(labels, legend)
    alignment = align(maps.grid, truths.grid, maps.name, truths.name)
    matrix = ConfusionMatrix.empty(len(legend), legend.ignored)
    undefined = 0
    for window in blocks(truths.grid.shape, WINDOW):
        index, odd = truths.read_counted(window)
        matrix += ConfusionMatrix.from_pair(index, alignment.read(maps, window), len(legend), legend.ignored)
        undefined += odd
    maps.close()
    truths.close()
    return matrix, alignment, undefined


def find_pairs(prediction: Path, truth: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs of (map, truth): the two files, or the files of two folders by stem; and a note on what is left out."""
    if not prediction.is_dir() and not truth.is_dir():
        return [(prediction, truth)], []
    if not (prediction.is_dir() and truth.is_dir()):
        raise InputError(f"{prediction} and {truth}: two files or two folders, not one of each")
    maps, truths = _by_stem(prediction), _by_stem(truth)
    common = sorted(maps.keys() & truths.keys())
    if not common:
        raise InputError(f"{prediction} and {truth}: no raster of the one has the stem of one of the other")
    notes = _left_out(prediction, maps.keys() - truths.keys()) + _left_out(truth, truths.keys() - maps.keys())
    return [(maps[stem], truths[stem]) for stem in common], notes


def _left_out(folder: Path, stems: set[str]) -> list[str]:
    listed = ", ".join(sorted(stems)[:4]) + (", ..." if len(stems) > 4 else "")
    return [f"{folder}: {len(stems)} raster(s) without a partner left out ({listed})"] if stems else []


def resolve_legend(rasters: tuple[Path, ...], wanted: str | Path | None) -> tuple[Legend, list[str]]:
    """The legend asked for; else the one in the tags of the rasters, in their order; else DeepGlobe's, and a note."""
    if wanted is not None:
        return find_legend(wanted), []
    for path in rasters:
        with Scene(path) as scene:
            if (own := own_legend(scene)) is not None:
                return own, []
    return DEEPGLOBE, ["no legend given and none in the rasters' tags: taken as DeepGlobe's"]


def _by_stem(folder: Path) -> dict[str, Path]:
    rasters = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in RASTER_ENDINGS]
    # In a DeepGlobe folder the masks are the labels, and the pictures lie beside them.
    masks = [path for path in rasters if path.stem.endswith("_mask")]
    found: dict[str, Path] = {}
    for path in masks or rasters:
        stem = MASK_SUFFIXES.sub("", path.stem)
        if stem in found:
            raise InputError(f"{folder}: {found[stem].name} and {path.name} have the same stem {stem!r}; keep one")
        found[stem] = path
    return found


def require_own_legend(labels: Labels, legend: Legend) -> None:
    """A raster that says which legend it was made with is not read with another."""
    own = own_legend(labels.scene)
    if own is not None and [(c.code, c.name) for c in own.classes] != [(c.code, c.name) for c in legend.classes]:
        raise InputError(
            f"{labels.name}: was made with the legend {own.name!r} ({', '.join(own.names)}), "
            f"not with {legend.name!r} ({', '.join(legend.names)})"
        )
