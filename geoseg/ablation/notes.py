"""What must be known of an ablation's figures, from its record (``Ablation.to_dict``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from geoseg.ablation.evaluate import NATIVE, NETWORK
from geoseg.ablation.plan import BASELINE, ROWS, not_of_presets
from geoseg.ablation.tables import settings_of
from geoseg.datasets.oversampling import RULES, SHARES
from geoseg.reporting.tables import Record, count
from geoseg.training.settings import PRESETS

FEW_SCENES = 20


def notes(record: Record) -> list[str]:
    """One sentence each, what is missing first."""
    return [*_of_runs(record), *_of_data(record), *_of_lengths(record), *_of_presets(record), *_of_oversampling(record)]


def _of_runs(record: Record) -> Iterator[str]:
    for one in record["failed"]:
        yield f"{one['setting']}, seed {one['seed']}, is missing: {one['error']}"
    if record["plan"]["seeds"] == 1:
        yield "one seed: how far figures vary from training to training is unknown"


def _of_data(record: Record) -> Iterator[str]:
    scenes, shares = record["data"]["scenes"], record["class_shares"]
    if record["data"]["synthetic"]:
        yield "the scenes are invented: figures say that the pipeline runs, not what land cover is like"
    if not scenes["val"]:
        yield "the split has no validation scenes: each run's model is that of its last epoch, not of its best"
    if scenes["test"] < FEW_SCENES:
        yield f"{scenes['test']} test scene(s) are few: intervals of so few come out too narrow"
    for part, what in (("train", "no row can learn it"), ("test", "a map that shows it has an IoU of 0 there")):
        absent = [name for name in record["data"]["classes"] if not shares[part][name]]
        if absent:
            yield f"no {part} scene has truth of {', '.join(absent)}: {what}"
    if record["resolutions"] == [NATIVE]:
        yield "all rows see the scenes' own pixels, so there is one resolution"


def _of_lengths(record: Record) -> Iterator[str]:
    rows = record["rows"]
    steps = {row: max(each["steps"]) for row, each in rows.items()}
    samples = {row: each["samples_per_step"] for row, each in rows.items()}
    if len({made for each in rows.values() for made in each["steps"]}) > 1:
        yield (
            f"rows were trained for different numbers of optimiser steps ({_grouped(steps)}): a longer training is "
            "part of their difference; --fixed-steps takes it out"
        )
    elif record["plan"]["fixed_steps"]:
        made = count(record["plan"]["fixed_steps"])
        yield f"every row made {made} optimiser steps, whatever the length of its epochs"
    if len(set(samples.values())) > 1:
        yield f"a step is of different numbers of samples ({_grouped(samples)}): equal steps are not equal samples"


def _of_presets(record: Record) -> Iterator[str]:
    settings = settings_of(record)
    left_out = [f"--{name.replace('_', '-')}" for name in not_of_presets(record["plan"]["options"])]
    not_taken = f"; {', '.join(left_out)}: of the paper's rows alone" if left_out else ""
    for row in (name for name in settings if name in PRESETS):
        yield (
            f"{row} is geoseg's own recipe and no row of the paper: the claims leave it out, and it has a learning "
            f"rate, batch size, normalisation and schedule of its own{not_taken}"
        )
        yield from _of_framing(record, row, settings)
        if settings[row]["encoder_weights"] == "none" != ROWS[row].encoder_weights:
            yield f"{row} begins with a random encoder, which learns at {settings[row]['lr']:g} like the rest of it"


def _of_framing(record: Record, row: str, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Windows against whole scenes."""
    papers = settings.get(BASELINE)
    if papers is None or papers["window"] is not None:
        return
    said = (
        f"{row} sees windows of {settings[row]['size']} px of the scenes' own pixels, the paper's rows whole scenes of "
        f"{papers['size']} px"
    )
    brought = "; its maps are brought to the size of theirs by nearest" if NETWORK in record["resolutions"] else ""
    yield said + brought


def _of_oversampling(record: Record) -> Iterator[str]:
    found, oversampling = record["oversampling"], [row for row in record["rows"] if ROWS[row].oversample]
    if found is None or not oversampling:
        return
    rows = ", ".join(oversampling)
    if found["rare_set"] == SHARES:
        lacking = set(RULES["text"].names) - record["class_shares"]["train"].keys()
        why = ", as the legend has not the classes that the paper names" if lacking else ""
        yield f"{rows} oversamples by the classes' shares of the training pixels ({found['rule']}){why}"
    if len(found["scenes_by_copies"]) == 1:
        (copies,) = found["scenes_by_copies"]
        yield f"{rows} repeats every training scene alike, {copies} times: classes become no more and no less frequent"


def _grouped(values: Mapping[str, int]) -> str:
    """Rows of one value together: "baseline, focal 2; recommended 4"."""
    rows: dict[int, list[str]] = {}
    for row, value in values.items():
        rows.setdefault(value, []).append(row)
    return "; ".join(f"{', '.join(names)} {count(value)}" for value, names in rows.items())
