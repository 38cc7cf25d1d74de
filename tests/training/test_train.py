"""geoseg.train: reproducible, resumable, and it learns."""

from __future__ import annotations

import csv
import json
import os
import signal
import tomllib

import numpy as np
import pytest
import rasterio
import torch

import geoseg
import geoseg.training.checkpoint as checkpoint
import geoseg.training.trainer as module
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.oversampling import RULES, find_rule
from geoseg.datasets.samples import LabelledScene
from geoseg.datasets.splits import resolve_split
from geoseg.datasets.survey import survey
from geoseg.errors import InputError, ModelError, OutputError, ResourceError, UsageError
from geoseg.models.segmenter import TileBatch
from geoseg.models.storage import load, read_model_file, read_record
from geoseg.scaling import EIGHT_BITS
from geoseg.training.class_weights import median_frequency_weights
from geoseg.training.losses import Objective, loss_sum
from geoseg.training.preparation import prepare, resolve_framing
from geoseg.training.settings import resolve_settings

SMALL = {"width": 4, "norm": "batch", "size": 32, "epochs": 3, "lr": 1e-2, "device": "cpu", "precision": "fp32"}


def weights_of(run) -> dict[str, torch.Tensor]:
    """All tensors of a run's last model, the optimiser's among them."""
    return read_model_file(run / "last.safetensors")[1]


def assert_equal_runs(first, second) -> None:
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    best_a, best_b = (load(run).state_dict() for run in (first, second))
    assert all(torch.equal(best_a[name], best_b[name]) for name in best_a)
    assert (first / "history.csv").read_text() == (second / "history.csv").read_text()


@pytest.fixture(scope="module")
def whole_run(sample_folder, tmp_path_factory):
    """Three epochs without an interruption."""
    run = tmp_path_factory.mktemp("whole") / "run"
    geoseg.train(sample_folder, run, **SMALL)
    return run


def test_equal_arguments_give_equal_runs(whole_run, sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **SMALL)
    assert_equal_runs(whole_run, tmp_path / "run")
    assert (whole_run / "model.safetensors").read_bytes() == (tmp_path / "run/model.safetensors").read_bytes()


def test_an_epoch_draws_every_sample_once_in_its_own_order(sample_folder, tmp_path, monkeypatch):
    drawn, draw = [], module.Samples.draw

    def note(samples, epoch, place):
        drawn.append((epoch, place))
        return draw(samples, epoch, place)

    monkeypatch.setattr(module.Samples, "draw", note)
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"size": 16, "window": 32, "epochs": 2}), split="100/0/0")
    orders = [[place for epoch, place in drawn if epoch == number] for number in range(2)]
    assert [epoch for epoch, _ in drawn] == [0] * 24 + [1] * 24
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1] != sorted(orders[1])


