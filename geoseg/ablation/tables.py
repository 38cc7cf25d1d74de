"""The tables of an ablation, from its record (``Ablation.to_dict``), as plain cells that each format lays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from geoseg.ablation.claims import PER_IMAGE
from geoseg.ablation.evaluate import RESOLUTIONS
from geoseg.reporting.tables import AVERAGES, Record, Table, confusion_table, count, figure
from geoseg.reporting.text import aligned
from geoseg.training.settings import SETTINGS

PRINTED = (
    ("paper, pooled", "of the matrices in its Figs. 4 to 6", "pooled_mean_iou"),
    ("paper, Table 3", "an average that it does not name", "table_3_mean_iou"),
)
"""The paper's own scores: as tables call them, what they are, key among its printed numbers."""
NO_DATA, SUM = "no data", "sum"
OF_NO_ROW = ("setting", "seed")
"""Settings that tell runs apart and not what a row is."""


def to_text(record: Record) -> str:
    """What the terminal shows: the rows' scores, their differences, the verdicts, and what must be known."""
    tables = [score_table(record, record["shown"]), difference_table(record, record["shown"])]
    lines = [line for table in tables if table is not None for line in (f"{table.caption}:", *aligned(table), "")]
    verdicts = [f"{claim['verdict']:>14}  {claim['claim']}" for claim in record["claims"]]
    notes = [f"note: {note}" for note in record["notes"]]
    return "\n".join([*lines, "The paper's claims:", *verdicts, "", *notes]).rstrip()


def share_table(record: Record) -> Table:
    """The paper's Table 1: percent of the training pixels, and of those that oversampling and rotation leave; beside
    them those of the test scenes, and the weights in the loss."""
    percents, weights = _percents(record), _weights(record)
    names = [*record["data"]["classes"], *_ignored(record)]
    rows = [
        (
            name,
            *(percent2(column.get(name)) for column in percents.values()),
            *(figure(column.get(name)) for column in weights.values()),
        )
        for name in names
    ]
    empty = [""] * len(weights)
    if record["oversampling"]:
        rows.append((NO_DATA, *(percent2(column.get(NO_DATA, 0.0)) for column in percents.values()), *empty))
    rows.append((SUM, *(percent2(sum(filter(None, column.values()))) for column in percents.values()), *empty))
    caption = "Table 1: percent of the pixels in each class"
    if record["oversampling"]:
        rare_set = record["oversampling"]["rare_set"]
        caption += f"; oversampled (rare set {rare_set}) as expected over seeds, rotation leaving some without data"
    return Table(caption, ("class", *percents, *weights), tuple(rows))


def _percents(record: Record) -> dict[str, dict[str, float | None]]:
    """Columns of percents, those of the paper beside ours."""
    shares, paper, oversampling = record["class_shares"], record["paper"], record["oversampling"]
    columns = {"training": shares["train"], "oversampled": shares["oversampled"], "test": shares["test"]}
    found = {title: {name: _times(v) for name, v in column.items()} for title, column in columns.items() if column}
    if oversampling:
        found["oversampled"][NO_DATA] = _times(oversampling["expected_ignored_share"])
    for title, key in (("training", "table_1_percent"), ("oversampled", "table_1_augmented_percent")):
        if paper and title in found:
            found[f"paper: {title}"] = paper[key] | {NO_DATA: 100 - sum(paper[key].values())}
    return found


def _weights(record: Record) -> dict[str, Mapping[str, float]]:
    """Weights in the loss, rows of the same in one column."""
    rows_of: dict[tuple[float, ...], list[str]] = {}
    for row, each in record["rows"].items():
        rows_of.setdefault(tuple(each["class_weights"].values()), []).append(row)
    return {
        f"weight, {_together(rows, record)}" if len(rows_of) > 1 else "weight": record["rows"][rows[0]]["class_weights"]
        for rows in rows_of.values()
    }


def _together(rows: list[str], record: Record) -> str:
    papers = [row for row in record["rows"] if row in SETTINGS]
    return "paper's rows" if rows == papers else ", ".join(rows)


def score_table(record: Record, resolution: str) -> Table:
    """The paper's Table 3 with every average by its name."""
    rows = record["rows"]
    scores = {name: row["scores"][resolution] for name, row in rows.items()}
    lines = [(average, *(spread(each["mean_iou"][average]) for each in scores.values())) for average in AVERAGES]
    lines += _printed_scores(record)
    for key, title in (("pixel_accuracy", "pixel accuracy"), ("kappa", "Cohen's kappa")):
        lines.append((title, *(spread(each[key]) for each in scores.values())))
    lines.append(("seeds", *(str(len(row["seeds"])) for row in rows.values())))
    lines.append(("steps", *(_steps(row) for row in rows.values())))
    lines.append(("samples a step", *(count(row["samples_per_step"]) for row in rows.values())))
    caption = f"Table 3: mean IoU {RESOLUTIONS[resolution]}{_of_seeds(record)}"
    return Table(caption, ("figure", *rows), tuple(lines))


