"""Write a SYNTHETIC data set to try and test the tool with, in the DeepGlobe layout.

The land is invented by `landscape.draw_scene`. Nothing here is evidence about real land.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .landscape import GSD, draw_scene

__all__ = ["GSD", "draw_scene", "write_sample"]

FIRST_ID = 100001
CRS = "EPSG:32631"
ORIGIN = (441_754.0, 5_417_386.0)  # metres east and north; whole pixels, off round numbers
NODATA, TRUTH_NODATA = 0, 255

README = """\
SYNTHETIC land-cover data set, drawn by geoseg from seed {seed}.

{scenes} scenes of {size} x {size} pixels at {gsd:g} m: <id>_sat.jpg (RGB) and
<id>_mask.png (DeepGlobe colours); split.json says which are for train, val and test.
scene.tif and truth.tif are one larger georeferenced scene, not among the others.

No such place exists. Use this to try and to test software; do not use it as
evidence about real land, or about how well a method maps real land.
"""


def write_sample(
    directory: Path,
    *,
    scenes: int = 24,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> None:
    """Write a data set in the DeepGlobe layout plus scene.tif and truth.tif.

    `directory` is new or empty (it is made if missing). `scenes` images of `size` x
    `size` pixels (2 m each) are written, then one georeferenced scene of
    2 * size + 37 rows and 2 * size + 53 columns. `progress` may wrap an iterable to
    show how far it is, as tqdm does.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    ids = [f"{FIRST_ID + number:06d}" for number in range(scenes)]
    numbered = list(enumerate(ids))
    for number, name in progress(numbered) if progress else numbered:
        write_pair(directory, name, *draw_scene((size, size), seed, number))
    write_split(directory, ids)
    write_georeferenced(directory, *draw_scene((2 * size + 37, 2 * size + 53), seed, scenes))
    readme = README.format(seed=seed, scenes=scenes, size=size, gsd=GSD)
    (directory / "README.txt").write_text(readme, encoding="utf-8")


def write_pair(directory: Path, name: str, pixels: np.ndarray, index: np.ndarray) -> None:
    """Write `<name>_sat.jpg` from (3, H, W) uint8 and `<name>_mask.png` from (H, W) uint8."""
    from PIL import Image

    from geoseg.legend import DEEPGLOBE

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
    wedge = footprint_wedge(index.shape)
    write_tiff(directory / "scene.tif", np.where(wedge, NODATA, pixels).astype(np.uint8), NODATA)
    truth = np.where(wedge, TRUTH_NODATA, index).astype(np.uint8)
    write_tiff(directory / "truth.tif", truth[None], TRUTH_NODATA)


def footprint_wedge(shape: tuple[int, int]) -> np.ndarray:
    """Mask (H, W) of about 3 % of the area: the upper left corner, cut off at a slant."""
    down = np.arange(shape[0])[:, None] / shape[0]
    right = np.arange(shape[1])[None, :] / shape[1]
    return down / 0.5 + right / 0.12 < 1


def write_tiff(path: Path, bands: np.ndarray, nodata: int) -> None:
    """Write (bands, H, W) uint8 as a tiled, compressed, georeferenced TIFF of 2 m pixels."""
    import rasterio
    from rasterio.transform import from_origin

    count, height, width = bands.shape
    profile = dict(driver="GTiff", dtype="uint8", count=count, height=height, width=width, nodata=nodata)
    layout = dict(tiled=True, blockxsize=256, blockysize=256, compress="DEFLATE")
    if count == 3:
        layout["photometric"] = "RGB"
    place = dict(crs=CRS, transform=from_origin(*ORIGIN, GSD, GSD))
    with rasterio.open(path, "w", **profile, **layout, **place) as target:
        target.write(bands)
