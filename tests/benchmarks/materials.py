"""What the benchmarks work on: large scenes, a network that costs nothing, a trained model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine

import geoseg
from geoseg.datasets.synthetic import draw_scene, write_sample
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load

PATTERN = 2048
"""Side of the drawn land that a large scene repeats, mirrored so that no border shows."""
POINTWISE = "pointwise"
"""Name of the 1 x 1 network, instead of a model's path."""
TRAINING = {"encoder": "resnet34", "encoder_weights": "none", "norm": "batch", "window": 512, "batch_size": 4}


def large_scene(folder: Path, side: int) -> Path:
    """A tiled, compressed RGB GeoTIFF of SYNTHETIC land of ``side`` x ``side`` pixels of 2 m; made once."""
    path = folder / f"scene-{side}.tif"
    if path.exists():
        return path
    pattern, _ = draw_scene((PATTERN, PATTERN), 1, 0)
    repeats = math.ceil(side / PATTERN)
    wide = np.concatenate([pattern if n % 2 == 0 else pattern[:, :, ::-1] for n in range(repeats)], 2)[..., :side]
    shape = {"count": 3, "height": side, "width": side, "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "interleave": "pixel"}
    place = {"crs": "EPSG:32633", "transform": Affine(2, 0, 500_000, 0, -2, 5_600_000)}
    unfinished = path.with_suffix(".partial.tif")
    with rasterio.open(unfinished, "w", driver="GTiff", num_threads="ALL_CPUS", **shape, **layout, **place) as dataset:
        for number, row in enumerate(range(0, side, PATTERN)):
            rows = wide if number % 2 == 0 else wide[:, ::-1]
            height = min(PATTERN, side - row)
            dataset.write(rows[:, :height], window=rasterio.windows.Window(0, row, side, height))
    unfinished.rename(path)
    return path


def segmenter(model: str | Path) -> Segmenter:
    """The model of a path, or the 1 x 1 network: what a prediction costs beside its network."""
    if str(model) != POINTWISE:
        return load(model)
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, len(DEEPGLOBE), 1)
    network.stride = 1
    config = SegmenterConfig(DEEPGLOBE, mean=(0.4, 0.4, 0.3), std=(0.1,) * 3, fill=(100.0,) * 3, window=1024, size=1024)
    return Segmenter(config, network).eval()


def trained_model(folder: Path) -> tuple[Path, Path]:
    """(run, data): a ResNet-34 U-Net trained on synthetic land, and that land; made once, slowly."""
    run, data = folder / "run", folder / "land"
    if not data.exists():
        write_sample(data, scenes=48, size=1024)
    if not (run / "model.safetensors").exists():
        geoseg.train(data, run, epochs=4, lr=5e-4, progress=True, **TRAINING)
    return run, data


def sparse_scene(folder: Path, side: int, islands: int = 4) -> Path:
    """A sparse GeoTIFF with nodata 0, empty but for ``islands`` squares of PATTERN pixels; made once."""
    path = folder / f"sparse-{side}.tif"
    if path.exists():
        return path
    pattern, _ = draw_scene((PATTERN, PATTERN), 1, 0)
    shape = {"count": 3, "height": side, "width": side, "dtype": "uint8", "nodata": 0}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": Affine(2, 0, 500_000, 0, -2, 5_600_000), "bigtiff": "yes"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **layout, **place) as dataset:
        for number in range(islands):
            first = (side - PATTERN) * number // islands // 512 * 512
            dataset.write(pattern, window=rasterio.windows.Window(first, first, PATTERN, PATTERN))
    return path