def average_table(record: Record) -> Table:
    """What each figure of the score tables is a mean of."""
    printed = {name: what for name, what, _ in PRINTED} if record["paper"] else {}
    return Table("The averages of IoU", ("figure", "what it is"), tuple((AVERAGES | printed).items()), 2)


def _steps(row: Record) -> str:
    return " / ".join(sorted({count(steps) for steps in row["steps"]}))


def _printed_scores(record: Record) -> list[tuple[str, ...]]:
    values = record["paper"]
    return [(name, *(figure(values[key].get(row)) for row in record["rows"])) for name, _, key in PRINTED if values]


def difference_table(record: Record, resolution: str) -> Table | None:
    """Each row less the baseline; None where there is nothing to compare."""
    found = record["differences"].get(resolution)
    if not found:
        return None
    head = ("row", "pooled", "95 % interval", "p", "p (Holm)", PER_IMAGE, "95 % interval")
    rows = []
    for name, one in found.items():
        pooled, image = one["mean_iou"]["pooled"], one["mean_iou"][PER_IMAGE]
        cells = (signed(pooled["difference"]), between(pooled), figure(one["p"]), figure(one["p_holm"]))
        rows.append((name, *cells, signed(image["difference"]), between(image)))
    return Table(f"Mean IoU less the baseline's, {RESOLUTIONS[resolution]}", head, tuple(rows))


def class_table(record: Record, resolution: str, average: str = "pooled") -> Table:
    """The paper's Table 4; beside it what the paper prints, or what its matrices give."""
    scores = {name: row["scores"][resolution]["classes"] for name, row in record["rows"].items()}
    printed = _printed_classes(record, average)
    rows = tuple(
        (
            name,
            *(spread(each[name][average]) for each in scores.values()),
            *(figure(p.get(name)) for p in printed.values()),
        )
        for name in record["data"]["classes"]
    )
    said = f"IoU of each class ({average}) {RESOLUTIONS[resolution]}{_of_seeds(record)}"
    if printed:
        said += "; the paper's pooled from its matrices" if average == "pooled" else "; the paper's average has no name"
    return Table(f"Table 4: {said}", ("class", *scores, *(f"paper: {row}" for row in printed)), rows)


def _printed_classes(record: Record, average: str) -> Mapping[str, Mapping[str, float]]:
    key = {"pooled": "pooled_iou", PER_IMAGE: "table_4_iou"}.get(average)
    return {} if record["paper"] is None or key is None else record["paper"][key]


def class_difference_table(record: Record, resolution: str) -> Table | None:
    """IoU of each class less the baseline's, with Holm's p over the classes."""
    found = record["differences"].get(resolution)
    if not found:
        return None
    rows = [
        (row, name, signed(one["difference"]), between(one), figure(one.get("p")), figure(one.get("p_holm")))
        for row, each in found.items()
        for name, one in each["classes"].items()
    ]
    head = ("row", "class", "difference", "95 % interval", "p", "p (Holm)")
    caption = f"Pooled IoU of each class less the baseline's, {RESOLUTIONS[resolution]}; Holm's p is over the classes"
    return Table(caption, head, tuple(rows), 2)


def error_table(record: Record, which: str) -> Table:
    """``which`` is false_positives or false_negatives: in percent of the scored pixels."""
    names, said = record["data"]["classes"], which.replace("_", " ")
    what = "taken for the class and not of it" if which == "false_positives" else "of the class and taken for another"
    rows = [(row, *(percent2(_times(shares[which][name])) for name in names)) for row, shares in _shares(record)]
    return Table(f"{said.capitalize()}, percent of all scored pixels: {what}", ("row", *names), tuple(rows))


def area_table(record: Record) -> Table:
    """Predicted over true area."""
    names = record["data"]["classes"]
    rows = []
    for row, shares in _shares(record):
        cells = (_over(shares["predicted"][name], shares["true"][name]) for name in names)
        rows.append((row, *cells))
    return Table("Predicted area over true area", ("row", *names), tuple(rows))


def claim_table(record: Record) -> Table:
    """Every claim with its verdict and figures."""
    rows = tuple(
        (claim["claim"], claim["source"], claim["verdict"], claim["sentence"], lead(claim))
        for claim in record["claims"]
    )
    head = ("the paper's claim", "section", "here", "figures", "lead")
    return Table("Every claim", head, rows, 5)


def sweep_table(record: Record) -> Table | None:
    """Learning rates and epochs against validation; None where they were not asked for."""
    if not record["sweep"]:
        return None
    rows = tuple(
        (
            f"{one['lr']:g}",
            str(one["epochs"]),
            figure(one["best_val_mean_iou"]),
            figure(one["val_loss"]),
            figure(one["train_loss"]),
            str(one["val_loss_rises"]),
        )
        for one in record["sweep"]
    )
    head = ("learning rate", "epochs", "best validation mean IoU", "validation loss", "training loss", "rises of it")
    return Table("Learning rate and epochs of the baseline, seed 0, on the validation scenes", head, rows)


