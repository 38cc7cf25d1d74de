"""When a raster was taken, as far as its file tells."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from geoseg.raster.opening import open_raster, reading
from geoseg.source import Source

log = logging.getLogger("geoseg")

TAGS = (
    # Where GDAL's readers of satellite products put it.
    ("IMAGERY", "ACQUISITIONDATETIME"),
    (None, "ACQUISITIONDATETIME"),
    # Of Sentinel-2 products, which copies keep.
    (None, "PRODUCT_START_TIME"),
    # Made when the file was made, by some programs.
    (None, "TIFFTAG_DATETIME"),
)
"""Domains of metadata and names of tags, the surest first."""


def acquisition_time(source: str | Path | Source) -> datetime | None:
    """When the file's tags say that its pixels were taken, in UTC; None where they do not. Raises InputError.

    What has no time zone is taken for UTC. TIFFTAG_DATETIME, which may be another time, is said where it is taken.
    """
    source = Source.of(source)
    with reading(source, "opened"), open_raster(source) as dataset:
        for domain, tag in TAGS:
            told = dataset.tags(ns=domain).get(tag)
            if told and (found := _parsed(told)):
                if tag == "TIFFTAG_DATETIME":
                    log.info("%s: taken %s by its TIFFTAG_DATETIME; --datetime says otherwise", source, found)
                return found
    return None


def _parsed(text: str) -> datetime | None:
    text = text.strip()
    for parse in (datetime.fromisoformat, lambda told: datetime.strptime(told, "%Y:%m:%d %H:%M:%S")):
        try:
            found = parse(text)
        except ValueError:
            continue
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return None
