"""Several processes: as typed with torchrun, equal to one process; and what one of them reports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import geoseg
from geoseg.errors import ResourceError, UsageError
from geoseg.models.storage import read_model_file
from geoseg.training.processes import ALONE, Processes, _meeting_place, joined, require_even_batches
from geoseg.training.train import goes_on

SMALL = {"width": 4, "size": 32, "batch_size": 2, "accumulate": 1, "epochs": 3, "steps": 5, "lr": 1e-4}


def torchrun(*words: object, program: Path | None = None, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """geoseg under torchrun, as a person types it, on two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launcher += ["--max-restarts", str(restarts)]
    command = [*launcher, *([str(program)] if program else ["-m", "geoseg_cli"]), *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=150)


def options_of(settings: dict[str, object]) -> list[object]:
    options = ((f"--{name.replace('_', '-')}", value) for name, value in settings.items())
    return [word for option, value in options for word in ((option,) if value is True else (option, value))]


@pytest.fixture(scope="module")
def learned_by_two(sample_folder, tmp_path_factory):
    """Run folders of two processes, each learned once, by their settings."""
    folders = {}

    def learn(settings):
        key = json.dumps(settings, sort_keys=True)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("learned") / "two"
            words = ["-o", folders[key], "--json", *options_of(settings), "--device", "cpu", "--precision", "fp32"]
            done = torchrun("train", sample_folder, *words)
            assert done.returncode == 0, done.stderr[-3000:]
            assert json.loads(done.stdout)["last"]["step"] == settings["steps"]
            assert done.stderr.count("epoch 1/") == 1
        return folders[key]

    return learn


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "none"},
        {"norm": "group", "batch_size": 2, "accumulate": 2, "ema": 0.9, "clip": 0.5, "window": 48, "steps": 5}
        | {"region_loss": "dice", "balance_crops": True},
    ],
    ids=["none", "group"],
)
def test_two_processes_learn_what_one_learns(learned_by_two, sample_folder, tmp_path, settings):
    settings = SMALL | settings
    folder = learned_by_two(settings)
    geoseg.train(sample_folder, tmp_path / "one", device="cpu", precision="fp32", **settings)
    (one, first), (two, second) = (read_model_file(run / "last.safetensors") for run in (tmp_path / "one", folder))
    assert first.keys() == second.keys() and one["config"] == two["config"]
    # Where a gradient is next to 0, Adam makes much of how it was rounded: 3e-6 is 3 % of one step.
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=3e-6, msg=lambda said, n=name: f"{n}: {said}")
    for row, other in zip(one["history"], two["history"], strict=True):
        assert row == pytest.approx(other, abs=2e-3) and row["train_loss"] == pytest.approx(other["train_loss"], 1e-4)


def test_what_one_process_cannot_do_ends_all(make_dataset, tmp_path):
    root = make_dataset({})
    done = torchrun("train", root, "-o", tmp_path / "run", "--device", "cpu")
    assert done.returncode != 0 and "no known layout" in done.stderr
    assert not (tmp_path / "run").exists()


FAILING = """
import os
import geoseg.training.trainer as module
from geoseg.errors import ModelError
from geoseg_cli.main import cli

make_step = module.Trainer._step

def fail(trainer, batches, step):
    if os.environ["RANK"] == "1" and step == 2:
        raise ModelError("the end of this one")
    return make_step(trainer, batches, step)

module.Trainer._step = fail
cli()
"""


