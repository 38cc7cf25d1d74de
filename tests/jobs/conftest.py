"""A scene of nine tasks, a small network, and the map that geoseg.predict makes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

import geoseg
from geoseg.jobs.job import Job
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import save_segmenter

SHAPE = 1041, 1103
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
HOW = {"window": 256, "overlap": 64, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="session")
def job_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow U-Net of random weights, whose classes alternate from pixel to pixel."""
    torch.manual_seed(3)
    config = SegmenterConfig(
        DEEPGLOBE, mean=(0.4,) * 3, std=(0.25,) * 3, fill=(100.0,) * 3, width=2, window=128, size=128, gsd=1.1
    )
    segmenter = Segmenter(config)
    with torch.no_grad():
        # Logits of all classes about 0 and as far apart as their neighbours'.
        logits = segmenter.network(torch.randn(1, 3, 128, 128))
        spread = logits.std((0, 2, 3))
        segmenter.network.head.bias.sub_(logits.mean((0, 2, 3))).div_(spread)
        segmenter.network.head.weight.div_(spread[:, None, None, None])
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_segmenter(segmenter, path)
    return path


@pytest.fixture(scope="session")
def job_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1041 x 1103 px off the origin, without data in a whole task, in a corner of another and in single pixels."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    write_scene(path)
    return path


def write_scene(path: Path, shape: tuple[int, int] = SHAPE, place: Affine = PLACE) -> Path:
    draw = np.random.default_rng(1)
    height, width = shape
    coarse = draw.integers(1, 200, (3, height // 16 + 1, width // 16 + 1))
    pixels = coarse.repeat(16, 1).repeat(16, 2)[:, :height, :width] + draw.integers(0, 50, (3, height, width))
    pixels[:, :512, :512] = 0
    pixels[:, -60:, -40:] = 0
    pixels[:, draw.random((height, width)) < 0.01] = 0
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    shape = {"count": 3, "height": height, "width": width, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=place, **shape, **layout) as dataset:
        dataset.write(pixels.astype(np.uint8))
    return path


@pytest.fixture(scope="session")
def predicted(job_scene: Path, job_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of the scene by geoseg.predict."""
    path = tmp_path_factory.mktemp("predicted") / "map.tif"
    geoseg.predict(job_scene, job_model, path, **HOW)
    return path


@pytest.fixture
def make_job(job_scene: Path, job_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Plan a job of nine tasks, and return its folder."""

    def make(scenes: object = None, name: str = "job", **options: object) -> Path:
        how = HOW | {"part": 512} | options
        geoseg.plan_job(job_scene if scenes is None else scenes, tmp_path / name, job_model, **how)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def finished(job_scene: Path, job_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that is finished; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "job"
    geoseg.plan_job(job_scene, folder, job_model, part=512, **HOW)
    geoseg.run_job(folder)
    return folder


@pytest.fixture
def copy_of_finished(finished: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def merged_pixels(folder: Path) -> np.ndarray:
    """The map of a job of one scene."""
    output = folder.with_name(f"{folder.name}.tif")
    geoseg.merge_job(folder, output, overwrite=True)
    return pixels_of(output)


def computed_at(folder: Path) -> dict[str, int]:
    """When each part was finished."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("part-??????.json")}


def job_of(folder: Path) -> Job:
    return Job.from_json((folder / "job.json").read_text())


@pytest.fixture
def damaged_scene(job_scene, tmp_path) -> Path:
    """One block of it cannot be read."""
    scene = tmp_path / "damaged.tif"
    shutil.copy(job_scene, scene)
    with rasterio.open(scene) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{what}_2_3", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    with open(scene, "r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    return scene


def repair(scene: Path, job_scene: Path) -> None:
    modified = scene.stat().st_mtime_ns
    scene.write_bytes(job_scene.read_bytes())
    os.utime(scene, ns=(modified, modified))