def settings_of(record: Record) -> dict[str, Record]:
    """What each row was trained with, of its first run."""
    runs = record["runs"]
    return {row: next(run["settings"] for run in runs if run["setting"] == row) for row in record["rows"]}


def row_table(record: Record) -> Table:
    """The settings in which rows differ."""
    settings = settings_of(record)
    first = next(iter(settings.values()))
    differing = [
        name
        for name in first
        if name not in OF_NO_ROW and len({_setting(each, name) for each in settings.values()}) > 1
    ]
    rows = [(name.replace("_", " "), *(_setting(each, name) for each in settings.values())) for name in differing]
    return Table("What the rows differ in", ("setting", *settings), tuple(rows), 1 + len(settings))


def _setting(settings: Record, name: str) -> str:
    value = settings.get(name)
    if _is_idle(settings, name):
        return ""
    if value is None:
        return "whole scenes" if name == "window" else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_idle(settings: Record, name: str) -> bool:
    """True where other settings leave this one without a use."""
    plain = settings["encoder"] == "plain"
    idle = {"rare_set": not settings["oversample"], "gamma": settings["loss"] != "focal", "width": not plain}
    return (idle | dict.fromkeys(("encoder_lr", "encoder_weights", "decoder"), plain)).get(name, False)


def matrix_tables(record: Record, values: str) -> list[Table]:
    """Each row's confusion matrix; ``values`` as reporting.tables.confusion_table takes them."""
    found = {row: confusion_table(confusion_of(record, row, record["shown"]), values) for row in record["rows"]}
    return [replace(table, caption=f"{row}: {table.caption}") for row, table in found.items()]


def run_table(record: Record) -> Table:
    """Every run: how long it was trained, and which epoch's model was taken."""
    rows = tuple(
        (
            run["folder"],
            str(run["seed"]),
            count(run["steps"]),
            str(run["epochs"]),
            str(run["model"]["epoch"]),
            figure(run["model"].get("val_mean_iou")),
            run["settings"]["setting"],
        )
        for run in record["runs"]
    )
    head = ("run", "seed", "steps", "epochs", "model of epoch", "validation mean IoU", "named as")
    return Table("The runs", head, rows)


def option_table(record: Record) -> Table:
    """What was asked for, and on which data."""
    data, plan = record["data"], record["plan"]
    scenes = ", ".join(f"{number} {part}" for part, number in data["scenes"].items())
    rows = [("data", data["folder"]), ("split", f"{data['split']} ({scenes})"), ("seeds", str(plan["seeds"]))]
    rows += [(name.replace("_", " "), str(value)) for name, value in plan["options"].items()]
    rows += [(name, str(value)) for name, value in record["provenance"].items()]
    return Table("What was run", ("what", "value"), (*rows, ("schema", record["schema"])), 2)


def spread(values: Record) -> str:
    """A mean, and the deviation over seeds where there is one."""
    return figure(values["mean"]) + ("" if values["sd"] is None else f" ± {values['sd']:.4f}")


def signed(value: float | None) -> str:
    """A difference."""
    return "n/a" if value is None else f"{value:+.4f}"


def between(interval: Record) -> str:
    """Both ends of a difference's interval."""
    return "no interval" if interval["low"] is None else f"{interval['low']:+.4f} to {interval['high']:+.4f}"


def percent2(value: float | None) -> str:
    """Percent to two digits, as the paper's Table 1 has them."""
    return "n/a" if value is None else f"{value:.2f}"


def confusion_of(record: Record, row: str, resolution: str) -> dict[str, Any]:
    """A row's matrix as reporting.tables.confusion_table takes it."""
    return {"confusion": record["rows"][row]["confusion"][resolution]}


def _shares(record: Record) -> list[tuple[str, Mapping[str, Mapping[str, float]]]]:
    return [(row, each["confusion"][record["shown"]]["shares"]) for row, each in record["rows"].items()]


def _ignored(record: Record) -> list[str]:
    return [name for name in record["class_shares"]["train"] if name not in record["data"]["classes"]]


def _of_seeds(record: Record) -> str:
    return ", mean ± standard deviation over seeds" if any(len(r["seeds"]) > 1 for r in record["rows"].values()) else ""


def _times(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _over(found: float, true: float) -> str:
    return f"{found / true:.2f}" if true else "n/a"


def lead(claim: Record) -> str:
    """A claim's lead, its interval, and the lead of each seed where there are several."""
    if claim["lead"] is None:
        return "n/a"
    interval = [] if claim["low"] is None else [between(claim)]
    seeds = [f"seeds {', '.join(map(signed, claim['seeds']))}"] if len(claim["seeds"]) > 1 else []
    return signed(claim["lead"]) + (f" ({'; '.join(interval + seeds)})" if interval + seeds else "")
