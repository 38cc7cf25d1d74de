"""geoseg.stats: how often each class occurs in the training scenes, before and after oversampling (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from geoseg.datasets.augmentation import Augmentation, mean_area_lost
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.oversampling import RULES, OversamplingRule, find_rule, resolve_rare_set, rule_by_shares
from geoseg.datasets.resolve import resolve_data
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.splits import Split, resolve_split
from geoseg.datasets.survey import Survey, survey
from geoseg.errors import UsageError
from geoseg.legend import Legend
from geoseg.raster.bands import Band
from geoseg.raster.features import LabelField
from geoseg.source import Source

Part = Literal["train", "val", "test"]

PAPER_TABLE_1 = {
    "urban": (11.04, 10.53),
    "agriculture": (57.35, 52.01),
    "rangeland": (8.26, 8.63),
    "forest": (11.54, 10.67),
    "water": (3.11, 3.86),
    "barren": (8.64, 9.21),
    "unknown": (0.06, 0.07),
}
"""The paper's Table 1: percent of the pixels in the original and in the augmented training part."""
MEAN_ROTATION_LOSS = Augmentation.rotate * mean_area_lost(Augmentation.degrees)
"""Share of an augmented sample that rotation leaves without data, on average, of a square."""


@dataclass(frozen=True)
class ClassStats:
    """Class shares of a part of a split. Those after oversampling are expected over seeds."""

    folder: str
    """The data folder."""
    split: Split
    """Which scenes train, select and test."""
    part: Part
    """The part that was counted: train, val or test."""
    legend: Legend
    """The classes of the labels."""
    found: Survey
    """What the scenes hold, each once."""
    rare_set: str
    """Whose rule repeats the scenes, of oversampling.RARE_SETS."""
    rotation_loss: float = MEAN_ROTATION_LOSS
    """Share of an augmented sample that rotation leaves without data, on average."""

    @cached_property
    def rule(self) -> OversamplingRule | None:
        """The rule of the rare set; None where no class is rarer than another: then nothing is oversampled."""
        return RULES.get(self.rare_set) or rule_by_shares(self.found.counts, self.legend)

    @property
    def presence(self) -> np.ndarray:
        """(K,) int64 scenes in which each class has a pixel."""
        return (self.found.scene_counts > 0).sum(0)

    @property
    def copies(self) -> np.ndarray:
        """(S,) float64 expected copies of each scene."""
        return self.rule.expected_copies(self.found.scene_counts, self.legend)

    @property
    def oversampled_shares(self) -> np.ndarray:
        """(K,) float64 share of each class in the pixels that have one, after oversampling."""
        counts = self.copies @ self.found.scene_counts
        return counts / counts.sum()

    @property
    def ignored_share(self) -> float:
        """Share of the augmented part's pixels that rotation leaves without data; first copies are not rotated."""
        pixels = self.found.scene_counts.sum(1)
        changed = np.maximum(self.copies - 1, 0)
        return float(changed @ pixels / (self.copies @ pixels) * self.rotation_loss)

    @property
    def augmented_shares(self) -> np.ndarray:
        """(K,) float64 share of each class in all pixels of the augmented part, those without data included."""
        return self.oversampled_shares * (1 - self.ignored_share)

    @property
    def is_the_papers(self) -> bool:
        """True for the training part of the paper's split of DeepGlobe: Table 1 is about it."""
        return (self.split.rule, self.part, self.legend.names) == ("paper", "train", tuple(PAPER_TABLE_1))

    def rows(self) -> list[dict[str, Any]]:
        """One record a class of the legend."""
        after = [None] * len(self.legend) if self.rule is None else self.augmented_shares.tolist()
        values = zip(
            self.legend.names,
            self.found.counts.tolist(),
            self.found.shares.tolist(),
            after,
            self.presence.tolist(),
            strict=True,
        )
        fields = "class", "pixels", "share", "augmented_share", "scenes"
        rows = [dict(zip(fields, row, strict=True)) for row in values]
        return [row | {"paper_percent": PAPER_TABLE_1[row["class"]]} for row in rows] if self.is_the_papers else rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; the fields of oversampling are null where there is no rule."""
        over = self.rule is not None
        return {
            "data": self.folder,
            "split": self.split.rule,
            "part": self.part,
            "scenes": len(self.found.scene_counts),
            "rare_set": self.rare_set if over else None,
            "rule": str(self.rule) if over else None,
            "expected_items": float(self.copies.sum()) if over else None,
            "expected_ignored_share": self.ignored_share if over else None,
            "scenes_by_copies": self._scenes_by_copies() if over else None,
            "classes": self.rows(),
            "without_class_pixels": self.found.without_class,
        }

    def to_text(self) -> str:
        """Table 1 for the terminal, in percent."""
        names = [row["class"] for row in self.rows()]
        scenes = [str(row["scenes"]) for row in self.rows()]
        if self.rule is not None:
            names, scenes = [*names, "no data"], [*scenes, ""]
        where = f"{self.part} part of the split {self.split.rule}, {len(self.found.scene_counts)} scenes"
        lines = _table(names, self._columns(), scenes)
        return "\n".join([f"{self.folder}: {where}; percent of the pixels", *lines, *self._oversampling_lines()])

    def _columns(self) -> dict[str, list[float]]:
        """Percent of each class, and in the end of what rotation leaves without data."""
        columns = {"original": [*(100 * self.found.shares), 0.0]}
        if self.rule is not None:
            columns["augmented"] = [*(100 * self.augmented_shares), 100 * self.ignored_share]
        if self.is_the_papers:
            papers = zip(*(PAPER_TABLE_1[name] for name in self.legend.names), strict=True)
            columns |= {n: [*p, 100 - sum(p)] for n, p in zip(("paper's", "paper's aug."), papers, strict=True)}
        return columns

    def _oversampling_lines(self) -> list[str]:
        if self.rule is None:
            return ["no oversampling: no class is rarer than another"]
        by_copies = ", ".join(f"{scenes} scenes x {copies}" for copies, scenes in self._scenes_by_copies().items())
        return [
            f"oversampling (rare set {self.rare_set}): {self.rule}",
            f"{self.copies.sum():.1f} items expected: {by_copies}",
            "augmented: expected shares of all pixels, rotation leaving some without data",
        ]

    def _scenes_by_copies(self) -> dict[str, int]:
        values, scenes = np.unique(self.copies, return_counts=True)
        return {f"{value:g}": int(count) for value, count in zip(values[::-1], scenes[::-1], strict=True)}


def stats(
    data: str | Path | Source | None = None,
    *,
    split: str | None = None,
    part: Part = "train",
    rare_set: str | None = None,
    legend: Legend | str | Path | None = None,
    label_field: str | None = None,
    label_layer: str | None = None,
    bands: Sequence[Band] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ClassStats:
    """Class shares of a part of a data set, as it is and as oversampling and augmentation are expected to make it.

    Pixels are counted at the scenes' own resolution. Rotation is taken to cost each scene what it costs a square.

    Args:
        data: a data folder; None: $GEOSEG_DATA, ./data, or the embedded synthetic sample.
        split: as for training; ``seed`` shuffles ratios.
        rare_set: "text", "table1" or "shares" (datasets.oversampling); None takes "text" where the legend has its
            classes, else "shares", and leaves oversampling out where no class is rarer than another.
        bands: of the images, by number or name; a pixel counts where these have data. None takes all but alpha.
        label_field, label_layer: where in vector files the classes are, as for training.
        progress: show a bar on stderr.

    Raises InputError where the data cannot be used or the part is empty, UsageError for a rare set that does not fit.
    """
    dataset = open_dataset(resolve_data(data)[0], legend, LabelField.asked(label_field, label_layer))
    named = resolve_rare_set(rare_set, dataset.legend)
    chosen = resolve_split(dataset, split, seed)
    pairs = getattr(chosen, part)
    if not pairs:
        raise UsageError(f"{dataset.root}: the split {chosen.rule} has no {part} scenes")
    scenes = [LabelledScene(pair, dataset.legend, bands) for pair in pairs]
    looked_through = tqdm(scenes, "looking through", unit="scene", leave=False, disable=not progress)
    found = survey(looked_through, dataset.legend)
    if rare_set is not None:
        find_rule(rare_set, found.scene_counts, dataset.legend)
    return ClassStats(str(dataset.root), chosen, part, dataset.legend, found, named)


def _table(names: Sequence[str], columns: Mapping[str, Sequence[float]], scenes: Sequence[str]) -> list[str]:
    width = max(map(len, ("class", *names)))
    lines = ["  ".join([f"{'class':{width}}", *(f"{title:>12}" for title in columns), "scenes"])]
    for place, name in enumerate(names):
        cells = (f"{values[place]:12.2f}" for values in columns.values())
        lines.append("  ".join([f"{name:{width}}", *cells, f"{scenes[place]:>6}"]).rstrip())
    return lines
