"""Which data folder is taken, and the embedded sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geoseg.datasets import resolve, synthetic
from geoseg.datasets.dataset import has_known_layout
from geoseg.datasets.resolve import embedded_sample, resolve_data
from geoseg.source import Source


def touch(root: Path, *names: str) -> Path:
    """A folder with empty files; it is only looked at, not read."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def quick_sample(monkeypatch, tmp_path):
    """A cache of the test's own, and a sample of one small file in place of the drawn one; counts the drawings."""
    drawn = []

    def write_sample(folder):
        drawn.append(folder)
        touch(folder, "1_sat.jpg", "1_mask.png")

    monkeypatch.delenv("GEOSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(resolve, "write_sample", write_sample)
    return drawn


def test_data_is_looked_for_in_order(quick_sample, tmp_path, monkeypatch):
    named = touch(tmp_path / "named", "1_sat.jpg", "1_mask.png")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("GEOSEG_DATA", str(named))
    touch(Path("data"), "1_sat.jpg", "1_mask.png")
    assert resolve_data("x") == (Source("x"), "data: x")
    assert resolve_data(None) == (Source(str(named)), f"data: {named} (from GEOSEG_DATA)")
    monkeypatch.delenv("GEOSEG_DATA")
    assert resolve_data(None) == (Source("data"), "data: ./data")
    shutil.rmtree("data")
    Path("data").mkdir()
    folder, said = resolve_data(None)
    assert Path(folder).is_relative_to(tmp_path / "cache" / "geoseg") and "SYNTHETIC sample" in said


def test_the_sample_is_drawn_once_and_leaves_nothing_else(quick_sample, tmp_path):
    first, second = embedded_sample(), embedded_sample()
    assert first == second and has_known_layout(first) and len(quick_sample) == 1
    assert list((tmp_path / "cache" / "geoseg").iterdir()) == [first]


def test_a_sample_that_could_not_be_drawn_leaves_nothing(quick_sample, monkeypatch, tmp_path):
    def fails(*args):
        raise RuntimeError("stopped")

    monkeypatch.setattr(resolve, "write_sample", synthetic.write_sample)
    monkeypatch.setattr(synthetic, "draw_scene", fails)
    with pytest.raises(RuntimeError, match="stopped"):
        embedded_sample()
    assert list((tmp_path / "cache" / "geoseg").iterdir()) == []
