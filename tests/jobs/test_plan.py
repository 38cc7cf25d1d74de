"""Planning: what is written down, tasks that cover a scene once, and what is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import geoseg
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.jobs.job import Job, read_job

from .conftest import HOW, SHAPE, job_of, write_scene


def test_tasks_cover_the_scene_once(make_job):
    for part, count in ((512, 9), (1024, 4), (1536, 1), (8192, 1)):
        job = job_of(make_job(part=part, name=f"{part}"))
        seen = np.zeros(SHAPE, int)
        for task in job.tasks:
            seen[task.window.slices] += 1
            assert task.window.row % 512 == task.window.col % 512 == 0
            assert max(task.window.shape) <= max(part, 512)
        assert (seen == 1).all() and [task.number for task in job.tasks] == list(range(count))
        assert sorted(index for task in job.tasks for index in task.shards) == list(
            range(len(job.scenes[0].plan.shards))
        )


def test_a_task_of_several_shards_has_those_below_each_other(make_job):
    (task,) = job_of(make_job(part=1536)).tasks
    assert task.shards == (0, 1, 2) and task.window.shape == SHAPE


def test_a_job_is_the_same_after_reading(make_job):
    folder = make_job()
    job = job_of(folder)
    assert job.to_json() == (folder / "job.json").read_text() and Job.from_json(job.to_json()) == job
    assert job.scenes[0].grid == geoseg.Scene(job.scenes[0].plan.scene["path"]).grid
    assert "scores" not in json.loads(job.to_json())["scenes"][0]["tags"]


def test_windows_across_borders_are_counted(make_job):
    job, lattice = job_of(make_job()), job_of(make_job()).scenes[0].plan.lattice
    meeting = [sum(bool(window.intersect(task.window)) for window in lattice) for task in job.tasks]
    assert [task.windows for task in job.tasks] == meeting
    assert job.halo_of(0) == sum(meeting) / len(lattice) - 1 > 0.1


def test_planning_again_changes_nothing(make_job, caplog):
    folder = make_job()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    caplog.set_level("INFO", "geoseg")
    make_job()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "the same job is planned there already" in caplog.text


@pytest.mark.parametrize("other", [{"window": 96}, {"part": 1024}, {"tta": True}, {"bbox": (441_800, 0, 442_000, 9e6)}])
def test_another_plan_is_refused_unless_it_may_replace(make_job, other):
    folder = make_job()
    with pytest.raises(OutputError, match="holds another job"):
        make_job(**other)
    (folder / "parts/part-000000.tif").write_text("old")
    make_job(overwrite=True, **other)
    assert not list((folder / "parts").iterdir())


def test_files_that_are_no_parts_stay(make_job, tmp_path, job_scene):
    mine = tmp_path / "job/parts/scene.tif"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(job_scene.read_bytes())
    for options in ({}, {"overwrite": True}):
        with pytest.raises(OutputError, match=r"job/parts: holds scene\.tif, of no job here; move it away"):
            make_job(mine, **options)
    assert mine.read_bytes() == job_scene.read_bytes() and not (tmp_path / "job/job.json").exists()


def test_a_job_is_forgotten_without_the_files_of_others(make_job):
    folder = make_job()
    ours = ["part-000000.tif", "part-000000.tif.aux.xml", "part-000000.json", "part-000001.error.json"]
    for name in ours:
        (folder / "parts" / name).write_text("old")
    (folder / "parts/.host.1.4.0a1b2c3d").mkdir()
    mine = folder / "parts/part-of-mine.tif"
    mine.write_text("mine")
    planned = (folder / "job.json").read_bytes()
    with pytest.raises(OutputError, match=r"holds part-of-mine\.tif"):
        make_job(overwrite=True, tta=True)
    assert (folder / "job.json").read_bytes() == planned and len(list((folder / "parts").iterdir())) == 6
    mine.unlink()
    make_job(overwrite=True, tta=True)
    assert not list((folder / "parts").iterdir()) and (folder / "job.json").read_bytes() != planned


def test_a_file_in_the_place_of_the_folder(make_job, tmp_path):
    (tmp_path / "job").write_text("mine")
    with pytest.raises(OutputError, match="job: cannot be written there"):
        make_job()
    assert (tmp_path / "job").read_text() == "mine"


def test_what_a_gpu_s_free_memory_decides_is_no_other_plan(make_job):
    folder = make_job(batch_size=2)
    planned = (folder / "job.json").read_bytes()
    make_job(batch_size=4)
    assert (folder / "job.json").read_bytes() == planned


def test_another_job_is_told_by_its_scene(make_job, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", (600, 700))
    folder = make_job(scene)
    os.utime(scene, ns=(1, 1))
    with pytest.raises(OutputError, match="holds another job"):
        make_job(scene)
    assert read_job(folder).scenes[0].grid.shape == (600, 700)


def test_what_cannot_be_planned(make_job, job_scene, job_model, tmp_path):
    with pytest.raises(UsageError, match="multiple of 512"):
        make_job(part=500)
    with pytest.raises(UsageError, match="geoseg predict --scores"):
        make_job(scores="top")
    with pytest.raises(UsageError, match="patches that go on in another part"):
        make_job(min_pixels=9)
    with pytest.raises(UsageError, match=r"two scenes would be mapped to scene\.tif"):
        make_job([job_scene, job_scene])
    with pytest.raises(UsageError, match="--stack joins"):
        make_job([job_scene, job_scene], stack=True, mosaic=True)
    assert not (tmp_path / "job/job.json").exists()


def test_a_scene_whose_credentials_are_kept_nowhere_is_refused(make_job, web, job_scene):
    (web.folder / "scene.tif").write_bytes(job_scene.read_bytes())
    with pytest.raises(InputError, match="credentials") as found:
        make_job(web.url("ok/scene.tif?sig=hushhush"))
    assert "hushhush" not in str(found.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 99}', b"\xff\xfe"])
def test_what_is_no_job(tmp_path, data):
    (tmp_path / "job.json").write_bytes(data)
    with pytest.raises(InputError, match="not a job"):
        read_job(tmp_path)


@pytest.mark.parametrize(("part", "change"), [("plan", {"tta": True}), ("grid", {"crs": None}), ("tags", {"A": "B"})])
def test_an_altered_job_is_refused(make_job, part, change):
    folder = make_job()
    record = json.loads((folder / "job.json").read_text())
    record["scenes"][0][part].update(change)
    (folder / "job.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="altered since it was planned"):
        geoseg.run_job(folder)


def test_a_folder_without_a_job(tmp_path):
    for call in (geoseg.run_job, geoseg.job_status, lambda folder: geoseg.merge_job(folder, "m.tif")):
        with pytest.raises(UsageError, match="holds no job; plan one with geoseg job plan"):
            call(tmp_path)


def test_the_options_are_those_of_predict(make_job):
    plan = job_of(make_job()).scenes[0].plan
    assert (plan.lattice.side, plan.lattice.overlap, plan.numerics.precision) == (
        HOW["window"],
        HOW["overlap"],
        HOW["precision"],
    )
