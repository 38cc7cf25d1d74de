"""Data folders: both layouts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoseg.datasets.dataset import has_known_layout, open_dataset, read_split
from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE


def touch(root: Path, *names: str) -> Path:
    """Empty files; a data set is opened without reading its rasters."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def deepglobe(tmp_path):
    names = [f"{stem}_{kind}" for stem in ("7", "12", "105") for kind in ("sat.jpg", "mask.png")]
    return touch(tmp_path / "deepglobe", *names)


@pytest.fixture
def generic(tmp_path):
    root = touch(tmp_path / "generic", "images/b.tif", "images/a.JPG", "labels/a.png", "labels/b.tif")
    classes = [{"code": 1, "name": "x", "color": "#000001"}, {"code": 2, "name": "y", "color": "#000002"}]
    (root / "legend.json").write_text(json.dumps({"classes": classes}))
    return root


def test_deepglobe_layout(deepglobe):
    dataset = open_dataset(deepglobe)
    assert [pair.stem for pair in dataset.pairs] == ["105", "12", "7"]
    assert str(dataset.pairs[0].image) == str(deepglobe / "105_sat.jpg")
    assert str(dataset.pairs[0].labels) == str(deepglobe / "105_mask.png")
    assert dataset.legend is DEEPGLOBE and dataset.split is None and not dataset.synthetic


def test_nested_folders_are_found(tmp_path):
    root = touch(tmp_path, "a/1_sat.jpg", "a/1_mask.png", "b/c/2_sat.tif", "b/c/2_mask.png")
    assert [pair.stem for pair in open_dataset(root).pairs] == ["1", "2"]


def test_images_without_masks_and_other_files_are_left_out(deepglobe):
    touch(deepglobe, "valid/9_sat.jpg", "7_sat.jpg.aux.xml", "scene.tif", "99_mask.png")
    touch(deepglobe, "notes_sat.txt", "notes_mask.png")
    assert [pair.stem for pair in open_dataset(deepglobe).pairs] == ["105", "12", "7"]


def test_a_mask_in_another_folder_does_not_count(tmp_path):
    touch(tmp_path, "images/1_sat.jpg", "masks/1_mask.png")
    with pytest.raises(InputError, match="no known layout"):
        open_dataset(tmp_path)


def test_a_scene_that_is_there_twice_is_refused(deepglobe):
    touch(deepglobe, "copy/7_sat.jpg", "copy/7_mask.png")
    with pytest.raises(InputError, match="scene 7 is there twice"):
        open_dataset(deepglobe)


def test_generic_layout(generic):
    dataset = open_dataset(generic)
    files = [(pair.stem, pair.image.filename, pair.labels.filename) for pair in dataset.pairs]
    assert files == [("a", "a.JPG", "a.png"), ("b", "b.tif", "b.tif")]
    assert dataset.legend.names == ("x", "y") and dataset.legend.name == "generic"


@pytest.mark.parametrize(
    ("name", "message"),
    [("images/c.tif", "c is in images/ but not in labels/"), ("labels/c.tif", "c is in labels/ but not in images/")],
)
def test_lonely_files_are_refused(generic, name, message):
    touch(generic, name)
    with pytest.raises(InputError, match=message):
        open_dataset(generic)


def test_two_files_of_one_stem_are_refused(generic):
    touch(generic, "images/a.tif")
    with pytest.raises(InputError, match=r"a\.JPG and a\.tif have the same stem"):
        open_dataset(generic)


def test_a_missing_legend_is_refused_unless_one_is_named(generic):
    (generic / "legend.json").rename(generic / "other.json")
    with pytest.raises(InputError, match=r"has no legend\.json"):
        open_dataset(generic)
    assert open_dataset(generic, generic / "other.json").legend.names == ("x", "y")
    assert open_dataset(generic, "deepglobe").legend is open_dataset(generic, DEEPGLOBE).legend is DEEPGLOBE


@pytest.mark.parametrize("name", ["none", "generic/legend.json"])
def test_what_is_no_folder_is_refused(generic, tmp_path, name):
    with pytest.raises(InputError, match="no such data folder"):
        open_dataset(tmp_path / name)


def test_an_empty_folder_has_no_known_layout(tmp_path):
    assert not has_known_layout(tmp_path)
    with pytest.raises(InputError, match="no known layout; expected"):
        open_dataset(tmp_path)


def test_empty_folders_of_images_and_labels_are_no_known_layout(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    assert not has_known_layout(tmp_path)


def test_part_keeps_the_order_and_names_what_is_missing(deepglobe):
    dataset = open_dataset(deepglobe)
    assert [pair.stem for pair in dataset.part(("7", "105"))] == ["7", "105"]
    with pytest.raises(InputError, match=r"2 scene.*are not there, 8 first"):
        dataset.part(("7", "8", "9"))


def test_split_json_comes_with_the_folder(deepglobe):
    (deepglobe / "split.json").write_text('{"train": ["7", 12], "test": ["105"]}')
    assert open_dataset(deepglobe).split == {"train": ("7", "12"), "val": (), "test": ("105",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a split"),
        ("[]", "not a split"),
        ('{"train": 3}', "not a split"),
        ('{"train": ["1"], "val": ["2", "1"]}', "scene 1 stands in the split twice"),
        ('{"train": ["1", "1"]}', "scene 1 stands in the split twice"),
        ('{"val": ["1"]}', 'no "train" scenes'),
    ],
)
def test_a_split_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path / "split.json")