def test_augmented_and_oversampled_runs_go_on_as_if_never_stopped(sample_folder, tmp_path):
    options = SMALL | {"epochs": 2, "split": "100/0/0", "augment": True, "oversample": True}
    geoseg.train(sample_folder, tmp_path / "whole", **options)
    geoseg.train(sample_folder, tmp_path / "run", **(options | {"epochs": 1}))
    geoseg.train(sample_folder, tmp_path / "run", **options, resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")
    provenance = load(tmp_path / "run").config.provenance
    assert provenance["settings"]["augment"] and provenance["settings"]["rare_set"] == "text"


def test_oversampling_repeats_scenes_and_keeps_the_weights_of_the_clean_ones(sample_folder, tmp_path):
    dataset = open_dataset(sample_folder)
    found = survey([LabelledScene(pair, dataset.legend) for pair in dataset.pairs], dataset.legend)
    copies = RULES["text"].copies(found.scene_counts, dataset.legend, 0)
    options = SMALL | {"epochs": 1, "split": "100/0/0", "oversample": True, "batch_size": 1}
    model = geoseg.train(sample_folder, tmp_path / "run", **options)
    assert weights_of(tmp_path / "run")["optimiser.0.step"] == copies.sum() > 6
    expected = median_frequency_weights(found.counts, dataset.legend.ignored)
    assert list(model.config.provenance["class_weights"].values()) == pytest.approx(expected, abs=1e-6)


def test_oversampling_other_classes_is_refused_and_augmenting_them_is_not(make_dataset, tmp_path):
    root = make_dataset({str(number): two_colours(number) for number in range(4)})
    with pytest.raises(UsageError, match="the legend 'small' has no water: use --rare-set shares"):
        geoseg.train(root, tmp_path / "run", setting="augment", **SMALL)
    assert not (tmp_path / "run").exists()
    geoseg.train(root, tmp_path / "run", augment=True, **(SMALL | {"epochs": 1}))


def test_other_classes_are_oversampled_by_their_shares(make_dataset, tmp_path):
    whole = np.full((48, 48), 10, np.uint8)
    scenes = {str(number): two_colours(number) for number in range(2)} | {"whole": (two_colours(2)[0], whole)}
    root = make_dataset(scenes, split={"train": list(scenes)})
    options = SMALL | {"epochs": 1, "batch_size": 1, "seed": 0}
    model = geoseg.train(root, tmp_path / "run", setting="augment", rare_set="shares", **options)
    # Roofs are very rare; whether the meadow alone is kept is drawn.
    kept = find_rule("shares", np.array([[9, 1, 0], [9, 1, 0], [9, 0, 0]]), model.legend)
    copies = kept.copies(np.array([[9, 1, 0], [9, 1, 0], [9, 0, 0]]), model.legend, 0)
    assert weights_of(tmp_path / "run")["optimiser.0.step"] == copies.sum() and list(copies[:2]) == [6, 6]
    assert model.config.provenance["settings"]["rare_set"] == "shares"


def test_another_seed_gives_another_run(whole_run, sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, seed=1)
    a, b = weights_of(whole_run), weights_of(tmp_path / "run")
    assert not torch.equal(a["network.head.weight"], b["network.head.weight"])


def test_a_run_of_fewer_epochs_goes_on_as_if_never_stopped(whole_run, sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"epochs": 1}))
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, resume=True)
    assert_equal_runs(whole_run, tmp_path / "run")


def interrupt_save(monkeypatch, at: int) -> None:
    """Let the call number ``at`` of save_segmenter be the one that never happens."""
    calls, save = [], module.save_segmenter

    def save_or_stop(segmenter, path, *args, **options):
        calls.append(path)
        if len(calls) == at:
            raise KeyboardInterrupt
        save(segmenter, path, *args, **options)

    for place in (module, checkpoint):
        monkeypatch.setattr(place, "save_segmenter", save_or_stop)


@pytest.fixture(scope="module")
def run_without_validation(sample_folder, tmp_path_factory):
    """As ``whole_run``, and every epoch writes both models."""
    run = tmp_path_factory.mktemp("whole") / "run"
    geoseg.train(sample_folder, run, **SMALL, split="100/0/0")
    return run


@pytest.mark.parametrize("at", [2, 3, 4, 5, 6])
def test_an_interruption_between_any_two_saves_does_no_harm(
    run_without_validation, sample_folder, tmp_path, monkeypatch, at
):
    options = SMALL | {"split": "100/0/0"}
    with monkeypatch.context() as patch:
        interrupt_save(patch, at)
        with pytest.raises(KeyboardInterrupt):
            geoseg.train(sample_folder, tmp_path / "run", **options)
    assert not (tmp_path / "run/report.json").exists()
    geoseg.train(sample_folder, tmp_path / "run", **options, resume=True)
    assert_equal_runs(run_without_validation, tmp_path / "run")


