"""Opening rasters with the bands that a model takes: by their names where both have some, else by number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from geoseg.errors import InputError
from geoseg.models.segmenter import SegmenterConfig
from geoseg.raster.bands import Band, listed, same_name
from geoseg.raster.mosaic import MosaicScene
from geoseg.raster.scene import AnyRule, Scene
from geoseg.raster.stack import StackScene
from geoseg.source import Source

log = logging.getLogger("geoseg")


def open_file(
    file: str | Path | Source,
    config: SegmenterConfig,
    wanted: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
) -> Scene:
    """A raster file with the bands that are wanted, or else those of the model.

    They are found by name where all the model's names are among the descriptions, each once; else by number: those that
    the model was trained on where they were chosen, else all but alpha. Raises InputError where descriptions contradict
    the model's names, or alpha is wanted.
    """
    if wanted is None:
        wanted = _chosen_numbers(config)
        if config.band_names:
            with Scene(file) as whole:
                wanted = _by_name(whole, config, wanted)
    scene = Scene(file, wanted, nodata_rule)
    scene.require_spectral()
    return scene


def open_stack(
    files: Sequence[str | Path | Source],
    config: SegmenterConfig,
    wanted: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
) -> StackScene:
    """Files of one band each, as ``open_file`` finds bands; no more than the model takes are in its order."""
    if wanted is None:
        wanted = _chosen_numbers(config) if len(files) > config.bands else None
        with StackScene(files, nodata_rule=nodata_rule) as whole:
            wanted = _by_name(whole, config, wanted)
    return StackScene(files, wanted, nodata_rule)


def open_mosaic(
    files: Sequence[str | Path | Source],
    config: SegmenterConfig,
    wanted: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
) -> MosaicScene:
    """Files of many places as one scene, with the bands that ``open_file`` finds in the first."""
    with open_file(files[0], config, wanted, nodata_rule) as first, Scene(files[0]) as whole:
        # Where all are taken, a file that has more is of another kind.
        chosen = None if first.bands == whole.bands else first.bands
    return MosaicScene(files, chosen, nodata_rule)


def _by_name(
    whole: Scene | StackScene, config: SegmenterConfig, by_number: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The numbers of the model's bands by their names, ``by_number`` where names do not tell."""
    names = dict(zip(whole.bands, whole.band_names, strict=True))
    numbers = by_number or whole.bands
    found = [[number for number, name in names.items() if same_name(name, asked)] for asked in config.band_names]
    if found and all(len(one) == 1 for one in found):
        named = tuple(one[0] for one in found)
        if named != numbers:
            what = ", ".join(f"{number} {name}" for number, name in zip(named, config.band_names, strict=True))
            log.info("%s: bands are taken by name, as the model has them: %s", whole.name, what)
        return named
    for number, asked in zip(numbers, config.band_names, strict=False):
        if names.get(number) and not same_name(names[number], asked):
            raise InputError(
                f"{whole.name}: its bands are {listed(whole.bands, whole.band_names, whole.colours)}, the model was "
                f"trained on {', '.join(config.band_names)}; say by number which are which with --bands"
            )
    return by_number


def _chosen_numbers(config: SegmenterConfig) -> tuple[int, ...] | None:
    """The numbers of the model's bands where they were chosen, and not the first ones."""
    return None if config.band_numbers == tuple(range(1, len(config.band_numbers) + 1)) else config.band_numbers
