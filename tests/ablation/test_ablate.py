"""geoseg.ablate: its figures are geoseg.score's, what is finished stays, and a row that fails stops no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner, Result

import geoseg
import geoseg.ablation.evaluate as evaluate
import geoseg.ablation.run as module
from geoseg.ablation.plan import ROWS
from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.dataset import Dataset, Pair, open_dataset
from geoseg.datasets.samples import Framing, LabelledScene, Samples
from geoseg.datasets.splits import glnet_stems, resolve_split
from geoseg.errors import InputError, ModelError, OutputError, UsageError
from geoseg.files import locked
from geoseg.legend import DEEPGLOBE
from geoseg.training.preparation import resolve_framing
from geoseg.training.settings import PRESETS
from geoseg.training.validation import validate
from geoseg_cli.main import cli

Ablate = Callable[..., geoseg.Ablation]
TYPED = (
    *("--settings", "baseline,focal", "--width", 4, "--size", 32, "--epochs", 4, "--lr", 3e-2, "--norm", "batch"),
    *("--batch-size", 1, "--split", "30/10/60", "--device", "cpu", "--precision", "fp32"),
)
"""What ``ablate`` gives, as one types it."""


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["ablate", *(str(word) for word in words)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_folder_holds_runs_and_reports(ablated: geoseg.Ablation, folder: Path) -> None:
    runs = {f"{row}-seed{seed}" for row in ("baseline", "focal") for seed in (0, 1)}
    assert {path.name for path in (folder / "runs").iterdir()} == runs
    assert {path.name for path in folder.glob("ablation.*")} == {"ablation.json", "ablation.md", "ablation.html"}
    assert json.loads((folder / "ablation.json").read_text()) == json.loads(json.dumps(ablated.to_dict()))


def test_every_run_has_one_split_and_its_own_seed(ablated: geoseg.Ablation) -> None:
    splits = {run.training["data"]["split_sha256"] for run in ablated.runs}
    assert splits == {ablated.data["split_sha256"]}
    assert [run.training["settings"]["seed"] for run in ablated.runs] == [0, 0, 1, 1]
    assert ablated.data["scenes"] == {"train": 4, "val": 1, "test": 7}


def test_figures_on_the_own_grid_are_those_of_score(
    ablated: geoseg.Ablation, small_data: Path, folder: Path, tmp_path: Path
) -> None:
    split = resolve_split(open_dataset(small_data), "30/10/60", 0)
    matrices = []
    for pair in split.test:
        path, how = tmp_path / "map.tif", {"device": "cpu", "precision": "fp32", "overwrite": True}
        geoseg.predict(pair.image, folder / "runs/focal-seed1", path, **how)
        matrices.append(geoseg.score(path, pair.labels).matrix)
    found = ablated.to_dict()["rows"]["focal"]["scores"]["native"]
    assert found["mean_iou"]["pooled"]["seeds"][1] == pytest.approx(
        sum(matrices[1:], matrices[0]).mean_iou(), abs=1e-12
    )
    for average in ("image", "image-present", "image-absent0", "image-absent1"):
        by_hand = geoseg.average_iou(matrices, average)
        assert found["mean_iou"][average]["seeds"][1] == pytest.approx(float(by_hand.mean), abs=1e-12)
        water = found["classes"]["water"][average]["seeds"][1]
        assert water == pytest.approx(float(by_hand.iou[4]), abs=1e-12)


def test_figures_at_the_network_s_resolution_are_those_of_validation(
    ablated: geoseg.Ablation, small_data: Path, folder: Path
) -> None:
    dataset = open_dataset(small_data)
    model = geoseg.load(folder / "runs/baseline-seed0")
    parts = resolve_split(dataset, "30/10/60", 0)
    scenes = [LabelledScene(pair, dataset.legend) for pair in parts.test]
    settings = geoseg.training.settings.resolve_settings("baseline", size=32)
    samples = Samples(scenes, resolve_framing(settings, scenes)[1])
    expected = validate(model, samples, torch.ones(len(dataset.legend)), 0.0, "fp32").matrix
    counts = ablated.to_dict()["rows"]["baseline"]["confusion"]["network"]["counts"]
    both = [ablated.matrices("baseline", "network")[seed] for seed in (0, 1)]
    assert sum(list(both[0].values())[1:], next(iter(both[0].values()))) == expected
    assert np.array(counts).sum() == 2 * expected.counts.sum() == 2 * 7 * 32 * 32


def test_spread_over_seeds(ablated: geoseg.Ablation) -> None:
    found = ablated.to_dict()["rows"]["baseline"]["scores"]["native"]["mean_iou"]["pooled"]
    assert found["mean"] == pytest.approx(np.mean(found["seeds"]))
    assert found["sd"] == pytest.approx(np.std(found["seeds"], ddof=1))
    assert len(found["seeds"]) == 2


def test_differences_are_those_of_compare(ablated: geoseg.Ablation) -> None:
    from geoseg.scoring.compare import compare_matrices

    first, second = (
        {stem: one[0][stem] + one[1][stem] for stem in one[0]}
        for one in (ablated.matrices(row, "native") for row in ("baseline", "focal"))
    )
    expected = compare_matrices(first, second, DEEPGLOBE).to_dict()
    found = ablated.to_dict()["differences"]["native"]["focal"]
    assert found["mean_iou"]["pooled"] == expected["overall"]["mean_iou"]
    assert found["mean_iou"]["image-absent0"] == expected["overall"]["mean_iou_image_absent0"]
    assert found["classes"]["forest"] == expected["classes"]["forest"]["iou"]
    # One row is tested: Holm has nothing to adjust.
    assert found["p"] == found["p_holm"] == expected["overall"]["mean_iou"]["p"]


def test_what_is_finished_is_not_done_again(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out/ablation.html").unlink()
    for place, name in ((module, "train"), (evaluate, "predict"), (evaluate, "load")):
        monkeypatch.setattr(place, name, None)
    again = ablate(tmp_path / "out", seeds=2)
    assert again.to_dict() == ablated.to_dict()
    assert (tmp_path / "out/ablation.html").read_bytes() == (folder / "ablation.html").read_bytes()


def test_more_seeds_and_rows_may_be_added(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, tmp_path: Path
) -> None:
    one = ablate(tmp_path / "out", settings=["baseline"])
    assert one.to_dict()["differences"]["native"] == {}
    two = ablate(tmp_path / "out", seeds=2)
    for run, same in zip(two.runs, ablated.runs, strict=True):
        assert run.tested.matrices["native"] == same.tested.matrices["native"]


def test_a_stopped_run_goes_on(
    ablated: geoseg.Ablation, ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import geoseg.training.trainer as training

    calls, save = [], training.save_segmenter

    def stop_at_the_fourth(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        save(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_segmenter", stop_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            ablate(tmp_path / "out", seeds=2)
    assert not (tmp_path / "out/ablation.json").exists()
    assert ablate(tmp_path / "out", seeds=2).to_dict() == ablated.to_dict()


def test_a_scene_that_was_not_counted_is_predicted(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "out")
    test_file = tmp_path / "out/runs/focal-seed0/test.json"
    record = json.loads(test_file.read_text())
    gone = list(record["scenes"])[-1]
    del record["scenes"][gone]
    test_file.write_text(json.dumps(record))
    seen, count = [], evaluate.Tester._count
    monkeypatch.setattr(
        evaluate.Tester,
        "_count",
        lambda self, run, pair, model: seen.append(pair.stem) or count(self, run, pair, model),
    )
    assert ablate(tmp_path / "out", seeds=2).to_dict() == ablated.to_dict()
    assert seen == [gone]


def test_counts_of_another_model_are_not_taken(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "out")
    runs = tmp_path / "out/runs"
    shutil.copy(runs / "focal-seed1/test.json", runs / "focal-seed0/test.json")
    assert ablate(tmp_path / "out", seeds=2).to_dict() == ablated.to_dict()


def test_truth_without_data_in_the_image_is_missed_at_both_resolutions(
    ablate: Ablate, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    scenes = {
        str(i): (random.integers(1, 255, (3, 48, 48), np.uint8), np.full((48, 48), 10, np.uint8)) for i in range(3)
    }
    for _, codes in scenes.values():
        codes[:, 24:] = 20
    root = make_dataset(scenes, split={"train": ["0"], "val": ["1"], "test": ["2"]})
    with rasterio.open(root / "images/2.tif", "r+") as dataset:
        dataset.nodata = 0
        dataset.write(np.zeros((3, 12, 48), np.uint8), window=((0, 12), (0, 48)))
    found = ablate(tmp_path / "out", root, settings=["baseline"], size=16, norm="none", split=None)
    for resolution, pixels in (("native", 12 * 48), ("network", 4 * 16)):
        assert found.matrices("baseline", resolution)[0]["2"].missing == pixels


def test_a_folder_is_held_by_one_process(ablate: Ablate, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(OutputError, match="another process"):
        ablate(tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        ablate(tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lr": 1e-3}, r"another lr \(0.03, now 0.001\)"),
        ({"epochs": None}, r"another epochs \(4, now not given\)"),
        ({"split": "40/10/50"}, r"other data \(another split\)"),
        ({"precision": "bf16"}, "another precision"),
    ],
)
def test_other_options_are_refused(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, given: dict, said: str
) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    with pytest.raises(UsageError, match=said):
        ablate(folder, **given)
    assert before == {path: path.read_bytes() for path in folder.glob("*.*")}


def test_other_data_are_refused(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, small_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_data, tmp_path / "same")
    shutil.copytree(folder, tmp_path / "out")
    assert ablate(tmp_path / "out", tmp_path / "same", seeds=2).failed == ()
    image = sorted((tmp_path / "same").rglob("*_sat.jpg"))[0]
    image.write_bytes(image.read_bytes() + b" ")
    with pytest.raises(UsageError, match="another set of files"):
        ablate(tmp_path / "out", tmp_path / "same", seeds=2)


def test_a_run_of_other_settings_in_its_place_is_refused(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "out")
    report = tmp_path / "out/runs/focal-seed0/report.json"
    report.write_text(report.read_text().replace('"lr": 0.03', '"lr": 0.02'))
    found = ablate(tmp_path / "out")
    assert [run.plan.name for run in found.runs] == ["baseline-seed0"]
    assert "was made with another lr (0.02, now 0.03)" in found.failed[0].error


def test_a_row_that_fails_stops_no_other(ablate: Ablate, small_data: Path, tmp_path: Path) -> None:
    words = [
        small_data,
        "-o",
        tmp_path / "out",
        *TYPED,
        "--seeds",
        1,
        "--encoder-weights",
        tmp_path / "none.safetensors",
    ]
    words[words.index("baseline,focal")] = "baseline,focal,resnet34"
    result = run(*words, "--json", code=6)
    record = json.loads(result.stdout)
    assert list(record["rows"]) == ["baseline", "focal"]
    (failure,) = record["failed"]
    assert (failure["setting"], failure["seed"]) == ("resnet34", 0)
    assert (
        "no such file of encoder weights" in failure["error"] and "resnet34, seed 0, is missing" in record["notes"][0]
    )
    assert json.loads((tmp_path / "out/ablation.json").read_text()) == record
    assert "is missing" in (tmp_path / "out/ablation.html").read_text()


def test_where_every_run_fails_the_first_error_is_raised(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ModelError(f"no luck with {options['setting']}")

    monkeypatch.setattr(module, "train", fail)
    with pytest.raises(ModelError, match="no luck with baseline"):
        ablate(tmp_path / "out")


def test_seeds_that_one_row_lacks_are_left_out_of_comparisons(ablated: geoseg.Ablation) -> None:
    lacking = replace(ablated, runs=ablated.runs[:3])
    record = lacking.to_dict()
    assert record["common_seeds"] == [0] and record["rows"]["baseline"]["seeds"] == [0, 1]
    alone = replace(ablated, runs=ablated.runs[:2]).to_dict()
    assert record["differences"] == alone["differences"]


def test_fixed_steps_are_those_of_every_row(ablate: Ablate, tmp_path: Path) -> None:
    found = ablate(tmp_path / "out", epochs=None, fixed_steps=3).to_dict()
    assert [run["steps"] for run in found["runs"]] == [3, 3] and found["plan"]["fixed_steps"] == 3
    assert any("every row made 3 optimiser steps" in note for note in found["notes"])


def test_rows_of_different_length_are_said(ablated: geoseg.Ablation) -> None:
    longer = replace(ablated.runs[1], training=ablated.runs[1].training | {"last": {"step": 9, "epoch": 1}})
    notes = replace(ablated, runs=(ablated.runs[0], longer)).to_dict()["notes"]
    assert any("different numbers of optimiser steps (baseline 16; focal 9)" in note for note in notes)


def test_maps_are_kept_where_that_is_asked_for(
    ablated: geoseg.Ablation, folder: Path, ablate: Ablate, tmp_path: Path
) -> None:
    shown = sorted(path.name for path in (folder / "runs/focal-seed0/maps").glob("*.tif"))
    assert len(shown) == 3
    shutil.copytree(folder, tmp_path / "out")
    kept = ablate(tmp_path / "out", seeds=2, keep_maps=True)
    assert len(list((tmp_path / "out/runs/focal-seed0/maps").glob("*.tif"))) == 7
    assert kept.to_dict()["rows"] == ablated.to_dict()["rows"]


def test_native_windows_have_one_resolution(ablate: Ablate, tmp_path: Path) -> None:
    found = ablate(tmp_path / "out", settings=["baseline"], window=32, fixed_steps=1, epochs=None)
    assert found.resolutions == ("native",)
    assert any("there is one resolution" in note for note in found.to_dict()["notes"])


def test_the_sweep_is_of_the_baseline(ablate: Ablate, tmp_path: Path) -> None:
    found = ablate(tmp_path / "out", settings=["baseline"], epochs=3, lr=1e-3, sweep=True)
    assert [(one["lr"], one["epochs"]) for one in found.sweep] == [
        (rate, epochs) for rate in (1e-3, 1e-4) for epochs in (1, 2, 3)
    ]
    # The row has one of the rates already.
    assert {path.name for path in (tmp_path / "out/runs").iterdir()} == {"baseline-seed0", "baseline-lr0.0001-seed0"}
    history = found.runs[0].history
    assert found.sweep[1]["best_val_mean_iou"] == max(row["val_mean_iou"] for row in history[:2])
    assert found.sweep[1]["val_loss"] == history[1]["val_loss"]


@pytest.fixture(scope="module")
def with_recipe(ablate: Ablate, tmp_path_factory: pytest.TempPathFactory) -> tuple[geoseg.Ablation, Path]:
    """The baseline on whole scenes of 32 px and the recipe on windows of 32 px, with the folder."""
    out = tmp_path_factory.mktemp("recipe") / "out"
    steps = {"epochs": None, "fixed_steps": 2, "encoder_weights": "none", "keep_maps": True}
    return ablate(out, settings=["recommended", "baseline"], **steps), out


def test_the_recipe_keeps_its_own_values_but_for_what_rows_share(with_recipe: tuple[geoseg.Ablation, Path]) -> None:
    baseline, recipe = (run.settings for run in with_recipe[0].runs)
    own = PRESETS["recommended"]
    shared = {"window": 32, "size": 32, "steps": 2, "encoder_weights": "none", "encoder_lr": own.lr}
    expected = replace(own, **shared, setting="custom", split=recipe.split)
    assert recipe == expected
    assert (baseline.lr, baseline.batch_size, baseline.norm, baseline.window) == (3e-2, 1, "batch", None)


def test_the_recipe_s_maps_are_counted_on_the_pixels_of_the_paper_s_rows(
    with_recipe: tuple[geoseg.Ablation, Path], small_data: Path
) -> None:
    found, out = with_recipe
    assert found.resolutions == ("network", "native")
    for pair in resolve_split(open_dataset(small_data), "30/10/60", 0).test:
        with rasterio.open(out / f"runs/recommended-seed0/maps/{pair.stem}.tif") as dataset:
            codes = dataset.read(1)
        with rasterio.open(pair.labels) as dataset:
            truth, _ = DEEPGLOBE.decode_rgb(dataset.read())
        # Of 64 px on 32, every other pixel lies under a centre.
        expected = np.zeros((7, 8), int)
        np.add.at(expected, (truth[1::2, 1::2], codes[1::2, 1::2]), 1)
        assert np.array_equal(found.matrices("recommended", "network")[0][pair.stem].counts, expected)
        both = [found.matrices(row, "network")[0][pair.stem] for row in ("baseline", "recommended")]
        assert np.array_equal(both[0].support, both[1].support) and both[1].counts.sum() == 32 * 32


def test_maps_of_native_windows_are_brought_to_the_paper_s_size_by_nearest(
    make_segmenter: Callable[..., geoseg.Segmenter],
    make_dataset: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that tells the class by the pixel's value is right on native pixels, and not on means of them."""
    index = np.random.default_rng(5).integers(0, 3, (37, 53))
    codes = np.array([10, 20, 30], np.uint8)
    root = make_dataset({"a": (np.stack([index * 80] * 3).astype(np.uint8), codes[(index + (index == 2)) % 3])})
    dataset = open_dataset(root)
    image_to_logits = lambda image: torch.stack([-((image[:, 0] - 80 * i) ** 2) for i in range(3)], 1)  # noqa: E731
    segmenter = make_segmenter(image_to_logits, legend=dataset.legend, window=16)
    monkeypatch.setattr(evaluate, "load", lambda *_: segmenter)
    monkeypatch.setattr(evaluate, "model_sha256", lambda _: "")
    tester = evaluate.Tester(dataset.pairs, dataset.legend, Framing(53, 20, whole=True), frozenset(), "cpu", "fp32")
    matrices = tester.test(tmp_path).matrices
    # 37 x 53 px on 14 x 20: the pixels under the centres of the new ones.
    rows, cols = (np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in ((14, 37), (20, 53)))
    expected = np.bincount(index[rows[:, None], cols].ravel(), minlength=3)
    # Truth has no pond: where the map has one, it is a meadow.
    assert matrices["network"]["a"].counts[:, :3].tolist() == [
        [expected[0], 0, expected[2]],
        [0, expected[1], 0],
        [0, 0, 0],
    ]
    assert matrices["native"]["a"].counts[0, 2] == (index == 2).sum() and not list((tmp_path / "maps").iterdir())