def test_an_interruption_within_an_epoch_does_no_harm(whole_run, sample_folder, tmp_path, monkeypatch):
    calls, validate = [], module.validate

    def validate_or_stop(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "validate", validate_or_stop)
        with pytest.raises(KeyboardInterrupt):
            geoseg.train(sample_folder, tmp_path / "run", **SMALL)
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, resume=True)
    assert_equal_runs(whole_run, tmp_path / "run")


def interrupt_after(monkeypatch, step: int, signal_number: int = signal.SIGINT) -> None:
    """Let the signal come amid the step of that number, from 1."""
    make_step = module.Trainer._step

    def step_and_signal(trainer, batches, number):
        if number + 1 == step:
            os.kill(os.getpid(), signal_number)
        return make_step(trainer, batches, number)

    monkeypatch.setattr(module.Trainer, "_step", step_and_signal)


EVERY_OPTION = {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 0.3, "clip": 0.1}
EVERY_OPTION |= {"accumulate": 2, "ema": 0.9, "patience": 9, "augment": True, "loss": "focal"}
OPTIONS = {
    "paper": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "cosine": {"schedule": "cosine", "warmup": 2},
    "warmup": {"warmup": 0.5},
    "clip": {"clip": 0.1},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "patience": {"patience": 9},
    "encoder": {"encoder": "test_resnet", "encoder_lr": 1e-3, "ema": 0.5, "size": 64},
    "every": EVERY_OPTION,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_stopped_at_a_step_goes_on_as_if_never_stopped(sample_folder, tmp_path, monkeypatch, name):
    options = SMALL | {"batch_size": 1, "epochs": 2} | OPTIONS[name]
    if "encoder" in options:
        del options["width"]
    geoseg.train(sample_folder, tmp_path / "whole", **options)
    stops = (1, 2, 3) if name == "every" else (3, 7)
    for step in stops:
        with monkeypatch.context() as patch:
            interrupt_after(patch, step)
            try:
                geoseg.train(sample_folder, tmp_path / "run", **options, resume=step != stops[0])
            except KeyboardInterrupt as error:
                assert f"interrupted after step {step} of" in str(error)
        assert read_model_file(tmp_path / "run/last.safetensors")[0]["step"] >= step or "accumulate" in options
    geoseg.train(sample_folder, tmp_path / "run", **options, resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_what_an_interruption_says_goes_on(sample_folder, tmp_path, monkeypatch):
    options = SMALL | {"epochs": 2}
    interrupt_after(monkeypatch, 1, signal.SIGTERM)
    command = f"geoseg train {sample_folder} --device cpu --precision fp32 --resume -o {tmp_path / 'run'}"
    with pytest.raises(KeyboardInterrupt, match=f"after step 1 of 4, which is kept; go on with: {command}"):
        geoseg.train(sample_folder, tmp_path / "run", **options)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.toml", "last.safetensors"}
    assert signal.getsignal(signal.SIGTERM) != module.Interruption._hear


def test_a_length_that_the_schedule_depends_on_stays(sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"epochs": 1}), schedule="cosine")
    with pytest.raises(UsageError, match="was begun with another epochs"):
        geoseg.train(sample_folder, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True)


def prepared(folder, **options) -> module.Trainer:
    """A trainer as geoseg.train makes it, of one step an epoch on the whole training part."""
    dataset = open_dataset(folder)
    settings = resolve_settings(width=4, size=32, **options)
    return prepare(dataset, resolve_split(dataset), settings, None, "cpu", "fp32")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("loss", [{"loss": "ce"}, {"loss": "focal"}, {"region_loss": "lovasz"}], ids=str)
