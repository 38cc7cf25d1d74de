"""What the GDAL programs of the system, of another version than rasterio's, say of maps and polygons."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

import geoseg
from geoseg.grid import Grid, Window
from geoseg.legend import DEEPGLOBE, NODATA
from geoseg.raster.writer import ClassRasterWriter

pytestmark = pytest.mark.skipif(
    not (shutil.which("gdalinfo") and shutil.which("ogrinfo")),
    reason="gdalinfo and ogrinfo are not installed (apt-get install gdal-bin)",
)


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=[False, True], ids=["GeoTIFF", "COG"])
def map_path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    codes = np.random.default_rng(0).integers(0, 6, (37, 53)).astype(np.uint8)
    codes[:3, :4] = NODATA
    grid = Grid(CRS.from_epsg(32631), Affine(0.5, 0, 441_754.5, 0, -0.75, 5_417_386.25), codes.shape)
    with ClassRasterWriter(tmp_path / "map.tif", grid, DEEPGLOBE, cog=request.param) as writer:
        writer.write(Window(0, 0, *codes.shape), codes)
    return tmp_path / "map.tif"


def rows_of(info: dict) -> list[list]:
    """Of gdalinfo's raster attribute table."""
    return [row["f"] for row in info["rat"]["row"]]


def test_gdalinfo_knows_names_colours_counts_and_areas(map_path: Path) -> None:
    info = json.loads(run("gdalinfo", "-json", "-stats", map_path))
    (band,) = info["bands"]
    assert band["noDataValue"] == NODATA and band["colorInterpretation"] == "Palette"
    assert [entry[:3] for entry in band["colorTable"]["entries"][:7]] == [list(c.colour) for c in DEEPGLOBE.classes]
    text = run("gdalinfo", map_path)
    assert all(f"{c.code}: {c.name}" in text for c in DEEPGLOBE.classes)
    with rasterio.open(map_path) as dataset:
        counts = np.bincount(dataset.read(1).ravel(), minlength=256)
    rows = rows_of(info if "rat" in info else band)
    assert [row[:2] for row in rows] == [[c.code, c.name] for c in DEEPGLOBE.classes]
    assert [row[6] for row in rows] == counts[:7].tolist()
    assert [row[7] for row in rows] == pytest.approx((counts[:7] * 0.375e-4).tolist(), rel=1e-2)


def test_a_copy_keeps_names_and_table(map_path: Path, tmp_path: Path) -> None:
    run("gdal_translate", "-q", "-co", "COMPRESS=LZW", map_path, tmp_path / "copy.tif")
    text = run("gdalinfo", tmp_path / "copy.tif")
    assert "4: water" in text and "<GDALRasterAttributeTable" in text


def test_ogrinfo_reads_the_polygons(map_path: Path, tmp_path: Path) -> None:
    for ending in ("gpkg", "fgb", "geojson"):
        written = geoseg.vectorize(map_path, tmp_path / f"polygons.{ending}", simplify=1)
        text = run("ogrinfo", "-ro", "-so", "-al", tmp_path / f"polygons.{ending}")
        assert f"Feature Count: {written.features.sum()}" in text and "Geometry: Polygon" in text
        assert all(f"{name}: " in text for name in ("class", "code", "color", "area_ha", "perimeter_m"))
    areas = run("ogrinfo", "-ro", "-sql", "SELECT SUM(area_ha) AS whole FROM polygons", tmp_path / "polygons.gpkg")
    assert float(areas.split("whole (Real) = ")[1].split()[0]) == pytest.approx(written.hectares.sum())
