"""A report in the terminal: coloured tables where it is one, plain lines in a pipe."""

from __future__ import annotations

from geoseg.reporting.tables import (
    OVERALL,
    Record,
    Table,
    agreement_table,
    average_table,
    boundary_distance,
    class_table,
    count,
    figure,
    has_intervals,
    interval_name,
    overall_interval,
    remarks,
    span,
)
from geoseg.scoring.averages import iou_name


def to_text(record: Record) -> str:
    """Plain lines, columns aligned."""
    return "\n".join([*aligned(class_table(record, short=True)), *summary(record), *closing(record)])


def aligned(table: Table) -> list[str]:
    """A table in lines of one length, words left and numbers right."""
    lines = [table.head, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(_placed(line, widths, table.texts)) for line in lines]


def _placed(line: tuple[str, ...], widths: list[int], texts: int) -> list[str]:
    cells = enumerate(zip(line, widths, strict=True))
    return [cell.ljust(width) if place < texts else cell.rjust(width) for place, (cell, width) in cells]


def summary(record: Record) -> list[str]:
    """The figures over all classes, in sentences."""
    classes = len(record["classes"]) - len(record["absent_classes"])
    over = f"{record['average']} over {len(record['scenes'])} scene(s), {classes} classes"
    means = ", ".join(f"{name} {figure(value)}" for name, value in record["mean_iou_by_average"].items())
    rest = ", ".join(
        f"{title} {figure(record[key])}"
        for key, title in OVERALL.items()
        if key not in ("pixel_accuracy", "mean_precision", "mean_recall", "mean_f1")
    )
    majority, baseline = record["majority_class"], figure(record["majority_baseline_mean_iou"])
    return [
        f"mean IoU {figure(record['mean_iou'])} ({over}), pixel accuracy {figure(record['pixel_accuracy'])}",
        *_spread(record),
        f"mean IoU by average: {means}",
        rest,
        f"majority baseline (all {majority}): mean IoU {baseline}",
        *_extras(record),
    ]


def _spread(record: Record) -> list[str]:
    if not has_intervals(record):
        return []
    names = f"mean_{iou_name(record['average'])}", "pixel_accuracy"
    mean, accuracy = (span(overall_interval(record, name)) for name in names)
    return [f"{interval_name(record)}: mean IoU {mean}, pixel accuracy {accuracy}"]


def _extras(record: Record) -> list[str]:
    found = []
    if (boundary := record.get("boundary")) is not None:
        found.append(f"boundary IoU {figure(boundary['mean_iou'])} (within {boundary_distance(boundary)})")
    if (calibration := record.get("calibration")) is not None:
        found.append(f"expected calibration error {figure(calibration['ece'])}")
    return found


def closing(record: Record) -> list[str]:
    """What was left out, and what the figures do not say; notes of the pairs go to stderr."""
    left = record["left_out"]
    parts = [
        f"{count(left[key])} {what}"
        for key, what in (
            ("unlabelled_or_ignored", "unlabelled or ignored"),
            ("of_undefined_colours", "of undefined colours"),
            ("outside_of_the_map", "outside of the map"),
            ("without_prediction", "without a prediction"),
        )
        if left[key]
    ]
    said = [f"truth pixels left out: {', '.join(parts)}"] if parts else []
    return [*remarks(record), *said]


def show(record: Record) -> None:
    """Print a report to a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(_laid_out(class_table(record, short=True)))
    console.print(_laid_out(average_table(record)))
    console.print(_laid_out(agreement_table(record)))
    for line in [summary(record)[0], *_extras(record), *closing(record)]:
        console.print(Text(line))


def _laid_out(table: Table):
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=table.caption, title_justify="left")
    for place, name in enumerate(table.head):
        drawn.add_column(Text(name), justify="left" if place < table.texts else "right", no_wrap=place != 1)
    for row in table.rows:
        # Text, because a class may be called [red], which rich would take as a colour.
        drawn.add_row(*(Text(cell, style="bold" if place == table.texts else "") for place, cell in enumerate(row)))
    return drawn
