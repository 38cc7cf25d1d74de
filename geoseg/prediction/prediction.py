"""Prediction: a class map, how much of each class it shows, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import UsageError
from geoseg.grid import Grid
from geoseg.legend import NODATA, Legend
from geoseg.pictures import thumbnail_of_classes
from geoseg.prediction.plan import Plan
from geoseg.raster.quicklook import write_quicklook
from geoseg.raster.resample import nearest
from geoseg.raster.scene import THUMBNAIL, Scene, place_of
from geoseg.reporting.markup import Markup
from geoseg.reporting.notebook import facts, frame, never_failing, table
from geoseg.tiling import fitting


@dataclass(frozen=True, eq=False)
class Prediction:
    """A class map and how it came about."""

    path: Path | None
    """The GeoTIFF, None where none was asked for."""
    grid: Grid
    """The scene's own grid, on which the map lies."""
    legend: Legend
    """The model's classes."""
    counts: np.ndarray
    """(256,) int64 pixels of each code."""
    plan: Plan
    """Everything that decided the map."""
    hectares: np.ndarray | None = None
    """(256,) float64 true area of each code in hectares; None where the grid has no place on Earth."""
    scores_path: Path | None = None
    """The GeoTIFF of scores, None where none was asked for."""
    _codes: np.ndarray | None = None
    scores: np.ndarray | None = None
    """(written scores, H, W) uint8 in 1/254, NODATA without data: where scores were asked for and no file."""

    @cached_property
    def codes(self) -> np.ndarray:
        """(H, W) uint8 codes of the legend, NODATA (255) where there is no data; read from ``path`` if there is one."""
        if self._codes is not None:
            return self._codes
        with Scene(self.path) as scene:
            return scene.read()[0][0]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels with data that each predicted class has."""
        total = self.counts[:NODATA].sum()
        return {name: float(self.counts[code] / total) if total else float("nan") for name, code in self._scored}

    @property
    def areas(self) -> dict[str, float] | None:
        """True area of each predicted class in hectares, on the ellipsoid; None where the grid has no place."""
        if self.hectares is None:
            return None
        return {name: float(self.hectares[code]) for name, code in self._scored}

    @property
    def _scored(self) -> list[tuple[str, int]]:
        scored = (self.legend.classes[index] for index in self.legend.scored)
        return [(c.name, c.code) for c in scored]

    def write_quicklook(self, path: str | Path, longest: int = 1024) -> None:
        """Write a small PNG of the map with its legend; raises UsageError without a map file, OutputError."""
        if self.path is None:
            raise UsageError("a quick-look is made of a map file; predict into one")
        write_quicklook(self.path, self.legend, path, longest)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        shares = {name: None if np.isnan(share) else share for name, share in self.shares.items()}
        pixels = {"data": int(self.counts[:NODATA].sum()), "nodata": int(self.counts[NODATA])}
        return {
            "path": str(self.path) if self.path else None,
            "scores": str(self.scores_path) if self.scores_path else None,
            "shape": list(self.grid.shape),
            **pixels,
            "shares": shares,
            "hectares": self.areas,
        }

    def to_text(self) -> str:
        """One line for the terminal: where the map is, and the classes' shares and areas, the largest first."""
        areas = self.areas or {}
        shares = sorted(self.shares.items(), key=lambda item: -item[1])
        named = ", ".join(
            f"{name} {share:.1%}" + (f" ({areas[name]:,.{0 if areas[name] >= 100 else 2}f} ha)" if areas else "")
            for name, share in shares
            if share > 0
        )
        return f"{self.path}: {named or 'no pixel with data'}"

    @never_failing
    def _repr_html_(self) -> str:
        """Where the map is, a small picture of it, and its classes with their areas, for notebooks."""
        areas, colours = self.areas, self.legend.colours
        head = ("class", "share", *(("ha",) if areas else ()))
        rows = [
            (name, f"{share:.1%}", *((f"{areas[name]:,.2f}",) if areas else ())) for name, share in self.shares.items()
        ]
        height, width = self.grid.shape
        known = {"size": f"{height:,} x {width:,} px (rows x columns)", "place": place_of(self.grid)}
        known |= {"scores": self.scores_path, "no data": f"{self.counts[NODATA]:,} px" if self.counts[NODATA] else None}
        parts = facts(known), table(head, rows, colours=colours)
        return frame("Map", str(self.path or "in memory"), *parts, aside=self._thumbnail())

    def _thumbnail(self) -> Markup:
        """Nothing where the map's file is gone."""
        shape = fitting(self.grid.shape, THUMBNAIL)
        if self.path is None:
            index = nearest(self.legend.decode(self._codes), shape)
        elif self.path.is_file():
            with Scene(self.path) as scene:
                codes, valid = scene.read_overview(shape)
            index = self.legend.decode(codes[0], valid)
        else:
            return Markup()
        return thumbnail_of_classes(index, self.legend, "The map")
