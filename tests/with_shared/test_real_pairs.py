"""Real land-cover labels against themselves on other grids: stated alignments, and figures that follow from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

from geoseg.errors import GridMismatch
from geoseg.legend import Legend
from geoseg.scoring.score import score

KOREA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sentinel2_korea"
pytestmark = pytest.mark.skipif(not KOREA.is_dir(), reason="needs the shared data set sentinel2_korea")


@pytest.fixture(scope="module")
def legend() -> Legend:
    return Legend.from_file(KOREA / "legend.json")


@pytest.fixture(scope="module")
def truth() -> Path:
    return KOREA / "labels" / "patch_07.tif"


def codes_of(path: Path) -> tuple[np.ndarray, dict]:
    with rasterio.open(path) as dataset:
        return dataset.read(1), dataset.profile


def write(path: Path, pixels: np.ndarray, profile: dict, **changes: object) -> Path:
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(path, "w", **(profile | shape | changes)) as dataset:
        dataset.write(pixels)
    return path


def test_a_colour_mask_is_the_same_map(truth: Path, legend: Legend, tmp_path: Path) -> None:
    codes, profile = codes_of(truth)
    rgb = write(tmp_path / "rgb.tif", legend.to_rgb(legend.decode(codes)), profile, photometric="RGB")
    report = score(rgb, truth, legend)
    assert report.mean_iou == 1 and report.matrix.total == codes.size
    assert report.notes == ("1 pair(s): same grid, pixel by pixel",)


def test_a_shifted_copy_is_scored_over_the_common_area_and_the_shift_told(
    truth: Path, legend: Legend, tmp_path: Path
) -> None:
    codes, profile = codes_of(truth)
    moved = profile["transform"] @ Affine.translation(2, -1)
    report = score(write(tmp_path / "map.tif", codes, profile, transform=moved), truth, legend)
    index = legend.decode(codes)
    assert report.pixel_accuracy == (index[:-1, 2:] == index[1:, :-2]).mean() < 1
    assert any("-1.00 px down and +2.00 px right" in note and "+20.00 m" in note for note in report.notes)


def test_a_copy_of_half_the_size_is_laid_over_by_nearest(truth: Path, legend: Legend, tmp_path: Path) -> None:
    codes, profile = codes_of(truth)
    half = write(tmp_path / "half.tif", codes[1::2, 1::2], profile, transform=profile["transform"] @ Affine.scale(2))
    report = score(half, truth, legend)
    assert report.pixel_accuracy == (codes[1::2, 1::2].repeat(2, 0).repeat(2, 1) == codes).mean()
    assert "nearest from 256 x 256 px onto the truth's 512 x 512 px" in report.notes[0]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32651"])
def test_a_reprojected_copy_agrees_but_along_borders(truth: Path, legend: Legend, tmp_path: Path, crs: str) -> None:
    with rasterio.open(truth) as dataset:
        transform, width, height = calculate_default_transform(
            dataset.crs, crs, dataset.width, dataset.height, *dataset.bounds
        )
        # Three times finer, so that two roundings rarely meet another class.
        transform, shape = transform @ Affine.scale(1 / 3), (height * 3, width * 3)
        warped = np.full(shape, 255, np.uint8)
        reproject(
            rasterio.band(dataset, 1),
            warped,
            dst_transform=transform,
            dst_crs=crs,
            dst_nodata=255,
            resampling=Resampling.nearest,
        )
        profile = dataset.profile
    copy = write(tmp_path / "copy.tif", warped, profile, crs=crs, transform=transform, nodata=255)
    report = score(copy, truth, legend)
    assert "nearest from" in report.notes[0] and "over their common area" in report.notes[0]
    assert report.pixel_accuracy > 0.97 and report.matrix.missing < 0.002 * report.matrix.total
    (pair,) = report.pairs.values()
    assert pair.overlap > 0.998


def test_two_places_share_no_ground(truth: Path, legend: Legend) -> None:
    with pytest.raises(GridMismatch, match="share no ground"):
        score(truth, KOREA / "labels" / "patch_08.tif", legend)


def test_overlapping_chips_agree_where_they_overlap(legend: Legend) -> None:
    report = score(KOREA / "labels" / "patch_03.tif", KOREA / "labels" / "patch_08.tif", legend)
    (pair,) = report.pairs.values()
    assert 0.8 < pair.overlap < 0.9 and report.matrix.total == round(pair.overlap * 512 * 512)
