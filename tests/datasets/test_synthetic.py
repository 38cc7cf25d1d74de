"""The synthetic sample: the same from the same seed, in the DeepGlobe layout, with shares like those of Table 1."""

from __future__ import annotations

import json
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from geoseg.datasets.dataset import is_synthetic, open_dataset
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.synthetic import draw_scene, footprint_wedge, plan_shares, write_sample
from geoseg.errors import OutputError
from geoseg.legend import DEEPGLOBE, NO_CLASS
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene

TABLE_1 = np.array([0.1104, 0.5735, 0.0826, 0.1154, 0.0311, 0.0864])
"""The paper's shares of the classes in the training scenes, without unknown."""


@pytest.mark.parametrize("shape", [(32, 32), (32, 80), (1, 1), (3, 200), (57, 31)])
def test_any_shape_can_be_drawn(shape):
    pixels, index = draw_scene(shape, 3, 0)
    assert pixels.shape == (3, *shape) and index.shape == shape
    assert pixels.dtype == index.dtype == np.uint8
    assert pixels.min() >= 1 and index.max() <= 6


def test_a_scene_is_a_function_of_seed_and_number():
    first, again = draw_scene((64, 64), 3, 1), draw_scene((64, 64), 3, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for seed, number in ((4, 1), (3, 2)):
        other = draw_scene((64, 64), seed, number)
        assert (first[0] != other[0]).mean() > 0.5 and (first[1] != other[1]).any()


def test_shares_of_the_default_sample_are_near_those_of_table_1():
    counts = sum(np.bincount(draw_scene((256, 256), 0, number)[1].ravel(), minlength=7) for number in range(24))
    assert np.allclose(counts[:6] / counts[:6].sum(), TABLE_1, atol=0.012)
    assert 0 < counts[6] / counts.sum() < 0.003


@pytest.mark.parametrize("seed", range(5))
def test_planned_shares_leave_room_for_fields(seed):
    plans = [plan_shares((256, 256), seed, number) for number in range(40)]
    assert all(min(plan.values()) >= 0 and sum(plan.values()) <= 0.92 + 1e-9 for plan in plans)


def test_drawn_shares_are_the_planned_ones():
    plan, (_, index) = plan_shares((128, 128), 0, 2), draw_scene((128, 128), 0, 2)
    drawn = np.bincount(index.ravel(), minlength=7) / index.size
    assert all(drawn[c] == pytest.approx(share, abs=0.03) for c, share in plan.items())


def test_files_of_a_sample(sample_folder):
    ids = [f"{100001 + number}" for number in range(6)]
    expected = {f"{i}_{kind}" for i in ids for kind in ("sat.jpg", "mask.png")}
    expected |= {"split.json", "scene.tif", "truth.tif", "SYNTHETIC.txt"}
    assert {path.name for path in sample_folder.iterdir() if not path.name.endswith(".aux.xml")} == expected
    assert is_synthetic(sample_folder) and "No such place exists" in (sample_folder / "SYNTHETIC.txt").read_text()


def test_the_split_takes_every_scene_once(sample_folder):
    split = json.loads((sample_folder / "split.json").read_text())
    assert {part: len(stems) for part, stems in split.items()} == {"train": 4, "val": 1, "test": 1}
    assert sorted(chain(*split.values())) == [f"{100001 + number}" for number in range(6)]


@pytest.mark.parametrize(("scenes", "sizes"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (12, (8, 2, 2))])
def test_split_of_any_number_of_scenes(tmp_path, scenes, sizes):
    write_sample(tmp_path / "s", scenes=scenes, size=8)
    split = json.loads((tmp_path / "s/split.json").read_text())
    assert tuple(len(split[part]) for part in ("train", "val", "test")) == sizes


def test_labels_come_back_from_the_palette(sample_folder):
    for number, pair in enumerate(open_dataset(sample_folder).pairs):
        pixels, index = draw_scene((64, 64), 3, number)
        sample, flaws = LabelledScene(pair, DEEPGLOBE).read()
        assert np.array_equal(sample.index, index) and not any(flaws)
        # JPEG changes pixels a little, never their place.
        assert np.abs(sample.pixels.astype(int) - pixels).mean() < 4


def test_masks_have_deepglobes_colours(sample_folder):
    mask = np.asarray(Image.open(sample_folder / "100001_mask.png"))
    assert {tuple(colour) for colour in mask.reshape(-1, 3)} <= {c.colour for c in DEEPGLOBE.classes}


def test_scene_and_truth_lie_on_one_grid_with_one_wedge(sample_folder):
    _, index = draw_scene((165, 181), 3, 6)
    with Scene(sample_folder / "scene.tif") as scene:
        pixels, valid = scene.read()
        truth = Labels(sample_folder / "truth.tif", DEEPGLOBE)
        assert scene.grid.same_as(truth.grid) and scene.grid.shape == (165, 181)
        assert scene.grid.crs.to_epsg() == 32631 and scene.grid.resolution == (2.0, 2.0)
    assert np.array_equal(truth.read(), np.where(valid, index, NO_CLASS))
    assert np.array_equal(valid, ~footprint_wedge((165, 181)))
    assert (pixels[:, ~valid] == 0).all() and pixels[:, valid].min() >= 1


def test_the_wedge_is_a_small_corner():
    wedge = footprint_wedge((400, 300))
    assert wedge[0, 0] and not wedge[-1].any() and not wedge[:, -1].any()
    assert wedge.mean() == pytest.approx(0.03, abs=0.003)


def test_the_same_seed_gives_the_same_files(sample_folder, tmp_path):
    write_sample(tmp_path / "again", scenes=6, size=64, seed=3)
    write_sample(tmp_path / "other", scenes=6, size=64, seed=4)
    for path in sample_folder.glob("*[!l]"):
        again = (tmp_path / "again" / path.name).read_bytes()
        assert again == path.read_bytes()
        assert path.name == "split.json" or again != (tmp_path / "other" / path.name).read_bytes()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write_sample(tmp_path, scenes=1, size=8)
    with pytest.raises(OutputError, match="not empty"):
        write_sample(tmp_path / "mine.txt", scenes=1, size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