def test_what_tells_the_recipe_from_the_paper_s_rows_is_said(with_recipe: tuple[geoseg.Ablation, Path]) -> None:
    record = with_recipe[0].to_dict()
    said = "; ".join(record["notes"])
    for part in (
        "every row made 2 optimiser steps",
        "a step is of different numbers of samples (baseline 1; recommended 4)",
        "--width, --lr, --batch-size, --norm: of the paper's rows alone",
        "recommended sees windows of 32 px of the scenes' own pixels, the paper's rows whole scenes of 32 px; its maps",
        "recommended begins with a random encoder, which learns at 0.001",
    ):
        assert part in said
    assert [row["samples_per_step"] for row in record["rows"].values()] == [1, 4]
    weights = [row["class_weights"] for row in record["rows"].values()]
    assert weights == [run.training["class_weights"] for run in with_recipe[0].runs] and weights[0] != weights[1]
    assert list(record["differences"]["network"]) == list(record["differences"]["native"]) == ["recommended"]


def with_row(ablated: geoseg.Ablation, row: str, like: str = "focal", runs: int = 2) -> geoseg.Ablation:
    """With so many runs of another row as though they were this one's, too."""
    taken = [run for run in ablated.runs if run.plan.row == like][:runs]
    more = tuple(replace(run, plan=replace(run.plan, row=row)) for run in taken)
    return replace(ablated, plan=replace(ablated.plan, rows=(*ablated.plan.rows, row)), runs=ablated.runs + more)


