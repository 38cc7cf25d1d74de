"""Numbers of ../shared/vectors: losses, splits and calibration as worked out by others' code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.datasets.splits import PAPER_SIZES, glnet_stems, paper_order
from geoseg.scoring.calibration import Reliability
from geoseg.training.losses import loss_sum

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"{VECTORS} is not there")


def read(name: str) -> dict:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def test_losses():
    record = read("losses")
    logits = torch.tensor(record["logits"], dtype=torch.float64).T[None]
    index, weights = torch.tensor(record["labels"])[None], torch.tensor(record["weights"], dtype=torch.float64)
    cross_entropy, focal = (loss_sum(logits, index, weights, gamma) for gamma in (0.0, record["gamma"]))
    # The weights are printed with six places.
    assert cross_entropy.mean().item() == pytest.approx(record["weighted_ce_mean"], rel=1e-7)
    assert cross_entropy.total.item() == pytest.approx(record["weighted_ce_sum"], rel=1e-6)
    assert focal.total.item() == pytest.approx(record["focal_sum"], rel=1e-6)
    assert focal.mean().item() == pytest.approx(record["focal_over_sum_of_weights"], rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_calibration(dtype):
    record = read("calibration")
    shares = np.array(record["probabilities"], dtype)
    truth, prediction = np.array([record["truth"]], np.uint8), shares.argmax(1)[None].astype(np.uint8)
    found = Reliability.from_pair(truth, prediction, shares.max(1)[None], shares.shape[1])
    values = found.ece(record["bins"]), found.rms(record["bins"]), found.maximum(record["bins"])
    assert values == pytest.approx((record["ece_l1"], record["l2"], record["max"]), abs=5e-5)


@pytest.fixture
def splits() -> dict:
    return read("deepglobe_splits")


def test_glnets_lists(splits):
    assert glnet_stems() == {part: tuple(map(str, splits["glnet"][part])) for part in ("train", "val", "test")}


@pytest.fixture
def paper_names(splits) -> list[str]:
    stems = [str(number) for part in splits["glnet"].values() for number in part]
    return [f"{stem}_sat.jpg" for stem in paper_order(stems)]


def test_the_papers_order(splits, paper_names):
    assert len(paper_names) == sum(PAPER_SIZES) == 803
    assert paper_names[:3] == splits["paper_train_first3"]
    assert paper_names[-PAPER_SIZES[2] :][:3] == splits["paper_test_first3"]
    test = "\n".join(paper_names[-PAPER_SIZES[2] :])
    assert hashlib.sha256(test.encode()).hexdigest() == splits["paper_test_sha256"]
