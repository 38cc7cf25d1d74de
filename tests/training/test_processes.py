"""Several processes: as typed with torchrun, equal to one process; and what one of them reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import geoseg
from geoseg.errors import ResourceError, UsageError
from geoseg.models.storage import read_model_file
from geoseg.training.processes import ALONE, Processes, joined, require_even_batches

SMALL = {"width": 4, "size": 32, "batch_size": 2, "accumulate": 1, "epochs": 3, "steps": 5, "lr": 1e-4}


def torchrun(*words: object, program: Path | None = None) -> subprocess.CompletedProcess[str]:
    """geoseg under torchrun, as a person types it, on two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, *([str(program)] if program else ["-m", "geoseg_cli"]), *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=150)


def options_of(settings: dict[str, object]) -> list[object]:
    options = ((f"--{name.replace('_', '-')}", value) for name, value in settings.items())
    return [word for option, value in options for word in ((option,) if value is True else (option, value))]


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "none"},
        {"norm": "group", "batch_size": 2, "accumulate": 2, "ema": 0.9, "clip": 0.5, "window": 48, "steps": 5}
        | {"region_loss": "dice", "balance_crops": True},
    ],
    ids=["none", "group"],
)
def test_two_processes_learn_what_one_learns(sample_folder, tmp_path, settings):
    settings = SMALL | settings
    words = ["-o", tmp_path / "two", "--json", *options_of(settings), "--device", "cpu", "--precision", "fp32"]
    done = torchrun("train", sample_folder, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["last"]["step"] == settings["steps"]
    assert done.stderr.count("epoch 1/") == 1
    geoseg.train(sample_folder, tmp_path / "one", device="cpu", precision="fp32", **settings)
    (one, first), (two, second) = (read_model_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
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
