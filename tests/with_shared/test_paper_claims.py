"""The paper's claims, judged on its own three matrices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geoseg.ablation import paper
from geoseg.ablation.claims import FAILS, HOLDS, Verdict, judge
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import DEEPGLOBE

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"the shared vectors are not at {VECTORS}")


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((VECTORS / "paper.json").read_text())


@pytest.fixture(scope="module")
def verdicts(record: dict) -> list[Verdict]:
    rows = {
        name: [{"all 80": ConfusionMatrix(np.array(counts), DEEPGLOBE.ignored)}]
        for name, counts in record["figure_matrices_rows_truth"].items()
    }
    return judge(rows, DEEPGLOBE, by_value=True)


@pytest.mark.parametrize(
    ("part", "verdict", "figures"),
    [
        # "Little evidence that rare classes are taken for Agriculture" is not what Fig. 4 shows.
        ("does not replace", FAILS, "rangeland 47.3 %, forest 19.9 %, water 16.6 %, barren 39.1 %"),
        ("overpredict agriculture", HOLDS, "predicts agriculture on 56.1 %, 57.3 % are of it"),
        ("takes more of agriculture for water", HOLDS, "2.5 % is taken for water by the baseline, 10.3 % by focal"),
        ("overpredicts water", HOLDS, "water on 12.0 % of the pixels, the baseline on 8.0 %; 5.8 % are of it"),
        ("Focal loss is worse", HOLDS, "rangeland +0.0168, forest +0.0577, water -0.1139, barren -0.0315"),
        ("false positives", HOLDS, "baseline 21.1 %, focal 28.1 %"),
        # Not "slight": +9.7 points by Eq. 1.
        ("augment row has a higher mean IoU (pooled)", HOLDS, "baseline 0.4177, augment 0.5144 (+0.0966)"),
        ("lowers the IoU of agriculture", HOLDS, "urban -0.0275, agriculture -0.0460"),
        ("the class that it resembles", HOLDS, "predicts rangeland on 23.3 % of the pixels (10.8 % are of it)"),
    ],
)
def test_claims_on_the_paper_s_own_matrices(verdicts: list[Verdict], part: str, verdict: str, figures: str) -> None:
    (found,) = [one for one in verdicts if part in one.claim]
    assert found.verdict == verdict
    assert figures in found.sentence


def test_the_printed_numbers_are_the_paper_s(record: dict) -> None:
    assert record["table3_miou"] == paper.TABLE_3
    assert {name: tuple(values) for name, values in record["table4_iou"].items()} == paper.TABLE_4
    assert tuple(record["table1_original_percent"][:6]) == paper.TABLE_1
    assert record["pooled_miou6"] == paper.POOLED
    pooled = record["pooled_iou_unknown_truth_excluded"]
    assert {name: tuple(values) for name, values in pooled.items()} == paper.POOLED_CLASSES
    assert tuple(name.lower() for name in record["classes"][:6]) == paper.CLASSES == DEEPGLOBE.names[:6]
