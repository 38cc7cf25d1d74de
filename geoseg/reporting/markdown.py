"""A report in Markdown, with tables as forges render them."""

from __future__ import annotations

import re
from html import escape

from geoseg.reporting.tables import (
    Record,
    Table,
    agreement_table,
    alignment_table,
    area_table,
    average_table,
    boundary_table,
    calibration_table,
    class_table,
    confusion_table,
    figure,
    left_out_table,
    map_tables,
    pair_notes,
    provenance_table,
    remarks,
    scene_table,
)

SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")
"""Characters that would format, or end a cell."""


def to_markdown(record: Record) -> str:
    """The whole report but for the pictures."""
    over = f"{record['average']} over {len(record['scenes'])} scene(s)"
    accuracy = figure(record["pixel_accuracy"])
    headline = f"Mean IoU **{figure(record['mean_iou'])}** ({over}), pixel accuracy **{accuracy}**."
    sections = (
        ("Classes", [class_table(record)]),
        ("Averages", [average_table(record), agreement_table(record)]),
        ("Confusion", [confusion_table(record, values) for values in ("counts", "row_percent")]),
        ("Areas", [area_table(record)]),
        ("Boundaries", [boundary_table(record)]),
        ("Calibration", [calibration_table(record)]),
        ("Pixels left out", [left_out_table(record)]),
        ("Scenes", [scene_table(record), alignment_table(record)]),
        ("How it was made", [provenance_table(record), *map_tables(record)]),
    )
    said = [f"- {plain(note)}" for note in (*remarks(record), *pair_notes(record))]
    notes = ["## To know", "\n".join(said)] if said else []
    parts = ["# Accuracy of the map", headline, *notes]
    for title, tables in sections:
        there = [table for table in tables if table is not None]
        parts += [f"## {title}", *map(laid_out, there)] if there else []
    return "\n\n".join(parts) + "\n"


def laid_out(table: Table) -> str:
    """A caption and a table."""
    rule = ["---" if place < table.texts else "---:" for place in range(len(table.head))]
    lines = [table.head, *table.rows]
    head, *rows = ("| " + " | ".join(map(plain, line)) + " |" for line in lines)
    return "\n".join([f"{plain(table.caption)}:", "", head, f"| {' | '.join(rule)} |", *rows])


def plain(text: str) -> str:
    """Text that stays itself: in a cell, and where a name looks like HTML or Markdown."""
    return SPECIAL.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
