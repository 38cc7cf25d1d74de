"""Class shares before and after oversampling, worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import geoseg
from geoseg.datasets.augmentation import mean_area_lost
from geoseg.datasets.splits import Split
from geoseg.datasets.stats import PAPER_TABLE_1, ClassStats
from geoseg.datasets.survey import Survey
from geoseg.errors import UsageError
from geoseg.legend import DEEPGLOBE

LOSS = 0.7 * 0.0932


def class_stats(counts: list[list[int]], rare_set: str = "text", rule: str = "80/10/10") -> ClassStats:
    found = Survey(np.array(counts), 0, 0, (1.0, 1.0, 1.0), None)
    return ClassStats("folder", Split(rule, (), (), ()), "train", DEEPGLOBE, found, rare_set, LOSS)


#           urban  agri  range forest water barren unknown
WATER = [0, 50, 0, 0, 50, 0, 0]
FOREST = [0, 0, 0, 100, 0, 0, 0]
FIELDS = [0, 100, 0, 0, 0, 0, 0]
BARREN = [40, 0, 0, 0, 0, 60, 0]


def test_shares_by_hand():
    found = class_stats([WATER, FOREST, FIELDS, BARREN])
    assert found.copies.tolist() == [6, 3, 0.3, 2] and found.presence.tolist() == [1, 2, 0, 1, 1, 1, 0]
    assert found.found.shares.tolist() == [0.1, 0.375, 0, 0.25, 0.125, 0.15, 0]
    pixels = np.array([80, 300 + 30, 0, 300, 300, 120, 0])
    assert found.oversampled_shares == pytest.approx(pixels / 1130)
    assert found.ignored_share == pytest.approx((5 + 2 + 0 + 1) / 11.3 * LOSS)
    assert found.augmented_shares.sum() + found.ignored_share == pytest.approx(1)


def test_barren_is_rare_in_the_other_set():
    assert class_stats([BARREN, FIELDS], "table1").copies.tolist() == [3, 0.3]


def test_the_ignored_share_is_the_one_missing_from_the_papers_table():
    """379, 166, 33 and 65 scenes of one size: 5.2 % by the rule, 5.02 % in Table 1."""
    found = class_stats([WATER] * 379 + [FOREST] * 166 + [BARREN] * 33 + [FIELDS] * 65)
    assert found.copies.sum() == pytest.approx(2857.5)
    missing = 100 - sum(augmented for _, augmented in PAPER_TABLE_1.values())
    assert missing == pytest.approx(5.02) and 100 * found.ignored_share == pytest.approx(missing, abs=0.2)


def test_the_papers_table_stands_beside_its_own_split_only():
    assert "paper's" in class_stats([WATER], rule="paper").to_text()
    assert "paper's" not in class_stats([WATER]).to_text()
    assert class_stats([WATER], rule="paper").to_dict()["classes"][4]["paper_percent"] == (3.11, 3.86)
    originals = [original for original, _ in PAPER_TABLE_1.values()]
    assert tuple(PAPER_TABLE_1) == DEEPGLOBE.names and sum(originals) == pytest.approx(100)


def test_stats_of_a_folder(sample_folder):
    found = geoseg.stats(sample_folder, split="100/0/0")
    record = json.loads(json.dumps(found.to_dict()))
    assert sum(row["pixels"] for row in record["classes"]) == 6 * 64 * 64 - record["without_class_pixels"]
    assert record["scenes"] == 6 and record["rare_set"] == "text" and sum(record["scenes_by_copies"].values()) == 6
    expected = sum(float(copies) * scenes for copies, scenes in record["scenes_by_copies"].items())
    assert record["expected_items"] == pytest.approx(expected)
    assert found.rotation_loss == pytest.approx(0.7 * mean_area_lost(30))
    assert len(found.to_text().splitlines()) == 2 + 8 + 3


def test_other_legends_are_oversampled_by_shares(make_dataset):
    codes = {"a": [10, 10, 20, 30], "b": [10, 10, 20, 20], "c": [10, 10, 10, 10]}
    pixels = np.ones((3, 4, 4), np.uint8)
    root = make_dataset({stem: (pixels, np.repeat([row], 4, 0).astype(np.uint8)) for stem, row in codes.items()})
    found = geoseg.stats(root, split="100/0/0")
    assert found.to_dict()["rare_set"] == "shares" and sorted(found.copies) == [0.3, 2, 6]
    by_hand = np.array([8 * 6 + 8 * 2 + 16 * 0.3, 4 * 6 + 8 * 2, 4 * 6]) / (16 * 8.3)
    assert found.oversampled_shares == pytest.approx(by_hand)
    text = found.to_text()
    assert "oversampling (rare set shares): very rare pond; dominant meadow" in text and "8.3 items expected" in text
    assert geoseg.stats(root, split="100/0/0", rare_set="shares").to_dict() == found.to_dict()


def test_where_no_class_is_rarer_there_are_the_first_columns(make_dataset):
    root = make_dataset({"a": (np.ones((3, 4, 4), np.uint8), np.full((4, 4), 10, np.uint8))})
    record = geoseg.stats(root, split="100/0/0").to_dict()
    assert record["classes"][0]["share"] == 1 and record["classes"][0]["augmented_share"] is None
    assert record["expected_items"] is None
    assert "no oversampling: no class is rarer than another" in geoseg.stats(root, split="100/0/0").to_text()
    with pytest.raises(UsageError, match="the legend 'small' has no water"):
        geoseg.stats(root, split="100/0/0", rare_set="table1")
    with pytest.raises(UsageError, match="no class is rarer than another"):
        geoseg.stats(root, split="100/0/0", rare_set="shares")


def test_an_empty_part_and_an_unknown_rare_set_are_refused(sample_folder):
    with pytest.raises(UsageError, match=r"the split 100/0/0 .* has no test scenes"):
        geoseg.stats(sample_folder, split="100/0/0", part="test")
    with pytest.raises(UsageError, match="there are text, table1, shares"):
        geoseg.stats(sample_folder, rare_set="all")
