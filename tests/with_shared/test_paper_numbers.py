"""The paper's own confusion matrices and the averages that follow from them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from geoseg.confusion import ConfusionMatrix
from geoseg.legend import DEEPGLOBE
from geoseg.scoring.averages import average_iou

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"the shared vectors are not at {VECTORS}")

IOU = {
    "baseline": [0.6289, 0.6621, 0.1087, 0.4260, 0.4583, 0.2224],
    "focal": [0.5379, 0.5952, 0.1254, 0.4837, 0.3444, 0.1908],
    "augment": [0.6014, 0.6161, 0.1964, 0.6563, 0.6207, 0.3953],
}
"""Pooled over the 80 test scenes, unknown truth left out; science.md, A4."""
MEAN_IOU = {"baseline": 0.4177, "focal": 0.3796, "augment": 0.5144}
PIXEL_ACCURACY = {"baseline": 0.6800, "focal": 0.6304, "augment": 0.6745}
KAPPA = {"baseline": 0.501, "focal": 0.457, "augment": 0.550}


@pytest.fixture(params=IOU)
def setting(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def matrix(setting: str) -> ConfusionMatrix:
    record = json.loads((VECTORS / "paper.json").read_text())
    assert tuple(name.lower() for name in record["classes"]) == DEEPGLOBE.names
    return ConfusionMatrix(np.array(record["figure_matrices_rows_truth"][setting]), DEEPGLOBE.ignored)


def test_the_paper_s_matrices_pool_to_these_ious(matrix: ConfusionMatrix, setting: str) -> None:
    iou = matrix.iou()
    assert iou[:6].round(4).tolist() == IOU[setting] and np.isnan(iou[6])
    assert round(matrix.mean_iou(), 4) == MEAN_IOU[setting]
    assert round(matrix.pixel_accuracy(), 4) == PIXEL_ACCURACY[setting]
    assert round(matrix.kappa(), 3) == KAPPA[setting]
    wrong = matrix.quantity_disagreement() + matrix.allocation_disagreement()
    assert wrong == pytest.approx(1 - matrix.pixel_accuracy())


def test_the_percentages_the_paper_s_text_argues_with(matrix: ConfusionMatrix, setting: str) -> None:
    rows = matrix.row_percent()
    assert rows[:6].sum(1) == pytest.approx([100] * 6) and np.isnan(rows[6]).all()
    if setting == "baseline":
        # "Little evidence that rare classes are taken for agriculture": rangeland 47 %, barren 39 %.
        assert rows[[2, 5], 1].round().tolist() == [47, 39]


def test_the_matrices_count_every_pixel_of_the_80_test_scenes(matrix: ConfusionMatrix) -> None:
    assert matrix.counts.sum() == 80 * 1024**2
    assert matrix.counts.sum(1).tolist() == [7214251, 48054505, 9043853, 8878872, 4872537, 5814163, 7899]
    assert (matrix.total, matrix.missing) == (80 * 1024**2 - 7899, 0)


def test_averages_of_the_averaging_example() -> None:
    record = json.loads((VECTORS / "averaging.json").read_text())
    pairs = zip(np.array(record["truth"], np.uint8), np.array(record["pred"], np.uint8), strict=True)
    scenes = [ConfusionMatrix.from_pair(*pair, classes=4) for pair in pairs]
    pooled, image = average_iou(scenes, "pooled"), average_iou(scenes, "image")
    assert pooled.iou == pytest.approx([*record["pooled_iou"], math.nan], abs=1e-7, nan_ok=True)
    assert float(pooled.mean) == pytest.approx(record["pooled_mean"], abs=1e-7)
    assert image.iou == pytest.approx([*record["per_image_union_nonempty"], math.nan], abs=1e-7, nan_ok=True)
    assert float(image.mean) == pytest.approx(0.6111, abs=5e-5)
