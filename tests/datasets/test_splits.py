"""Splits: the paper's, GLNet's, ratios, files; disjoint whatever the rule."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

from geoseg.datasets.dataset import Dataset, Pair
from geoseg.datasets.splits import glnet_stems, paper_order, resolve_split
from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE

ALL_803 = tuple(sorted(stem for part in glnet_stems().values() for stem in part))


def dataset_of(stems, split=None) -> Dataset:
    pairs = tuple(Pair(s, Path(f"{s}_sat.jpg"), Path(f"{s}_mask.png")) for s in sorted(stems))
    return Dataset(Path("data"), pairs, DEEPGLOBE, split)


def numbered(count: int) -> Dataset:
    return dataset_of(f"{number:03d}" for number in range(count))


def stems_of(split) -> list[list[str]]:
    return [[pair.stem for pair in part] for part in (split.train, split.val, split.test)]


@pytest.mark.parametrize(
    ("count", "rule", "sizes"),
    [
        (100, "80/10/10", (80, 10, 10)),
        (24, None, (20, 2, 2)),
        (10, "8/1/1", (8, 1, 1)),
        (10, "100/0/0", (10, 0, 0)),
        (10, "50/0/50", (5, 0, 5)),
        (7, "0.8/0.1/0.1", (5, 1, 1)),
        (3, "80/10/10", (1, 1, 1)),
        (2, "80/10/10", (2, 0, 0)),
        (1, "80/10/10", (1, 0, 0)),
        (16, "70/15/15", (12, 2, 2)),
    ],
)
def test_ratios(count, rule, sizes):
    parts = stems_of(resolve_split(numbered(count), rule))
    assert tuple(len(part) for part in parts) == sizes
    assert sorted(chain(*parts)) == [f"{number:03d}" for number in range(count)]


def test_ratios_are_shuffled_by_the_seed():
    first, again, other = (stems_of(resolve_split(numbered(40), "80/10/10", seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert first[0] != sorted(first[0])
    assert resolve_split(numbered(40), "80/10/10", 3).rule == "80/10/10 (seed 3)"


@pytest.mark.parametrize(("count", "rule"), [(10, "0/0/0"), (10, "0/50/50"), (1, "0/1/0")])
def test_ratios_without_training_are_refused(count, rule):
    with pytest.raises(InputError):
        resolve_split(numbered(count), rule)


@pytest.mark.parametrize("rule", ["80/20", "80-10-10", "half", "paper ", "none.json"])
def test_an_unknown_rule_is_refused(rule):
    with pytest.raises(InputError, match="no such split; there are paper, glnet"):
        resolve_split(numbered(10), rule)


def test_a_file_names_the_scenes(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"train": ["003", "001"], "val": ["000"]}))
    split = resolve_split(numbered(5), str(tmp_path / "mine.json"))
    assert stems_of(split) == [["003", "001"], ["000"], []] and split.rule == "mine.json"


@pytest.mark.parametrize("record", [{"train": ["001"], "val": ["001"]}, {"train": ["001", "099"]}])
def test_a_file_with_overlaps_or_unknown_scenes_is_refused(tmp_path, record):
    (tmp_path / "mine.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"twice|not there, 099"):
        resolve_split(numbered(5), str(tmp_path / "mine.json"))


def test_the_folders_own_split_comes_first_and_a_rule_before_it():
    dataset = dataset_of("abcdefghij", {"train": ("c", "a"), "val": ("b",), "test": ()})
    assert stems_of(resolve_split(dataset)) == [["c", "a"], ["b"], []]
    assert resolve_split(dataset).rule == "split.json"
    assert len(resolve_split(dataset, "80/10/10").train) == 8


def test_paper_split_is_that_of_the_803_scenes():
    split = resolve_split(dataset_of(ALL_803), "paper")
    parts = stems_of(split)
    assert [len(part) for part in parts] == [643, 80, 80] and split.rule == "paper"
    assert parts[0][:3] == ["924236", "520614", "860326"] and parts[2][:3] == ["518833", "825592", "614561"]
    assert len(set(chain(*parts))) == 803


def test_803_deepglobe_scenes_take_the_papers_split_unasked():
    assert resolve_split(dataset_of(ALL_803)).rule == "paper"
    assert resolve_split(dataset_of(ALL_803[1:])).rule == "80/10/10 (seed 0)"


@pytest.mark.parametrize("stems", [ALL_803[1:], [*ALL_803, "1"], "abc"])
def test_paper_split_of_other_data_is_refused(stems):
    with pytest.raises(InputError, match=r"803 labelled scenes, there are \d+ here"):
        resolve_split(dataset_of(stems), "paper")


def test_paper_order_does_not_depend_on_the_order_it_is_given():
    assert paper_order(list(ALL_803)) == paper_order(list(reversed(ALL_803)))


def test_glnet_split():
    split = resolve_split(dataset_of(ALL_803), "glnet")
    assert [len(part) for part in stems_of(split)] == [454, 207, 142]
    assert len(set(chain(*stems_of(split)))) == 803


def test_glnet_split_of_other_data_is_refused():
    with pytest.raises(InputError, match="not there"):
        resolve_split(numbered(803), "glnet")