def test_accumulated_batches_are_one_large_batch(sample_folder, loss, dtype, tolerance):
    gradients = []
    for batch_size, accumulate in ((4, 1), (1, 4), (2, 2), (3, 2)):
        trainer = prepared(sample_folder, batch_size=batch_size, accumulate=accumulate, **loss)
        assert trainer.steps_per_epoch == 1
        trainer.segmenter.to(dtype)
        trainer.weights = trainer.weights.to(dtype)
        batches = tuple(trainer._batches(0, 0))
        assert len(batches) == -(-4 // batch_size)
        total, weight = trainer._step(batches, 0)
        gradients.append([p.grad for p in trainer.segmenter.parameters()] + [torch.tensor(total / weight)])
    for others in gradients[1:]:
        for one, other in zip(gradients[0], others, strict=True):
            assert (one - other).abs().max() < tolerance


def test_a_gradient_is_shortened_to_the_longest_allowed(sample_folder):
    lengths = []
    for clip in (None, 1e-3):
        trainer = prepared(sample_folder, batch_size=4, clip=clip)
        trainer._step(tuple(trainer._batches(0, 0)), 0)
        lengths.append(torch.cat([p.grad.flatten() for p in trainer.segmenter.parameters()]).norm().item())
    assert lengths[0] > 1e-2 and lengths[1] == pytest.approx(1e-3, rel=1e-3)


def test_the_average_is_what_is_validated_and_saved(sample_folder, tmp_path, monkeypatch):
    validated, validate = [], module.validate
    monkeypatch.setattr(module, "validate", lambda model, *rest: (validated.append(model), validate(model, *rest))[1])
    options = SMALL | {"epochs": 1}
    geoseg.train(sample_folder, tmp_path / "run", **options, ema=0.5)
    saved, last = load(tmp_path / "run").state_dict(), weights_of(tmp_path / "run")
    assert all(torch.equal(value, last[f"average.{name}"]) for name, value in saved.items())
    assert all(torch.equal(value, saved[name]) for name, value in validated[0].state_dict().items())
    assert not torch.equal(saved["network.head.weight"], last["network.head.weight"])
    geoseg.train(sample_folder, tmp_path / "plain", **options)
    plain = weights_of(tmp_path / "plain")
    assert all(torch.equal(last[name], plain[name]) for name in plain)


def test_patience_ends_a_run(sample_folder, tmp_path, monkeypatch):
    found = iter([0.3, 0.5, 0.4, 0.5, 0.45, 0.9])
    row = module.history_row
    monkeypatch.setattr(module, "history_row", lambda *args: row(*args) | {"val_mean_iou": next(found)})
    model = geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"epochs": 6}), patience=3)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["model"]["epoch"], report["last"]["epoch"]) == (2, 5)
    geoseg.train(sample_folder, tmp_path / "run", device="cpu", precision="fp32", resume=True)
    assert json.loads((tmp_path / "run/report.json").read_text()) == report
    assert model.config.provenance["settings"]["patience"] == 3


def test_patience_without_validation_is_refused(sample_folder, tmp_path):
    with pytest.raises(UsageError, match="no validation scenes"):
        geoseg.train(sample_folder, tmp_path / "run", **SMALL, split="100/0/0", patience=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [{"lr": 1e-3}, {"seed": 5}, {"size": 16}, {"loss": "focal"}, {"batch_size": 3}])
def test_resuming_with_other_settings_is_refused(whole_run, sample_folder, option):
    before = (whole_run / "config.toml").read_bytes(), (whole_run / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match=f"was begun with another {next(iter(option))} "):
        geoseg.train(sample_folder, whole_run, **(SMALL | option), resume=True)
    assert before == ((whole_run / "config.toml").read_bytes(), (whole_run / "last.safetensors").read_bytes())


def test_a_folder_with_a_run_is_refused_before_any_work(whole_run, sample_folder, monkeypatch):
    monkeypatch.setattr("geoseg.training.train.prepare", None)
    with pytest.raises(OutputError, match="holds a run already"):
        geoseg.train(sample_folder, whole_run, **SMALL)


def test_resume_without_a_run_is_refused(sample_folder, tmp_path):
    with pytest.raises(ModelError, match="holds no run to go on with"):
        geoseg.train(sample_folder, tmp_path / "run", **SMALL, resume=True)


