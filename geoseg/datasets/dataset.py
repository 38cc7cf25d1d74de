"""Dataset: pairs of image and labels in a folder of a known layout."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from geoseg.errors import InputError, UsageError
from geoseg.legend import DEEPGLOBE, Legend, find_legend
from geoseg.raster.features import VECTOR_ENDINGS, LabelField, is_vector
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels, remarks
from geoseg.source import Source

log = logging.getLogger("geoseg")

IMAGE_ENDINGS = (".tif", ".tiff", ".jpg", ".jpeg", ".png", ".jp2", ".vrt")
LABELS = "labels"
"""The folder of labels, or the stem of one vector file with the labels of all images."""
SYNTHETIC_MARK = "SYNTHETIC.txt"
"""A file of this name marks a folder whose scenes are invented."""


@dataclass(frozen=True)
class Pair:
    """An image and its labels."""

    stem: str
    image: Source
    labels: Source
    """A raster, or a vector file, perhaps that of all images."""
    field: LabelField | None = None
    """Where in a vector file the classes are; None for rasters."""


@dataclass(frozen=True)
class Dataset:
    """The labelled scenes of a folder, sorted by stem."""

    root: Path
    pairs: tuple[Pair, ...]
    legend: Legend
    split: Mapping[str, tuple[str, ...]] | None
    """Stems of "train", "val" and "test" from the folder's own split.json, None without one."""
    left_out: tuple[str, ...] = ()
    """Stems of images on which nothing of the vector file of all images lies; splits may name them."""

    @property
    def field(self) -> LabelField | None:
        """Where in its vector files the classes are; None where it has none."""
        return next((pair.field for pair in self.pairs if pair.field), None)

    @property
    def shares_labels(self) -> bool:
        """True where one vector file holds the labels of all images."""
        return _share_labels(self.pairs)

    @property
    def synthetic(self) -> bool:
        """True for the sample that geoseg draws."""
        return is_synthetic(self.root)

    def part(self, stems: tuple[str, ...]) -> tuple[Pair, ...]:
        """The pairs with those stems, in that order, but for those left out; raises InputError for one not there."""
        by_stem = {pair.stem: pair for pair in self.pairs}
        stems = tuple(stem for stem in stems if stem not in self.left_out)
        missing = [stem for stem in stems if stem not in by_stem]
        if missing:
            raise InputError(
                f"{self.root}: {len(missing)} scene(s) of the split are not there, {missing[0]} first "
                f"(there are {len(self.pairs)})"
            )
        return tuple(by_stem[stem] for stem in stems)


def open_dataset(
    root: str | Path | Source, legend: Legend | str | Path | None = None, field: LabelField | None = None
) -> Dataset:
    """Read a folder in the DeepGlobe layout or the images/labels layout.

    DeepGlobe: <id>_sat.jpg beside <id>_mask.png, nested folders found too. Else: images/X.* with labels/X.*, rasters or
    vector files, or one vector file labels.* for all images; the legend in legend.json (or as ``legend``). Either may
    have a split.json. Images on which nothing of the one vector file lies are left out, and said.
    Raises InputError where neither layout is found, and for an image without labels in the second.

    Args:
        field: where in vector files the classes are (``LabelField``).
    """
    given = Source.of(root)
    if not given.is_dir():
        raise InputError(f"{given}: no such data folder")
    root = Path(given)
    pairs = tuple(Pair(stem, given.at(image), given.at(labels)) for stem, image, labels in _find_pairs(root))
    if not pairs:
        raise InputError(
            f"{root}: no known layout; expected <id>_sat.jpg with <id>_mask.png, or images/, labels/ (or one vector "
            "file, such as labels.gpkg) and legend.json"
        )
    legend = _resolve_legend(root, legend)
    pairs = _with_field(pairs, field, root)
    bare = _without_labels(pairs, legend)
    return Dataset(
        root,
        tuple(pair for pair in pairs if pair.stem not in bare),
        legend,
        read_split(root / "split.json"),
        bare,
    )


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
    return (root / "images").is_dir() and ((root / LABELS).is_dir() or bool(_shared_labels(root)))


def _images_and_labels(root: Path) -> list[tuple[str, Path, Path]]:
    images, shared = _by_stem(root / "images"), _shared_labels(root)
    places = [*([root / LABELS] if (root / LABELS).is_dir() else []), *shared]
    if len(places) > 1:
        raise InputError(f"{root}: has both {places[0].name} and {places[1].name}; which are the labels? Keep one")
    if shared:
        return [(stem, images[stem], shared[0]) for stem in sorted(images)]
    labels = _by_stem(root / LABELS, IMAGE_ENDINGS + VECTOR_ENDINGS)
    lonely = sorted(images.keys() ^ labels.keys())
    if lonely:
        has, lacks = ("images", "labels") if lonely[0] in images else ("labels", "images")
        remedy = "; one vector file for all images lies beside images/, as labels.gpkg" if len(labels) == 1 else ""
        raise InputError(f"{root}: {lonely[0]} is in {has}/ but not in {lacks}/ ({len(lonely)} such in all){remedy}")
    return [(stem, images[stem], labels[stem]) for stem in sorted(images)]


def _shared_labels(root: Path) -> list[Path]:
    """Vector files beside images/ that hold the labels of all of them."""
    return [path for ending in VECTOR_ENDINGS if (path := root / f"{LABELS}{ending}").is_file()]


def _by_stem(folder: Path, endings: tuple[str, ...] = IMAGE_ENDINGS) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in endings:
            if path.stem in found:
                raise InputError(f"{folder}: {found[path.stem].name} and {path.name} have the same stem; keep one")
            found[path.stem] = path
    return found


def _with_field(pairs: tuple[Pair, ...], field: LabelField | None, root: Path) -> tuple[Pair, ...]:
    """The pairs, those of vector files with the field of their classes."""
    if field is not None and not any(is_vector(pair.labels) for pair in pairs):
        raise UsageError(f"{root}: its labels are rasters, which have neither --label-field nor --label-layer")
    return tuple(replace(pair, field=field or LabelField()) if is_vector(pair.labels) else pair for pair in pairs)


def _share_labels(pairs: tuple[Pair, ...]) -> bool:
    return len(pairs) > 1 and len({pair.labels for pair in pairs}) == 1


def _without_labels(pairs: tuple[Pair, ...], legend: Legend) -> tuple[str, ...]:
    """Stems of images that share one vector file of which nothing lies on them. Raises InputError where all do."""
    if not _share_labels(pairs):
        return ()
    laid = {pair.stem: _laid_over(pair, legend) for pair in pairs}
    bare = tuple(stem for stem, labels in laid.items() if not len(labels.shapes))
    if len(bare) == len(pairs):
        raise InputError(f"{pairs[0].labels}: nothing of it lies on any of the {len(pairs)} images; is its CRS right?")
    for remark in remarks(laid.values()):
        log.warning(remark)
    if bare:
        listed = ", ".join(bare[:6]) + (", ..." if len(bare) > 6 else "")
        log.warning("%s: nothing of it lies on %d images, which are left out: %s", pairs[0].labels, len(bare), listed)
    return bare


def _laid_over(pair: Pair, legend: Legend) -> VectorLabels:
    with Scene(pair.image) as scene:
        return VectorLabels(pair.labels, legend, scene, pair.field)


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
