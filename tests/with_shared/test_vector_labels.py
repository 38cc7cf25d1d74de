"""Real land-cover labels as polygons in another CRS: burnt again, and scored, they are the raster they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely

from geoseg.grid import Window
from geoseg.legend import Legend
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels
from geoseg.scoring.score import score

KOREA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sentinel2_korea"
pytestmark = pytest.mark.skipif(not KOREA.is_dir(), reason="needs the shared data set sentinel2_korea")
TRUTH = KOREA / "labels" / "patch_07.tif"


@pytest.fixture(scope="module")
def legend() -> Legend:
    return Legend.from_file(KOREA / "legend.json")


@pytest.fixture
def polygons(make_vector: Callable[..., Path], legend: Legend) -> Callable[[str | None], Path]:
    """The truth's polygons, named by their classes, in its own CRS or another."""

    def make(crs: str | None) -> Path:
        with rasterio.open(TRUTH) as dataset:
            found = list(rasterio.features.shapes(dataset.read(1), transform=dataset.transform))
            own = dataset.crs.to_wkt()
        names = {entry.code: entry.name for entry in legend.classes}
        way = pyproj.Transformer.from_crs(own, crs or own, always_xy=True)
        shapes = [
            shapely.transform(shapely.geometry.shape(shape), lambda xy: np.column_stack(way.transform(*xy.T)))
            for shape, _ in found
        ]
        return make_vector(shapes, [names[int(value)] for _, value in found], crs=crs or own)

    return make


@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:5179"])
def test_polygons_of_a_truth_are_the_truth(crs: str | None, polygons: Callable, legend: Legend, tmp_path: Path) -> None:
    path, expected = polygons(crs), Labels(TRUTH, legend).read()
    labels = VectorLabels(path, legend, Scene(TRUTH))
    assert np.array_equal(labels.read(), expected) and labels.read_counted()[1].contested == 0
    window = Window(100, 37, 211, 300)
    assert np.array_equal(labels.read(window), expected[window.slices])
    with rasterio.open(TRUTH) as dataset:
        codes, profile = dataset.read(1), dataset.profile
    with rasterio.open(tmp_path / "map.tif", "w", **profile) as dataset:
        dataset.write(np.roll(codes, 2, 0), 1)
    by_raster, by_polygons = (score(tmp_path / "map.tif", truth, legend, boundary=20) for truth in (TRUTH, path))
    assert by_polygons.matrix == by_raster.matrix and by_polygons.boundary == by_raster.boundary
    assert by_raster.mean_iou < 1