def test_a_run_folder_tells_all(whole_run, sample_folder):
    names = {"model.safetensors", "last.safetensors", "history.csv", "config.toml", "report.json", "curves.png"}
    assert {path.name for path in whole_run.iterdir()} == names
    config = tomllib.loads((whole_run / "config.toml").read_text())
    expected = {"seed": 0, "lr": 1e-2, "size": 32, "data": str(sample_folder), "device": "cpu"}
    assert {key: config["train"][key] for key in expected} == expected
    expected = {"setting": "custom", "window": 64, "size": 32, "data": "sample", "band_numbers": [1, 2, 3]}
    assert {key: config["decided"][key] for key in expected} == expected
    # 64 px whole, not windows of 64 px.
    assert not {"setting", "window", "bands"} & config["train"].keys()
    with open(whole_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4"), ("3", "6")]
    report = json.loads((whole_run / "report.json").read_text())
    best = max(rows, key=lambda row: float(row["val_mean_iou"]))
    assert report["model"]["epoch"] == int(best["epoch"]) == read_record(whole_run)["epoch"]
    assert report["last"]["epoch"] == 3 and report["chosen_by"].startswith("best")


def test_the_model_knows_how_it_was_trained(whole_run, sample_folder):
    config = load(whole_run).config
    assert (config.window, config.size, config.bands, config.gsd, config.width) == (64, 32, 3, None, 4)
    assert (config.mean, config.std, config.scaling) == ((0, 0, 0), (1, 1, 1), EIGHT_BITS)
    assert config.provenance["data"]["scenes"] == {"train": 4, "val": 1, "test": 1}
    assert all(30 < value < 220 for value in config.fill)
    weights, shares = config.provenance["class_weights"], config.provenance["class_shares"]
    median = np.median([share for name, share in shares.items() if share and name != "unknown"])
    assert weights["unknown"] == 0
    assert weights["agriculture"] == pytest.approx(median / shares["agriculture"], rel=1e-4)


def test_train_gives_the_best_model(whole_run, sample_folder, tmp_path):
    returned = geoseg.train(sample_folder, tmp_path / "run", **SMALL)
    assert returned.origin["path"] == str(tmp_path / "run/model.safetensors") and not returned.training
    assert all(torch.equal(v, returned.state_dict()[k]) for k, v in load(whole_run).state_dict().items())


@pytest.mark.parametrize(("steps", "expected"), [(1, ["1"]), (3, ["2", "3"]), (4, ["2", "4"])])
def test_steps_stop_a_run_whatever_the_epochs(sample_folder, tmp_path, steps, expected):
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, steps=steps)
    with open(tmp_path / "run/history.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == expected
    assert weights_of(tmp_path / "run")["optimiser.0.step"] == steps


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_more_steps_after_a_resume_are_those_that_were_left(whole_run, sample_folder, tmp_path, steps):
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, steps=steps)
    geoseg.train(sample_folder, tmp_path / "run", **SMALL, steps=6, resume=True)
    resumed, whole = weights_of(tmp_path / "run"), weights_of(whole_run)
    assert resumed["optimiser.0.step"] == 6 and all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_windows_of_the_scenes(sample_folder, tmp_path):
    model = geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"size": 16, "window": 24, "epochs": 1}))
    assert (model.config.window, model.config.size) == (24, 16)
    # Four scenes of 3 x 3 windows, two at a time.
    assert weights_of(tmp_path / "run")["optimiser.0.step"] == 18


def test_without_validation_scenes_the_last_epoch_is_taken(sample_folder, tmp_path):
    model = geoseg.train(sample_folder, tmp_path / "run", **SMALL, split="100/0/0")
    last = weights_of(tmp_path / "run")
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["model"]["epoch"] == 3 and report["chosen_by"].startswith("last epoch")
    assert (tmp_path / "run/history.csv").read_text().splitlines()[0] == "epoch,step,train_loss"


