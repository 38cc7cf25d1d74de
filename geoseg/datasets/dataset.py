"""Dataset: pairs of image and labels in a folder of a known layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE, Legend, find_legend
from geoseg.source import Source

IMAGE_ENDINGS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".vrt")
SYNTHETIC_MARK = "SYNTHETIC.txt"
"""A file of this name marks a folder whose scenes are invented."""


@dataclass(frozen=True)
class Pair:
    """An image and its labels."""

    stem: str
    image: Source
    labels: Source


@dataclass(frozen=True)
class Dataset:
    """The labelled scenes of a folder, sorted by stem."""

    root: Path
    pairs: tuple[Pair, ...]
    legend: Legend
    split: Mapping[str, tuple[str, ...]] | None
    """Stems of "train", "val" and "test" from the folder's own split.json, None without one."""

    @property
    def synthetic(self) -> bool:
        """True for the sample that geoseg draws."""
        return is_synthetic(self.root)

    def part(self, stems: tuple[str, ...]) -> tuple[Pair, ...]:
        """The pairs with those stems, in that order; raises InputError for one that is not there."""
        by_stem = {pair.stem: pair for pair in self.pairs}
        missing = [stem for stem in stems if stem not in by_stem]
        if missing:
            raise InputError(
                f"{self.root}: {len(missing)} scene(s) of the split are not there, {missing[0]} first "
                f"(there are {len(self.pairs)})"
            )
        return tuple(by_stem[stem] for stem in stems)


def open_dataset(root: str | Path | Source, legend: Legend | str | Path | None = None) -> Dataset:
    """Read a folder in the DeepGlobe layout or the images/labels layout.

    DeepGlobe: <id>_sat.jpg beside <id>_mask.png, nested folders found too. Else: images/X.* with labels/X.*, the
    legend in legend.json (or as ``legend``). Either may have a split.json.
    Raises InputError where neither layout is found, and for an image without labels in the second.
    """
    given = Source.of(root)
    if not given.is_dir():
        raise InputError(f"{given}: no such data folder")
    root = Path(given)
    pairs = tuple(Pair(stem, given.at(image), given.at(labels)) for stem, image, labels in _find_pairs(root))
    if not pairs:
        raise InputError(
            f"{root}: no known layout; expected <id>_sat.jpg with <id>_mask.png, or images/, labels/ and legend.json"
        )
    return Dataset(root, pairs, _resolve_legend(root, legend), read_split(root / "split.json"))


def has_known_layout(root: Path) -> bool:
    """True where ``open_dataset`` would find pairs."""
    return root.is_dir() and bool(_find_pairs(root))


def is_synthetic(path: str | Path) -> bool:
    """True for a synthetic data folder and for the files right in one."""
    path = Path(path)
    return ((path if path.is_dir() else path.parent) / SYNTHETIC_MARK).is_file()


def read_split(path: Path) -> dict[str, tuple[str, ...]] | None:
    """Stems of "train", "val" and "test" from a JSON file; None where there is no such file.

    Raises InputError where it is no such document or puts a stem into two parts.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        split = {part: tuple(str(stem) for stem in record.get(part, ())) for part in ("train", "val", "test")}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f'{path}: not a split ({error}); expected {{"train": [stems], "val": [...], "test": [...]}}'
        ) from error
    stems = [stem for part in split.values() for stem in part]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise InputError(f"{path}: scene {twice[0]} stands in the split twice")
    if not split["train"]:
        raise InputError(f'{path}: the split has no "train" scenes')
    return split


def _find_pairs(root: Path) -> list[tuple[str, Path, Path]]:
    """Stem, image and labels of each scene, sorted."""
    return _images_and_labels(root) if _has_images_and_labels(root) else _deepglobe_pairs(root)


def _deepglobe_pairs(root: Path) -> list[tuple[str, Path, Path]]:
    pairs: dict[str, tuple[str, Path, Path]] = {}
    for image in root.rglob("*_sat.*"):
        stem = image.stem.removesuffix("_sat")
        labels = image.with_name(f"{stem}_mask.png")
        # The official validation and test folders hold images without masks.
        if image.suffix.lower() in IMAGE_ENDINGS and labels.is_file():
            if stem in pairs:
                raise InputError(f"{root}: scene {stem} is there twice, {pairs[stem][1]} and {image}; keep one")
            pairs[stem] = stem, image, labels
    return [pairs[stem] for stem in sorted(pairs)]


def _has_images_and_labels(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "labels").is_dir()


def _images_and_labels(root: Path) -> list[tuple[str, Path, Path]]:
    images, labels = _rasters_by_stem(root / "images"), _rasters_by_stem(root / "labels")
    lonely = sorted(images.keys() ^ labels.keys())
    if lonely:
        has, lacks = ("images", "labels") if lonely[0] in images else ("labels", "images")
        raise InputError(f"{root}: {lonely[0]} is in {has}/ but not in {lacks}/ ({len(lonely)} such in all)")
    return [(stem, images[stem], labels[stem]) for stem in sorted(images)]


def _rasters_by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_ENDINGS:
            if path.stem in found:
                raise InputError(f"{folder}: {found[path.stem].name} and {path.name} have the same stem; keep one")
            found[path.stem] = path
    return found


def _resolve_legend(root: Path, legend: Legend | str | Path | None) -> Legend:
    if isinstance(legend, Legend):
        return legend
    if legend is not None:
        return find_legend(legend)
    if (root / "legend.json").is_file():
        return Legend.from_file(root / "legend.json")
    if _has_images_and_labels(root):
        raise InputError(f"{root}: has no legend.json; write one, or name one with --legend")
    return DEEPGLOBE
