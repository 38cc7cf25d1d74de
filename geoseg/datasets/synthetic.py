"""SYNTHETIC scenes with exact labels, and a data set of them in the DeepGlobe layout.

They are for trying and testing the tool. The land is invented by `landscape`; here it
is photographed and written to files. Nothing here is evidence about real land.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from tqdm import tqdm

from geoseg.datasets.dataset import SYNTHETIC_MARK
from geoseg.datasets.landscape import BARREN, FOREST, RANGELAND, UNKNOWN, URBAN, WATER, claim, draw_land
from geoseg.datasets.shapes import GSD, rough_noise, shifted
from geoseg.errors import OutputError
from geoseg.files import disk_errors
from geoseg.grid import Grid
from geoseg.legend import DEEPGLOBE, NO_CLASS
from geoseg.raster.image import write_image
from geoseg.raster.writer import ClassRasterWriter

# Per class: mean share of the land, the part of 512 m scenes that hold it, and the
# step from scene to scene. Irrational steps spread every class evenly over any run
# of scenes: four scenes in a row hold each of the first five at least once.
PLAN = {
    URBAN: (0.1104, 0.50, 0.7320508),
    RANGELAND: (0.0826, 0.50, 0.7182818),
    FOREST: (0.1154, 0.60, 0.6457513),
    WATER: (0.0311, 0.46, 0.6180340),
    BARREN: (0.0864, 0.50, 0.4142136),
    UNKNOWN: (0.0010, 0.16, 0.3819660),
}
MOST_NOT_FARMED = 0.92  # at most this share of a scene is not agriculture
PLAN_STREAM = 1  # keeps the random stream of the plan apart from those of the scenes

SAMPLE_VERSION = 1
"""Raised whenever the same seed gives other scenes."""
FIRST_ID = 100001
CRS = "EPSG:32631"
ORIGIN = (441_754.0, 5_417_386.0)  # metres east and north; whole pixels, off round numbers

README = """\
SYNTHETIC land-cover data set, drawn by geoseg from seed {seed}.

{scenes} scenes of {size} x {size} pixels at {gsd:g} m: <id>_sat.jpg (RGB) and
<id>_mask.png (DeepGlobe colours); split.json says which are for train, val and test.
scene.tif and truth.tif are one larger georeferenced scene, not among the others.

No such place exists. Use this to try and to test software; do not use it as
evidence about real land, or about how well a method maps real land.
"""


def draw_scene(shape: tuple[int, int], seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one synthetic scene.

    `shape` is (height, width) in pixels of 2 m; `seed` (the world) and `number` (the
    scene in it) are integers >= 0. The same three values give the same scene.
    Returns the pixels, (3, H, W) uint8 RGB, each >= 1 (0 is left for nodata), and the
    class index, (H, W) uint8, 0..6 in DeepGlobe order.
    """
    rng = np.random.default_rng([seed, number])
    shares = plan_shares(shape, seed, number)
    picture, index, sun = draw_land(shape, shares, rng)
    add_clouds(picture, index, shares[UNKNOWN], sun, rng)
    return expose(picture, rng), index


def plan_shares(shape: tuple[int, int], seed: int, number: int) -> dict[int, float]:
    """Share of the scene for each class but agriculture, which gets the rest."""
    starts = np.random.default_rng([seed, 0, PLAN_STREAM]).random(len(PLAN))
    # A larger scene holds more land, so that its shares lie nearer to the mean.
    swing = min(1.0, 256.0 / np.sqrt(shape[0] * shape[1]))
    shares = {}
    for start, (cls, (mean, chance, step)) in zip(starts, PLAN.items(), strict=True):
        level = 1.0 - ((start + number * step) % 1.0) / chance
        share = mean / chance * (0.4 + 1.2 * level) if level > 0 else 0.0
        shares[cls] = mean + (share - mean) * swing
    excess = max(1.0, sum(shares.values()) / MOST_NOT_FARMED)
    return {cls: share / excess for cls, share in shares.items()}


def add_clouds(picture: np.ndarray, index: np.ndarray, share: float, sun: np.ndarray, rng: np.random.Generator) -> None:
    """White clouds, labelled unknown, and their shadows, which keep the label of the land."""
    score = rough_noise(index.shape, 110.0, rng, octaves=5)
    cloud = claim(score, np.ones(index.shape, dtype=bool), share)
    if not cloud.any():
        return
    veil = np.clip((score - score[cloud].min()) / 0.5 + 0.35, 0, 1)
    picture *= 1 - 0.45 * shifted(veil, 22 * sun)[..., None]
    picture += (np.array((238, 240, 244), dtype=np.float32) - picture) * veil[..., None]
    index[cloud] = UNKNOWN


def expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the camera records, (3, H, W) uint8 >= 1: soft optics, the day's light, haze, noise."""
    picture = soften(soften(picture, 0), 1)
    light = rng.normal(1.0, 0.07) * rng.normal(1.0, 0.025, 3)
    haze = rng.uniform(0, 0.14)
    picture *= (light * (1 - haze)).astype(np.float32)
    picture += (haze * np.array((190, 200, 212))).astype(np.float32)
    picture += rng.normal(0, 1) + 2.5 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(np.rint(picture), 1, 255).astype(np.uint8).transpose(2, 0, 1))


def soften(picture: np.ndarray, axis: int) -> np.ndarray:
    """Blend each pixel with its two neighbours along the axis (weights 1, 4, 1)."""
    padded = np.pad(picture, [(1, 1) if i == axis else (0, 0) for i in range(3)], mode="edge")
    size = picture.shape[axis]
    before, after = (padded.take(range(start, start + size), axis) for start in (0, 2))
    return (before + 4 * picture + after) / 6


def write_sample(
    directory: str | Path, *, scenes: int = 24, size: int = 256, seed: int = 0, progress: bool = False
) -> None:
    """Write a data set in the DeepGlobe layout plus a georeferenced scene.tif and truth.tif.

    Args:
        directory: a new or empty folder.
        scenes, size: how many, and their side in pixels of 2 m. scene.tif has 2 size + 37 rows and 2 size + 53 columns.
        seed: of the world; the same seed gives the same files.
        progress: show a bar on stderr.

    Written beside its place and renamed when whole. Raises OutputError where the folder holds something or cannot be
    made, ResourceError where the disk is full.
    """
    directory = Path(directory)
    with _whole_or_nothing(directory) as drawing:
        _write_files(drawing, scenes, size, seed, progress)


def _write_files(directory: Path, scenes: int, size: int, seed: int, progress: bool) -> None:
    readme = README.format(seed=seed, scenes=scenes, size=size, gsd=GSD)
    (directory / SYNTHETIC_MARK).write_text(readme, encoding="utf-8")
    ids = [f"{FIRST_ID + number:06d}" for number in range(scenes)]
    for number, name in enumerate(tqdm(ids, "drawing", unit="scene", disable=not progress, leave=False)):
        write_pair(directory, name, *draw_scene((size, size), seed, number))
    write_split(directory, ids)
    write_georeferenced(directory, *draw_scene((2 * size + 37, 2 * size + 53), seed, scenes))


def write_pair(directory: Path, name: str, pixels: np.ndarray, index: np.ndarray) -> None:
    """Write `<name>_sat.jpg` from (3, H, W) uint8 and `<name>_mask.png` from (H, W) uint8."""
    photo = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    photo.save(directory / f"{name}_sat.jpg", quality=95, subsampling="4:4:4")
    mask = np.ascontiguousarray(DEEPGLOBE.to_rgb(index).transpose(1, 2, 0))
    Image.fromarray(mask).save(directory / f"{name}_mask.png")


def write_split(directory: Path, ids: list[str]) -> None:
    """Write split.json: runs of scenes for train, val and test, about 4 : 1 : 1.

    Whole runs, because the landscape spreads every class evenly over scenes in a row.
    """
    part = max(1, len(ids) // 6) if len(ids) >= 3 else 0
    train = len(ids) - 2 * part
    split = {"train": ids[:train], "val": ids[train : train + part], "test": ids[train + part :]}
    (directory / "split.json").write_text(json.dumps(split, indent=2) + "\n", encoding="utf-8")


def write_georeferenced(directory: Path, pixels: np.ndarray, index: np.ndarray) -> None:
    """Write scene.tif from (3, H, W) and truth.tif from (H, W), with a wedge of nodata."""
    grid = Grid(rasterio.CRS.from_string(CRS), from_origin(*ORIGIN, GSD, GSD), index.shape)
    wedge = footprint_wedge(index.shape)
    write_image(directory / "scene.tif", np.where(wedge, 0, pixels).astype(np.uint8), grid, nodata=0)
    with ClassRasterWriter(directory / "truth.tif", grid, DEEPGLOBE) as writer:
        writer.write(grid.window, DEEPGLOBE.encode(np.where(wedge, NO_CLASS, index)))


def footprint_wedge(shape: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) of about 3 % of the area: the upper left corner, cut off at a slant."""
    down = np.arange(shape[0])[:, None] / shape[0]
    right = np.arange(shape[1])[None, :] / shape[1]
    return down / 0.5 + right / 0.12 < 1


@contextmanager
def _whole_or_nothing(directory: Path) -> Iterator[Path]:
    """A folder beside ``directory`` to write into, put in its place at the end, removed where that is not reached."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OutputError(f"{directory}: is not empty; name a new folder")
    partial = directory.absolute().with_name(f".{directory.absolute().name}.{os.getpid()}.partial")
    with disk_errors(directory):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        try:
            yield partial
            os.replace(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
