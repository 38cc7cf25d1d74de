"""Two maps of one truth: files and folders, the same draws for both, and what is said in words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.errors import InputError, UsageError
from geoseg.legend import DEEPGLOBE, NODATA, Legend, LegendClass
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ClassRasterWriter
from geoseg.scoring.compare import Comparison, compare_matrices
from geoseg.scoring.intervals import Resampling, bootstrap_difference
from geoseg.scoring.permutation import sign_flip

MakeRaster = Callable[..., Path]
CITY = Legend(
    "city",
    tuple(
        LegendClass(code, name, (code, 0, 0))
        for code, name in ((5, "cloud"), (10, "<roof>"), (20, "road"), (30, "snow"))
    ),
    ignore=(5,),
)
"""The ignored class comes first, so that names and positions cannot be confused."""


def matrices(seed: int, scenes: int = 6) -> dict[str, ConfusionMatrix]:
    """Scenes whose truth is the same for any seed: cloud, roofs and roads, no snow; some maps have snow."""
    generator, found = np.random.default_rng(seed), {}
    for scene in range(scenes):
        truth = np.random.default_rng(scene).integers(30, 90, 4) * np.array([1, 1, 1, 0])
        rows = [generator.multinomial(n, (0.1, 0.4, 0.3, 0.1, 0.1)) for n in truth]
        found[f"{scene}.png"] = ConfusionMatrix(np.stack(rows), CITY.ignored)
    return found


def without_snow(found: dict[str, ConfusionMatrix]) -> dict[str, ConfusionMatrix]:
    """The same maps with road where they had snow."""
    tables = {name: matrix.counts.copy() for name, matrix in found.items()}
    for table in tables.values():
        table[:, 2] += table[:, 3]
        table[:, 3] = 0
    return {name: ConfusionMatrix(table, CITY.ignored) for name, table in tables.items()}


@pytest.fixture
def comparison() -> Comparison:
    names = ("old.tif", "<new>.tif")
    return compare_matrices(matrices(100), without_snow(matrices(200)), CITY, names, Resampling(2000))


def noisy(truth: np.ndarray, share: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    wrong = generator.integers(0, 3, truth.shape)
    return np.where(generator.random(truth.shape) < share, wrong, truth).astype(np.uint8)


@pytest.fixture
def folders(make_raster: MakeRaster) -> tuple[Path, Path, Path]:
    """Maps with a third and with a tenth of wrong pixels, and their truths of 3 classes."""
    for stem in range(9):
        truth = np.random.default_rng(stem).integers(0, 3, (37, 53)).astype(np.uint8)
        place = {"name": f"truth/{stem}.tif"}
        folder = make_raster(truth, **place).parent.parent
        make_raster(noisy(truth, 0.4, stem + 50), f"a/{stem}.tif")
        make_raster(noisy(truth, 0.2, stem + 90), f"b/{stem}.tif")
    return folder / "a", folder / "b", folder / "truth"


def test_folders_are_scored_as_geoseg_score_does(folders: tuple[Path, Path, Path]) -> None:
    a, b, truth = folders
    found = geoseg.compare(a, b, truth, "deepglobe", draws=1000, seed=3)
    reports = [geoseg.score(side, truth, legend="deepglobe") for side in (a, b)]
    record = found.overall["mean_iou"]
    assert (record["a"], record["b"]) == pytest.approx([report.mean_iou for report in reports])
    assert record["difference"] == pytest.approx(record["b"] - record["a"])
    assert 0 < record["low"] < record["difference"] < record["high"] and record["p"] == 2 / 2**9
    for name, figures in found.classes.items():
        iou = [report.iou[name] for report in reports]
        expected = [None if math.isnan(value) else pytest.approx(value) for value in iou]
        assert [figures["iou"]["a"], figures["iou"]["b"]] == expected
    assert found.names == (str(a), str(b)) and len(found.truths) == 9
    assert [note for note in found.notes if note.startswith("B: 9 pair(s)")]


def test_intervals_and_p_are_those_of_the_pairs(comparison: Comparison) -> None:
    pair = matrices(100).values(), without_snow(matrices(200)).values()
    differences, test = bootstrap_difference(*pair, Resampling(2000)), sign_flip(*pair)
    for name, interval in differences.overall.items():
        record = comparison.overall[name]
        assert (record["low"], record["high"]) == (interval.low, interval.high)
    assert comparison.overall["mean_iou"]["p"] == test.mean_iou
    assert comparison.classes["road"]["iou"]["p"] == test.iou[2]
    assert comparison.classes["road"]["iou"]["p_holm"] == test.iou_holm[2]
    assert list(comparison.classes) == ["<roof>", "road", "snow"]
    assert set(comparison.classes["road"]) == set(differences.per_class)


def test_draws_and_seed_are_those_of_the_test_too() -> None:
    many = matrices(100, 14), matrices(200, 14)
    found = compare_matrices(*many, CITY, resampling=Resampling(1200, seed=5))
    expected = sign_flip(*(side.values() for side in many), 1200, 5)
    assert (found.test.exchanges, found.test.mean_iou) == (1200, expected.mean_iou)
    assert "p: 1200 exchanges (drawn) of A and B, which differ in 14 scenes" in found.to_text()


def test_scenes_are_paired_by_name_not_by_place(comparison: Comparison) -> None:
    turned = dict(reversed(without_snow(matrices(200)).items()))
    again = compare_matrices(matrices(100), turned, CITY, comparison.names, Resampling(2000))
    assert again.to_dict() == comparison.to_dict()


def test_exchanging_the_maps_turns_every_difference(comparison: Comparison) -> None:
    turned = compare_matrices(without_snow(matrices(200)), matrices(100), CITY, resampling=Resampling(2000))
    for name, record in turned.overall.items():
        other = comparison.overall[name]
        assert record["difference"] == pytest.approx(-other["difference"])
        assert (record["low"], record["high"]) == pytest.approx((-other["high"], -other["low"]))
        assert record.get("p") == other.get("p")


def test_json_holds_every_figure_and_null_for_nan(comparison: Comparison) -> None:
    record = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert record["classes"]["snow"]["iou"] == {
        "a": 0, "b": None, "difference": None, "low": None, "high": None, "undefined": 1, "p": None, "p_holm": None
    }  # fmt: skip
    assert record["resampling"] == {
        "draws": 2000, "seed": 0, "level": 0.95, "block": None, "unit": "scenes", "units": 6
    }  # fmt: skip
    assert record["test"] == {"exchanges": 64, "exact": True, "differing": 6, "smallest": 1 / 32}
    assert "mean_iou_image_absent0" in record["overall"] and record["truths"] == [f"{i}.png" for i in range(6)]


def test_the_text_says_all_of_it(comparison: Comparison) -> None:
    lines = comparison.to_text().split("\n")
    assert lines[:2] == ["A: old.tif", "B: <new>.tif"]
    assert lines[2].split("  ")[-1] == "p (Holm)" and "95 % interval" in lines[2]
    table = {line.split("  ")[0].strip(): line.split() for line in lines[3:]}
    mean = comparison.overall["mean_iou"]
    assert table["mean IoU (pooled)"][3:] == [
        f"{mean['a']:.4f}", f"{mean['b']:.4f}", f"{mean['difference']:+.4f}",
        f"{mean['low']:+.4f}", "to", f"{mean['high']:+.4f}", f"{mean['p']:.4f}",
    ]  # fmt: skip
    assert table["IoU of snow"][3:] == ["0.0000", "n/a", "n/a", "no", "interval", "n/a", "n/a"]
    assert "intervals: 2000 resamples of 6 scenes, seed 0" in lines
    assert "p: 64 exchanges (all) of A and B, which differ in 6 scenes" in lines
    assert "6 scenes are few: intervals of so few come out too narrow" in lines
    assert "no interval for classes in the truth of fewer than two scenes: snow" in lines
    assert "snow is in A alone, neither in a truth nor in the other map: 0 in A's mean IoU" in lines
    assert "cloud" not in comparison.to_text()


FACTS = "A", "B", "compared in"


def test_a_notebook_shows_the_table_with_names_escaped(comparison: Comparison) -> None:
    html = comparison._repr_html_()
    assert "IoU of &lt;roof&gt;</td>" in html and "&lt;new&gt;.tif</td>" in html and "<roof>" not in html
    assert html.count("</td></tr>") == len(FACTS) + len(comparison.overall) + len(comparison.classes)


def test_resamples_without_a_class_are_said_to_be_left_out() -> None:
    roofs = ConfusionMatrix(np.diag([0, 9, 0, 0]), CITY.ignored)
    first, second = (without_snow(matrices(seed, 2)) | {"roofs.png": roofs} for seed in (100, 200))
    found = compare_matrices(first, second, CITY)
    share = found.classes["road"]["iou"]["undefined"]
    assert share == pytest.approx(1 / 27, abs=0.01)
    assert f"resamples without a class are left out of its interval: road {share:.1%}\n" in found.to_text()


def test_scenes_without_truth_are_no_scenes() -> None:
    blank = {f"blank {i}": ConfusionMatrix.empty(4, CITY.ignored) for i in range(30)}
    found = compare_matrices(matrices(100, 1) | blank, matrices(200, 1) | blank, CITY)
    assert "1 scene: how figures vary over scenes is unknown, so there is no interval" in found.remarks
    assert "10000 resamples of 1 scene," in found.to_text() and found.to_dict()["resampling"]["units"] == 1


@pytest.mark.parametrize("scenes", [1, 4])
def test_few_scenes_say_the_smallest_p(scenes: int) -> None:
    found = compare_matrices(matrices(100, scenes), matrices(200, scenes), CITY)
    number = "1 scene" if scenes == 1 else "4 scenes"
    assert f"the maps differ in {number}: no p-value can be below {2 ** (1 - scenes):.3g}" in found.remarks
    if scenes == 1:
        assert "1 scene: how figures vary over scenes is unknown, so there is no interval" in found.remarks
        assert found.to_text().count("  no interval") == len(found.overall) + len(found.classes)


def test_blocks_are_no_scenes() -> None:
    found = compare_matrices(matrices(100), matrices(200), CITY, resampling=Resampling(block=64))
    assert "blocks near each other are alike" in " ".join(found.remarks) and "6 blocks of 64 px" in found.to_text()
    assert not [name for name in found.overall if "image" in name]


def test_a_truth_that_only_one_map_has_is_refused(folders: tuple[Path, Path, Path]) -> None:
    a, b, truth = folders
    (b / "3.tif").unlink()
    with pytest.raises(InputError, match=rf"same truths: 1 have a map in {a} only \({truth / '3.tif'}\)"):
        geoseg.compare(a, b, truth, DEEPGLOBE)


def test_without_scored_truth_nothing_is_tested(make_raster: MakeRaster) -> None:
    codes = (5, 10, 20)
    truth, a, b = (make_raster(np.full((37, 53), code, np.uint8), f"{code}.tif") for code in codes)
    text = geoseg.compare(a, b, truth, CITY, draws=1000).to_text()
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["mean IoU (pooled)"][-1] == lines["pixel accuracy"][-1] == lines["IoU of road"][-1] == "n/a"
    with pytest.raises(InputError, match="nothing was scored"):
        geoseg.compare(a, b, truth, CITY, draws=1000, block=16)


def test_different_truth_pixels_are_refused() -> None:
    second = matrices(200)
    table = second["2.png"].counts.copy()
    table[2, 4] += 7
    second["2.png"] = ConfusionMatrix(table, CITY.ignored)
    pixels = int(table[2].sum())
    with pytest.raises(InputError, match=rf"2.png: A and B were .*\({pixels - 7} and {pixels} of road\)"):
        compare_matrices(matrices(100), second, CITY)
    table[0] += 3  # an ignored class's truth does not count
    table[2, 4] -= 7
    compare_matrices(matrices(100), second | {"2.png": ConfusionMatrix(table, CITY.ignored)}, CITY)


def test_missing_predictions_count_as_missed_in_both(make_raster: MakeRaster) -> None:
    truth = np.array([[0, 0, 0, 1, 1]], np.uint8)
    first = make_raster(np.array([[0, NODATA, NODATA, 1, 0]], np.uint8), "a.tif", nodata=255)
    second = make_raster(np.array([[0, 0, 1, 1, NODATA]], np.uint8), "b.tif", nodata=255)
    found = geoseg.compare(first, second, make_raster(truth, "truth.tif"), DEEPGLOBE).overall["pixel_accuracy"]
    assert (found["a"], found["b"], found["p"]) == (2 / 5, 3 / 5, 1)


def test_the_legend_in_a_map_s_tags_holds_for_both(make_raster: MakeRaster, tmp_path: Path) -> None:
    index = np.random.default_rng(1).integers(1, 4, (37, 53)).astype(np.uint8)
    truth, plain = make_raster(CITY.encode(index), "truth.tif"), make_raster(CITY.encode(index), "plain.tif")
    with ClassRasterWriter(tmp_path / "made.tif", Scene(truth).grid, CITY) as writer:
        writer.write(writer.grid.window, CITY.encode(index))
    assert geoseg.compare(tmp_path / "made.tif", plain, truth).legend == CITY


def test_too_few_draws_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1000 draws, got 10"):
        geoseg.compare(tmp_path / "no.tif", tmp_path / "no.tif", tmp_path / "no.tif", draws=10)


def test_two_maps_of_another_legend_are_joined_to_the_truth_s(make_raster: MakeRaster, tmp_path: Path) -> None:
    land = Legend("land", (LegendClass(1, "built", (9, 9, 9)), LegendClass(2, "snow", (250, 250, 250))))
    mapping = tmp_path / "mapping.json"
    mapping.write_text('{"truth": {"<roof>": "built", "road": "built"}}', encoding="utf-8")
    truth = make_raster(np.array([[10, 20, 30, 30, 5]], np.uint8), "truth.tif")
    a = make_raster(np.array([[1, 2, 2, 2, 1]], np.uint8), "a.tif")
    b = make_raster(np.array([[1, 1, 2, 1, 1]], np.uint8), "b.tif")
    found = geoseg.compare(a, b, truth, CITY, prediction_legend=land, mapping=mapping, draws=1000)
    assert list(found.classes) == ["built", "snow"]
    assert (found.classes["built"]["iou"]["a"], found.classes["built"]["iou"]["b"]) == (1 / 2, pytest.approx(2 / 3))
    assert (found.overall["pixel_accuracy"]["a"], found.overall["pixel_accuracy"]["b"]) == (3 / 4, 3 / 4)
