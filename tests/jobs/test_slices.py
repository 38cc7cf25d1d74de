"""Slices: every task once, about even, and what schedulers' variables mean."""

from __future__ import annotations

import pytest

import geoseg
from geoseg.errors import UsageError
from geoseg.jobs.slices import Slice, slice_of_array

from .conftest import job_of, write_scene

SLURM = {"ID": "6", "MIN": "2", "STEP": "2", "COUNT": "4", "MAX": "8"}


def slurm(**changed: str) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": value for name, value in (SLURM | changed).items()}


def test_slices_share_scenes_out(make_job, job_scene, tmp_path):
    scenes = [job_scene, write_scene(tmp_path / "b.tif", (900, 513)), write_scene(tmp_path / "c.tif", (100, 100))]
    job = job_of(make_job(scenes))
    for count in (1, 2, 5, 40):
        shares = [Slice(place, count).of(job) for place in range(1, count + 1)]
        assert sorted(task.number for share in shares for task in share) == list(range(len(job.tasks)))
        work = [sum(task.windows for task in share) for share in shares]
        assert max(work) - min(work) <= max(task.windows for task in job.tasks)
    windows = [task.windows for task in job.by_size]
    assert windows == sorted(windows, reverse=True)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/3", "1.5/3"])
def test_what_is_no_slice(text):
    with pytest.raises(UsageError, match="--shard I/N"):
        Slice.parse(text)


def test_a_slice_by_hand():
    assert Slice.parse("3/16") == Slice(3, 16) and str(Slice(3, 16)) == "3/16"


def test_arrays_of_schedulers():
    assert slice_of_array({}) is None
    assert slice_of_array(slurm())[0] == Slice(3, 4)
    assert slice_of_array(slurm(ID="0", MIN="0", STEP="1", COUNT="1", MAX="0"))[0] == Slice(1, 1)
    aws = {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "7"}
    assert slice_of_array(aws) == (Slice(1, 7), "AWS_BATCH_JOB_ARRAY_INDEX")


@pytest.mark.parametrize("changed", [{"ID": "7"}, {"ID": "20", "MAX": "20"}, {"COUNT": "3", "ID": "4"}])
def test_an_uneven_array_is_refused(changed):
    with pytest.raises(UsageError, match="uneven distances"):
        slice_of_array(slurm(**changed))


def test_an_array_without_its_size_is_refused():
    with pytest.raises(UsageError, match="AWS_BATCH_JOB_ARRAY_SIZE"):
        slice_of_array({"AWS_BATCH_JOB_ARRAY_INDEX": "0"})


def test_a_run_in_an_array_takes_its_slice(make_job, monkeypatch, caplog):
    folder = make_job()
    for name, value in slurm(ID="8").items():
        monkeypatch.setenv(name, value)
    caplog.set_level("INFO", "geoseg")
    assert geoseg.run_job(folder).tasks == 2
    assert "slice 4/4 of the tasks, as SLURM_ARRAY_TASK_ID says" in caplog.text
    assert geoseg.run_job(folder, shard="1/9").tasks == 1
