"""Splits: which scenes train, which select the model, which test it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from geoseg.datasets.dataset import Dataset, Pair, read_split
from geoseg.errors import InputError

PAPER_SIZES = (643, 80, 80)
PAPER_SEED = 42
DEFAULT_RATIOS = "80/10/10"


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
            "80/10/10" (shuffled by ``seed``), or a JSON file. None takes the folder's own split.json, else the paper's
            rule for 803 DeepGlobe scenes, else 80/10/10.

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
    if re.fullmatch(r"\d+(\.\d+)?(/\d+(\.\d+)?){2}", rule):
        return _ratio_split(dataset, rule, seed)
    stems = read_split(Path(rule))
    if stems is None:
        raise InputError(f"{rule}: no such split; there are paper, glnet, ratios such as 80/10/10, and JSON files")
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


def _ratio_split(dataset: Dataset, rule: str, seed: int) -> Split:
    ratios = [float(part) for part in rule.split("/")]
    count = len(dataset.pairs)
    if sum(ratios) <= 0:
        raise InputError(f"split {rule!r}: ratios that add to nothing")
    # A part that was asked for gets a scene, also where its share rounds to none.
    val, test = (max(round(count * ratio / sum(ratios)), min(1, count - 2)) if ratio else 0 for ratio in ratios[1:])
    if count - val - test < 1:
        raise InputError(f"{dataset.root}: {count} scene(s) do not split by {rule}; use 100/0/0 or a file")
    stems = [pair.stem for pair in dataset.pairs]
    random.Random(seed).shuffle(stems)
    return _by_stems(dataset, f"{rule} (seed {seed})", _cut(stems, (count - val - test, val, test)))


def _cut(stems: list[str], sizes: tuple[int, int, int]) -> dict[str, tuple[str, ...]]:
    train, val, test = sizes
    return {
        "train": tuple(stems[:train]),
        "val": tuple(stems[train : train + val]),
        "test": tuple(stems[train + val : train + val + test]),
    }


def _by_stems(dataset: Dataset, rule: str, stems: dict[str, tuple[str, ...]]) -> Split:
    return Split(rule, *(dataset.part(tuple(stems[part])) for part in ("train", "val", "test")))


def _is_deepglobe(dataset: Dataset) -> bool:
    return len(dataset.pairs) == sum(PAPER_SIZES) and dataset.legend.name == "deepglobe"
