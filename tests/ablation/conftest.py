"""A small ablation, made once: two rows, two seeds."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import geoseg

SMALL = {"width": 4, "size": 32, "epochs": 4, "lr": 3e-2, "batch_size": 1, "norm": "batch"}
SMALL |= {"device": "cpu", "precision": "fp32"}
"""Options of runs that take a second, and whose models differ by seed and row."""
ROWS = ("baseline", "focal")
REPORTING = Path(__file__).resolve().parents[1] / "reporting"


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set of 12 scenes of 64 px."""
    from geoseg.datasets.synthetic import write_sample

    folder = tmp_path_factory.mktemp("data") / "data"
    write_sample(folder, scenes=12, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def ablate(small_data: Path) -> Callable[..., geoseg.Ablation]:
    """geoseg.ablate on the small data with the small options; what is given comes first."""

    def run(output: Path, data: Path = small_data, **given: Any) -> geoseg.Ablation:
        return geoseg.ablate(data, output, **({"settings": ROWS, "seeds": 1, "split": "30/10/60"} | SMALL | given))

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``ablated`` was made."""
    return tmp_path_factory.mktemp("ablation") / "out"


@pytest.fixture(scope="session")
def ablated(ablate: Callable[..., geoseg.Ablation], folder: Path) -> geoseg.Ablation:
    """Two rows and two seeds, seven test scenes."""
    return ablate(folder, seeds=2)


@pytest.fixture(scope="session")
def reporting_tests() -> dict[str, Any]:
    """What the tests of the other page look at pages with."""
    return runpy.run_path(str(REPORTING / "test_page.py")) | runpy.run_path(str(REPORTING / "test_browser.py"))
