"""How a prediction lies over its truth: stated, never guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.errors import GridMismatch
from geoseg.grid import Grid, Window
from geoseg.raster.labels import Labels
from geoseg.raster.resample import nearest_positions


@dataclass(frozen=True)
class Alignment:
    """A prediction laid onto the truth's grid."""

    truth: Grid
    prediction: Grid
    kind: str
    """"same grid", "same size" (one or both without georeference), or "nearest"."""

    @property
    def message(self) -> str:
        """One line that says what was done."""
        if self.kind == "same grid":
            return "same grid, pixel by pixel"
        if self.kind == "same size":
            return "same size, pixel by pixel (not both are georeferenced)"
        (height, width), (rows, cols) = self.prediction.shape, self.truth.shape
        return f"nearest from {height} x {width} px onto the truth's {rows} x {cols} px (rows x columns)"

    def read(self, prediction: Labels, window: Window) -> np.ndarray:
        """(H, W) uint8 class indices of the prediction under a window of the truth."""
        if self.kind != "nearest":
            return prediction.read(window)
        rows = self._positions(0)[window.row : window.row_stop]
        cols = self._positions(1)[window.col : window.col_stop]
        under = Window(rows[0], cols[0], rows[-1] - rows[0] + 1, cols[-1] - cols[0] + 1)
        return prediction.read(under)[(rows - rows[0])[:, None], cols - cols[0]]

    def _positions(self, axis: int) -> np.ndarray:
        return nearest_positions(self.prediction.shape[axis], self.truth.shape[axis])


def align(prediction: Grid, truth: Grid, prediction_name: str, truth_name: str) -> Alignment:
    """Decide how ``prediction`` lies over ``truth``.

    Equal grids: pixel by pixel. Equal extents, or no georeference but the same ratio of sides: nearest onto the truth's
    grid. Anything else raises GridMismatch with both grids.
    """
    both = prediction.georeferenced and truth.georeferenced
    if both and prediction.same_as(truth):
        return Alignment(truth, prediction, "same grid")
    if not both and prediction.shape == truth.shape:
        return Alignment(truth, prediction, "same size")
    resized = prediction.shape != truth.shape
    if resized and prediction.same_extent_as(truth) if both else _same_ratio(prediction.shape, truth.shape):
        return Alignment(truth, prediction, "nearest")
    raise GridMismatch(
        f"{prediction_name} ({prediction}) does not lie over {truth_name} ({truth}): neither the same grid nor the "
        "same extent; warp one onto the other's grid first (gdalwarp -r near -t_srs ... -te ... -ts ...)"
    )


def _same_ratio(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """True where the sides' ratio differs by less than one pixel of the smaller raster."""
    (height, width), (rows, cols) = sorted((first, second))
    return abs(rows * width / cols - height) < 1 and abs(cols * height / rows - width) < 1
