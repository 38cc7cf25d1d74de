"""Real class rasters as polygons and without small patches, against GDAL on the whole raster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio.features import shapes, sieve

import geoseg
from geoseg.vectorizing import vectorize as module

KOREA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sentinel2_korea"
pytestmark = pytest.mark.skipif(not KOREA.is_dir(), reason=f"{KOREA} is not there")


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Shapely shapes, and values by field."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer=path.stem)
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], values, strict=True))


def texts(polygons: np.ndarray, codes: np.ndarray) -> list[tuple[str, int]]:
    normal = shapely.normalize(shapely.transform(polygons, lambda points: np.round(points, 6)))
    return sorted(zip(shapely.to_wkt(normal), np.asarray(codes).tolist(), strict=True))


@pytest.mark.parametrize("name", ["patch_02", "patch_07"])
def test_polygons_of_real_labels_are_gdal_s(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIDE", 128)
    path, legend = KOREA / "labels" / f"{name}.tif", KOREA / "legend.json"
    with rasterio.open(path) as dataset:
        codes, transform = dataset.read(1), dataset.transform
    geoseg.vectorize(path, tmp_path / "all.gpkg", legend)
    polygons, values = read(tmp_path / "all.gpkg")
    whole = list(shapes(codes, transform=transform))
    expected = np.array([shapely.geometry.shape(shape) for shape, _ in whole])
    assert texts(polygons, values["code"]) == texts(expected, [int(code) for _, code in whole])
    # 10 m pixels, where UTM is within 0.1 % of the ground.
    assert values["area_m2"] == pytest.approx(shapely.area(polygons), rel=1e-3)


def test_small_patches_and_simple_outlines_of_real_labels(tmp_path: Path) -> None:
    path, legend = KOREA / "labels" / "patch_02.tif", KOREA / "legend.json"
    with rasterio.open(path) as dataset:
        codes = dataset.read(1)
    written = geoseg.vectorize(path, tmp_path / "simple.gpkg", legend, min_pixels=50, simplify=15)
    polygons, values = read(tmp_path / "simple.gpkg")
    assert len(polygons) == len(list(shapes(sieve(codes, 50)))) and values["pixels"].sum() == codes.size
    assert shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == pytest.approx(codes.size * 100)
    assert written.hectares.sum() == pytest.approx(codes.size * 0.01, rel=1e-3)
