"""The sections of an ablation's reports: what is said, and which tables; every format lays out the same."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.ablation.claims import PER_IMAGE
from geoseg.ablation.evaluate import RESOLUTIONS
from geoseg.ablation.plan import BASELINE
from geoseg.ablation.tables import (
    area_table,
    average_table,
    claim_table,
    class_difference_table,
    class_table,
    difference_table,
    error_table,
    matrix_tables,
    option_table,
    row_table,
    run_table,
    score_table,
    share_table,
    sweep_table,
)
from geoseg.ablation.verdicts import FEWEST
from geoseg.reporting.tables import Record, Table

CLAIMS = (
    "What the paper says of its four rows, and what these runs say to it. A lead above 0 speaks for a claim, and the "
    "claim holds where the lead's 95 % interval over scenes and the lead of every seed are above 0. It does not hold "
    f"where all of these are at or below 0; else, and with fewer than {FEWEST} test scenes, it cannot be told. Figures "
    "are of all seeds together, counted"
)
DIFFERENCES = (
    "Scenes are drawn again, the same for both rows; in the test the two rows change places scene by scene. p (Holm) "
    "is adjusted for the number of rows. Neither says how another training would come out: the spread over seeds does. "
    "Before, the matrices of a scene are added over the seeds that all rows have, so that these figures are not quite "
    "the differences of means over seeds."
)
CONFUSION = "Rows are classes of the truth, columns classes of the map."


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    name: str
    """In links."""
    title: str
    said: str = ""
    """What must be known of its tables, or why there are none."""
    tables: tuple[Table, ...] = ()


def sections(record: Record) -> list[Section]:
    """In the order of reading."""
    resolutions, counted = record["resolutions"], RESOLUTIONS[record["shown"]]
    together = f"All test scenes and seeds together, counted {counted}."
    scores = (*(score_table(record, name) for name in resolutions), average_table(record))
    return [
        Section("scores", "Scores", "", scores),
        _differences(record),
        Section("claims", "The paper's claims", f"{CLAIMS} {counted}.", (claim_table(record),)),
        Section("classes", "Classes", "", _there(*_of_classes(record))),
        Section("epochs", "Epoch by epoch", _said_of_epochs(record)),
        Section("confusion", "What was taken for what", f"{CONFUSION} {together}", _matrices(record)),
        Section(
            "errors",
            "Errors and areas",
            together,
            (area_table(record), *(error_table(record, f"false_{which}") for which in ("positives", "negatives"))),
        ),
        Section("look", "Test scenes"),
        Section("shares", "Shares of the classes", "", (share_table(record),)),
        Section("sweep", "Learning rate and epochs", "", _there(sweep_table(record))),
        Section("made", "How this was made", "", (row_table(record), run_table(record), option_table(record))),
    ]


def _there(*tables: Table | None) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)


def _differences(record: Record) -> Section:
    found = _there(*(difference_table(record, name) for name in record["resolutions"]))
    return Section("differences", "Against the baseline", DIFFERENCES if found else _why_no_difference(record), found)


def _why_no_difference(record: Record) -> str:
    if BASELINE not in record["rows"]:
        return "No run of the baseline finished, so there is nothing to compare the others with."
    if len(record["rows"]) == 1:
        return "The baseline is the only row, so there is nothing to compare it with."
    return "No seed was finished by all rows, so there is nothing to compare."


def _of_classes(record: Record) -> list[Table | None]:
    averages = ("pooled", PER_IMAGE)
    found = [class_table(record, name, average) for name in record["resolutions"] for average in averages]
    return [*found, class_difference_table(record, record["shown"])]


def _said_of_epochs(record: Record) -> str:
    said = ["Losses of rows are not of one scale where the loss or the weights of the classes are others."]
    if not record["data"]["scenes"]["val"]:
        said.append("The split has no validation scenes: there are no curves of IoU, and losses are of training alone.")
    if short := [row for row, epochs in _epochs(record).items() if epochs == 1]:
        said.append(f"One epoch is a point: {', '.join(short)} made no more.")
    return " ".join(said)


def _epochs(record: Record) -> dict[str, int]:
    return {row: max(run["epochs"] for run in record["runs"] if run["setting"] == row) for row in record["rows"]}


def _matrices(record: Record) -> tuple[Table, ...]:
    both = zip(*(matrix_tables(record, values) for values in ("row_percent", "counts")), strict=True)
    return tuple(table for pair in both for table in pair)
