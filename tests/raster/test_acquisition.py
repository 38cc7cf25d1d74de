"""When a raster was taken: which tags tell it, and which is surer."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
import rasterio

from geoseg.raster.acquisition import acquisition_time

NOON = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("domain", "tag", "text"),
    [
        ("IMAGERY", "ACQUISITIONDATETIME", "2024-05-01 12:30:00"),
        (None, "ACQUISITIONDATETIME", "2024-05-01T14:30:00+02:00"),
        (None, "PRODUCT_START_TIME", "2024-05-01T12:30:00.000Z"),
        (None, "TIFFTAG_DATETIME", "2024:05:01 12:30:00"),
    ],
)
def test_tags_that_tell_it(make_raster, caplog, domain, tag, text):
    path = make_raster()
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns=domain, **{tag: text})
    with caplog.at_level(logging.INFO, "geoseg"):
        assert acquisition_time(path) == NOON
    assert ("--datetime says otherwise" in caplog.text) == (tag == "TIFFTAG_DATETIME")


def test_the_surest_counts_and_nonsense_does_not(make_raster):
    path = make_raster()
    assert acquisition_time(path) is None
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_DATETIME="0000:00:00 00:00:00", PRODUCT_START_TIME="soon")
    assert acquisition_time(path) is None
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(TIFFTAG_DATETIME="1999:01:01 00:00:00", PRODUCT_START_TIME="2024-05-01T12:30:00Z")
    assert acquisition_time(path) == NOON
