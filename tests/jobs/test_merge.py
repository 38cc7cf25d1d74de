"""Merging: the file that predict writes, indices of the parts, several scenes with one summary, what is refused."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import geoseg
from geoseg.errors import InputError, OutputError, UsageError

from .conftest import HOW, PLACE, SHAPE, pixels_of, write_scene


def test_a_map_is_as_predict_writes_it(finished, predicted, tmp_path):
    (merged,) = geoseg.merge_job(finished, tmp_path / "map.tif")
    # Hectares are summed in another order.
    tables = [
        re.split(r"(\d+\.\d{6})", path.with_name("map.tif.aux.xml").read_text()) for path in (tmp_path / "-", predicted)
    ]
    assert tables[0][::2] == tables[1][::2] and len(tables[0]) == 2 * 7 + 1
    assert [float(area) for area in tables[0][1::2]] == pytest.approx([float(area) for area in tables[1][1::2]])
    with rasterio.open(tmp_path / "map.tif") as made, rasterio.open(predicted) as expected:
        assert made.tags() == expected.tags() and made.profile == expected.profile
        assert made.colormap(1) == expected.colormap(1) and made.overviews(1) == expected.overviews(1) == [2, 4]
        assert np.array_equal(made.read(1), expected.read(1))
        assert np.array_equal(made.read(1, out_shape=(261, 276)), expected.read(1, out_shape=(261, 276)))
    assert merged.result.counts.sum() == 1041 * 1103


def test_a_map_never_stands_among_the_parts(finished):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (finished / "parts").iterdir())
    for name in ("part-000000.tif", "map.tif", "map.vrt"):
        with pytest.raises(UsageError, match="is a place of the job's own parts"):
            geoseg.merge_job(finished, finished / "parts" / name, overwrite=True)
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in (finished / "parts").iterdir())


def test_a_cog_has_the_bytes_of_predict_s(finished, job_scene, job_model, tmp_path):
    options = {"COMPRESS": "LZW"}
    geoseg.merge_job(finished, tmp_path / "a.tif", cog=True, creation_options=options)
    geoseg.predict(job_scene, job_model, tmp_path / "b.tif", cog=True, creation_options=options, **HOW)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_areas_are_summed_from_the_parts(finished, predicted, job_scene, job_model, tmp_path):
    expected = geoseg.predict(job_scene, job_model, **HOW)
    (merged,) = geoseg.merge_job(finished, tmp_path / "map.tif")
    assert np.array_equal(merged.result.counts, expected.counts) and merged.result.shares == expected.shares
    assert merged.result.areas == pytest.approx(expected.areas, rel=1e-6) and sum(expected.areas.values()) > 30
    record = merged.to_dict()
    assert (record["status"], record["done"], record["path"]) == ("finished", 9, str(tmp_path / "map.tif"))
    assert record["hectares"] == merged.result.areas and record["seconds"] > 0


@pytest.mark.parametrize("ending", ["vrt", "gti.gpkg"])
def test_an_index_shows_the_parts_as_one(finished, predicted, tmp_path, ending):
    folder = Path(shutil.copytree(finished, tmp_path / "here/jobs/job é&<1>"))
    output = tmp_path / f"here/map é&<1>.{ending}"
    geoseg.merge_job(folder, output)
    (tmp_path / "here").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / output.name
    with rasterio.open(moved) as made, rasterio.open(predicted) as expected:
        assert made.driver == ending[:3].upper() and np.array_equal(made.read(1), expected.read(1))
        assert (made.crs, made.transform, made.nodata) == (expected.crs, expected.transform, 255)
        assert made.tags() == expected.tags() and made.colormap(1) == expected.colormap(1)
        assert made.descriptions == ("class",) and made.shape == expected.shape
    assert b"<Category>agriculture</Category>" in moved.read_bytes() and b"<F>forest</F>" in moved.read_bytes()


@pytest.mark.parametrize("ending", ["vrt", "gti.gpkg"])
def test_geoseg_reads_its_index(finished, predicted, tmp_path, ending):
    folder = Path(shutil.copytree(finished, tmp_path / "job"))
    (merged,) = geoseg.merge_job(folder, tmp_path / f"map.{ending}")
    assert np.array_equal(merged.result.codes, pixels_of(predicted))


@pytest.mark.parametrize("ending", ["vrt", "gti.gpkg"])
def test_an_index_below_a_link_finds_its_parts(finished, predicted, tmp_path, ending):
    (tmp_path / "disk/maps").mkdir(parents=True)
    (tmp_path / "maps").symlink_to("disk/maps")
    folder = Path(shutil.copytree(finished, tmp_path / "job"))
    geoseg.merge_job(folder, tmp_path / f"maps/map.{ending}")
    for name in ("maps", "disk/maps"):
        assert np.array_equal(pixels_of(tmp_path / f"{name}/map.{ending}"), pixels_of(predicted))


@pytest.mark.parametrize("ending", ["vrt", "gti.gpkg"])
def test_a_new_index_has_nothing_of_the_old_one(finished, tmp_path, ending):
    output = tmp_path / f"map.{ending}"
    geoseg.merge_job(finished, output)
    for more in (".aux.xml", ".ovr", ".msk", *(("-wal", "-shm", "-journal") if ending != "vrt" else ())):
        Path(f"{output}{more}").touch()
    with pytest.raises(OutputError, match="exists; --overwrite"):
        geoseg.merge_job(finished, output)
    assert len(list(tmp_path.iterdir())) > 3
    geoseg.merge_job(finished, output, overwrite=True)
    assert list(tmp_path.iterdir()) == [output]


def test_an_index_that_another_program_has_changed_is_left_to_it(finished, tmp_path):
    output = tmp_path / "map.gti.gpkg"
    geoseg.merge_job(finished, output)
    with closing(sqlite3.connect(output)) as program:
        program.execute("PRAGMA journal_mode = WAL")
        program.execute("CREATE TABLE edits (x)")
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(OutputError, match=r"map\.gti\.gpkg: is open in another program; close it"):
            geoseg.merge_job(finished, output, overwrite=True)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    geoseg.merge_job(finished, output, overwrite=True)
    with closing(sqlite3.connect(output)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not database.execute("SELECT * FROM sqlite_master WHERE name = 'edits'").fetchall()


@pytest.mark.parametrize("place", ["none", "control points", "turned"])
def test_an_index_of_a_scene_without_a_plain_place(make_job, job_model, tmp_path, place):
    scene = write_scene(tmp_path / "scene.tif", (600, 700))
    with rasterio.open(scene) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    if place != "turned":
        profile |= {"transform": Affine.identity(), "crs": None}
    else:
        profile |= {"transform": PLACE @ Affine.rotation(10)}
    with rasterio.open(scene, "w", **profile) as dataset:
        dataset.write(pixels)
        if place == "control points":
            point = rasterio.control.GroundControlPoint
            dataset.gcps = ([point(0, 0, 5, 50), point(0, 700, 6, 50), point(600, 0, 5, 49)], "EPSG:4326")
    folder = make_job(scene)
    geoseg.run_job(folder)
    geoseg.merge_job(folder, tmp_path / "map.vrt")
    geoseg.merge_job(folder, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.vrt") as vrt, rasterio.open(tmp_path / "map.tif") as whole:
        assert np.array_equal(vrt.read(1), geoseg.predict(scene, job_model, **HOW).codes)
        assert np.array_equal(whole.read(1), vrt.read(1))
        assert vrt.transform == whole.transform == profile["transform"] and vrt.crs == whole.crs
        points = [[(p.row, p.col, p.x, p.y) for p in dataset.gcps[0]] for dataset in (vrt, whole)]
        assert points[0] == points[1] and len(points[0]) == (3 if place == "control points" else 0)
    with pytest.raises(UsageError, match=r"whose columns run south; write a \.vrt"):
        geoseg.merge_job(folder, tmp_path / "map.gti.gpkg")


def test_several_scenes_go_into_a_folder_with_a_summary(make_job, job_scene, job_model, tmp_path):
    scenes = [job_scene, write_scene(tmp_path / "small.tif", (600, 500))]
    folder = make_job(scenes)
    geoseg.run_job(folder)
    with pytest.raises(UsageError, match="2 scenes need a folder"):
        geoseg.merge_job(folder, tmp_path / "map.tif")
    merged = geoseg.merge_job(folder, f"{tmp_path}/maps/")
    for scene in scenes:
        expected = geoseg.predict(scene, job_model, **HOW)
        assert np.array_equal(pixels_of(tmp_path / "maps" / scene.name), expected.codes)
    summary = json.loads((tmp_path / "maps/summary.json").read_text())
    assert summary == [one.to_dict() for one in merged]
    assert [(one["scene"], one["status"], one["tasks"]) for one in summary] == [
        ("scene.tif", "finished", 9),
        ("small.tif", "finished", 2),
    ]
    with pytest.raises(OutputError, match=r"scene\.tif: exists"):
        geoseg.merge_job(folder, tmp_path / "maps")
    geoseg.merge_job(folder, tmp_path / "maps", overwrite=True)


def test_an_unfinished_job_is_refused_or_merged_in_part(make_job, predicted, tmp_path):
    folder = make_job()
    geoseg.run_job(folder, shard="1/3")
    with pytest.raises(UsageError, match=r"6 of 9 task\(s\) are not finished, .*geoseg job run .*--partial"):
        geoseg.merge_job(folder, tmp_path / "map.tif")
    (merged,) = geoseg.merge_job(folder, tmp_path / "map.tif", allow_unfinished=True)
    geoseg.merge_job(folder, tmp_path / "map.vrt", allow_unfinished=True)
    expected = np.full(SHAPE, 255, np.uint8)
    for part in merged.status.parts:
        expected[part.window.slices] = pixels_of(predicted)[part.window.slices]
    for name in ("map.tif", "map.vrt"):
        assert np.array_equal(pixels_of(tmp_path / name), expected)
    assert merged.to_dict()["status"] == "unfinished" and 0 < merged.status.percent < 50


def test_an_altered_part_is_no_part_of_a_map(copy_of_finished, tmp_path):
    part = copy_of_finished / "parts/part-000005.tif"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    for name in ("map.tif", "map.vrt"):
        with pytest.raises(InputError, match=r"part-000005\.tif: 1 part file.*geoseg job run"):
            geoseg.merge_job(copy_of_finished, tmp_path / name)
    assert not list(tmp_path.glob("map*"))


def test_outputs_are_checked_first(finished, job_scene, tmp_path):
    (tmp_path / "map.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists; --overwrite"):
        geoseg.merge_job(finished, tmp_path / "map.tif")
    with pytest.raises(UsageError, match=r"end in \.tif"):
        geoseg.merge_job(finished, tmp_path / "map.png")
    with pytest.raises(UsageError, match="only names the parts"):
        geoseg.merge_job(finished, tmp_path / "map.vrt", cog=True)
    with pytest.raises(UsageError, match="is the scene itself"):
        geoseg.merge_job(finished, job_scene, overwrite=True)
    with pytest.raises(UsageError, match=r"let it end in \.gti\.gpkg"):
        geoseg.merge_job(finished, tmp_path / "map.gti")
    assert (tmp_path / "map.tif").read_text() == "mine"


@pytest.mark.parametrize("output", ["s3://b/x.vrt", "s3://b/x.gti.gpkg", "s3://b/x.tif", "s3://b/x/", "/vsis3/b/x/"])
def test_maps_are_files_of_this_machine(finished, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="maps are written to files of this machine; upload it"):
        geoseg.merge_job(finished, output)
    assert not list(tmp_path.iterdir())


def test_too_many_parts_for_a_vrt(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.raster.index.MOST_SOURCES", 3)
    with pytest.raises(UsageError, match=r"8 parts are too many for a VRT; write a \.gti\.gpkg"):
        geoseg.merge_job(finished, tmp_path / "map.vrt")