def test_scenes_smaller_than_the_largest_keep_its_scale(make_dataset):
    """Training enlarges nothing, and sees each scene as prediction with the recorded window and size does."""
    shapes = {"large": 48, "small": 24}
    root = make_dataset({s: (np.ones((3, n, n), np.uint8), np.full((n, n), 10, np.uint8)) for s, n in shapes.items()})
    found = open_dataset(root)
    scenes = [LabelledScene(pair, found.legend) for pair in found.pairs]
    _, framing = resolve_framing(resolve_settings(), scenes)
    assert (framing.side, framing.size, framing.whole) == (48, 48, True)
    assert [module.Samples(scenes, framing).whole(n).valid.shape for n in (0, 1)] == [(48, 48), (24, 24)]


def test_data_that_cannot_be_used_leave_no_run(tmp_path):
    with pytest.raises(InputError, match="no such data folder"):
        geoseg.train(tmp_path / "none", tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_images_that_cannot_be_used_leave_no_run(make_dataset, tmp_path):
    root = make_dataset({s: (np.ones((3, 16, 16), np.complex64), np.full((16, 16), 10, np.uint8)) for s in "abc"})
    with pytest.raises(InputError, match="complex"):
        geoseg.train(root, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("window", [None, 24])
def test_a_loss_that_is_no_number_stops_the_run(sample_folder, tmp_path, monkeypatch, window):
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"epochs": 1, "window": window}))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    sums, calls = Objective.sums, []

    def no_number(*args):
        calls.append(1)
        return sums(*args) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr(Objective, "sums", no_number)
    named = r"\w+, \w+" if window is None else r"\w+ 24 x 24 px at row \d+, col \d+, \w+ 24 x 24 px at row.*"
    with pytest.raises(ModelError, match=rf"the loss is nan at epoch 2/2, batch 2 \({named}\); lower --lr"):
        geoseg.train(sample_folder, tmp_path / "run", epochs=2, device="cpu", precision="fp32", resume=True)
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert {name for name in before if before[name] != after[name]} <= {"config.toml"}


