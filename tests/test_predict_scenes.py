"""Several scenes, the default model, and the dry run."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import geoseg
from geoseg.datasets.dataset import SYNTHETIC_MARK, is_synthetic
from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.models.storage import load, save_segmenter
from geoseg.predict_scenes import plan_scenes, predict_scenes, resolve_model, resolve_outputs
from geoseg.training.run import REPORT_FILE

LOCAL = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def scenes(make_raster):
    return [make_raster(name=f"scenes/{name}.tif") for name in ("a", "b")]


def add_run(trained_run, name, finished_ns):
    """A finished copy of a run under ./runs."""
    shutil.copytree(trained_run, f"runs/{name}")
    os.utime(f"runs/{name}/{REPORT_FILE}", ns=(finished_ns, finished_ns))


def add_run_on(trained_run, name, synthetic):
    """A finished run whose record says whether it was trained on the synthetic sample."""
    add_run(trained_run, name, 10)
    segmenter = load(trained_run)
    trained = dict(segmenter.config.provenance)
    provenance = trained | {"data": trained["data"] | {"synthetic": synthetic}}
    segmenter.config = replace(segmenter.config, provenance=provenance)
    save_segmenter(segmenter, f"runs/{name}/model.safetensors")


def test_one_scene_goes_into_one_file(tmp_path):
    scene = tmp_path / "a.tif"
    assert resolve_outputs([(scene,)], str(tmp_path / "map.tif"), False) == [tmp_path / "map.tif"]


@pytest.mark.parametrize("slash", ["/", ""])
def test_a_folder_takes_one_map_each(scenes, tmp_path, slash):
    folder = tmp_path / "maps"
    if not slash:
        folder.mkdir()
    assert resolve_outputs([(scene,) for scene in scenes], f"{folder}{slash}", False) == [
        folder / "a.tif",
        folder / "b.tif",
    ]
    assert folder.is_dir()


def test_several_scenes_need_a_folder(scenes, tmp_path):
    with pytest.raises(UsageError, match=r"2 scenes need a folder.*-o .*map\.tif/"):
        resolve_outputs([(scene,) for scene in scenes], str(tmp_path / "map.tif"), False)


def test_two_scenes_of_one_stem_do_not_share_a_map(make_raster, tmp_path):
    pair = [make_raster(name="one/a.tif"), make_raster(name="two/a.tif")]
    with pytest.raises(UsageError, match=r"a\.tif"):
        resolve_outputs([(file,) for file in pair], f"{tmp_path}/maps/", False)


def test_all_outputs_are_checked_before_any_work(scenes, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/b.tif").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"b\.tif: exists"):
        next(predict_scenes(scenes, f"{tmp_path}/maps/", tmp_path / "no-model"))
    assert os.listdir(tmp_path / "maps") == ["b.tif"]


def test_a_file_in_the_place_of_the_folder(scenes, tmp_path):
    (tmp_path / "maps").write_text("")
    with pytest.raises(OutputError, match="maps"):
        resolve_outputs([(scene,) for scene in scenes], f"{tmp_path}/maps/", False)


def test_no_file_of_a_scene_is_written_over(scenes):
    with pytest.raises(UsageError, match=r"b\.tif: is the scene itself"):
        resolve_outputs([tuple(scenes)], str(scenes[1]), True)


def test_each_scene_gets_the_map_that_predict_gives(scenes, trained_run, tmp_path):
    results = list(predict_scenes(scenes, f"{tmp_path}/maps/", trained_run, window=32, **LOCAL))
    alone = geoseg.predict(scenes[1], trained_run, window=32, **LOCAL)
    assert [result.path.name for result in results] == ["a.tif", "b.tif"]
    assert np.array_equal(results[1].codes, alone.codes)


def test_the_default_model_is_of_the_newest_finished_run(trained_run, here, sample_folder, caplog):
    add_run(trained_run, "old", 10)
    add_run(trained_run, "new", 30)
    add_run(trained_run, "middle", 20)
    add_run(trained_run, "unfinished", 40)
    os.unlink(f"runs/unfinished/{REPORT_FILE}")
    caplog.set_level("INFO", "geoseg")
    assert resolve_model(None, [sample_folder / "scene.tif"]).origin["path"].endswith("/runs/new/model.safetensors")
    assert "runs/new (the newest finished run)" in caplog.text


@pytest.mark.parametrize("folder", [None, "runs", "runs/empty"])
def test_without_any_run_the_remedy_is_said(here, folder):
    if folder:
        (here / folder).mkdir(parents=True)
    with pytest.raises(ModelError, match=r"no finished run under \./runs; train one"):
        resolve_model(None, [])


def test_a_model_of_the_sample_is_refused_for_other_scenes_unless_named(trained_run, here, scenes):
    add_run_on(trained_run, "invented", synthetic=True)
    with pytest.raises(ModelError, match=r"synthetic sample.*a\.tif.*--model runs/invented"):
        resolve_model(None, scenes)
    assert resolve_model(here / "runs/invented", scenes).config.provenance["data"]["synthetic"]


def test_a_model_of_the_sample_is_taken_for_the_sample(trained_run, here, make_raster, tmp_path):
    add_run_on(trained_run, "invented", synthetic=True)
    scene = make_raster(name="sample/scene.tif")
    (tmp_path / "sample" / SYNTHETIC_MARK).write_text("")
    assert resolve_model(None, [scene])
    with pytest.raises(ModelError):
        resolve_model(None, [scene, make_raster()])


def test_a_model_of_real_scenes_is_the_default_for_any(trained_run, here, scenes):
    add_run_on(trained_run, "real", synthetic=False)
    assert resolve_model(None, scenes)


def test_training_on_the_sample_is_remembered(trained_run, sample_folder):
    assert load(trained_run).config.provenance["data"]["synthetic"]
    assert is_synthetic(sample_folder) and is_synthetic(sample_folder / "scene.tif")


def test_a_dry_run_writes_nothing(scenes, trained_run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    planned = plan_scenes(scenes, f"{tmp_path}/maps/", trained_run, window=32, overlap=8, **LOCAL)
    assert sorted(tmp_path.rglob("*")) == before
    assert [p.output for p in planned] == [tmp_path / "maps/a.tif", tmp_path / "maps/b.tif"]
    summary = planned[0].summary()
    assert (summary["shape"], summary["window"], summary["overlap"], summary["size"]) == ([37, 53], 32, 8, 32)
    assert (summary["tiles"], summary["shards"], summary["repeated_work"]) == (4, 1, round(4 * 32 * 32 / 37 / 53, 4))
    assert summary["memory_bytes"] == planned[0].plan.memory > 4 * 6 * 32 * 53 + 37 * 53
    assert "4 tiles of 32 px" in planned[0].describe()


def test_a_dry_run_refuses_what_the_run_would(scenes, trained_run, tmp_path):
    with pytest.raises(UsageError, match="folder"):
        plan_scenes(scenes, str(tmp_path / "map.tif"), trained_run)
    (tmp_path / "map.tif").write_bytes(b"")
    with pytest.raises(OutputError, match="exists"):
        plan_scenes(scenes[:1], str(tmp_path / "map.tif"), trained_run)
    with pytest.raises(UsageError, match="is the scene itself"):
        plan_scenes(scenes[:1], str(scenes[0]), trained_run, overwrite=True)
