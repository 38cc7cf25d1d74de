"""What QGIS shows of a map and of its polygons: the legend's names and colours."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

import geoseg
from geoseg.grid import IDENTITY, Grid, Window
from geoseg.legend import NODATA, Legend, LegendClass
from geoseg.raster.writer import ClassRasterWriter

PYTHON = "/usr/bin/python3"
"""The system's own Python, which has QGIS's modules; geoseg's environment has not."""
LEGEND = Legend(
    "city",
    (
        LegendClass(40, "road & <path>", (90, 90, 90)),
        LegendClass(10, "Gebäude", (220, 0, 0)),
        LegendClass(7, "park", (0, 160, 0)),
    ),
)
CLASSES = {str(c.code): [c.name, "#{:02x}{:02x}{:02x}".format(*c.colour)] for c in LEGEND.classes}


@cache
def missing() -> str:
    """Why QGIS cannot be asked; "" where it can."""
    if not Path(PYTHON).exists():
        return f"{PYTHON} is not there"
    done = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True)
    return "QGIS's Python modules are not installed (apt-get install qgis python3-qgis)" if done.returncode else ""


@pytest.fixture
def make_map(tmp_path: Path):
    if missing():
        pytest.skip(missing())

    def make(grid: Grid | None = None) -> Path:
        codes = np.repeat(np.array([[40] * 20 + [10] * 12 + [7] * 21], np.uint8), 37, 0)
        codes[:9, :9] = NODATA
        grid = grid or Grid(CRS.from_epsg(32631), Affine(0.5, 0, 441_754.5, 0, -0.75, 5_417_386.25), codes.shape)
        with ClassRasterWriter(tmp_path / "map.tif", grid, LEGEND) as writer:
            writer.write(Window(0, 0, *codes.shape), codes)
        return tmp_path / "map.tif"

    return make


def shown(raster: Path, vector: Path) -> dict:
    """How QGIS shows the two; it draws pictures beside the raster: of it, and of the polygons."""
    script, picture = Path(__file__).with_name("in_qgis.py"), raster.with_suffix(".png")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GDAL", "PROJ"))}
    clean |= {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(raster.parent), "HOME": str(raster.parent)}
    done = subprocess.run(
        [PYTHON, script, raster, vector, picture], capture_output=True, text=True, env=clean, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def colours_across(picture: Path) -> list[tuple[int, ...]]:
    """Of a row through the middle, at the middle of each class."""
    image = np.asarray(Image.open(picture).convert("RGB"))
    bounds = np.flatnonzero((image != 255).any(2).any(0))
    left, width = bounds[0], bounds[-1] - bounds[0] + 1
    row = image[np.flatnonzero((image != 255).any(2).any(1)).mean().astype(int)]
    return [tuple(row[left + int(width * middle / 53)].tolist()) for middle in (10, 26, 42)]


def test_raster_and_polygons_have_the_legend_s_names_and_colours(make_map, tmp_path: Path) -> None:
    path = make_map()
    geoseg.vectorize(path, tmp_path / "polygons.gpkg")
    record = shown(path, tmp_path / "polygons.gpkg")
    assert record["valid"] == [True, True] and record["features"] == 3 and record["bands"] == 1
    # Without a style the raster has its palette, with names by the category names.
    assert record["raster"] == "paletted" and record["raster_classes"].items() >= CLASSES.items()
    assert record["vector"] == "categorizedSymbol" and record["vector_classes"] == CLASSES
    assert record["extents"][0] == pytest.approx(record["extents"][1]) and record["crs"] == ["EPSG:32631"] * 2
    assert record["table"] in (None, {c.code: c.name for c in LEGEND.classes})
    for name in ("raster", "vector"):
        assert colours_across(tmp_path / f"map_{name}.png") == [c.colour for c in LEGEND.classes]


def test_the_style_beside_the_map_is_taken(make_map, tmp_path: Path) -> None:
    path = make_map()
    geoseg.restyle(path, qml=True)
    geoseg.vectorize(path, tmp_path / "polygons.gpkg", classes=["park", "Gebäude"], simplify=2, connectivity=8)
    record = shown(path, tmp_path / "polygons.gpkg")
    assert record["raster_classes"] == CLASSES
    assert record["vector_classes"] == {code: CLASSES[code] for code in ("7", "10")}


def test_without_a_georeference_polygons_lie_on_the_raster(make_map, tmp_path: Path) -> None:
    path = make_map(Grid(None, IDENTITY, (37, 53)))
    geoseg.vectorize(path, tmp_path / "polygons.gpkg")
    record = shown(path, tmp_path / "polygons.gpkg")
    assert record["extents"][0] == record["extents"][1] == [0, -37, 53, 0]
