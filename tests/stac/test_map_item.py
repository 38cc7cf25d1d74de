"""geoseg.stac_item: valid, true to the file, and nothing in it that nobody said."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.crs import CRS

import geoseg
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint
from geoseg.legend import DEEPGLOBE, Legend
from geoseg.raster.writer import ClassRasterWriter


@pytest.fixture(scope="module")
def mapped(sample_folder: Path, trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scene.tif, run/ and the map.tif that the run made of the scene."""
    folder = tmp_path_factory.mktemp("mapped")
    shutil.copy(sample_folder / "scene.tif", folder / "scene.tif")
    shutil.copytree(trained_run, folder / "run")
    geoseg.predict(folder / "scene.tif", folder / "run", folder / "map.tif", device="cpu", precision="fp32")
    return folder


def test_it_says_what_the_file_is(mapped, require_stac):
    item = geoseg.stac_item(mapped / "map.tif", datetime="2024-05-01T10:30:00Z", model=mapped / "run")
    require_stac(item)
    with rasterio.open(mapped / "map.tif") as dataset:
        assert item["properties"]["proj:code"] == dataset.crs.to_string()
        assert item["properties"]["proj:shape"] == list(dataset.shape)
        assert item["properties"]["proj:transform"] == list(dataset.transform)[:6]
        assert item["properties"]["proj:bbox"] == list(dataset.bounds)
        valid = dataset.dataset_mask() > 0
    assert item["properties"]["datetime"] == "2024-05-01T10:30:00Z"
    asset = item["assets"]["map"]
    data = (mapped / "map.tif").read_bytes()
    assert (asset["file:size"], asset["file:checksum"]) == (len(data), f"1220{hashlib.sha256(data).hexdigest()}")
    assert (asset["data_type"], asset["nodata"], asset["type"]) == ("uint8", 255, "image/tiff; application=geotiff")
    assert asset["href"] == (mapped / "map.tif").as_uri()
    assert item["assets"]["metadata"]["href"].endswith("map.tif.aux.xml")
    outline = shapely.geometry.shape(item["geometry"])
    whole = shapely.box(*item["bbox"])
    # The synthetic scene has a corner without data.
    assert 0.9 < outline.area / whole.area < 1 and abs(outline.area / whole.area - valid.mean()) < 0.05


def test_the_classes_are_those_a_map_can_show(mapped):
    item = geoseg.stac_item(mapped / "map.tif", datetime="2024")
    classes = item["assets"]["map"]["classification:classes"]
    assert [one["value"] for one in classes] == [0, 1, 2, 3, 4, 5, 255]
    assert classes[4] == {
        "value": 4,
        "name": "water",
        "title": "water",
        "description": "rivers, oceans, lakes, wetlands, ponds",
        "color_hint": "0000FF",
    }
    assert classes[-1]["nodata"] is True


def test_names_for_machines_have_letters_digits_and_dashes(make_raster, tmp_path, require_stac):
    classes = [
        {"code": 10, "name": "Siedlung / Straße", "color": "#dc0000"},
        {"code": 20, "name": "水", "color": "#0000ff"},
    ]
    legend = Legend.from_dict({"classes": classes})
    with geoseg.Scene(make_raster()) as scene, ClassRasterWriter(tmp_path / "m.tif", scene.grid, legend) as writer:
        writer.write(scene.grid.window, np.full(scene.grid.shape, 10, np.uint8))
    item = geoseg.stac_item(tmp_path / "m.tif", datetime="2024")
    require_stac(item)
    told = item["assets"]["map"]["classification:classes"]
    assert [(one["name"], one["title"]) for one in told[:2]] == [
        ("Siedlung-Stra-e", "Siedlung / Straße"),
        ("class-20", "水"),
    ]


