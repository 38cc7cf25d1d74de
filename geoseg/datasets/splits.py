"""Splits: which scenes train, which select the model, which test it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from geoseg.datasets.dataset import Dataset, Pair, read_split
from geoseg.datasets.overlap import block_of, joined, overlapping_groups
from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.raster.scene import Scene

PAPER_SIZES = (643, 80, 80)
PAPER_SEED = 42
DEFAULT_RATIOS = "80/10/10"
RATIOS = r"\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?){2}"


@dataclass(frozen=True)
class Split:
    """The parts of a data set; ``rule`` says how they were made."""

    rule: str
    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def digest(self) -> str:
        """sha256 of the stems of the parts, in their order: equal for equal splits, wherever the data lie."""
        stems = [[pair.stem for pair in part] for part in (self.train, self.val, self.test)]
        return hashlib.sha256(json.dumps(stems).encode()).hexdigest()


def resolve_split(dataset: Dataset, rule: str | None = None, seed: int = 0) -> Split:
    """Split a data set.

    Args:
        rule: "paper" (643/80/80, of the 803 scenes of DeepGlobe only), "glnet" (454/207/142, likewise), ratios such as
            "80/10/10" (shuffled by ``seed``), "blocks:KM" or "blocks:KM:80/10/10", or a JSON file. None takes the
            folder's own split.json, else the paper's rule for 803 DeepGlobe scenes, else 80/10/10.

    Ratios keep scenes that overlap on the ground in one part, as far as that leaves no part empty; blocks keep all
    scenes together whose middles lie in one square of KM kilometres, and those that overlap across squares. Parts then
    are as large as whole groups allow.
    Raises InputError where the rule does not fit the data.
    """
    if rule is None and dataset.split is not None:
        return _by_stems(dataset, "split.json", dataset.split)
    if rule is None:
        rule = "paper" if _is_deepglobe(dataset) else DEFAULT_RATIOS
    if rule == "paper":
        return _paper_split(dataset)
    if rule == "glnet":
        return _by_stems(dataset, "glnet", glnet_stems())
    if re.fullmatch(RATIOS, rule):
        return _ratio_split(dataset, rule, rule, seed, _together(dataset))
    if found := re.fullmatch(rf"blocks:(\d+(?:\.\d+)?)(?::({RATIOS}))?", rule):
        return _block_split(dataset, rule, float(found[1]), found[2] or DEFAULT_RATIOS, seed)
    stems = read_split(Path(rule))
    if stems is None:
        raise InputError(
            f"{rule}: no such split; there are paper, glnet, ratios such as 80/10/10, blocks:KM, and JSON files"
        )
    return _by_stems(dataset, Path(rule).name, stems)


def paper_order(stems: list[str]) -> list[str]:
    """Stems in the paper's order: the file names sorted as strings, shuffled by Python's generator with seed 42.

    The last 80 of the 803 are the scenes whose class totals the paper's confusion matrices print.
    """
    names = sorted(f"{stem}_sat.jpg" for stem in stems)
    random.Random(PAPER_SEED).shuffle(names)
    return [name.removesuffix("_sat.jpg") for name in names]


def glnet_stems() -> dict[str, tuple[str, ...]]:
    """The lists of the 454/207/142 split that GLNet and many papers after it use."""
    text = resources.files("geoseg.datasets").joinpath("glnet_split.json").read_text(encoding="utf-8")
    return {part: tuple(str(number) for number in numbers) for part, numbers in json.loads(text).items()}


def _paper_split(dataset: Dataset) -> Split:
    if len(dataset.pairs) != sum(PAPER_SIZES):
        raise InputError(
            f"{dataset.root}: the paper's split is one of DeepGlobe's 803 labelled scenes, there are "
            f"{len(dataset.pairs)} here; use --split {DEFAULT_RATIOS} or a file"
        )
    order = paper_order([pair.stem for pair in dataset.pairs])
    return _by_stems(dataset, "paper", _cut(order, PAPER_SIZES))


def _ratio_split(dataset: Dataset, rule: str, ratios: str, seed: int, groups: Sequence[frozenset[str]]) -> Split:
    parts = [float(part) for part in ratios.split("/")]
    count = len(dataset.pairs)
    if sum(parts) <= 0:
        raise InputError(f"split {rule!r}: ratios that add to nothing")
    # A part that was asked for gets a scene, also where its share rounds to none.
    val, test = (max(round(count * part / sum(parts)), min(1, count - 2)) if part else 0 for part in parts[1:])
    if count - val - test < 1:
        raise InputError(f"{dataset.root}: {count} scene(s) do not split by {rule}; use 100/0/0 or a file")
    stems = [pair.stem for pair in dataset.pairs]
    random.Random(seed).shuffle(stems)
    return _by_stems(dataset, f"{rule} (seed {seed})", _cut(stems, (count - val - test, val, test), groups))


def _block_split(dataset: Dataset, rule: str, kilometres: float, ratios: str, seed: int) -> Split:
    grids = _grids(dataset)
    without = [stem for stem, grid in grids.items() if not grid.georeferenced or grid.crs is None]
    if without or not kilometres > 0:
        why = f"{without[0]} has no place on the ground" if without else "blocks have a side above 0"
        raise InputError(f"split {rule!r}: {why}; use ratios such as {DEFAULT_RATIOS} or a file")
    places = {stem: block_of(grid, 1000 * kilometres) for stem, grid in grids.items()}
    first = {place: stem for stem, place in reversed(places.items())}
    near = [(stem, first[place]) for stem, place in places.items()]
    overlaps = [(stem, other) for group in overlapping_groups(grids) for stem in group for other in group]
    groups = joined(grids, [*near, *overlaps])
    parts = sum(float(part) > 0 for part in ratios.split("/"))
    if len(groups) < parts:
        raise InputError(
            f"{dataset.root}: split {rule!r} makes {len(groups)} block(s) for {parts} parts; take smaller ones"
        )
    return _ratio_split(dataset, rule, ratios, seed, groups)


def _together(dataset: Dataset) -> list[frozenset[str]]:
    """Scenes that overlap, where there are enough of such groups for three parts; else each scene alone."""
    groups = overlapping_groups(_grids(dataset))
    return groups if len(groups) >= 3 else [frozenset((pair.stem,)) for pair in dataset.pairs]


def _grids(dataset: Dataset) -> dict[str, Grid]:
    grids = {}
    for pair in dataset.pairs:
        with Scene(pair.image) as scene:
            grids[pair.stem] = scene.grid
    return grids


def _cut(
    stems: list[str], sizes: tuple[int, int, int], groups: Sequence[frozenset[str]] = ()
) -> dict[str, tuple[str, ...]]:
    """Stems in three parts, from the end: a part takes the next group that still fits, or at least the smallest."""
    group_of = {stem: frozenset((stem,)) for stem in stems} | {stem: group for group in groups for stem in group}
    left = list(dict.fromkeys(group_of[stem] for stem in reversed(stems)))
    chosen: dict[str, set[str]] = {}
    for part, size in (("test", sizes[2]), ("val", sizes[1])):
        taken = chosen[part] = set()
        for group in [group for group in left if len(group) <= size] if size else ():
            if len(taken) + len(group) <= size:
                taken |= group
                left.remove(group)
        if size and not taken and len(left) > 1:
            taken |= (smallest := min(left, key=len))
            left.remove(smallest)
    chosen["train"] = {stem for group in left for stem in group}
    return {part: tuple(stem for stem in stems if stem in chosen[part]) for part in ("train", "val", "test")}


def _by_stems(dataset: Dataset, rule: str, stems: dict[str, tuple[str, ...]]) -> Split:
    return Split(rule, *(dataset.part(tuple(stems[part])) for part in ("train", "val", "test")))


def _is_deepglobe(dataset: Dataset) -> bool:
    return len(dataset.pairs) == sum(PAPER_SIZES) and dataset.legend.name == "deepglobe"
