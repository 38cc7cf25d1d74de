"""VectorLabels: polygons and points of a vector file, read as class indices on the grid of a scene."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from geoseg.grid import Grid, Window
from geoseg.legend import Legend
from geoseg.raster.burning import PixelShapes
from geoseg.raster.features import (
    FileState,
    LabelField,
    LabelledFeatures,
    file_state,
    is_vector,
    read_features,
)
from geoseg.raster.labels import Flaws, Labels
from geoseg.raster.overlay import lay_over, require_place
from geoseg.raster.resample import nearest
from geoseg.raster.scene import SceneLike

LAID_OVER = 128
"""Scenes over which features stay laid, the last ones used: some 50 bytes a corner."""


class VectorLabels:
    """The features of a vector file on the pixels of a scene, with what Labels promises of a raster.

    A pixel has the class of the polygon that its centre lies in, and of a point that lies in it; of several shapes that
    of the last one in the file, which a GIS draws on top. What no feature covers has no class.

    Picklable. The features are read once a process and laid over the scene once, both while they are used; a window is
    burnt when it is read, and comes out the same in any window. Raises InputError as ``read_features``, and where the
    features cannot be laid over the scene.

    Args:
        scene: whose grid the labels are on; it is not kept.
    """

    def __init__(self, path: str | Path, legend: Legend, scene: SceneLike, field: LabelField | None = None) -> None:
        self.path, self.legend, self.field = Path(path), legend, field or LabelField()
        self.name, self.grid = str(path), scene.grid
        self.block_shape, self.sequential = scene.block_shape, scene.sequential
        self.remote = scene.remote
        self.value_classes = np.arange(256, dtype=np.int16)
        """(256,) int16 class index of each value that ``read_values`` gives: these are indices already."""
        self._state = file_state(self.path)
        features = self.features
        require_place(self.grid, scene.name, self.grid.crs if features.any_crs else features.crs, self.name)

    @property
    def features(self) -> LabelledFeatures:
        """All that the file labels, on this scene or elsewhere."""
        return read_features(self.path, self.legend, self.field)

    @property
    def shapes(self) -> PixelShapes:
        """What of it may meet the scene, in pixels."""
        return _laid_over(self.path, self._state, self.legend, self.field, self.grid)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides what is read."""
        return self.shapes.digest

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or mended."""
        lost = self.shapes.lost
        said = f"{self.name}: {lost} shapes reach beyond what the scene's CRS shows and are left out"
        return (*self.features.notes, said) if lost else self.features.notes

    @property
    def points(self) -> np.ndarray:
        """(n,) int64 numbers of the file's shapes that are points and lie on the scene."""
        return self.shapes.number[self.shapes.points.shape]

    @property
    def is_empty(self) -> bool:
        """True where nothing of the file can lie on the scene."""
        return len(self.shapes) == 0

    def read(self, window: Window | None = None, shape: tuple[int, int] | None = None) -> np.ndarray:
        """(H, W) uint8 class indices of a window (default: all), NO_CLASS where there is none; brought to ``shape`` by
        nearest."""
        index, _ = self.read_counted(window)
        return index if shape is None else nearest(index, shape)

    def read_values(self, window: Window | None = None) -> tuple[np.ndarray, Flaws]:
        """As ``read_counted``."""
        return self.read_counted(window)

    def read_counted(self, window: Window | None = None) -> tuple[np.ndarray, Flaws]:
        """As ``read`` at the scene's own resolution, with the number of pixels with a flaw."""
        index, contested = self.shapes.burn(self.grid.window if window is None else Window.of(window))
        return index, Flaws(contested=contested)

    def require_known(self, counts: np.ndarray) -> None:
        """Nothing: every value was looked at when the features were read."""

    def close(self) -> None:
        """Nothing: no file stays open."""


AnyLabels = Labels | VectorLabels
"""A class raster, a colour mask, or a vector file on a scene's grid."""


def open_labels(path: str | Path, legend: Legend, scene: SceneLike, field: LabelField | None = None) -> AnyLabels:
    """The labels in a raster file, or those in a vector file as they lie on ``scene``. Raises InputError."""
    return VectorLabels(path, legend, scene, field) if is_vector(path) else Labels(path, legend)


def remarks(labels: Iterable[VectorLabels]) -> list[str]:
    """What is to be said of the vector files of some scenes: what was mended or left out, and how many points lie on
    none of the scenes."""
    of_file: dict[LabelledFeatures, list[VectorLabels]] = {}
    for one in labels:
        of_file.setdefault(one.features, []).append(one)
    found: list[str] = []
    for features, laid in of_file.items():
        found += dict.fromkeys(note for one in laid for note in one.notes)
        inside = len(np.unique(np.concatenate([one.points for one in laid])))
        if inside < features.points:
            where = "outside of the scene" if len(laid) == 1 else f"on none of {len(laid)} scenes"
            found.append(f"{features.name}: {features.points - inside} of {features.points} points lie {where}")
    return found


@lru_cache(maxsize=LAID_OVER)
def _laid_over(path: Path, state: FileState, legend: Legend, field: LabelField, grid: Grid) -> PixelShapes:
    features = read_features(path, legend, field)
    crs = grid.crs if features.any_crs else features.crs
    return lay_over(features.shapes, features.classes, crs, grid, features.tree)
