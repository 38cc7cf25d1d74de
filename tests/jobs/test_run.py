"""Running: the same pixels however the work is divided, whatever was stopped or altered, and failures that are told."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import geoseg
from geoseg.errors import FailedParts, InputError, ModelError, OutputError, ResourceError, UsageError
from geoseg.jobs.parts import Parts, machine
from geoseg.jobs.task import _compute, run_task
from geoseg.prediction.shard import _open_once

from .conftest import HOW, PLACE, SHAPE, computed_at, job_of, merged_pixels, pixels_of, repair, write_scene


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_map_is_worth_comparing(predicted):
    codes = pixels_of(predicted)
    assert len(np.unique(codes)) > 4 and (codes[:512, :512] == 255).all() and (codes != 255).mean() > 0.7
    assert (codes[:, 1:] != codes[:, :-1]).mean() > 0.05


@pytest.mark.parametrize("part", [512, 1024, 1536])
def test_pixels_are_those_of_predict_whatever_the_size_of_parts(make_job, predicted, part):
    folder = make_job(part=part)
    done = geoseg.run_job(folder)
    assert (done.tasks, done.computed, done.finished_before) == (len(job_of(folder).tasks),) * 2 + (0,)
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_three_slices_make_the_whole(make_job, predicted):
    folder = make_job()
    done = [geoseg.run_job(folder, shard=f"{place}/3") for place in (3, 1, 2)]
    assert [run.tasks for run in done] == [3, 3, 3]
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_a_mosaic_and_an_area(job_scene, job_model, make_job, tmp_path):
    with rasterio.open(job_scene) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    files = []
    for name, cols in (("west", slice(0, 600)), ("east", slice(550, SHAPE[1]))):
        files.append(tmp_path / f"{name}.tif")
        place = {"width": cols.stop - cols.start, "transform": PLACE @ Affine.translation(cols.start, 0)}
        with rasterio.open(files[-1], "w", **profile | place) as dataset:
            dataset.write(pixels[:, :, cols])
    box = (*(PLACE @ (300, 900)), *(PLACE @ (1000, 90)))
    how = {"mosaic": True, "bbox": box}
    folder = make_job(files, **how)
    geoseg.run_job(folder)
    expected = geoseg.predict(files, job_model, **how, **HOW)
    assert np.array_equal(merged_pixels(folder), expected.codes) and (expected.codes != 255).mean() > 0.2


def test_a_scene_that_is_seen_coarser(job_model, make_job, tmp_path):
    scene = write_scene(tmp_path / "fine.tif", (1500, 1100), Affine(0.5, 0, 441_754.5, 0, -0.5, 5_417_386.25))
    how = {"match_gsd": True, "device": "cpu", "precision": "fp32"}
    folder = make_job(scene, window=None, overlap=None, match_gsd=True, part=1024)
    job = job_of(folder)
    assert job.scenes[0].factor == 2 and [task.window.shape for task in job.tasks] == [
        (1024, 1024), (476, 1024), (1024, 76), (476, 76)
    ]  # fmt: skip
    geoseg.run_job(folder)
    expected = geoseg.predict(scene, job_model, **how)
    assert np.array_equal(merged_pixels(folder), expected.codes) and len(np.unique(expected.codes)) > 4


def test_a_run_that_was_stopped_goes_on(make_job, predicted, monkeypatch):
    folder, calls = make_job(), []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run_task(*args)

    monkeypatch.setattr("geoseg.jobs.run.run_task", stopping)
    with pytest.raises(KeyboardInterrupt):
        geoseg.run_job(folder)
    first = computed_at(folder)
    assert len(first) == 3
    monkeypatch.undo()
    done = geoseg.run_job(folder)
    assert (done.computed, done.finished_before) == (6, 3)
    assert first.items() <= computed_at(folder).items()
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))
    assert geoseg.run_job(folder).computed == 0


def test_an_interrupted_task_leaves_nothing(make_job, monkeypatch):
    folder = make_job()

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("geoseg.jobs.task.require_unchanged", stop)
    with pytest.raises(KeyboardInterrupt):
        geoseg.run_job(folder)
    assert names(folder / "parts") == []


@pytest.mark.parametrize(
    "damage", ["altered", "lost", "cut record", "record of another job", "altered record", "record of nothing"]
)
def test_a_part_that_is_not_whole_is_computed_again(copy_of_finished, predicted, damage, caplog):
    part = copy_of_finished / "parts/part-000004.tif"
    if damage == "altered":
        data = bytearray(part.read_bytes())
        data[-1] ^= 1
        part.write_bytes(data)
    elif damage == "lost":
        part.unlink()
    elif damage == "cut record":
        part.with_suffix(".json").write_bytes(part.with_suffix(".json").read_bytes()[:40])
    else:
        record = json.loads(part.with_suffix(".json").read_text())
        changed = record | {"record of another job": {"job": "0" * 64}, "altered record": {"counts": {"1": 9}}}.get(
            damage, {}
        )
        kept = {"job": record["job"]} if damage == "record of nothing" else changed
        part.with_suffix(".json").write_text(json.dumps(kept))
        assert not geoseg.job_status(copy_of_finished).is_finished
    assert geoseg.run_job(copy_of_finished).computed == 1
    assert np.array_equal(merged_pixels(copy_of_finished), pixels_of(predicted))
    assert ("were altered or lost" in caplog.text) == (damage in ("altered", "lost"))


def test_a_task_twice_does_no_harm(copy_of_finished):
    before = computed_at(copy_of_finished)
    part = run_task(copy_of_finished, 4)
    assert computed_at(copy_of_finished) == before and part.sha256
    with pytest.raises(UsageError, match="tasks 0 to 8, none of the number 9"):
        run_task(copy_of_finished, 9)


def test_a_part_without_data_has_a_record_and_no_file(finished):
    record = json.loads((finished / "parts/part-000000.json").read_text())
    assert record["sha256"] is None and record["counts"] == {"255": 512 * 512}
    assert "part-000000.tif" not in names(finished / "parts")


def test_parts_are_class_rasters_of_their_place(finished, predicted):
    with rasterio.open(finished / "parts/part-000004.tif") as part, rasterio.open(predicted) as whole:
        window = job_of(finished).tasks[4].window
        assert part.transform == PLACE @ Affine.translation(window.col, window.row) and part.crs == whole.crs
        assert np.array_equal(part.read(1), whole.read(1, window=window.to_rasterio()))
        assert part.tags() == whole.tags() and part.colormap(1) == whole.colormap(1)


def test_a_task_that_fails_is_told_while_the_others_finish(make_job, damaged_scene, job_scene, predicted):
    folder = make_job(damaged_scene)
    with pytest.raises(
        FailedParts, match=r"of 9 task\(s\) failed, the others are finished; task \d.*damaged\.tif"
    ) as e:
        geoseg.run_job(folder)
    assert e.value.exit_code == 6
    status = geoseg.job_status(folder)
    (scene,) = status.scenes
    failed = {failure.task for failure in status.failures}
    assert 1 <= len(failed) <= 4 and len(scene.parts) == 9 - len(failed) and scene.left == 0
    assert all("cannot be read at rows" in failure.message for failure in status.failures)
    assert "failed 1 time(s)" in status.to_text()
    with pytest.raises(UsageError, match=r"are not finished, .* of them failed .*cannot be read"):
        geoseg.merge_job(folder, folder / "map.tif")
    with pytest.raises(FailedParts):
        geoseg.run_job(folder)
    assert {failure.attempts for failure in geoseg.job_status(folder).failures} == {2}
    repair(damaged_scene, job_scene)
    assert geoseg.run_job(folder).computed == len(failed)
    assert not list((folder / "parts").glob("*.error.json")) and geoseg.job_status(folder).is_finished
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_a_scene_that_changed_is_no_part_of_the_job(make_job, job_scene, tmp_path):
    scene = tmp_path / "scene.tif"
    shutil.copy(job_scene, scene)
    folder = make_job([scene, write_scene(tmp_path / "other.tif", (600, 500))])
    os.utime(scene, ns=(1, 1))
    with pytest.raises(FailedParts, match="9 of 11 task"):
        geoseg.run_job(folder)
    assert [status.is_finished for status in geoseg.job_status(folder).scenes] == [False, True]
    with pytest.raises(InputError, match="has changed since the plan was made"):
        run_task(folder, 0)


def test_an_area_that_changed_is_named(make_job, tmp_path):
    x, y = PLACE @ (300, 900)
    area = tmp_path / "area.geojson"

    def write(side: float) -> None:
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
        area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))

    write(200.0)
    folder = make_job(aoi=area)
    write(150.0)
    with pytest.raises(FailedParts, match=r"area\.geojson: has changed since the plan was made"):
        geoseg.run_job(folder)


def test_what_cannot_work_at_all_fails_once(make_job, monkeypatch):
    folder = make_job()
    _open_once.cache_clear()
    monkeypatch.setattr("geoseg.prediction.shard.instruction_set", lambda device: "another")
    with pytest.raises(UsageError, match="this is cpu with another; plan again here"):
        geoseg.run_job(folder)
    monkeypatch.undo()
    monkeypatch.setattr("geoseg.prediction.shard.model_sha256", lambda path: "another")
    with pytest.raises(ModelError, match="not the model that the plan was made for"):
        geoseg.run_job(folder)
    assert names(folder / "parts") == []


def test_a_full_disk_ends_the_run(make_job, monkeypatch):
    folder, calls = make_job(), []

    def full(*args, **kwargs):
        calls.append(args)
        raise ResourceError("the disk is full")

    monkeypatch.setattr("geoseg.jobs.task.ClassRasterWriter", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        geoseg.run_job(folder)
    assert len(calls) == 1


def test_a_place_without_the_right_to_write_ends_the_run(make_job, monkeypatch):
    folder, calls, mkdir = make_job(), [], Path.mkdir

    def refused(path, *args, **kwargs):
        if path.parent.name != "parts":
            return mkdir(path, *args, **kwargs)
        calls.append(path)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(OutputError, match="parts: cannot be written there"):
        geoseg.run_job(folder)
    assert len(calls) == 1


def test_a_failure_that_cannot_be_written_down_is_told(make_job, monkeypatch):
    folder = make_job()

    def fail(*args):
        raise ValueError("a flaky read")

    def full(*args):
        raise ResourceError("the disk is full")

    monkeypatch.setattr("geoseg.jobs.task._compute", fail)
    monkeypatch.setattr(Parts, "_write", full)
    with pytest.raises(FailedParts, match=r"9 of 9 task\(s\) failed.*ValueError: a flaky read"):
        geoseg.run_job(folder)


def test_a_task_that_another_run_finishes_has_not_failed(make_job, monkeypatch, predicted):
    folder = make_job()

    def finished_elsewhere(job, task, parts):
        _compute(job, task, parts)
        raise ValueError("a flaky read")

    monkeypatch.setattr("geoseg.jobs.task._compute", finished_elsewhere)
    geoseg.run_job(folder)
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_an_altered_part_that_cannot_be_computed_again_is_told(copy_of_finished, monkeypatch):
    def fail(*args):
        raise ValueError("a flaky read")

    (copy_of_finished / "parts/part-000004.tif").write_text("altered")
    monkeypatch.setattr("geoseg.jobs.task._compute", fail)
    with pytest.raises(FailedParts, match=r"1 of 9 task\(s\) failed.*task 4"):
        geoseg.run_job(copy_of_finished)


def test_the_model_is_loaded_once(make_job, monkeypatch):
    folder, loads = make_job(), []
    _open_once.cache_clear()
    from geoseg.models.storage import load

    monkeypatch.setattr("geoseg.prediction.shard.load", lambda *args: loads.append(args) or load(*args))
    geoseg.run_job(folder)
    assert len(loads) == 1


def test_a_process_in_another_s_way_is_none(make_job, predicted):
    """Two runs at once write the same parts."""
    folder = make_job()
    job = job_of(folder)
    with Parts(folder, job).workplace(4) as busy:
        (busy / "part.tif").write_text("of another process")
        geoseg.run_job(folder)
        assert busy.is_dir()
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_two_runs_share_the_work(make_job, predicted, monkeypatch):
    """What the other is at comes last, unless it is finished then."""
    folder, order = make_job(), []
    job = job_of(folder)
    first, second, *others = (task.number for task in job.by_size)

    def run(*words):
        order.append(words[1])
        if len(order) == 7:
            run_task(folder, second)
        return run_task(*words)

    monkeypatch.setattr("geoseg.jobs.run.run_task", run)
    with Parts(folder, job).workplace(first), Parts(folder, job).workplace(second):
        done = geoseg.run_job(folder)
    assert order == [*others, first] and (done.computed, done.finished_before) == (8, 1)
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_a_run_ends_where_another_job_is_planned_meanwhile(make_job, monkeypatch):
    folder, calls = make_job(), []

    def plan_again(*words):
        calls.append(words)
        if len(calls) == 3:
            make_job(part=1024, overwrite=True)
        return run_task(*words)

    monkeypatch.setattr("geoseg.jobs.run.run_task", plan_again)
    with pytest.raises(OutputError, match="another job was planned there meanwhile"):
        geoseg.run_job(folder)
    assert len(calls) == 3 and not computed_at(folder)


def test_another_job_that_is_planned_amid_a_task_is_told(make_job, monkeypatch):
    folder = make_job()

    def fail(*args):
        make_job(part=1024, overwrite=True)
        raise ValueError("its workplace is gone")

    monkeypatch.setattr("geoseg.jobs.task._compute", fail)
    with pytest.raises(OutputError, match="another job was planned there meanwhile"):
        geoseg.run_job(folder)
    assert not names(folder / "parts")


def test_what_killed_processes_left_is_removed(make_job):
    folder = make_job()
    names = f"{machine()}.99999999.3.0123abcd", "elsewhere.1.3.0123abcd", "else.2.3.0123abcd"
    dead, other, old = (folder / "parts" / f".{name}" for name in names)
    for left in (dead, other, old):
        left.mkdir()
    os.utime(old, (1, 1))
    geoseg.run_job(folder)
    assert not dead.exists() and not old.exists() and other.exists()


def test_a_folder_whose_parts_are_gone(make_job):
    folder = make_job()
    (folder / "parts").rmdir()
    with pytest.raises(OutputError, match="plan the job again"):
        geoseg.run_job(folder)


def test_a_job_may_be_moved(make_job, predicted, tmp_path):
    folder = make_job()
    geoseg.run_job(folder, shard="1/2")
    moved = folder.rename(tmp_path / "moved")
    assert geoseg.run_job(moved).finished_before == 5
    assert np.array_equal(merged_pixels(moved), pixels_of(predicted))


def test_contradictions(make_job):
    folder = make_job()
    with pytest.raises(UsageError, match="are of --dask local"):
        geoseg.run_job(folder, workers=2)
    with pytest.raises(UsageError, match="shares tasks out by itself"):
        geoseg.run_job(folder, shard="1/2", dask="local")