def test_written_beside_the_map_it_names_files_from_there(mapped, tmp_path, require_stac):
    output = mapped / "map.json"
    item = geoseg.stac_item(
        mapped / "map.tif", output, datetime="2024", scenes=[mapped / "scene.tif"], model=mapped / "run"
    )
    assert json.loads(output.read_text()) == item
    require_stac(item)
    assert item["assets"]["map"]["href"] == "./map.tif"
    assert [link["href"] for link in item["links"]] == ["./scene.tif", "./run/model.safetensors"]
    assert {link["rel"] for link in item["links"]} == {"derived_from"}
    with pytest.raises(OutputError, match="exists; --overwrite"):
        geoseg.stac_item(mapped / "map.tif", output, datetime="2023")
    assert json.loads(output.read_text()) == item
    (tmp_path / "items").mkdir()
    item = geoseg.stac_item(mapped / "map.tif", tmp_path / "items/i.json", datetime="2024", model="models/item.json")
    assert (tmp_path / "items" / item["assets"]["map"]["href"]).resolve() == mapped / "map.tif"
    assert item["links"][-1]["href"].endswith("models/item.json")


def test_credentials_stay_out(mapped):
    scene = "https://user:secret@example.org/s/scene.tif?token=abc"
    item = geoseg.stac_item(mapped / "map.tif", datetime="2024", scenes=[scene])
    assert item["links"][0]["href"].startswith("https://example.org/s/scene.tif")
    assert not {"secret", "abc"} & set(json.dumps(item).replace("=", "@").replace(":", "@").split("@"))
    assert "secret" not in json.dumps(item) and "token" not in json.dumps(item)


def test_the_time_is_the_scene_s_or_asked_for(mapped, tmp_path):
    with pytest.raises(UsageError, match="is of a time, and a map tells none: give the scene's with --datetime"):
        geoseg.stac_item(mapped / "map.tif")
    scenes = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, day in zip(scenes, (3, 1), strict=True):
        shutil.copy(mapped / "scene.tif", path)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=f"2024-05-0{day} 10:00:00")
    item = geoseg.stac_item(mapped / "map.tif", scenes=scenes[:1])
    assert item["properties"]["datetime"] == "2024-05-03T10:00:00Z"
    item = geoseg.stac_item(mapped / "map.tif", scenes=scenes)
    assert item["properties"]["start_datetime"] == "2024-05-01T10:00:00Z"
    assert item["properties"]["end_datetime"] == "2024-05-03T10:00:00Z"
    with pytest.raises(UsageError, match="tells none"):
        geoseg.stac_item(mapped / "map.tif", scenes=[*scenes, mapped / "scene.tif"])


def test_what_is_refused(mapped, trained_run, make_raster, tmp_path):
    with pytest.raises(InputError, match="is no map of geoseg"):
        geoseg.stac_item(mapped / "scene.tif", datetime="2024")
    with pytest.raises(InputError, match="was made by a model of sha256"):
        geoseg.stac_item(mapped / "map.tif", datetime="2024", model=trained_run / "last.safetensors")
    with pytest.raises(UsageError, match=r"is a \.json file"):
        geoseg.stac_item(mapped / "map.tif", tmp_path / "item.txt", datetime="2024")
    nowhere = make_raster(crs=None, transform=None)
    with geoseg.Scene(nowhere) as scene, ClassRasterWriter(tmp_path / "n.tif", scene.grid, geoseg.DEEPGLOBE) as writer:
        writer.write(scene.grid.window, np.zeros(scene.grid.shape, np.uint8))
    with pytest.raises(InputError, match="has no place on Earth"):
        geoseg.stac_item(tmp_path / "n.tif", datetime="2024")


def test_a_map_with_control_points_alone_has_no_resolution_and_a_link_that_is_a_uri(
    make_raster, tmp_path, require_stac
):
    places = [(0, 0), (0, 53), (37, 0), (37, 53)]
    gcps = tuple(GroundControlPoint(row, col, 10 + col / 100, 50 - row / 100, 0.0) for row, col in places)
    grid = Grid(CRS.from_epsg(4326), IDENTITY, (37, 53), gcps)
    path = tmp_path / "m 1#a.tif"
    with ClassRasterWriter(path, grid, DEEPGLOBE) as writer:
        writer.write(grid.window, np.full(grid.shape, 1, np.uint8))
    item = geoseg.stac_item(path, tmp_path / "m.json", datetime="2024")
    require_stac(item)
    assert "gsd" not in item["properties"]
    assert item["assets"]["map"]["href"] == "./m%201%23a.tif"
