"""Dask: the same pixels from one worker and from two, killed workers, failures, and no hanging."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("distributed")

from distributed import Client, KilledWorker, LocalCluster, Nanny, WorkerPlugin
from distributed.client import FuturesCancelledError
from distributed.comm import CommClosedError

import geoseg
import geoseg.jobs.dask as on_dask
from geoseg.errors import FailedParts, ModelError, ResourceError, UsageError
from geoseg.jobs.dask import worker_specs
from geoseg.jobs.parts import Parts
from geoseg.jobs.task import run_task
from geoseg.models.storage import load, save_segmenter

from .conftest import HOW, computed_at, job_of, merged_pixels, pixels_of, repair


@pytest.fixture(scope="module")
def threads():
    """A scheduler and two workers in this process."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def processes():
    """A scheduler here, and two workers that are processes of their own."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def test_workers_in_this_process(threads, make_job, predicted):
    folder = make_job()
    done = geoseg.run_job(folder, dask=threads.scheduler_address, threads=1)
    assert (done.tasks, done.computed) == (9, 9) and np.array_equal(merged_pixels(folder), pixels_of(predicted))
    before = computed_at(folder)
    assert geoseg.run_job(folder, dask=threads.scheduler_address).finished_before == 9
    assert computed_at(folder) == before


def test_a_worker_has_one_task_at_a_time(threads, make_job, monkeypatch):
    folder, most = make_job(), []
    finished = on_dask._finished
    monkeypatch.setattr(on_dask, "_finished", lambda running: most.append(len(running)) or finished(running))
    geoseg.run_job(folder, dask=threads.scheduler_address)
    assert max(most) == 2 and len(most) >= 5


def test_a_task_that_always_fails_is_told_while_the_others_finish(
    threads,
    make_job,
    damaged_scene,
    job_scene,
    predicted,
):
    folder = make_job(damaged_scene)
    with pytest.raises(FailedParts, match="the others are finished; task"):
        geoseg.run_job(folder, dask=threads.scheduler_address)
    status = geoseg.job_status(folder)
    assert status.scenes[0].left == 0 and {failure.attempts for failure in status.failures} == {3}
    repair(damaged_scene, job_scene)
    geoseg.run_job(folder, dask=threads.scheduler_address)
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_a_full_disk_ends_the_run(threads, make_job, monkeypatch):
    folder = make_job()

    def full(*args, **kwargs):
        raise ResourceError("the disk is full")

    monkeypatch.setattr("geoseg.jobs.task.ClassRasterWriter", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        geoseg.run_job(folder, dask=threads.scheduler_address)
    assert not list((folder / "parts").glob("*.tif"))


def test_two_processes_one_of_which_is_killed(processes, make_job, predicted):
    """Its task is computed again by whoever is there; nothing that was finished is."""
    folder, client = make_job(), Client(processes, set_as_default=False)
    numbers = client.run(os.getpid)

    def kill() -> None:
        while len(computed_at(folder)) < 2:
            time.sleep(0.01)
        os.kill(next(iter(numbers.values())), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    done = geoseg.run_job(folder, dask=processes)
    killer.join()
    assert done.computed == 9 and geoseg.job_status(folder).is_finished
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))
    client.close()
    # Altered since, and found by the next run.
    part = folder / "parts/part-000007.tif"
    part.write_bytes(part.read_bytes()[:-9])
    before = computed_at(folder)
    assert geoseg.run_job(folder, dask=processes).computed == 1
    after = computed_at(folder)
    assert {name for name in after if before[name] != after[name]} == {"part-000007.json"}
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_a_task_that_kills_its_workers_takes_no_other_with_it(processes, make_job, predicted):
    class Poison(WorkerPlugin):
        def setup(self, worker) -> None:
            import geoseg.jobs.dask as there

            there.run_task = lambda folder, number, job: os._exit(1) if number == 4 else run_task(folder, number, job)

        def teardown(self, worker) -> None:
            import geoseg.jobs.dask as there

            there.run_task = run_task

    folder, client = make_job(), Client(processes, set_as_default=False)
    client.register_plugin(Poison(), name="poison")
    with pytest.raises(FailedParts, match=r"1 of 9 task\(s\) failed.*task 4.*workers died while they computed it"):
        geoseg.run_job(folder, dask=processes)
    assert [len(scene.parts) for scene in geoseg.job_status(folder).scenes] == [8]
    client.unregister_worker_plugin("poison")
    geoseg.run_job(folder, dask=processes)
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))
    client.close()


def test_workers_that_take_too_much_memory_are_begun_anew(make_job, predicted):
    """Until a task has failed; with enough of it the same job is finished."""
    folder = make_job(part=1024)
    with pytest.raises(FailedParts, match=r"4 of 4 task\(s\) failed.*3 workers died while they computed it, perhaps"):
        geoseg.run_job(folder, dask="local", workers=1, memory="200MB")
    assert not computed_at(folder)
    geoseg.run_job(folder, dask="local", workers=1, memory="3GiB")
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))


def test_workers_without_memory_for_any_task_end_the_run(make_job, monkeypatch):
    """Dask pauses those of a cluster."""
    folder = make_job()
    monkeypatch.setattr(on_dask, "PATIENCE", 1.0)
    with (
        LocalCluster(n_workers=1, processes=False, memory_limit="100MB", dashboard_address=":0") as cluster,
        pytest.raises(ResourceError, match=r"its 1 worker\(s\) take no tasks, for want of memory, for 1 s"),
    ):
        geoseg.run_job(folder, dask=cluster.scheduler_address)


def test_a_paused_worker_that_is_at_a_task_is_waited_for():
    at_one, idle = ({"status": "paused", "metrics": {"task_counts": counts}} for counts in ({"executing": 1}, {}))
    starting = {"status": "running", "metrics": {}}
    assert [on_dask._is_at_work(worker) for worker in (at_one, idle, starting)] == [True, False, True]


@pytest.mark.parametrize("workers", [1, 4])
def test_local_workers_are_started_and_ended(make_job, predicted, workers):
    folder = make_job(part=1024 if workers == 1 else 512)
    geoseg.run_job(folder, dask="local", workers=workers, threads=1, memory="3GiB")
    assert np.array_equal(merged_pixels(folder), pixels_of(predicted))
    assert {part.host for scene in geoseg.job_status(folder).scenes for part in scene.parts} == {os.uname().nodename}


def test_each_gpu_has_a_worker_of_its_own(monkeypatch):
    specs = worker_specs(None, None, None, ["3", "GPU-a1"])
    assert [spec["cls"] for spec in specs.values()] == [Nanny, Nanny]
    options = [spec["options"] for spec in specs.values()]
    assert [one["env"]["CUDA_VISIBLE_DEVICES"] for one in options] == ["3", "GPU-a1"]
    assert all(one["nthreads"] == 1 and one["memory_limit"] == 0.5 for one in options)
    assert len(worker_specs(1, None, None, ["3", "GPU-a1"])) == 1
    with pytest.raises(UsageError, match=r"--workers 3: there are 2 GPU\(s\)"):
        worker_specs(3, None, None, ["0", "1"])
    with pytest.raises(ResourceError, match="there is none here; plan it for the CPU"):
        worker_specs(None, None, None, [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert on_dask.visible_gpus() == ["5", "7"]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(on_dask, "usable_cpus", lambda: 10)
    for workers, count, threads in ((None, 2, "5"), (3, 3, "3"), (20, 20, "1")):
        specs = worker_specs(workers, None, None, None)
        assert len(specs) == count
        for spec in specs.values():
            assert spec["options"]["env"]["OMP_NUM_THREADS"] == threads
            assert "CUDA_VISIBLE_DEVICES" not in spec["options"]["env"]
    (spec,) = worker_specs(1, 7, "2GiB", None).values()
    assert spec["options"]["env"]["OMP_NUM_THREADS"] == "7" and spec["options"]["memory_limit"] == 2**31


def test_a_task_whose_workers_die_is_told(finished):
    class Died:
        status = "error"

        def exception(self):
            return KilledWorker("geoseg-4", None, 2)

    job = job_of(finished)
    found = on_dask._failure_of(Died(), job.tasks[4], Parts("nowhere", job))
    assert "3 workers died" in found.message and found.task == 4


def test_a_model_that_was_replaced_ends_the_run(threads, job_scene, job_model, tmp_path):
    model, folder = tmp_path / "model.safetensors", tmp_path / "job"
    shutil.copy(job_model, model)
    geoseg.plan_job(job_scene, folder, model, part=512, **HOW)
    other = load(model)
    with torch.no_grad():
        other.network.head.bias.add_(1)
    save_segmenter(other, model)
    with pytest.raises(ModelError, match="is not the model that the plan was made for"):
        geoseg.run_job(folder, dask=threads.scheduler_address)
    assert not list((folder / "parts").iterdir())


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler that is a process of its own, without workers."""
    words = ["-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [sys.executable, *words, "--scheduler-file", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process, _address_in(file)
    finally:
        process.kill()
        process.wait()


def _address_in(file: Path) -> str:
    for _ in range(600):
        if file.is_file() and file.stat().st_size:
            return json.loads(file.read_text())["address"]
        time.sleep(0.05)
    raise TimeoutError


def test_no_worker_and_no_scheduler_end_the_run(scheduler, make_job, monkeypatch):
    process, address = scheduler
    folder = make_job()
    monkeypatch.setattr(on_dask, "PATIENCE", 0.5)
    monkeypatch.setattr(on_dask, "CONNECT", 1.0)
    with pytest.raises(ResourceError, match="has had no worker for 0 s; start some"):
        geoseg.run_job(folder, dask=address)
    monkeypatch.setattr(on_dask, "PATIENCE", 60)
    killer = threading.Timer(1, process.kill)
    killer.start()
    with pytest.raises(
        ResourceError, match="is gone; what was finished is kept, and the same command goes on"
    ) as error:
        geoseg.run_job(folder, dask=address)
    assert error.value.exit_code == 7 and address in str(error.value)
    killer.join()


@pytest.mark.parametrize("error", [FuturesCancelledError([]), CommClosedError(), OSError("connection reset")])
def test_a_scheduler_that_goes_away_amid_the_work_is_told(threads, make_job, monkeypatch, error):
    def lost(*args, **kwargs):
        raise error

    folder = make_job()
    monkeypatch.setattr(on_dask, "wait", lost)
    with pytest.raises(ResourceError, match="is gone; what was finished is kept"):
        geoseg.run_job(folder, dask=threads.scheduler_address)


def test_what_cannot_be_reached_is_told(make_job, monkeypatch):
    folder = make_job()
    monkeypatch.setattr(on_dask, "CONNECT", 0.5)
    with pytest.raises(ResourceError, match=r"scheduler at tcp://127\.0\.0\.1:1: cannot be reached"):
        geoseg.run_job(folder, dask="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="--dask foo: is neither local nor an address"):
        geoseg.run_job(folder, dask="foo")
    with pytest.raises(UsageError, match="a cluster has the workers it was started with"):
        geoseg.run_job(folder, dask="tcp://127.0.0.1:1", workers=2)


@pytest.mark.parametrize(("said", "limit"), [(None, 0.5), ("8GiB", 2**33), ("500 MB", 500_000_000), ("0.25", 0.25)])
def test_memory_of_a_worker(said, limit):
    assert [spec["options"]["memory_limit"] for spec in worker_specs(2, None, said, None).values()] == [limit] * 2


@pytest.mark.parametrize("said", ["foo", "8 foos", "-1GiB", "0", "auto", "inf", "1e999GiB"])
def test_what_is_no_size_of_memory_is_told(said):
    with pytest.raises(UsageError, match=f"--memory {said}: is a size such as 8GiB"):
        worker_specs(2, None, said, None)


def test_without_dask_the_remedy_is_told(make_job, monkeypatch):
    folder = make_job()
    monkeypatch.setattr("geoseg.jobs.run.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'geoseg\[dask\]'"):
        geoseg.run_job(folder, dask="local")
