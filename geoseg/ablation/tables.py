"""The tables of an ablation, from its record (``Ablation.to_dict``), as plain cells that each format lays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoseg.ablation.evaluate import RESOLUTIONS
from geoseg.reporting.tables import AVERAGES, Record, Table, count, figure
from geoseg.reporting.text import aligned

PER_IMAGE = "image-absent0"


def to_text(record: Record) -> str:
    """What the terminal shows: the rows' scores, their differences, the verdicts, and what must be known."""
    tables = [score_table(record, record["shown"], short=True), difference_table(record, record["shown"])]
    lines = [line for table in tables if table is not None for line in (f"{table.caption}:", *aligned(table), "")]
    verdicts = [f"{claim['verdict']:>14}  {claim['claim']}" for claim in record["claims"]]
    notes = [f"note: {note}" for note in record["notes"]]
    return "\n".join([*lines, "The paper's claims:", *verdicts, "", *notes]).rstrip()


def share_table(record: Record) -> Table:
    """The paper's Table 1: shares of the classes in the clean training scenes; beside them those of the test scenes."""
    shares, paper = record["class_shares"], record["paper"]
    names = [*record["data"]["classes"], *_ignored(record)]
    head = ("class", "training %", "weight in the loss", "test %", *(("the paper's training %",) if paper else ()))
    rows = tuple(
        (
            name,
            percent2(_times(shares["train"].get(name))),
            figure(record["class_weights"].get(name)),
            percent2(_times(shares["test"].get(name))),
            *((percent2(paper["table_1_percent"].get(name)),) if paper else ()),
        )
        for name in names
    )
    return Table("Table 1: shares of the classes in pixels, before any augmentation", head, rows)


def score_table(record: Record, resolution: str, short: bool = False) -> Table:
    """The paper's Table 3 with every average by its name; ``short`` leaves out what each is a mean of."""
    rows = record["rows"]
    scores = {name: row["scores"][resolution] for name, row in rows.items()}
    lines = [
        (average, what, *(spread(each["mean_iou"][average]) for each in scores.values()))
        for average, what in AVERAGES.items()
    ]
    lines += _printed_scores(record)
    for key, title in (("pixel_accuracy", "pixel accuracy"), ("kappa", "Cohen's kappa")):
        lines.append((title, "of all pixels together", *(spread(each[key]) for each in scores.values())))
    lines.append(("seeds", "trainings", *(str(len(row["seeds"])) for row in rows.values())))
    lines.append(("steps", "of the optimiser", *(_steps(row) for row in rows.values())))
    caption = f"Table 3: mean IoU {RESOLUTIONS[resolution]}{_of_seeds(record)}"
    table = Table(caption, ("figure", "what it is", *rows), tuple(lines), 2)
    return Table(caption, *_short(table)) if short else table


def _short(table: Table) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    head, *rows = ((line[0], *line[2:]) for line in (table.head, *table.rows))
    return head, tuple(rows)


def _steps(row: Record) -> str:
    return " / ".join(sorted({count(steps) for steps in row["steps"]}))


def _printed_scores(record: Record) -> list[tuple[str, ...]]:
    if record["paper"] is None:
        return []
    printed = (
        ("paper, pooled", "of the matrices in its Figs. 4 to 6", "pooled_mean_iou"),
        ("paper, Table 3", "an average that it does not name", "table_3_mean_iou"),
    )
    values = record["paper"]
    return [(name, what, *(figure(values[key].get(row)) for row in record["rows"])) for name, what, key in printed]


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
    head = ("row", "class", "pooled IoU less the baseline's", "95 % interval", "p", "p (Holm, over the classes)")
    return Table(f"Classes against the baseline, {RESOLUTIONS[resolution]}", head, tuple(rows), 2)


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
        (claim["claim"], claim["source"], claim["verdict"], claim["sentence"], _lead(claim))
        for claim in record["claims"]
    )
    head = ("the paper's claim", "section", "here", "figures", "lead")
    return Table("A lead above 0 speaks for the claim; its 95 % interval is over scenes", head, rows, 5)


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


def _lead(claim: Record) -> str:
    if claim["lead"] is None:
        return "n/a"
    return signed(claim["lead"]) + ("" if claim["low"] is None else f" ({between(claim)})")
