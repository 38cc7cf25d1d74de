"""predict with a least patch: GDAL's sieve of the whole map, however the work was divided or stopped."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import sieve

import geoseg
import geoseg.raster.sieve
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.grid import Grid
from geoseg.legend import DEEPGLOBE, NODATA
from geoseg.prediction.journal import Journal
from geoseg.prediction.plan import make_plan
from geoseg.raster.scene import ArrayScene

LOCAL = {"device": "cpu", "precision": "fp32", "window": 128, "overlap": 16, "shard_shape": (512, 512)}
SHAPE = 1100, 700
PIXELS = 30


class Killed(BaseException):
    pass


def by_colour(image: torch.Tensor) -> torch.Tensor:
    return torch.stack([(image[:, 0] * k + image[:, 1] * (7 - k)) % 31 for k in range(7)], 1)


@pytest.fixture
def segmenter(make_segmenter):
    return make_segmenter(by_colour)


@pytest.fixture
def scene() -> ArrayScene:
    random = np.random.default_rng(3)
    pixels = np.kron(random.integers(0, 255, (3, 110, 100), dtype=np.uint8), np.ones((1, 10, 7), np.uint8))
    pixels[:, random.random(SHAPE) < 0.02] += 31
    valid = np.ones(SHAPE, bool)
    valid[512:1024, :512] = False
    # An equal-area CRS: pixels of 4 square metres on the ellipsoid.
    grid = Grid(CRS.from_epsg(6933), Affine(2, 0, 441_754, 0, -2, 5_417_386), SHAPE)
    return ArrayScene(pixels, valid, grid)


@pytest.fixture
def expected(scene, segmenter) -> np.ndarray:
    codes = geoseg.predict(scene, segmenter, **LOCAL).codes
    smooth = sieve(codes, PIXELS, mask=codes != NODATA)
    assert (smooth != codes).sum() > 1000
    return np.where(codes == NODATA, NODATA, smooth)


@pytest.mark.parametrize("least", [{"min_pixels": PIXELS}, {"min_area": (PIXELS - 0.5) * 4e-4}], ids=str)
@pytest.mark.parametrize("divided", [{}, {"shard_shape": (1536, 1024)}, {"shard_shape": (512, 1024)}], ids=str)
def test_it_is_the_sieve_of_the_whole_map(scene, segmenter, expected, tmp_path, least, divided, monkeypatch) -> None:
    output, how = tmp_path / "map.tif", LOCAL | divided | least
    result = geoseg.predict(scene, segmenter, output, **how)
    assert np.array_equal(result.codes, expected)
    assert np.array_equal(result.counts, np.bincount(expected.ravel(), minlength=256))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]
    with rasterio.open(output) as dataset:
        assert json.loads(dataset.tags()["GEOSEG_SETTINGS"]).items() >= least.items()
        assert dataset.overviews(1) == [2, 4]
    in_memory = geoseg.predict(scene, segmenter, **how)
    assert np.array_equal(in_memory.codes, expected) and np.allclose(in_memory.hectares, result.hectares)


def test_tiles_of_the_sieve_change_nothing(scene, segmenter, expected, monkeypatch) -> None:
    monkeypatch.setattr(geoseg.raster.sieve.Sieve.__init__, "__defaults__", (False, 100))
    assert np.array_equal(geoseg.predict(scene, segmenter, min_pixels=PIXELS, **LOCAL).codes, expected)


@pytest.mark.parametrize("place", ["shard", "sieve"])
def test_a_stopped_run_goes_on_and_ends_the_same(scene, segmenter, tmp_path, monkeypatch, place) -> None:
    whole, output = tmp_path / "whole.tif", tmp_path / "map.tif"
    geoseg.predict(scene, segmenter, whole, min_pixels=PIXELS, **LOCAL)
    add = Journal.add

    def add_then_die(self, result):
        if len(self._parts) == 2:
            raise Killed
        add(self, result)

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Journal, "add", add_then_die) if place == "shard" else patch.setattr(
            geoseg.raster.sieve.Sieve, "write_to", die
        )
        geoseg.predict(scene, segmenter, output, min_pixels=PIXELS, **LOCAL)
    assert not output.exists()
    with pytest.raises(UsageError, match="another min_pixels"):
        geoseg.predict(scene, segmenter, output, resume=True, min_pixels=PIXELS + 1, **LOCAL)
    geoseg.predict(scene, segmenter, output, resume=True, min_pixels=PIXELS, **LOCAL)
    assert output.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_scores_stay_those_of_the_pixels(scene, segmenter, expected, tmp_path) -> None:
    kept = {"scores": "top", "min_pixels": PIXELS}
    plain = geoseg.predict(scene, segmenter, scores="top", **LOCAL)
    smooth = geoseg.predict(scene, segmenter, tmp_path / "m.tif", scores_output=tmp_path / "s.tif", **kept, **LOCAL)
    with rasterio.open(smooth.scores_path) as dataset:
        assert np.array_equal(dataset.read(), plain.scores)
    assert np.array_equal(smooth.codes, expected)


def test_what_cannot_be_is_refused_beforehand(scene, segmenter, make_segmenter, tmp_path) -> None:
    bare = ArrayScene(scene.pixels, scene.valid)
    with pytest.raises(InputError, match="--min-pixels"):
        geoseg.predict(bare, segmenter, tmp_path / "map.tif", min_area=1, **LOCAL)
    with pytest.raises(UsageError, match="least patch"):
        geoseg.predict(scene, segmenter, tmp_path / "map.tif", min_area=1, min_pixels=2, **LOCAL)
    with pytest.raises(UsageError, match="when the map is whole"):
        next(geoseg.predict_strips(scene, segmenter, min_pixels=2, **LOCAL))
    assert not list(tmp_path.iterdir())


def test_the_plan_knows_of_it(scene, segmenter) -> None:
    plan = make_plan(scene, segmenter, min_area=0.5, **LOCAL)
    assert geoseg.Plan.from_json(plan.to_json()) == plan and str(plan.least_patch) == "0.5 ha"
    assert plan.memory >= 64 * 1024**2


def test_a_style_for_qgis(scene, segmenter, tmp_path) -> None:
    output = tmp_path / "map.tif"
    geoseg.predict(scene, segmenter, output, qml=True, **LOCAL)
    root = ElementTree.parse(tmp_path / "map.qml").getroot()
    entries = {entry.get("value"): (entry.get("label"), entry.get("color")) for entry in root.iter("paletteEntry")}
    assert entries == {
        str(one.code): (one.name, "#{:02x}{:02x}{:02x}".format(*one.colour)) for one in DEEPGLOBE.classes
    }
    output.unlink()
    with pytest.raises(OutputError, match=r"map.qml: exists"):
        geoseg.predict(scene, segmenter, output, qml=True, **LOCAL)
    with pytest.raises(UsageError, match="a style"):
        geoseg.predict(scene, segmenter, qml=True, **LOCAL)
