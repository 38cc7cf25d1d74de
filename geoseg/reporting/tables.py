"""The tables of a report, from its record (``Report.to_dict``), as plain cells that each format lays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.scoring.averages import iou_name

Record = Mapping[str, Any]
"""What ``Report.to_dict`` gives, or a part of it."""

AVERAGES = {
    "pooled": "of all pixels together",
    "image": "mean over the scenes whose truth or map has the class",
    "image-present": "mean over the scenes whose truth has the class",
    "image-absent0": "mean over all scenes, 0 where truth and map lack the class",
    "image-absent1": "mean over all scenes, 1 where truth and map lack the class",
}
"""What each average is a mean of."""
OVERALL = {
    "pixel_accuracy": "pixel accuracy",
    "kappa": "Cohen's kappa",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "mean_precision": "mean precision",
    "mean_recall": "mean recall",
    "mean_f1": "mean F1",
    "quantity_disagreement": "quantity disagreement",
    "allocation_disagreement": "allocation disagreement",
}
"""Figures of agreement by name, as tables call them."""
LEFT_OUT = {
    "missing_predictions": "without a prediction, counted as missed",
    "unlabelled_or_ignored": "unlabelled or of an ignored class, left out",
    "of_undefined_colours": "of a colour that is no class, left out",
    "outside_of_the_map": "of a class, outside of the map's extent, left out",
    "without_prediction": "without a prediction, left out as was asked for",
}
"""Truth pixels by what became of them."""
NO_PREDICTION = "no prediction"


@dataclass(frozen=True)
class Table:
    """Cells in words, a head and a caption."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    """So many first columns hold words, the rest numbers."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"{self.caption}: every row has {len(self.head)} cells")

    def without(self, *names: str) -> Table:
        """The same table less the columns of those names."""
        kept = [place for place, name in enumerate(self.head) if name not in names]
        head, *rows = (tuple(line[place] for place in kept) for line in (self.head, *self.rows))
        return Table(self.caption, head, tuple(rows), self.texts)


def class_table(record: Record, short: bool = False) -> Table:
    """One row a scored class; ``short`` leaves out what a narrow terminal has no room for."""
    units = truth_unit(record)
    interval = (interval_name(record),) if has_intervals(record) else ()
    boundary = () if record.get("boundary") is None else ("boundary IoU",)
    head = ("class", "IoU", *interval, "precision", "recall", "F1", *boundary, f"truth {units}", "images")
    rows = []
    for name, row in record["classes"].items():
        spread = (span(class_interval(record, name)),) if interval else ()
        edge = (figure(record["boundary"]["classes"].get(name)),) if boundary else ()
        figures = (figure(row[key]) for key in ("precision", "recall", "f1"))
        truth = hectares(row["truth_hectares"]) if units == "ha" else count(row["truth_pixels"])
        pixels = () if short or units == "px" else (count(row["truth_pixels"]),)
        rows.append((name, figure(row["iou"]), *spread, *figures, *edge, truth, *pixels, count(row["images"])))
    if not short and units == "ha":
        head = (*head[:-1], "truth px", head[-1])
    return Table("Every class" if short else "Figures of each class", head, tuple(rows))


def average_table(record: Record) -> Table:
    """Mean IoU under each average, with what it is a mean of."""
    interval = (interval_name(record),) if has_intervals(record) else ()
    rows = []
    for name, value in record["mean_iou_by_average"].items():
        spread = (span(overall_interval(record, f"mean_{iou_name(name)}")),) if interval else ()
        rows.append((name, AVERAGES[name], figure(value), *spread))
    return Table("Mean IoU under each average", ("average", "what it is", "mean IoU", *interval), tuple(rows), 2)


def agreement_table(record: Record) -> Table:
    """Every other figure over all classes."""
    interval = (interval_name(record),) if has_intervals(record) else ()
    rows = []
    for key, title in OVERALL.items():
        spread = (span(overall_interval(record, key)),) if interval else ()
        rows.append((title, figure(record[key]), *spread))
    baseline = f"mean IoU of a map of {record['majority_class']} alone"
    rows.append((baseline, figure(record["majority_baseline_mean_iou"]), *(("",) if interval else ())))
    return Table("Agreement over all classes, of all pixels together", ("figure", "value", *interval), tuple(rows))


def confusion_table(record: Record, values: str) -> Table:
    """Truth in rows, the map in columns; ``values`` is counts, row_percent or column_percent."""
    confusion, ignored = record["confusion"], set(record["confusion"]["ignored"])
    caption = {
        "counts": "Pixels",
        "row_percent": "Percent of each row: where a class's truth went",
        "column_percent": "Percent of each column: what a mapped class is in truth",
    }[values]
    cell = count if values == "counts" else percent
    shown = shown_columns(record)
    head = ("truth \\ map", *(name for name, there in zip(columns(record), shown, strict=True) if there))
    rows = tuple(
        (name, *(cell(value) for value, there in zip(line, shown, strict=True) if there))
        for name, line in zip(confusion["classes"], confusion[values], strict=True)
        if name not in ignored
    )
    return Table(caption, head, rows)