def two_colours(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Red roofs on a green meadow, with a strip of unknown, noisy."""
    random = np.random.default_rng(seed)
    codes = np.full((48, 48), 10, np.uint8)
    row, col, height, width = random.integers(4, 20, 4)
    codes[row : row + height, col : col + width] = 20
    colour = np.where(codes == 20, np.array([180, 60, 50])[:, None, None], np.array([60, 150, 70])[:, None, None])
    codes[-3:] = 0
    return (colour + random.integers(-20, 21, (3, 48, 48))).astype(np.uint8), codes


@pytest.mark.parametrize(("loss", "gamma"), [("ce", 0.0), ("focal", 2.0)])
def test_the_loss_of_an_epoch_is_that_of_all_its_pixels(make_dataset, tmp_path, loss, gamma):
    root = make_dataset({str(number): two_colours(number) for number in range(3)}, split={"train": ["0", "1", "2"]})
    with rasterio.open(root / "images/1.tif", "r+") as dataset:
        dataset.nodata = 0
        dataset.write(np.zeros((3, 20, 48), np.uint8), window=((10, 30), (0, 48)))
    options = SMALL | {"size": 48, "norm": "none", "width": 8, "epochs": 1, "lr": 1e-12, "loss": loss, "seed": 1}
    model = geoseg.train(root, tmp_path / "run", **options)
    weights = torch.tensor(list(model.config.provenance["class_weights"].values()))
    found = open_dataset(root)
    total = weight = 0.0
    for pair in found.pairs:
        sample, _ = LabelledScene(pair, found.legend).read()
        pixels, valid, index = (torch.from_numpy(part)[None] for part in sample)
        with torch.inference_mode():
            sums = loss_sum(model(TileBatch(pixels, valid)), index, weights, gamma)
        total, weight = total + sums.total.item(), weight + sums.weight.item()
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["last"]["train_loss"] == pytest.approx(total / weight, abs=5e-6)


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_easy_scenes_are_learned(make_dataset, tmp_path, loss):
    root = make_dataset(
        {f"{number}": two_colours(number) for number in range(8)},
        split={"train": ["0", "1", "2", "3", "4", "5"], "val": ["6", "7"]},
    )
    options = SMALL | {"size": 48, "norm": "batch", "width": 8, "epochs": 10, "loss": loss}
    model = geoseg.train(root, tmp_path / "run", **options)
    with open(tmp_path / "run/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows]
    assert int(rows[-1]["step"]) == 30 and losses[-1] < 0.5 * losses[0]
    assert max(float(row["val_mean_iou"]) for row in rows) > 0.9
    assert model.config.gsd == pytest.approx((0.5 * 0.75) ** 0.5)
    pixels, codes = two_colours(99)
    predicted = geoseg.predict(pixels, model, device="cpu", precision="fp32").codes
    assert (predicted == codes)[codes != 0].mean() > 0.97 and set(np.unique(predicted)) <= {10, 20, 30}


def test_resuming_on_other_data_is_refused_and_the_run_stays(whole_run, make_dataset, sample_folder, tmp_path):
    before = (whole_run / "last.safetensors").read_bytes()
    with pytest.raises(UsageError, match="was begun with another legend"):
        root = make_dataset({s: (np.ones((3, 64, 64), np.uint8), np.full((64, 64), 10, np.uint8)) for s in "abcd"})
        geoseg.train(root, whole_run, **SMALL, resume=True)
    with pytest.raises(UsageError, match=r"was begun with another (split|fill)"):
        geoseg.train(sample_folder, whole_run, **(SMALL | {"split": "50/50/0"}), resume=True)
    with pytest.raises(UsageError, match="was begun with another band_numbers"):
        geoseg.train(sample_folder, whole_run, **SMALL, bands=(3, 2, 1), resume=True)
    assert (whole_run / "last.safetensors").read_bytes() == before


def test_a_resumed_run_needs_no_options_repeated(whole_run, sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"epochs": 1}))
    geoseg.train(sample_folder, tmp_path / "run", epochs=3, resume=True, device="cpu", precision="fp32")
    assert_equal_runs(whole_run, tmp_path / "run")


def test_epochs_given_at_a_resume_take_the_place_of_steps(whole_run, sample_folder, tmp_path):
    geoseg.train(sample_folder, tmp_path / "run", **(SMALL | {"steps": 2}))
    options = {"epochs": 3, "device": "cpu", "precision": "fp32"}
    geoseg.train(sample_folder, tmp_path / "run", **options, resume=True)
    assert weights_of(tmp_path / "run")["optimiser.0.step"] == weights_of(whole_run)["optimiser.0.step"] > 2


def test_compiled_training_takes_the_compiled_forward_and_saves_the_same_names(sample_folder, tmp_path, monkeypatch):
    asked = []
    # Without a compiler that takes minutes: what torch would compile runs as it is.
    monkeypatch.setattr(torch, "compile", lambda network, **options: asked.append(options) or network)
    monkeypatch.setattr(module, "has_compiler", lambda: True)
    for name, given in (("plain", {}), ("compiled", {"compile": True})):
        geoseg.train(sample_folder, tmp_path / name, **(SMALL | {"epochs": 1}), **given)
    assert asked == [{"dynamic": False}]
    one, two = (read_model_file(tmp_path / name / "model.safetensors") for name in ("plain", "compiled"))
    assert one[1].keys() == two[1].keys() and two[0]["config"]["provenance"]["settings"]["compile"] is True
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    with pytest.raises(ResourceError, match="--compile needs a C"):
        geoseg.train(sample_folder, tmp_path / "third", **(SMALL | {"epochs": 1}), compile=True)
