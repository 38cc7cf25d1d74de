"""VectorLabels: what Labels promises of a raster, kept by a vector file on a scene's grid."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine

from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, Legend, LegendClass
from geoseg.raster import features, vector_labels
from geoseg.raster.features import LabelField
from geoseg.raster.labels import Flaws, Labels
from geoseg.raster.resample import nearest
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels, open_labels, remarks

MakeRaster = Callable[..., Path]
MakeVector = Callable[..., Path]
LAND = Legend("land", tuple(LegendClass(code, f"c{code}", (code, 0, 0)) for code in (3, 7, 9, 12)))
WINDOW = Window(5, 7, 20, 31)
TURNED = Affine.translation(441_754.5, 5_417_386.25) @ Affine.rotation(31) @ Affine.scale(0.5, -0.75)


def codes(seed: int = 1) -> np.ndarray:
    """(37, 53) uint8 patches of codes of LAND, 255 where there is none."""
    patches = np.random.default_rng(seed).choice([3, 7, 9, 12, 255], (10, 14))
    return patches.repeat(4, 0).repeat(4, 1)[:37, :53].astype(np.uint8)


def outlines(path: Path, to: str | None = None) -> tuple[list[shapely.Polygon], list[int]]:
    """The polygons of a raster's values, less 255, perhaps in another CRS."""
    with rasterio.open(path) as dataset:
        values, transform, crs = dataset.read(1), dataset.transform, dataset.crs
    found = [
        (shapely.geometry.shape(shape), int(value))
        for shape, value in rasterio.features.shapes(values, transform=transform)
        if value != 255
    ]
    if to is not None:
        way = pyproj.Transformer.from_crs(crs.to_wkt(), to, always_xy=True)
        found = [(shapely.transform(s, lambda xy: np.column_stack(way.transform(*xy.T))), v) for s, v in found]
    return [shape for shape, _ in found], [value for _, value in found]


@pytest.fixture
def raster(make_raster: MakeRaster) -> Path:
    return make_raster(codes(), "codes.tif", nodata=255)


@pytest.mark.parametrize("transform", [None, TURNED])
@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:3857"])
def test_outlines_of_a_raster_are_the_raster_again(
    crs: str | None, transform: Affine | None, make_raster: MakeRaster, make_vector: MakeVector
) -> None:
    raster = make_raster(codes(), **({} if transform is None else {"transform": transform}))
    labels = open_labels(make_vector(*outlines(raster, crs), crs=crs or "EPSG:32631"), LAND, Scene(raster))
    expected = LAND.decode(codes())
    assert isinstance(labels, VectorLabels) and labels.grid == Scene(raster).grid
    assert np.array_equal(labels.read(), expected) and labels.read().dtype == np.uint8
    assert np.array_equal(labels.read(WINDOW), expected[WINDOW.slices])
    assert np.array_equal(labels.read(WINDOW.to_rasterio()), expected[WINDOW.slices])
    assert np.array_equal(labels.read(shape=(18, 26)), nearest(expected, (18, 26)))
    assert np.array_equal(labels.value_classes[labels.read_values(WINDOW)[0]], expected[WINDOW.slices])
    assert labels.read_counted()[1] == Flaws()
    labels.require_known(np.ones(256))


def test_a_raster_of_codes_is_read_as_before(raster: Path) -> None:
    labels = open_labels(raster, LAND, Scene(raster))
    assert isinstance(labels, Labels) and labels.block_shape == labels.scene.block_shape and not labels.sequential


def test_pickled_and_closed_it_reads_the_same(raster: Path, make_vector: MakeVector) -> None:
    labels = VectorLabels(make_vector(*outlines(raster)), LAND, Scene(raster))
    before = labels.read(WINDOW)
    copy = pickle.loads(pickle.dumps(labels))
    # Another process has read nothing yet.
    vector_labels._laid_over.cache_clear()
    features._read.cache_clear()
    labels.close()
    assert np.array_equal(copy.read(WINDOW), before) and np.array_equal(labels.read(WINDOW), before)
    assert len(pickle.dumps(labels)) < 3000


