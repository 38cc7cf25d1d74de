"""The scenes that a run learns from and is validated on, opened and found to be alike."""

from __future__ import annotations

from collections.abc import Sequence

from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.splits import Split
from geoseg.errors import InputError
from geoseg.legend import Legend
from geoseg.raster.bands import Band, same_name
from geoseg.raster.nodata import NodataRule
from geoseg.raster.scene import Scene

PARTS = "train", "val"


def open_scenes(
    split: Split, legend: Legend, bands: Sequence[Band] | None, nodata: float | None = None
) -> dict[str, list[LabelledScene]]:
    """The scenes of the parts "train" and "val": on their labels' grids, and all of one number of bands and one dtype.

    Args:
        nodata: raw digital number that means no data where all bands hold it, beside what the files declare.

    Raises InputError.
    """
    rule = NodataRule(value=nodata)
    scenes = {part: [LabelledScene(pair, legend, bands, rule) for pair in getattr(split, part)] for part in PARTS}
    first = scenes["train"][0].image
    for scene in (*scenes["train"], *scenes["val"]):
        _require_alike(first, scene.image)
    return scenes


def common_names(scenes: Sequence[LabelledScene], chosen: bool) -> tuple[str, ...]:
    """What the scenes call their bands; () where they do not, or bands were chosen and their names differ.

    Raises InputError where names differ and nobody chose: the bands of one scene may then stand in another order.
    """
    named = [scene.image for scene in scenes if _has_names(scene.image)]
    if not named:
        return ()
    first = named[0]
    for other in named:
        if not all(map(same_name, first.band_names, other.band_names)):
            if chosen:
                return ()
            raise InputError(
                f"{other.name}: its bands are {', '.join(other.band_names)}, those of {first.name} "
                f"{', '.join(first.band_names)}; choose by name or by number with --bands"
            )
    return first.band_names


def _has_names(image: Scene) -> bool:
    return all(image.band_names) and len({name.strip().casefold() for name in image.band_names}) == len(image.bands)


def _require_alike(first: Scene, other: Scene) -> None:
    if len(other.bands) != len(first.bands):
        raise InputError(
            f"{other.name} and {first.name}: scenes differ in their number of bands ({len(other.bands)} and "
            f"{len(first.bands)}); choose common ones with --bands"
        )
    if other.dtype != first.dtype:
        raise InputError(
            f"{other.name}: pixels are {other.dtype}, those of {first.name} {first.dtype}; convert one, for example: "
            "gdal_translate -ot TYPE IN.tif OUT.tif"
        )
