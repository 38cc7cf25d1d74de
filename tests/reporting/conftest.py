"""Scored scenes whose names are awkward in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result

import geoseg
from geoseg.legend import NODATA, Legend, LegendClass
from geoseg_cli.main import cli

OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
NAMES = ("cloud", "<road>", 'R&D "x"', "a|b", "=sum(1)", "[red]wäld")
"""The first is ignored, the fourth in no raster."""
LEGEND = Legend(
    "awkward & <b>",
    tuple(LegendClass(10 * i, name, (40 * i, 255 - 30 * i, 90)) for i, name in enumerate(NAMES)),
    ignore=(0,),
)
SHAPES = ((37, 53), (37, 53), (61, 29))


def write(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    """A GeoTIFF with unequal pixel sizes, off the origin."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype.name}
    place = {"crs": "EPSG:32631", "transform": OFF_ORIGIN} | profile
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as dataset:
        dataset.write(pixels)
    return path


def scene_of(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 codes of a truth and of a map that errs the more the higher the seed, and has none in a corner."""
    random = np.random.default_rng(seed)
    truth = random.choice(np.array([0, 10, 20, 40, 50], np.uint8), shape, p=[0.1, 0.5, 0.2, 0.1, 0.1])
    found = np.where(
        random.random(shape) < 0.1 + 0.2 * seed, random.choice(np.array([10, 20, 50], np.uint8), shape), truth
    )
    found = np.where(found == 0, np.uint8(10), found)
    found[:4, :5] = NODATA
    return truth, found


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels/, images/ (8 bits) and maps/ of three scenes, one of them with a name that HTML and shells mind."""
    root = tmp_path_factory.mktemp("it's <data> & more")
    for seed, stem in enumerate(("one", "two & <three>", "four")):
        truth, found = scene_of(seed, SHAPES[seed])
        write(root / "labels" / f"{stem}.tif", truth)
        write(root / "maps" / f"{stem}.tif", found, nodata=NODATA)
        write(root / "images" / f"{stem}.tif", np.stack([truth, truth * 2, 255 - truth]))
    return root


@pytest.fixture(scope="session")
def report(folders: Path) -> geoseg.Report:
    """Of the three scenes, with intervals and windows to look at."""
    return geoseg.score(folders / "maps", folders / "labels", LEGEND, draws=1000, details=True)


@pytest.fixture(scope="session")
def lone_report(folders: Path) -> geoseg.Report:
    """Of one scene, without either."""
    return geoseg.score(folders / "maps" / "one.tif", folders / "labels" / "one.tif", LEGEND)


@pytest.fixture
def legend_file(tmp_path: Path) -> Path:
    """LEGEND as JSON."""
    (tmp_path / "legend").mkdir()
    path = tmp_path / "legend" / "legend.json"
    path.write_text(json.dumps(LEGEND.to_dict()))
    return path


@pytest.fixture
def run_score() -> Callable[..., Result]:
    """Runs ``geoseg score`` as typed; the exit code is checked."""

    def run(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["score", *(str(word) for word in words)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run