def test_a_scene_is_laid_over_once(raster: Path, make_vector: MakeVector, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_vector(*outlines(raster))
    labels = VectorLabels(path, LAND, Scene(raster))
    whole = labels.read()
    monkeypatch.setattr(vector_labels, "lay_over", lambda *_: pytest.fail("laid over again"))
    assert np.array_equal(VectorLabels(path, LAND, Scene(raster)).read(WINDOW), whole[WINDOW.slices])


def test_shapes_of_several_classes_are_counted_by_window(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    scene = Scene(make_raster())
    x, y = scene.grid.transform @ (10, 10)
    path = make_vector([shapely.box(x, y - 7.5, x + 5, y), shapely.box(x + 2.5, y - 3.75, x + 5, y)], [3, 7])
    labels = VectorLabels(path, LAND, scene)
    index, flaws = labels.read_counted()
    assert (index == 0).sum() == 75 and (index == 1).sum() == 25 and flaws == Flaws(contested=25)
    assert labels.read_counted(Window(10, 10, 2, 10))[1] == Flaws(contested=10)


def test_points_outside_are_counted_over_all_scenes(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    first = Scene(make_raster(name="a.tif"))
    second = Scene(make_raster(name="b.tif", transform=first.grid.transform @ Affine.translation(30, 0)))
    places = [first.grid.transform @ at for at in ((5.5, 5.5), (40.2, 3.1), (60, 3), (200, 3), (-1, 3))]
    path = make_vector([shapely.Point(place) for place in places], [3, 7, 7, 9, 3])
    one, other = (VectorLabels(path, LAND, scene) for scene in (first, second))
    assert one.points.tolist() == [0, 1] and other.points.tolist() == [1, 2]
    assert remarks([one]) == [f"{path}: 3 of 5 points lie outside of the scene"]
    assert remarks([one, other]) == [f"{path}: 2 of 5 points lie on none of 2 scenes"]
    index = one.read()
    assert (index[5, 5], index[3, 40], (index != NO_CLASS).sum()) == (0, 1, 2)
    assert remarks([]) == []


def test_what_was_mended_is_said_once_a_file(raster: Path, make_vector: MakeVector) -> None:
    x, y = Scene(raster).grid.transform @ (10, 10)
    bowtie = shapely.Polygon([(x, y), (x + 4, y - 4), (x + 4, y), (x, y - 4)])
    path = make_vector([bowtie, shapely.box(x, y, x + 1, y + 1)], [3, 7])
    labels = [VectorLabels(path, LAND, Scene(raster)) for _ in range(3)]
    assert remarks(labels) == [f"{path}: 1 of 2 features had to be mended"]


def test_a_layer_without_a_crs_needs_a_scene_without_one(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    path = make_vector([shapely.box(2, 3, 12, 9)], [7], crs=None)
    with pytest.raises(
        InputError, match=r"labels.gpkg: names no CRS, and .*scene.tif is in EPSG:32631; give the layer"
    ):
        VectorLabels(path, LAND, Scene(make_raster()))
    scene = Scene(make_raster(name="plain.png", crs=None, transform=None, driver="PNG"))
    index = VectorLabels(path, LAND, scene).read()
    assert (index[3:9, 2:12] == 1).all() and (index == 1).sum() == 60
    with pytest.raises(InputError, match=r"is in EPSG:4326, but .*plain.png names no CRS"):
        VectorLabels(make_vector([shapely.box(2, 3, 12, 9)], [7], "b.gpkg", "EPSG:4326"), LAND, scene)


def test_a_table_of_x_and_y_is_in_the_scenes_crs(make_raster: MakeRaster, tmp_path: Path) -> None:
    scene = Scene(make_raster())
    x, y = scene.grid.transform @ (20.5, 11.5)
    (tmp_path / "p.csv").write_text(f"x,y,kind\n{x},{y},c9\n")
    labels = VectorLabels(tmp_path / "p.csv", LAND, scene, LabelField("kind"))
    assert labels.read()[11, 20] == 2 and (labels.read() != NO_CLASS).sum() == 1
