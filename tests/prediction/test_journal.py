"""Predictions that are stopped and go on."""

import json

import numpy as np
import pytest
import torch

import geoseg
from geoseg.errors import OutputError, UsageError
from geoseg.prediction.journal import Journal, unfinished
from geoseg.prediction.plan import make_plan
from geoseg.raster.scene import ArrayScene

LOCAL = {"device": "cpu", "precision": "fp32", "window": 128, "overlap": 16, "shard_shape": (512, 512)}
SHAPE = 1100, 700


class Killed(BaseException):
    pass


def by_colour(image):
    return torch.stack([(image[:, 0] * k + image[:, 1] * (7 - k)) % 31 for k in range(7)], 1)


@pytest.fixture
def scene():
    random = np.random.default_rng(3)
    valid = np.ones(SHAPE, bool)
    valid[512:1024, :512] = False
    return ArrayScene(random.integers(0, 255, (3, *SHAPE), dtype=np.uint8), valid)


@pytest.fixture
def segmenter(make_segmenter):
    return make_segmenter(by_colour)


def predict_killed_after(shards: int, monkeypatch, *args, **options) -> None:
    """Predict, and die when ``shards`` shards are in the journal."""
    add = Journal.add

    def add_then_die(self, result):
        if len(self._parts) == shards:
            raise Killed
        add(self, result)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Journal, "add", add_then_die)
        geoseg.predict(*args, **options)


@pytest.fixture
def whole(scene, segmenter, tmp_path) -> bytes:
    path = tmp_path / "whole.tif"
    geoseg.predict(scene, segmenter, path, **LOCAL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole.tif", "whole.tif.aux.xml"]
    return path.read_bytes()


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_a_stopped_run_goes_on_and_ends_the_same(scene, segmenter, tmp_path, monkeypatch, whole, shards):
    output = tmp_path / "map.tif"
    predict_killed_after(shards, monkeypatch, scene, segmenter, output, **LOCAL)
    assert not output.exists() and unfinished(output)
    assert not list(tmp_path.glob(".*partial*"))
    before = len(segmenter.network.calls)
    geoseg.predict(scene, segmenter, output, resume=True, **LOCAL)
    resumed = len(segmenter.network.calls) - before
    assert output.read_bytes() == whole and not unfinished(output)
    geoseg.predict(scene, segmenter, output, overwrite=True, **LOCAL)
    assert 0 < resumed < len(segmenter.network.calls) - before - resumed


def test_an_older_map_stays_until_the_new_one_is_whole(scene, segmenter, tmp_path, monkeypatch, whole):
    output = tmp_path / "map.tif"
    output.write_bytes(b"old")
    predict_killed_after(3, monkeypatch, scene, segmenter, output, overwrite=True, **LOCAL)
    assert output.read_bytes() == b"old"
    geoseg.predict(scene, segmenter, output, overwrite=True, resume=True, **LOCAL)
    assert output.read_bytes() == whole


def test_a_run_stopped_while_the_map_is_finished_goes_on(scene, segmenter, tmp_path, monkeypatch, whole):
    output = tmp_path / "map.tif"

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("geoseg.raster.writer.RasterWriter._verify", die)
        geoseg.predict(scene, segmenter, output, **LOCAL)
    before = len(segmenter.network.calls)
    geoseg.predict(scene, segmenter, output, resume=True, **LOCAL)
    assert output.read_bytes() == whole and len(segmenter.network.calls) == before


@pytest.mark.parametrize("damage", ["alter", "remove", "shorten"])
def test_a_part_that_was_altered_is_computed_again(scene, segmenter, tmp_path, monkeypatch, whole, damage, caplog):
    output = tmp_path / "map.tif"
    predict_killed_after(3, monkeypatch, scene, segmenter, output, **LOCAL)
    part = sorted((tmp_path / ".map.tif.geoseg").glob("part-*"))[0]
    data = part.read_bytes()
    part.unlink()
    if damage != "remove":
        part.write_bytes(data[:-9] if damage == "shorten" else data[:-1] + bytes([data[-1] ^ 1]))
    geoseg.predict(scene, segmenter, output, resume=True, **LOCAL)
    assert output.read_bytes() == whole and "1 finished part(s) were altered" in caplog.text


def test_a_journal_line_cut_by_a_kill_is_passed_over(scene, segmenter, tmp_path, monkeypatch, whole):
    output = tmp_path / "map.tif"
    predict_killed_after(2, monkeypatch, scene, segmenter, output, **LOCAL)
    journal = tmp_path / ".map.tif.geoseg" / "journal.jsonl"
    journal.write_text(journal.read_text()[:-7])
    geoseg.predict(scene, segmenter, output, resume=True, **LOCAL)
    assert output.read_bytes() == whole


def test_an_unfinished_run_is_not_thrown_away_unasked(scene, segmenter, tmp_path, monkeypatch):
    output = tmp_path / "map.tif"
    predict_killed_after(2, monkeypatch, scene, segmenter, output, **LOCAL)
    with pytest.raises(OutputError, match="--resume continues it"):
        geoseg.predict(scene, segmenter, output, **LOCAL)
    geoseg.predict(scene, segmenter, output, overwrite=True, **LOCAL)


def test_a_resume_under_other_settings_is_refused(scene, segmenter, make_segmenter, tmp_path, monkeypatch):
    output = tmp_path / "map.tif"
    predict_killed_after(2, monkeypatch, scene, segmenter, output, **LOCAL)
    with pytest.raises(UsageError, match="another lattice"):
        geoseg.predict(scene, segmenter, output, resume=True, **LOCAL | {"overlap": 8})
    with pytest.raises(UsageError, match="another scene"):
        other = ArrayScene(scene.pixels + 1, scene.valid)
        geoseg.predict(other, segmenter, output, resume=True, **LOCAL)
    with pytest.raises(UsageError, match="another tta"):
        geoseg.predict(scene, segmenter, output, resume=True, tta=True, **LOCAL)
    assert unfinished(output)


def test_two_runs_never_write_one_output(scene, segmenter, tmp_path):
    output = tmp_path / "map.tif"
    plan = make_plan(scene, segmenter, **LOCAL)
    with Journal(output, plan), pytest.raises(OutputError, match="another process"):
        geoseg.predict(scene, segmenter, output, **LOCAL)


def test_the_journal_begins_with_the_plan(scene, segmenter, tmp_path, monkeypatch):
    predict_killed_after(1, monkeypatch, scene, segmenter, tmp_path / "map.tif", **LOCAL)
    lines = (tmp_path / ".map.tif.geoseg" / "journal.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["plan"]["lattice"]["side"] == 128 and second["shard"] == 0
