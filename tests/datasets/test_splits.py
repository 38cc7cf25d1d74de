"""Splits: the paper's, GLNet's, ratios, files; disjoint whatever the rule."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoseg.datasets import splits
from geoseg.datasets.dataset import Dataset, Pair
from geoseg.datasets.splits import glnet_stems, paper_order, resolve_split
from geoseg.errors import InputError
from geoseg.grid import IDENTITY, Grid
from geoseg.legend import DEEPGLOBE

OFF_ORIGIN = 441_750.0, 5_417_386.0


@pytest.fixture(autouse=True)
def without_files(monkeypatch):
    """The scenes of these tests are names only, unless a test says where they lie."""
    monkeypatch.setattr(splits, "_grids", lambda dataset: {})


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


def place(monkeypatch, corners: dict[str, tuple[float, float]], side: int = 100, epsg: int = 32631) -> Dataset:
    """Scenes of 1 m pixels at these corners, in metres east and south of a point off round numbers."""
    east, north = OFF_ORIGIN
    crs = CRS.from_epsg(epsg)
    grids = {
        stem: Grid(crs, Affine(1, 0, east + right, 0, -1, north - down), (side, side))
        for stem, (down, right) in corners.items()
    }
    monkeypatch.setattr(splits, "_grids", lambda dataset: grids)
    return dataset_of(corners)


def parts_by_stem(split) -> dict[str, int]:
    return {stem: number for number, part in enumerate(stems_of(split)) for stem in part}


@pytest.mark.parametrize("seed", range(5))
def test_ratios_keep_scenes_that_overlap_together(monkeypatch, seed):
    # 30 places far apart, of 1 to 4 scenes each, half a scene beside the one before.
    corners = {f"{n:02d}{copy}": (1000 * n, 50 * copy) for n in range(30) for copy in range(1 + n % 4)}
    found = resolve_split(place(monkeypatch, corners), "80/10/10", seed)
    parts = parts_by_stem(found)
    assert sorted(parts) == sorted(corners)
    assert all(len({part for stem, part in parts.items() if stem[:2] == f"{n:02d}"}) == 1 for n in range(30))
    sizes = [len(part) for part in stems_of(found)]
    assert sizes[1:] == [7, 7] and sum(sizes) == len(corners) == 73


def test_scenes_that_only_touch_are_split_as_always(monkeypatch):
    corners = {f"{n:03d}": (0, 100 * n) for n in range(40)}
    apart = stems_of(resolve_split(place(monkeypatch, corners), "80/10/10", 3))
    assert apart == stems_of(resolve_split(numbered(40), "80/10/10", 3))


def test_where_all_scenes_overlap_they_are_split_one_by_one(monkeypatch):
    corners = {f"{n:03d}": (0, n) for n in range(40)}
    assert [len(part) for part in stems_of(resolve_split(place(monkeypatch, corners), "80/10/10"))] == [32, 4, 4]


@pytest.mark.parametrize("rule", ["blocks:1", "blocks:0.5:60/20/20"])
def test_blocks_stay_together(monkeypatch, rule):
    random = np.random.default_rng(0)
    corners = {f"{n:03d}": tuple(random.uniform(0, 8000, 2)) for n in range(120)}
    dataset = place(monkeypatch, corners)
    found = resolve_split(dataset, rule, 1)
    parts, grids = parts_by_stem(found), splits._grids(dataset)
    kilometres = float(rule.split(":")[1])
    blocks = {stem: splits.block_of(grid, 1000 * kilometres) for stem, grid in grids.items()}
    for block in set(blocks.values()):
        assert len({parts[stem] for stem in parts if blocks[stem] == block}) == 1
    distances = {(a, b): np.abs(np.subtract(corners[a], corners[b])).max() for a in corners for b in corners}
    assert all(parts[a] == parts[b] for (a, b), distance in distances.items() if distance < 95)
    assert len(set(blocks.values())) > 30 and found.rule == f"{rule} (seed 1)"
    wanted = 12 if kilometres == 1 else 24
    assert all(0.5 * wanted <= len(part) <= wanted for part in stems_of(found)[1:])


def test_a_block_has_the_side_it_was_given():
    rows, columns = set(), set()
    for metres in range(0, 20_000, 50):
        for found, down, right in ((rows, metres, 0), (columns, 0, metres)):
            grid = Grid(CRS.from_epsg(32631), Affine(1, 0, 441_750 + right, 0, -1, 5_417_386 - down), (2, 2))
            found.add(splits.block_of(grid, 2000)[0 if found is rows else 1])
    assert 10 <= len(rows) <= 11 and 10 <= len(columns) <= 11


def test_blocks_need_places_and_enough_of_them(monkeypatch):
    dataset = place(monkeypatch, {f"{n}": (0, 200 * n) for n in range(5)})
    with pytest.raises(InputError, match=r"makes 1 block\(s\) for 3 parts"):
        resolve_split(dataset, "blocks:100")
    with pytest.raises(InputError, match="side above 0"):
        resolve_split(dataset, "blocks:0")
    monkeypatch.setattr(splits, "_grids", lambda dataset: {"a": Grid(None, IDENTITY, (5, 5))})
    with pytest.raises(InputError, match="a has no place on the ground"):
        resolve_split(dataset_of("a"), "blocks:5")