@pytest.mark.parametrize("runs", [1, 2])
def test_the_recipe_changes_no_claim(ablated: geoseg.Ablation, runs: int) -> None:
    four = with_row(with_row(ablated, "augment", "baseline"), "resnet34")
    record = with_row(four, "recommended", runs=runs).to_dict()
    assert record["claims"] == four.to_dict()["claims"]
    assert (record["common_seeds"], record["claim_seeds"]) == ([0, 1][:runs], [0, 1])


def test_the_recipe_is_among_the_differences_and_in_their_adjustment(ablated: geoseg.Ablation) -> None:
    found, alone = (one.to_dict()["differences"]["native"] for one in (with_row(ablated, "recommended"), ablated))
    assert found["recommended"] == found["focal"] and found["focal"]["mean_iou"] == alone["focal"]["mean_iou"]
    assert found["focal"]["p_holm"] == pytest.approx(min(1, 2 * alone["focal"]["p_holm"]))


def test_a_run_of_another_recipe_in_its_place_is_refused(
    with_recipe: tuple[geoseg.Ablation, Path], ablate: Ablate, tmp_path: Path
) -> None:
    shutil.copytree(with_recipe[1], tmp_path / "out")
    report = tmp_path / "out/runs/recommended-seed0/report.json"
    report.write_text(report.read_text().replace('"ema": 0.999', '"ema": 0.9'))
    steps = {"epochs": None, "fixed_steps": 2, "encoder_weights": "none"}
    again = ablate(tmp_path / "out", settings=["recommended", "baseline"], **steps)
    assert "was made with another ema (0.9, now 0.999)" in again.failed[0].error