def columns(record: Record) -> tuple[str, ...]:
    """Names of the confusion matrix's columns."""
    return (*record["confusion"]["classes"], NO_PREDICTION)


def shown_columns(record: Record) -> tuple[bool, ...]:
    """False for columns of ignored classes, and for that of missing predictions, where nothing is in them."""
    confusion = record["confusion"]
    scored = [name not in confusion["ignored"] for name in confusion["classes"]]
    rows = [line for line, there in zip(confusion["counts"], scored, strict=True) if there]
    return tuple(there or any(line[place] for line in rows) for place, there in enumerate([*scored, False]))


def area_table(record: Record) -> Table | None:
    """Areas in truth and map, and their ratio; None where the truths have no place on Earth."""
    if truth_unit(record) == "px":
        return None
    rows = tuple(
        (name, hectares(row["truth_hectares"]), hectares(row["predicted_hectares"]), area_ratio(row))
        for name, row in record["classes"].items()
    )
    return Table("Hectares where the truth is scored", ("class", "truth ha", "map ha", "map / truth"), rows)


def area_ratio(row: Record) -> str:
    """Area in the map to that in the truth."""
    return f"{row['predicted_hectares'] / row['truth_hectares']:.2f}" if row["truth_hectares"] else figure(None)


def left_out_table(record: Record) -> Table:
    """How many truth pixels were scored, and what became of the others."""
    counts = record["left_out"] | {"missing_predictions": record["missing_predictions"]}
    rows = tuple((title, count(counts[key])) for key, title in LEFT_OUT.items())
    return Table("Truth pixels", ("what", "pixels"), (("scored", count(record["scored_pixels"])), *rows))


def scene_table(record: Record, most: int | None = None) -> Table:
    """The scenes, worst mean IoU first, at most ``most`` of them."""
    scenes = worst_first(record)
    kept = scenes[:most]
    said = f", the worst {len(kept)} of {len(scenes)}" if len(kept) < len(scenes) else ""
    return Table(
        f"Scenes, worst mean IoU first{said}",
        ("scene", "map", "mean IoU", "accuracy", "scored px", "missing px", "overlap"),
        tuple(_scene_row(truth, record["scenes"][truth]) for truth in kept),
        2,
    )


def _scene_row(truth: str, scene: Record) -> tuple[str, ...]:
    figures = figure(scene["mean_iou"]), figure(scene["pixel_accuracy"])
    counts = count(scene["scored_pixels"]), count(scene["missing_predictions"])
    return short_name(truth), short_name(scene["prediction"]), *figures, *counts, f"{scene['overlap']:.1%}"


def alignment_table(record: Record, most: int | None = None) -> Table:
    """How maps lie over truths, scenes of which the same is said in one row; at most ``most`` rows."""
    groups: dict[str, list[str]] = {}
    for truth, scene in record["scenes"].items():
        said = "; ".join(part for part in (scene["alignment"], scene["note"]) if part)
        groups.setdefault(said, []).append(short_name(truth))
    rows = tuple((listed(names, 4), said) for said, names in groups.items())
    more = "" if most is None or len(rows) <= most else f", {most} of {len(rows)}"
    return Table(f"How the maps lie over the truths{more}", ("scenes", "alignment"), rows[:most], 2)


def short_name(path: str) -> str:
    """A file's name without its folders; the provenance has them."""
    return Path(path).name


def worst_first(record: Record) -> list[str]:
    """Truths by the mean IoU of their scene, those without one last."""
    values = {truth: scene["mean_iou"] for truth, scene in record["scenes"].items()}
    return sorted(values, key=lambda truth: (values[truth] is None, values[truth] or 0, truth))


def boundary_table(record: Record) -> Table | None:
    """Boundary IoU of each class; None where it was not asked for."""
    boundary = record.get("boundary")
    if boundary is None:
        return None
    rows = [(name, figure(value)) for name, value in boundary["classes"].items()]
    rows.append(("mean", figure(boundary["mean_iou"])))
    return Table(
        f"IoU of what lies within {boundary_distance(boundary)} of a border", ("class", "boundary IoU"), tuple(rows)
    )


def boundary_distance(boundary: Record) -> str:
    """How far from a border pixels count."""
    return f"{boundary['distance']:g} {boundary['unit']}"


