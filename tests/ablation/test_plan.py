"""AblationPlan: what each row takes of the options that rows share."""

from __future__ import annotations

from typing import Any

import pytest

from geoseg.ablation.plan import AblationPlan, not_of_presets, resolve_rows
from geoseg.errors import UsageError
from geoseg.training.settings import PRESETS, TrainingSettings

ALL = ("baseline", "focal", "augment", "resnet34", "recommended")
OWN = PRESETS["recommended"]


def settings(**options: Any) -> dict[str, TrainingSettings]:
    """What the first run of every row is trained with."""
    return {run.row: run.settings for run in AblationPlan(ALL, 1, options).runs}


def test_all_rows_are_compared_by_default_the_recipe_last() -> None:
    assert resolve_rows(None) == resolve_rows(("recommended", *ALL[:4])) == ALL
    assert resolve_rows(["recommended", "baseline"]) == ("baseline", "recommended")


def test_the_recipe_sees_windows_of_as_many_pixels_as_the_paper_s_rows_see_of_whole_scenes() -> None:
    for options, side in (({}, 1024), ({"size": 96}, 96)):
        rows = settings(**options)
        assert (rows["recommended"].window, rows["recommended"].size) == (side, None)
        assert {(rows[row].window, rows[row].size) for row in ALL[:4]} == {(None, options.get("size"))}


@pytest.mark.parametrize("options", [{"window": 96}, {"window": 96, "size": 48}])
def test_a_window_is_every_row_s(options: dict[str, int]) -> None:
    assert {(row.window, row.size) for row in settings(**options).values()} == {(96, options.get("size"))}


def test_the_recipe_keeps_its_own_name_and_values_but_for_lengths() -> None:
    assert settings()["recommended"] == OWN
    given = {"lr": 0.5, "batch_size": 7, "norm": "group", "width": 8, "weight_decay": 0.3, "epochs": 3}
    rows = settings(**given, rare_set="shares", precision="fp32", bands=[1, 2, 3])
    assert rows["recommended"].to_dict() == OWN.to_dict() | {"epochs": 3, "setting": "custom"}
    assert (rows["resnet34"].lr, rows["resnet34"].width, rows["baseline"].width) == (0.5, 64, 8)
    assert [row for row, each in rows.items() if each.rare_set == "shares"] == ["augment"]
    assert not_of_presets([*given, "rare_set", "bands"]) == ["lr", "batch_size", "norm", "width", "weight_decay"]
    assert settings(steps=9)["recommended"].steps == 9


@pytest.mark.parametrize("options", [{"scale": (0, 3000)}, {"scaling": "percentile", "percentiles": (1, 99)}])
def test_how_pixels_are_scaled_is_every_row_s(options: dict[str, Any]) -> None:
    rows = settings(**options)
    assert len({(row.scaling_kind, row.scale, row.percentiles) for row in rows.values()}) == 1
    assert rows["recommended"].scaling_kind is not None and not_of_presets(options) == []


def test_a_random_encoder_learns_at_the_rate_of_the_rest() -> None:
    random, from_file = (settings(encoder_weights=weights)["recommended"] for weights in ("none", "a.safetensors"))
    assert (random.encoder_weights, random.encoder_lr) == ("none", OWN.lr)
    assert (from_file.encoder_weights, from_file.encoder_lr) == ("a.safetensors", OWN.encoder_lr)


def test_what_rows_differ_in_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match="'augment' is what the rows differ in"):
        AblationPlan(ALL, 1, {"augment": True})