def test_other_legends_are_oversampled_by_shares(
    ablate: Ablate, make_dataset: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    codes = np.full((5, 48, 48), 10, np.uint8)
    codes[:, 30:], codes[1, :4, :4], codes[2] = 20, 30, 10
    scenes = {str(i): (np.full((3, 48, 48), 40 * i, np.uint8), one) for i, one in enumerate(codes)}
    root = make_dataset(scenes, split={"train": ["0", "1", "2"], "test": ["3", "4"]})
    caplog.set_level("INFO", "geoseg")
    rows, options = ["baseline", "augment"], {"size": 16, "norm": "none", "split": None, "epochs": None}
    found = ablate(tmp_path / "out", root, settings=rows, fixed_steps=1, **options)
    record = found.to_dict()
    assert found.failed == () and found.runs[1].settings.rare_set == "shares"
    assert "oversampling goes by the rare set shares (very rare pond; dominant meadow)" in caplog.text
    said = "; ".join(record["notes"])
    assert "augment oversamples by the classes' shares of the training pixels (very rare pond; dominant meadow)" in said
    assert "no validation scenes" in said and "no test scene has truth of pond" in said
    # 2 copies without a pond, 6 with one, and .3 of a scene of meadow alone.
    assert record["oversampling"]["scenes_by_copies"] == {"6": 1, "2": 1, "0.3": 1}
    pixels = np.array([2 * 30 * 48 + 6 * (30 * 48 - 16) + 0.3 * 48 * 48, (2 + 6) * 18 * 48, 6 * 16])
    shares = np.array([record["class_shares"]["oversampled"][name] for name in ("meadow", "roof", "pond")])
    assert shares / shares.sum() == pytest.approx(pixels / pixels.sum())
    assert shares.sum() + record["oversampling"]["expected_ignored_share"] == pytest.approx(1)
    with pytest.raises(UsageError, match="the legend 'small' has no water"):
        ablate(tmp_path / "other", root, settings=rows, fixed_steps=1, rare_set="table1", **options)


def test_where_no_class_is_rarer_the_augmented_row_alone_fails(
    ablate: Ablate, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    one = (np.full((3, 48, 48), 9, np.uint8), np.full((48, 48), 10, np.uint8))
    root = make_dataset({str(i): one for i in range(4)}, split={"train": ["0"], "test": ["1", "2", "3"]})
    rows, options = ["baseline", "augment"], {"size": 16, "norm": "none", "split": None, "epochs": None}
    record = ablate(tmp_path / "out", root, settings=rows, fixed_steps=1, **options).to_dict()
    assert "no class is rarer than another" in record["failed"][0]["error"]
    assert record["oversampling"] is None and record["class_shares"]["oversampled"] is None
    assert {one["verdict"] for one in record["claims"]} == {"cannot be told"}
    text = (tmp_path / "out/ablation.md").read_text()
    assert "The baseline is the only row" in text and "there are no curves of IoU" in text


def test_test_scenes_of_no_class_that_counts_are_an_error(
    ablate: Ablate, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    codes = (10, 0)
    scenes = {str(i): (np.full((3, 48, 48), 9, np.uint8), np.full((48, 48), c, np.uint8)) for i, c in enumerate(codes)}
    root = make_dataset(scenes, split={"train": ["0"], "test": ["1"]})
    options = {"size": 16, "norm": "none", "split": None, "epochs": None}
    with pytest.raises(InputError, match="no test scene has truth of a class that is scored"):
        ablate(tmp_path / "out", root, settings=["baseline"], fixed_steps=1, **options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": "focal"}, "'loss' is what the rows differ in"),
        ({"seed": 3}, "'seed' is what the rows differ in"),
        ({"settings": ["focal"]}, "compared with the baseline"),
        ({"settings": ["baseline", "frob"]}, "'frob': there are baseline, focal, augment, resnet34, recommended"),
        ({"frob": 1}, "unknown training option 'frob'"),
        ({"fixed_steps": 3}, "takes the place of --epochs"),
        ({"seeds": 0}, "at least 1"),
        ({"lr": -1.0}, "lr is larger than 0"),
        ({"rare_set": "water"}, "rare set 'water': there are text, table1, shares"),
        ({"size": 8}, r"64 px in one tile of 8 px would lose too much"),
    ],
)
def test_what_makes_no_ablation_is_refused_before_any_work(
    ablate: Ablate, tmp_path: Path, given: dict, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ablate(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_split_without_test_scenes_is_refused(ablate: Ablate, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no test scenes"):
        ablate(tmp_path / "out", split="80/20/0")


def test_the_paper_s_numbers_are_for_its_own_split() -> None:
    stems = sorted(stem for part in glnet_stems().values() for stem in part)
    pairs = tuple(Pair(stem, Path(f"{stem}_sat.jpg"), Path(f"{stem}_mask.png")) for stem in stems)
    deepglobe = Dataset(Path("none"), pairs, DEEPGLOBE, None)
    assert module._is_the_papers(deepglobe, resolve_split(deepglobe, "paper"))
    assert not module._is_the_papers(deepglobe, resolve_split(deepglobe, "glnet"))
    renamed = tuple(Pair(f"x{pair.stem}", pair.image, pair.labels) for pair in pairs)
    other = Dataset(Path("none"), renamed, DEEPGLOBE, None)
    assert not module._is_the_papers(other, resolve_split(other, "paper"))


def test_the_command_prints_tables(ablated: geoseg.Ablation, folder: Path, small_data: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    result = run(small_data, "-o", tmp_path / "out", *TYPED, "--seeds", 2)
    mean = ablated.to_dict()["rows"]["focal"]["scores"]["network"]["mean_iou"]["pooled"]["mean"]
    assert f"{mean:.4f}" in result.stdout and "The paper's claims:" in result.stdout
    run(small_data, "-o", tmp_path / "out", *TYPED, "--settings", "focal", code=2)


def test_the_help_names_every_row() -> None:
    assert all(row in run("--help").stdout for row in ROWS)


def test_added_matrices_are_of_each_scene() -> None:
    one, two = (ConfusionMatrix(np.full((2, 2), value)) for value in (1, 2))
    assert evaluate.added([{"a": one, "b": two}, {"a": two, "b": two}])["a"] == ConfusionMatrix(np.full((2, 2), 3))
