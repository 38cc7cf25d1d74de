"""What figures are drawn of: no class is invented, nothing is counted twice, and errors are those of the score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling

import geoseg
from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import DEEPGLOBE, NO_CLASS
from geoseg.pictures import Outcome
from geoseg.plotting import material as materials
from geoseg.plotting.material import fitted, gather, turned
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import Labels
from geoseg.raster.resample import majority, nearest
from geoseg.raster.writer import ClassRasterWriter, ScoreRasterWriter

MakeRaster = Callable[..., Path]
CODES = np.random.default_rng(2).integers(0, 6, (37, 53)).astype(np.uint8)
CODES[:6, :9] = 255
TRUTH = np.where(np.random.default_rng(3).random((37, 53)) < 0.3, 6, np.roll(CODES, 1, 0)).astype(np.uint8)


@pytest.fixture
def written(make_raster: MakeRaster, tmp_path: Path) -> Callable[..., Path]:
    """A map as geoseg writes it, on the grid of ``make_raster``."""

    def write(
        codes: np.ndarray = CODES, name: str = "map.tif", scores: np.ndarray | None = None, **place: object
    ) -> Path:
        with geoseg.Scene(make_raster(codes, "grid.tif", **place)) as scene:
            grid = scene.grid
        names = {1: ["score of the class"], 6: [DEEPGLOBE.names[i] for i in DEEPGLOBE.scored]}
        bands = codes if scores is None else scores
        path = tmp_path / name
        writer = (
            ClassRasterWriter(path, grid, DEEPGLOBE)
            if scores is None
            else ScoreRasterWriter(path, grid, names[len(scores)])
        )
        with writer:
            for row in range(0, grid.shape[0], 512):
                for col in range(0, grid.shape[1], 512):
                    part = bands[..., row : row + 512, col : col + 512]
                    writer.write(Window(row, col, *part.shape[-2:]), np.ascontiguousarray(part))
        return path

    return write


@pytest.mark.parametrize("most", [53 * 4, 10**6])
def test_a_map_is_its_most_frequent_classes_and_counted_in_full(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(materials, "READ_AT_ONCE", most)
    found = gather(written(), 20)
    index = DEEPGLOBE.decode(CODES)
    assert found.index.shape == (14, 20) and (found.index == majority(index, (14, 20), NO_CLASS)).all()
    assert found.amounts.pixels.tolist() == np.bincount(index.ravel(), minlength=256).tolist()
    tally = AreaTally(found.grid)
    tally.add(found.grid.window, index)
    assert found.amounts.hectares == pytest.approx(tally.hectares)


def test_no_strip_is_larger_than_it_may_be(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(materials, "READ_AT_ONCE", 53 * 5)
    whole = Labels.read
    monkeypatch.setattr(Labels, "read", lambda self, window: read.append(window.area) or whole(self, window))
    gather(make_raster(np.where(CODES == 255, 0, CODES), blockysize=1), 20, legend=DEEPGLOBE)
    assert sum(read) == 37 * 53 and max(read) <= 53 * 6


def test_without_amounts_a_geoseg_map_is_read_from_its_overviews(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.kron(CODES[:20, :20], np.ones((64, 64), np.uint8))
    path = written(codes)
    monkeypatch.setattr(Labels, "read", lambda *args: pytest.fail("every pixel was read"))
    found = gather(path, 160, amounts=False)
    assert found.amounts is None
    assert (found.index == nearest(DEEPGLOBE.decode(codes), (160, 160))).all()


def test_averaged_overviews_of_codes_are_not_believed(make_raster: MakeRaster) -> None:
    codes = np.where(np.add.outer(np.arange(600), np.arange(640)) % 3 > 0, 0, 4).astype(np.uint8)
    path = make_raster(codes, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8], Resampling.average)
    found = gather(path, 80, legend=DEEPGLOBE, amounts=False)
    assert set(np.unique(found.index)) == {0}


def test_colours_of_a_mask_are_decoded_before_they_are_counted(make_raster: MakeRaster) -> None:
    index = np.random.default_rng(5).choice(np.array([2, 3, 4], np.uint8), (36, 52))
    path = make_raster(DEEPGLOBE.to_rgb(index), "mask.tif")
    found = gather(path, 26, legend=DEEPGLOBE)
    assert (found.index == majority(index, (18, 26), NO_CLASS)).all()


def test_errors_are_those_of_the_score(written: Callable[..., Path], make_raster: MakeRaster) -> None:
    truth = make_raster(TRUTH, "truth.tif", nodata=255)
    found = gather(written(), 20, truth=truth)
    report = geoseg.score(written(name="again.tif"), truth)
    assert (found.comparison.right, found.comparison.scored) == (report.matrix.hits.sum(), report.matrix.total)
    right = (TRUTH == CODES)[materials.nearest_positions(37, 14)[:, None], materials.nearest_positions(53, 20)]
    scored = np.isin(nearest(TRUTH, (14, 20)), range(6))
    assert ((found.comparison.outcome == Outcome.RIGHT) == right & scored).all()
    assert ((found.comparison.outcome == Outcome.UNSCORED) == ~scored).all()
    assert (found.comparison.truth == majority(DEEPGLOBE.decode(TRUTH), (14, 20), NO_CLASS)).all()


def test_a_map_of_another_grid_is_laid_over_its_truth(written: Callable[..., Path], make_raster: MakeRaster) -> None:
    place = Affine(1.0, 0.0, 441_754.5 + 5, 0.0, -1.5, 5_417_386.25 - 3)
    path, truth = written(CODES[8:27, 10:40], transform=place), make_raster(TRUTH, "truth.tif", nodata=255)
    found, report = gather(path, 60, truth=truth), geoseg.score(path, truth)
    assert found.grid.shape == (37, 53) == found.index.shape
    assert (found.comparison.right, found.comparison.scored) == (report.matrix.hits.sum(), report.matrix.total)


def test_polygons_may_be_the_truth(written: Callable[..., Path], make_vector: Callable[..., Path]) -> None:
    import shapely

    square = shapely.box(441_760, 5_417_365, 441_770, 5_417_380)
    truth, path = make_vector([square], ["forest"]), written()
    found, report = gather(path, 60, truth=truth), geoseg.score(path, truth)
    assert set(np.unique(found.comparison.truth)) == {3, NO_CLASS}
    assert (found.comparison.right, found.comparison.scored) == (report.matrix.hits.sum(), report.matrix.total)


# Images


def test_an_image_of_half_the_resolution_lies_under_the_map(
    written: Callable[..., Path], make_raster: MakeRaster
) -> None:
    coarse = np.random.default_rng(1).integers(1000, 3000, (3, 18, 26)).astype(np.uint16)
    path = written(CODES[:36, :52])
    image = make_raster(coarse, "image.tif", transform=Affine(1.0, 0.0, 441_754.5, 0.0, -1.5, 5_417_386.25))
    pixels, valid = gather(path, 52, scene=image).image
    assert pixels.shape == (3, 36, 52) and pixels.dtype == np.uint8 and valid.all() and pixels.max() > 250


def test_an_image_of_another_extent_is_refused(written: Callable[..., Path], make_raster: MakeRaster) -> None:
    image = make_raster(name="image.tif", transform=Affine(0.5, 0, 441_764.5, 0, -0.75, 5_417_386.25))
    with pytest.raises(GridMismatch, match="does not show the extent of the map"):
        gather(written(), 50, scene=image)


def test_bands_of_an_image(written: Callable[..., Path], make_raster: MakeRaster) -> None:
    pixels = np.stack([np.full((37, 53), 40 * band, np.uint8) for band in range(5)])
    image = make_raster(pixels, "image.tif", photometric="minisblack")
    assert gather(written(), 50, scene=image, bands=(5, 1, 3)).image[0][:, 0, 0].tolist() == [160, 0, 80]
    assert gather(written(name="b.tif"), 50, scene=image).image[0][:, 0, 0].tolist() == [0, 40, 80]
    stack = [make_raster(pixels[band], f"{band}.tif") for band in (4, 3, 2)]
    assert gather(written(name="c.tif"), 50, scene=stack).image[0][:, 0, 0].tolist() == [160, 120, 80]
    with pytest.raises(UsageError, match="one band or three, not of 2"):
        gather(written(name="d.tif"), 50, scene=image, bands=(1, 2))


# Memory, scores


def test_codes_and_predictions_in_memory(
    make_segmenter: Callable[..., geoseg.Segmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def classes(image: torch.Tensor) -> torch.Tensor:
        return torch.stack([image[:, 0] * k - image[:, 1] * (k % 3) for k in range(7)], 1)

    scene = np.random.default_rng(5).integers(0, 255, (3, 37, 53), dtype=np.uint8)
    result = geoseg.predict(scene, make_segmenter(classes), device="cpu", precision="fp32")
    found = gather(result, 60)
    assert (found.index == result.codes).all() and found.amounts.pixels[:6].tolist() == result.counts[:6].tolist()
    file = geoseg.predict(scene, make_segmenter(classes), tmp_path / "map.tif", device="cpu", precision="fp32")
    monkeypatch.setattr(Labels, "read", lambda *args: pytest.fail("what was counted is counted again"))
    again = gather(file, 60)
    assert (again.index == result.codes).all() and (again.amounts.pixels == found.amounts.pixels).all()
    found = gather(CODES, 60, legend=DEEPGLOBE, scene=scene, truth=TRUTH)
    assert (found.index == CODES).all() and (found.image[0] == scene).all() and found.comparison.scored
    with pytest.raises(InputError, match=r"whole numbers, got \(3, 37, 53\)"):
        gather(scene, 60)


def test_of_all_scores_the_highest_of_each_pixel_counts(written: Callable[..., Path]) -> None:
    scores = np.zeros((6, 36, 52), np.uint8)
    checks = np.add.outer(np.arange(36), np.arange(52)) % 2
    scores[0], scores[1] = 254 * checks, 254 * (1 - checks)
    scores[:, :4, :4] = 255
    path, file = written(CODES[:36, :52]), written(CODES[:36, :52], "scores.tif", scores=scores)
    sure = gather(path, 26, scores=file).confidence
    assert sure.kind == "all" and np.isnan(sure.values[:2, :2]).all() and np.isnan(sure.values).sum() == 4
    assert np.nanmin(sure.values) == 1
    top = written(CODES[:36, :52], "top.tif", scores=np.full((1, 36, 52), 127, np.uint8))
    assert gather(path, 26, scores=top).confidence.values == pytest.approx(0.5)


# Shapes


def test_turning_and_shrinking_take_everything_along(written: Callable[..., Path], make_raster: MakeRaster) -> None:
    scores = (1 + np.arange(37 * 53).reshape(1, 37, 53) % 250).astype(np.uint8)
    scores[:, CODES == 255] = 255
    path, file = written(), written(name="scores.tif", scores=scores)
    found = gather(path, 60, scene=make_raster(name="image.tif"), truth=make_raster(TRUTH, "t.tif"), scores=file)
    back = turned(turned(found, (-2, -1), found.grid), (-2, -1), found.grid)
    round_about = turned(found, (-2,), Grid(None, Affine.identity(), (37, 53)))
    for view in ("index", "image", "comparison", "confidence"):
        one, other = (_arrays(getattr(m, view)) for m in (found, back))
        assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True))
        flipped = _arrays(getattr(round_about, view))
        assert all(
            np.array_equal(a[..., ::-1, :], b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, flipped, strict=True)
        )
    smaller = fitted(found, (9, 13))
    assert all(
        array.shape[-2:] == (9, 13)
        for view in ("index", "image", "comparison", "confidence")
        for array in _arrays(getattr(smaller, view))
    )
    assert (smaller.comparison.right, smaller.amounts) == (found.comparison.right, found.amounts)


def _arrays(value: object) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    parts = value if isinstance(value, tuple) else vars(value).values()
    return [part for part in parts if isinstance(part, np.ndarray)]
