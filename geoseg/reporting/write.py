"""write_report: a report as a file, in the format that its ending names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from geoseg.errors import GeosegError, OutputError, UsageError
from geoseg.files import disk_errors, replace_file
from geoseg.reporting.markdown import to_markdown
from geoseg.reporting.page import PANEL, to_html
from geoseg.reporting.spreadsheet import to_csv
from geoseg.reporting.worst import read_views, require_images, worst_scenes, worst_windows
from geoseg.scoring.report import Report
from geoseg.source import Source

ENDINGS = (".json", ".csv", ".md", ".html")
"""Formats of reports, by the ending of the file."""
SCENES, WINDOWS = 3, 6
"""How many are shown in pictures."""


def write_report(
    report: Report, path: str | Path, *, overwrite: bool = False, images: str | Path | Source | None = None
) -> None:
    """Write a report, whole or not at all.

    Args:
        path: ends in .json, .csv (one row a class), .md or .html (one file with pictures, that loads nothing).
        overwrite: replace a file that exists.
        images: for .html: the one image of a single pair, or a folder of images with the truths' stems. None looks
            beside the truths, in the layouts of data folders.

    Raises UsageError for another ending, OutputError where the file exists or cannot be written, InputError where
    ``images`` does not exist.
    """
    path = Path(path)
    require_writable([path], overwrite)
    replace_file(path, _encoded(report, path, None if images is None else Source.of(images)))


def require_writable(paths: Iterable[Path], overwrite: bool) -> None:
    """Raise UsageError or OutputError for files that ``write_report`` would refuse, before there is a report."""
    places = set()
    for path in paths:
        with disk_errors(path):
            _require_place(path, overwrite)
            if path.resolve() in places:
                raise UsageError(f"{path}: is named as a report twice")
            places.add(path.resolve())


def _require_place(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a report ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if path.exists() and not (overwrite and path.is_file()):
        raise OutputError(f"{path}: exists; --overwrite replaces it" if path.is_file() else f"{path}: is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: nothing can be written in the folder {path.parent}; change its permissions")


def _encoded(report: Report, path: Path, images: Source | None) -> bytes:
    record, ending = report.to_dict(), path.suffix.lower()
    if ending == ".json":
        return (json.dumps(record, indent=1) + "\n").encode()
    if ending == ".csv":
        text = to_csv(record)
        # Spreadsheets take a file for the local encoding unless it begins with this mark.
        return text.encode("utf-8" if text.isascii() else "utf-8-sig")
    # Paths may hold bytes that are no UTF-8: they are shown as escapes.
    return (to_markdown(record) if ending == ".md" else _page(report, images)).encode(errors="backslashreplace")


def _page(report: Report, images: Source | None) -> str:
    if images is not None:
        require_images(images, len(report.pairs) > 1)
    places = worst_scenes(report, SCENES), worst_windows(report, WINDOWS)
    views, missing = ([], []), ""
    if all(pair.pointwise for pair in report.pairs.values()):
        missing = "no pictures: the truth is points, and each is a single pixel"
    try:
        views = tuple(list(read_views(report, some, PANEL, images)) for some in places)
    except GeosegError as error:
        # The figures do not depend on rasters that are gone since.
        missing = f"no pictures: {error}"
    return to_html(report.to_dict(), report.legend, *views, missing)
