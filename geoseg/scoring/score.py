"""geoseg.score: maps against truths."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import rasterio
from tqdm import tqdm

import geoseg
from geoseg.errors import InputError, UsageError
from geoseg.legend import Legend
from geoseg.raster.features import LabelField, is_vector
from geoseg.scoring.averages import AVERAGES
from geoseg.scoring.inputs import find_pairs, find_scores, look_at_vectors, resolve_legends, truth_names
from geoseg.scoring.intervals import Intervals, Resampling, bootstrap
from geoseg.scoring.pair import Pair
from geoseg.scoring.report import Report
from geoseg.scoring.tally import Rules, score_pair
from geoseg.source import Source


def score(
    prediction: str | Path | Source,
    truth: str | Path | Source,
    legend: Legend | str | Path | None = None,
    *,
    prediction_legend: Legend | str | Path | None = None,
    mapping: str | Path | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    ignore_missing: bool = False,
    average: str = "pooled",
    boundary: float | None = None,
    scores: str | Path | Source | None = None,
    block: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    details: bool = False,
    progress: bool = False,
) -> Report:
    """Compare a map with its truth, or the maps of a folder with the truths of another, matched by stem.

    Args:
        prediction, truth: class rasters (codes or palettes) or colour masks by path or URL, or two folders of them; or
            Sources, which say what may be opened. The truth may be polygons or points, too: a vector file, one for all
            maps of a folder, or a folder of them.
        legend: the truth's legend, its name, or its file. None takes the one in the rasters' own tags, else
            DeepGlobe's.
        prediction_legend: the map's where it is another; needs ``mapping``. None: the one in the map's tags, else
            ``legend``.
        mapping: a JSON file that joins two legends (``read_mapping`` explains it).
        label_field: of a vector truth, the field with the classes, by name or code; None: the only one, or "reference".
        label_layer: of a vector truth, the layer; None: the only one.
        ignore_missing: leave out truth pixels without a prediction, which else count as missed.
        average: which of averages.AVERAGES the report's ``iou`` and ``mean_iou`` are; all of them are in it.
        boundary: count Boundary IoU too, at that distance in metres (in pixels where truths have no place on Earth).
        scores: what predict wrote with --scores top or all, a file or a folder as the maps are; measures calibration.
        block: keep a matrix for each block of that side in truth pixels, too, and draw those for the intervals.
        draws: resamples of the scenes (or blocks) for an interval of every figure, >= 1000; None for no intervals.
        seed, level: of the intervals.
        details: keep a matrix for each of some windows, so that an .html report shows where the map is worst. Intervals
            stay those of scenes; it takes up to twice the time.
        progress: show a bar on stderr.

    Every scored truth pixel counts once, on the truth's grid; that of polygons and points is the map's own, and what
    they do not cover is not scored. Raises InputError: unreadable, not alignable, codes, colours or values of a field
    that are not the legend's; UsageError for a field or layer of a raster.
    """
    if average not in AVERAGES:
        raise UsageError(f"no average {average!r}; there are {', '.join(AVERAGES)}")
    resampling = None if draws is None else Resampling(draws, seed, level, block)
    prediction, truth = Source.of(prediction), Source.of(truth)
    pairs, notes = find_pairs(prediction, truth)
    legends, said = resolve_legends(pairs[0], legend, prediction_legend, mapping)
    field = LabelField.asked(label_field, label_layer)
    pairs, more = look_at_vectors(pairs, legends.truth, field)
    rules = Rules(legends, ignore_missing, block, boundary, field, details)
    scores_of = find_scores(Source.of(scores), pairs) if scores is not None else {}
    found: dict[str, Pair] = {}
    alone = len(pairs) == 1
    names = dict(zip(truth_names(pairs), pairs, strict=True))
    for name in tqdm(names, unit="pair", disable=not progress or alone, leave=False):
        map_path, truth_path = names[name]
        pair = score_pair(map_path, truth_path, rules, scores_of.get(map_path), progress and alone)
        found[name] = pair if name == str(truth_path) else replace(pair, file=str(truth_path))
        _require_one_unit(found, name)
    if boundary is not None and any(is_vector(truth_path) for _, truth_path in pairs):
        _require_borders(found)
    notes = (*notes, *said, *more, *_notes(found))
    intervals = None if resampling is None else _intervals(found, legends.legend, resampling)
    provenance = {"prediction": str(prediction), "truth": str(truth), "legend": legends.legend.name} | versions()
    return Report(legends.legend, found, notes, average, intervals, provenance, legends)


def _require_one_unit(pairs: dict[str, Pair], latest: str) -> None:
    first, boundary = next(iter(pairs.values())).boundary, pairs[latest].boundary
    if boundary is not None and boundary.unit != first.unit:
        raise InputError(
            f"{latest}: boundary distances are in {boundary.unit} there, and in {first.unit} in {next(iter(pairs))}; "
            "score scenes with and without a place on Earth apart"
        )


def _require_borders(pairs: dict[str, Pair]) -> None:
    """Shapes that stand apart show no border that a map could be compared with."""
    if not any(pair.boundary.truth.any() for pair in pairs.values()):
        raise InputError(
            f"{next(iter(pairs))}: no two of its polygons of different classes touch, so it shows no border between "
            "classes; leave --boundary out"
        )


def versions() -> dict[str, str]:
    """Of geoseg and of what counts and reads for it."""
    python = ".".join(map(str, sys.version_info[:3]))
    libraries = {"numpy": np.__version__, "rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}
    return {"geoseg": geoseg.__version__, "python": python} | libraries


def _intervals(pairs: dict[str, Pair], legend: Legend, resampling: Resampling) -> Intervals:
    if resampling.block is None:
        units = [pair.matrix for pair in pairs.values()]
    else:
        units = [matrix for pair in pairs.values() for matrix in pair.blocks.matrices(legend.ignored)]
    return bootstrap(units, **asdict(resampling))


def _notes(pairs: dict[str, Pair]) -> list[str]:
    alignments = Counter(pair.alignment for pair in pairs.values())
    notes = [f"{count} pair(s): {message}" for message, count in alignments.items()]
    for truth, pair in pairs.items():
        if pair.note:
            notes.append(f"{pair.prediction}: {pair.note}")
        if pair.overlap < 1:
            notes.append(
                f"{truth}: {pair.overlap:.2%} of its pixels lie in the extent of {pair.prediction}; {pair.outside} "
                "pixels of a class lie outside and are left out"
            )
        if pair.undefined:
            notes.append(f"{truth}: {pair.undefined} pixels of a colour that is no class, ignored")
        if pair.contested:
            notes.append(
                f"{truth}: {pair.contested} pixels lie in shapes of several classes; the last one in the file counts"
            )
    return notes