def calibration_table(record: Record) -> Table | None:
    """Confidence against accuracy; None where there were no scores."""
    calibration = record.get("calibration")
    if calibration is None:
        return None
    rows = tuple(
        (
            f"{part['low']:.2f} to {part['high']:.2f}",
            count(part["pixels"]),
            *map(figure, (part["confidence"], part["accuracy"])),
        )
        for part in calibration["bins"]
    )
    caption = f"Confidence against accuracy; expected calibration error {figure(calibration['ece'])}"
    return Table(caption, ("scores", "pixels", "mean confidence", "accuracy"), rows)


def provenance_table(record: Record) -> Table:
    """How the report was made."""
    rows = [(name.replace("_", " "), str(value)) for name, value in record["provenance"].items()]
    return Table("The report", ("what", "value"), (*rows, ("schema", record["schema"])), 2)


def map_tables(record: Record) -> list[Table]:
    """How the maps were made, by their own tags: one table for all maps of one model and settings."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for scene in record["scenes"].values():
        tags = {name: value for name, value in scene["provenance"].items() if name != "GEOSEG_INPUT"}
        groups.setdefault(tuple(tags.items()), []).append(f"{scene['prediction']}{_made_from(scene)}")
    return [
        Table(f"{len(maps)} map(s)", ("what", "value"), (("maps", listed(maps, 12)), *map(_tag_row, tags)), 2)
        for tags, maps in groups.items()
    ]


def _made_from(scene: Record) -> str:
    source = scene["provenance"].get("GEOSEG_INPUT")
    return f" (from {source})" if source else ""


def _tag_row(tag: tuple[str, str]) -> tuple[str, str]:
    return tag[0].removeprefix("GEOSEG_").lower().replace("_", " "), tag[1]


def listed(names: Sequence[str], most: int) -> str:
    """Names with commas, the last ones as a number."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def remarks(record: Record) -> list[str]:
    """What a reader must know of the figures, before the notes on single pairs."""
    found = interval_remarks(record)
    if record["absent_classes"]:
        found.append(f"absent from truth and map, left out of the mean: {', '.join(record['absent_classes'])}")
    if record["missing_predictions"]:
        found.append(f"{record['missing_predictions']} truth pixels have no prediction and count as missed")
    return found


def pair_notes(record: Record) -> list[str]:
    """The notes, those on pairs that want looking at first."""
    alarms = tuple(scene["note"] for scene in record["scenes"].values() if scene["note"])
    return sorted(record["notes"], key=lambda note: not note.endswith(alarms))


def interval_remarks(record: Record) -> list[str]:
    """How the intervals were made, and what they do not say."""
    intervals = record["intervals"]
    if intervals is None:
        one = "one scene: how figures vary over scenes is unknown, so there is no interval over scenes"
        return [one] if len(record["scenes"]) == 1 else []
    unit, units = intervals["unit"], intervals["units"]
    drawn = f"intervals: {intervals['draws']:,} resamples of {units} {unit}, seed {intervals['seed']}"
    few = [name for name, found in intervals["classes"].items() if found["units_with_truth"] < 2 <= units]
    said = [f"no interval for classes in the truth of fewer than two {unit}: {', '.join(few)}"] if few else []
    return [*([drawn] if has_intervals(record) else []), *intervals["notes"], *said]


def truth_unit(record: Record) -> str:
    """ha where every truth has a place on Earth, else px."""
    areas = [row["truth_hectares"] for row in record["classes"].values()]
    return "px" if None in areas else "ha"


def has_intervals(record: Record) -> bool:
    """True where intervals were asked for and there are units to draw from."""
    return record["intervals"] is not None and record["intervals"]["units"] > 1


def interval_name(record: Record) -> str:
    """Head of a column of intervals."""
    return f"{100 * record['intervals']['level']:.4g} % interval"


def class_interval(record: Record, name: str, key: str | None = None) -> Record | None:
    """The interval of a class's figure, by default of its IoU under the report's average; None without one."""
    found = None if record["intervals"] is None else record["intervals"]["classes"][name]
    return _there(None if found is None else found.get(key or iou_name(record["average"])))


def overall_interval(record: Record, key: str) -> Record | None:
    """The interval of a figure over all classes; None without one."""
    return _there(None if record["intervals"] is None else record["intervals"]["overall"].get(key))


def _there(interval: Record | None) -> Record | None:
    return None if interval is None or interval["low"] is None else interval


def figure(value: float | None) -> str:
    """A share or a figure between -1 and 1."""
    return "n/a" if value is None else f"{value:.4f}"


def span(interval: Record | None) -> str:
    """Both ends of an interval."""
    return "no interval" if interval is None else f"{interval['low']:.4f} to {interval['high']:.4f}"


def count(value: int) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,}"


def hectares(value: float | None) -> str:
    """An area to four digits or to the hectare."""
    if value is None:
        return "n/a"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share that is in percent already."""
    return "n/a" if value is None else f"{value:.1f}"
