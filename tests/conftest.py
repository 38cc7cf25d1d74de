"""What the tests share: rasters that would show a shift, networks whose answer is known, a small trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

SHARED = Path(__file__).resolve().parents[2] / "shared"
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
"""Unequal pixel sizes, an origin off round numbers."""


@pytest.fixture
def make_raster(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as a GeoTIFF and return its path.

    By default 3 x 37 x 53 uint8 with every pixel different in at least one band, off-origin, unequal pixel sizes.
    """

    def make(
        pixels: np.ndarray | None = None,
        name: str = "scene.tif",
        crs: str | None = "EPSG:32631",
        transform: Affine | None = OFF_ORIGIN,
        **profile: object,
    ) -> Path:
        pixels = unique_pixels() if pixels is None else np.atleast_3d(pixels) if pixels.ndim == 1 else pixels
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place = {"crs": crs} if crs else {}
        if transform is not None:
            place["transform"] = transform
        count, height, width = pixels.shape
        shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
        with rasterio.open(path, "w", **({"driver": "GTiff"} | shape | place | profile)) as dataset:
            dataset.write(pixels)
        return path

    return make


def unique_pixels(shape: tuple[int, int] = (37, 53)) -> np.ndarray:
    """(3, H, W) uint8, no two pixels alike (up to 65,025 of them), never 0 in the third band."""
    number = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    return np.stack([number % 255, number // 255 % 255, 1 + number % 7]).astype(np.uint8)


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set of 6 scenes of 64 px."""
    from geoseg.datasets.synthetic import write_sample

    folder = tmp_path_factory.mktemp("sample") / "sample"
    write_sample(folder, scenes=6, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def trained_run(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a narrow U-Net trained for two epochs on ``sample_folder``."""
    import geoseg

    run = tmp_path_factory.mktemp("run") / "run"
    geoseg.train(sample_folder, run, width=4, norm="batch", epochs=2, lr=1e-2, device="cpu", precision="fp32")
    return run
