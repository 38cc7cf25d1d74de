"""Period: what people write for a time, and what a STAC Item says of it."""

from __future__ import annotations

import pytest

from geoseg.errors import UsageError
from geoseg.stac.period import ANY_TIME, Period


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-02", "2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z"),
        ("2023", "2023-01-01T00:00:00Z", "2023-12-31T23:59:59Z"),
        ("2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T23:59:59Z"),
        ("2023-06/2023-08", "2023-06-01T00:00:00Z", "2023-08-31T23:59:59Z"),
        ("2024-05-01T10:30:00Z/2024-05-02", "2024-05-01T10:30:00Z", "2024-05-02T23:59:59Z"),
    ],
)
def test_periods(text, start, end):
    assert Period.parse(text).to_dict() == {"datetime": None, "start_datetime": start, "end_datetime": end}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T10:30:00Z", "2024-05-01T10:30:00Z"),
        ("2024-05-01T10:30:00+02:00", "2024-05-01T08:30:00Z"),
        ("2024-05-01 10:30:00.25", "2024-05-01T10:30:00.250000Z"),
    ],
)
def test_moments(text, moment):
    assert Period.parse(text).to_dict() == {"datetime": moment}


@pytest.mark.parametrize("text", ["", "May", "2024-13", "2024-02-30", "2024/", "/2024", "01.05.2024", "0000"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match="is no time: write 2024-05-01T10:30:00Z"):
        Period.parse(text)


def test_a_period_does_not_end_before_it_begins():
    with pytest.raises(UsageError, match="2024-05-02T00:00:00Z to 2024-05-01T23:59:59Z"):
        Period.parse("2024-05-02/2024-05-01")


def test_any_time_is_the_extension_s_own():
    told = {"start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
    assert ANY_TIME.to_dict() == {"datetime": None, **told}
