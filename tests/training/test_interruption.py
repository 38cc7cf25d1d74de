"""Signals: a step ends before a run does, a second signal ends it at once; and the whole of it in a real process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import geoseg
from geoseg.models.storage import read_record
from geoseg.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_stops(number):
    before = signal.getsignal(number)
    interruption = Interruption()
    with interruption.heeded():
        os.kill(os.getpid(), number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
    assert signal.getsignal(number) == before


def test_what_changes_nothing_is_stopped_at_once():
    interruption = Interruption()
    with interruption.heeded():
        with pytest.raises(KeyboardInterrupt), interruption.at_once():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruption.at_once():
            pytest.fail("was not to begin")


def test_other_threads_leave_signals_alone():
    handlers = []

    def look():
        with Interruption().heeded():
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [before]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 100
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_says_how_to_go_on(sample_folder, tmp_path, number):
    run = tmp_path / "run"
    words = ["train", sample_folder, "-o", run, "--width", "4", "--size", "32", "--epochs", "5000", "--device", "cpu"]
    command = [sys.executable, "-m", "geoseg_cli", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(run / "history.csv", process)
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), said
    (line,) = [line for line in said.splitlines() if line.startswith("geoseg: ")]
    step = int(re.search(r"after step (\d+) of 10000, which is kept", line)[1])
    assert line.endswith(f"go on with: geoseg train {sample_folder} --device cpu --resume -o {run}")
    assert read_record(run / "last.safetensors")["step"] == step > 0 and not (run / "report.json").exists()
    geoseg.train(sample_folder, run, steps=step + 1, device="cpu", resume=True)
    assert read_record(run / "last.safetensors")["step"] == step + 1 and (run / "report.json").exists()
