"""Area estimates against ../shared/vectors/area.json, and samples drawn from real rasters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geoseg
from geoseg.scoring.area import olofsson_2014

SHARED = Path(__file__).resolve().parents[3] / "shared"
VECTOR = SHARED / "vectors" / "area.json"
CLOUDS = SHARED / "data" / "large" / "cloudmask_10980.tif"
KOREA = SHARED / "data" / "sentinel2_korea"


@pytest.mark.skipif(not VECTOR.is_file(), reason=f"{VECTOR} is not there")
def test_published_areas() -> None:
    record = json.loads(VECTOR.read_text(encoding="utf-8"))
    mapped = np.array(record["mapped_pixels"]) * record["pixel_ha"]
    found = olofsson_2014(np.array(record["counts_rows_map"]), mapped, record["map_classes"])
    overall = found.overall.value, found.z * found.overall.error
    assert overall == pytest.approx(record["overall_accuracy"], abs=1e-10)
    figures = {"users_accuracy": found.users.value, "users_half_width": found.z * found.users.error}
    figures |= {"producers_accuracy": found.producers.value, "producers_half_width": found.z * found.producers.error}
    for name, values in figures.items():
        assert values == pytest.approx(record[name], abs=1e-10), name
    assert found.area.value == pytest.approx(record["area_ha"], abs=1e-4)
    assert found.z * found.area.error == pytest.approx(record["area_half_width_ha"], abs=1e-4)


@pytest.mark.skipif(not VECTOR.is_file(), reason=f"{VECTOR} is not there")
def test_published_areas_of_2013() -> None:
    record = json.loads(VECTOR.read_text(encoding="utf-8"))["olofsson_2013_example1"]
    found = olofsson_2014(np.array(record["counts"]), record["pixels"])
    assert found.area.value[0] == pytest.approx(record["area1"], abs=0.05)
    assert found.area.error[0] == pytest.approx(record["se_area1"], abs=0.05)
    assert found.overall.value == pytest.approx(record["oa"], abs=1e-10)
    assert found.producers.value == pytest.approx(record["pa"], abs=1e-10)


@pytest.mark.skipif(not CLOUDS.is_file(), reason=f"{CLOUDS} is not there")
def test_a_sample_of_a_large_map(tmp_path: Path) -> None:
    names = (("clear", "#00aa00"), ("thick cloud", "#ffffff"), ("thin cloud", "#aaaaaa"), ("shadow", "#000000"))
    classes = [{"code": code, "name": name, "color": colour} for code, (name, colour) in enumerate(names)]
    (tmp_path / "clouds.json").write_text(json.dumps({"classes": classes}))
    drawn = geoseg.design_sample(CLOUDS, tmp_path / "points.gpkg", tmp_path / "clouds.json", size=600)
    assert drawn.units.tolist() == [450, 50, 50, 50]
    with rasterio.open(CLOUDS) as dataset:
        codes = [int(value[0]) for value in dataset.sample(zip(drawn.points.x, drawn.points.y, strict=True))]
    assert codes == drawn.points.columns["code"].tolist()
    perfect = drawn.points.with_columns(reference=drawn.points.columns["stratum"])
    found = geoseg.estimate_areas(CLOUDS, perfect, tmp_path / "clouds.json")
    assert found.area.value == pytest.approx(drawn.hectares) and found.overall.value == 1


@pytest.mark.skipif(not KOREA.is_dir(), reason=f"{KOREA} is not there")
def test_a_sample_of_real_labels(tmp_path: Path) -> None:
    path, legend = KOREA / "labels" / "patch_02.tif", KOREA / "legend.json"
    geoseg.design_sample(path, tmp_path / "points.geojson", legend, size=300, key=tmp_path / "key.csv")
    points = geoseg.read_points(tmp_path / "points.geojson").joined(tmp_path / "key.csv")
    points = points.with_columns(reference=points.columns["code"])
    found = geoseg.estimate_areas(path, points, legend, key=tmp_path / "key.csv")
    # 512 x 512 px of 10 m, where UTM is within 0.1 % of the ground.
    assert found.area.value.sum() == pytest.approx(512 * 512 * 0.01, rel=1e-3) and found.overall.value == 1
