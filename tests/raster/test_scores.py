"""ScoresRaster: what ScoreRasterWriter wrote is read back, and other files are not taken for scores."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import GridMismatch, InputError
from geoseg.grid import IDENTITY, Grid, Window
from geoseg.legend import DEEPGLOBE, NODATA, Legend, LegendClass
from geoseg.raster.scene import Scene
from geoseg.raster.scores import ScoresRaster, score_band_names
from geoseg.raster.writer import ClassRasterWriter, ScoreRasterWriter

GRID = Grid(CRS.from_epsg(32631), Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25), (37, 53))
MADE = {"GEOSEG_INPUT": "scene.tif", "GEOSEG_MODEL_SHA256": "abc"}


def legend_of(classes: int) -> Legend:
    return Legend("some", tuple(LegendClass(i, f"class {i}", (i, i, 9)) for i in range(classes)))


def steps(bands: int) -> np.ndarray:
    scores = np.random.default_rng(bands).integers(0, 255, (bands, *GRID.shape)).astype(np.uint8)
    scores[:, :2, :3] = NODATA
    return scores


def write(path: Path, names: list[str], grid: Grid = GRID, **options: object) -> np.ndarray:
    scores = steps(len(names))
    with ScoreRasterWriter(path, grid, names, **options) as writer:
        writer.write(grid.window, scores)
    return scores


def write_map(path: Path, grid: Grid = GRID, tags: dict[str, str] | None = None) -> Scene:
    with ClassRasterWriter(path, grid, DEEPGLOBE, tags) as writer:
        writer.write(grid.window, np.zeros(grid.shape, np.uint8))
    return Scene(path)


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("kind", ["top", "margin", "all"])
def test_what_was_written_is_read_and_its_kind_known(tmp_path: Path, kind: str, cog: bool) -> None:
    scores = write(tmp_path / "scores.tif", score_band_names(kind, DEEPGLOBE), cog=cog)
    found = pickle.loads(pickle.dumps(ScoresRaster(tmp_path / "scores.tif", DEEPGLOBE)))
    assert found.kind == kind and found.grid == Scene(tmp_path / "scores.tif").grid
    assert np.array_equal(found.read(), scores)
    window = Window(1, 2, 9, 11)
    assert np.array_equal(found.read(window), scores[:, *window.slices])
    found.close()


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_three_or_four_bands_are_no_picture(tmp_path: Path, classes: int) -> None:
    legend = legend_of(classes)
    scores = write(tmp_path / "scores.tif", score_band_names("all", legend))
    assert np.array_equal(ScoresRaster(tmp_path / "scores.tif", legend).read(), scores)
    assert len(Scene(tmp_path / "scores.tif").bands) == classes


def test_a_fourth_band_that_is_taken_for_alpha_is_read_all_the_same(tmp_path: Path) -> None:
    legend = legend_of(4)
    scores = write(tmp_path / "scores.tif", score_band_names("all", legend))
    with rasterio.open(tmp_path / "scores.tif") as dataset:
        profile = dataset.profile | {"photometric": "RGB", "alpha": "YES"}
        names, scales = dataset.descriptions, dataset.scales
    with rasterio.open(tmp_path / "copy.tif", "w", **profile) as copy:
        copy.write(scores)
        copy.descriptions, copy.scales = names, scales
    assert len(Scene(tmp_path / "copy.tif").bands) == 3
    found = ScoresRaster(tmp_path / "copy.tif", legend)
    assert found.kind == "all" and np.array_equal(found.read(), scores)


def test_other_rasters_are_refused(tmp_path: Path, make_raster: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"scene.tif: its bands \(unnamed, unnamed, unnamed\) are neither"):
        ScoresRaster(make_raster(), DEEPGLOBE)
    write(tmp_path / "scores.tif", score_band_names("all", legend_of(6)))
    with pytest.raises(InputError, match="nor the classes of the legend 'deepglobe'"):
        ScoresRaster(tmp_path / "scores.tif", DEEPGLOBE)
    with rasterio.open(make_raster(np.zeros(GRID.shape, np.uint8), "plain.tif"), "r+") as dataset:
        dataset.set_band_description(1, "score of the class")
    with pytest.raises(InputError, match=r"plain.tif: its bands \(uint8, scale 1\) are not in steps of 1/254"):
        ScoresRaster(tmp_path / "plain.tif", DEEPGLOBE)


def test_scores_beside_their_map(tmp_path: Path) -> None:
    write(tmp_path / "scores.tif", score_band_names("top", DEEPGLOBE), tags=MADE)
    found = ScoresRaster(tmp_path / "scores.tif", DEEPGLOBE)
    found.require_of(write_map(tmp_path / "map.tif", tags=MADE))
    found.require_of(write_map(tmp_path / "untagged.tif"))
    found.require_of(write_map(tmp_path / "placeless.tif", Grid(None, IDENTITY, GRID.shape)))


def test_scores_elsewhere_or_of_another_map_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "scores.tif", score_band_names("top", DEEPGLOBE), tags=MADE)
    found = ScoresRaster(tmp_path / "scores.tif", DEEPGLOBE)
    shifted = Grid(GRID.crs, GRID.transform @ Affine.translation(1, 0), GRID.shape)
    for name, grid in (("shifted.tif", shifted), ("small.tif", Grid(None, IDENTITY, (37, 52)))):
        with pytest.raises(GridMismatch, match=rf"scores.tif .* is not on the grid of .*{name}"):
            found.require_of(write_map(tmp_path / name, grid))
    other = write_map(tmp_path / "other.tif", tags=MADE | {"GEOSEG_MODEL_SHA256": "xyz"})
    with pytest.raises(InputError, match=r"was not made with .*other.tif \(their tags GEOSEG_MODEL_SHA256 differ\)"):
        found.require_of(other)