def test_an_error_of_one_process_ends_all(sample_folder, tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    words = ["-o", tmp_path / "run", *options_of(SMALL), "--device", "cpu"]
    done = torchrun("train", sample_folder, *words, program=script)
    assert done.returncode != 0 and done.stdout == "" and "geoseg: the end of this one" in done.stderr
    # The checkpoint of the epoch before is whole, and no report says that the run is done.
    assert read_model_file(tmp_path / "run/last.safetensors")[0]["step"] == 2
    assert not (tmp_path / "run/report.json").exists()


KILLED = """
import os
import signal
from pathlib import Path
import geoseg.training.trainer as module
from geoseg_cli.main import cli

make_step, killed = module.Trainer._step, Path(__file__).with_name("killed")

def kill(trainer, batches, step):
    if os.environ["RANK"] == "1" and step == 3 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make_step(trainer, batches, step)

module.Trainer._step = kill
cli()
"""


def test_a_run_that_torchrun_starts_again_ends_as_if_no_process_had_been_killed(
    learned_by_two, sample_folder, tmp_path
):
    settings = SMALL | {"norm": "none"}
    script = tmp_path / "killing.py"
    script.write_text(KILLED)
    words = ["-o", tmp_path / "run", *options_of(settings), "--device", "cpu", "--precision", "fp32"]
    done = torchrun("train", sample_folder, *words, program=script, restarts=1)
    assert done.returncode == 0 and (tmp_path / "killed").exists(), done.stderr[-3000:]
    assert f"{tmp_path}/run: goes on after a restart" in done.stderr
    # Amid the second epoch, which was made again from its start, and the first one was not.
    assert done.stderr.count("epoch 1/") == done.stderr.count("epoch 2/") == 1
    for name in ("last.safetensors", "model.safetensors"):
        (one, first), (two, second) = (
            read_model_file(folder / name) for folder in (learned_by_two(settings), tmp_path / "run")
        )
        assert one == two and first.keys() == second.keys()
        assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert (tmp_path / "run/report.json").is_file()


def test_two_nodes_go_on_together_when_a_process_of_one_is_killed(learned_by_two, sample_folder, tmp_path):
    settings = SMALL | {"norm": "none"}
    script = tmp_path / "killing.py"
    script.write_text(KILLED)
    words = ["-o", tmp_path / "run", *options_of(settings), "--device", "cpu", "--precision", "fp32"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", place]
    launcher = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", "1", "--max-restarts", "1"]
    command = [str(word) for word in (*launcher, script, "train", sample_folder, *words)]
    own_stores = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    nodes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=own_stores) for _ in range(2)]
    try:
        said = "".join(node.communicate(timeout=150)[1] for node in nodes)
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0] and (tmp_path / "killed").exists(), said[-3000:]
    # One of two nodes counts the restart.
    assert said.count("goes on after a restart") == 1 and said.count("epoch 1/") == said.count("epoch 2/") == 1
    (_, first), (_, second) = (
        read_model_file(folder / "last.safetensors") for folder in (learned_by_two(settings), tmp_path / "run")
    )
    assert first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def test_restarts_of_several_nodes_need_a_place_each(monkeypatch):
    for name, value in {"USE_AGENT_STORE": "True", "MAX_RESTARTS": "1", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        _meeting_place()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert _meeting_place() == {}


def test_restarts_need_a_folder_and_a_run_that_had_begun(monkeypatch, tmp_path):
    assert not goes_on(None, ALONE) and not goes_on(tmp_path, ALONE)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(UsageError, match="needs a folder that is found again: name it with -o RUN"):
        goes_on(None, ALONE)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not goes_on(tmp_path, ALONE)
    (tmp_path / "config.toml").touch()
    assert goes_on(tmp_path, ALONE)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not goes_on(tmp_path, ALONE)


def test_one_alone():
    with joined("cpu") as (processes, device):
        assert (processes, device) == (ALONE, "cpu")
    value = torch.arange(3)
    assert ALONE.add(value) is value and ALONE.agree("runs/é") == "runs/é"
    assert list(ALONE.share(range(3))) == [0, 1, 2] and ALONE.first
    assert list(Processes(1, 3).share(range(8))) == [1, 4, 7] and not Processes(1, 3).first


def test_batches_are_shared_evenly():
    require_even_batches(6, Processes(0, 3))
    with pytest.raises(UsageError, match=r"--batch-size 4 is of all 3 processes together"):
        require_even_batches(4, Processes(0, 3))


def test_the_end_of_another_process_is_said(monkeypatch):
    def gone(tensor):
        raise RuntimeError("connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_reduce", gone)
    with pytest.raises(ResourceError, match="another process of this run has ended"):
        Processes(0, 2).add(torch.zeros(1))
