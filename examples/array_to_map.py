"""geoseg from a GIS script: cut a window out of a scene, label it in memory, and keep its place on Earth.

python examples/array_to_map.py SCENE.tif RUN [ROW COL HEIGHT WIDTH]
"""

from __future__ import annotations

import sys

import numpy as np

import geoseg
from geoseg.raster.scene import ArrayScene


def label_window(scene_path: str, run: str, window: geoseg.Window) -> geoseg.Prediction:
    """Label a window of a scene after a change to its pixels, print the share of each class, return the map."""
    model = geoseg.load(run)
    with geoseg.Scene(scene_path) as scene:
        pixels, valid = scene.read(window)
        grid = scene.grid[window]
    brighter = np.minimum(pixels.astype(np.uint16) * 11 // 10, 255).astype(pixels.dtype)
    result = geoseg.predict(ArrayScene(brighter, valid, grid), model)
    print(f"{valid.mean():.0%} of the window has data; {result.grid}")
    for name, share in result.shares.items():
        print(f"{name:12} {share:6.1%}")
    return result


if __name__ == "__main__":
    scene_path, run, *numbers = sys.argv[1:]
    label_window(scene_path, run, geoseg.Window(*(map(int, numbers) if numbers else (0, 0, 128, 128))))
