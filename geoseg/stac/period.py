"""Period: the time that a STAC Item is of."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from geoseg.errors import UsageError

CALENDAR = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True)
class Period:
    """From a moment to another, both in UTC; one moment where they are the same."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise UsageError(f"a period ends after it begins, got {_utc(self.start)} to {_utc(self.end)}")

    @classmethod
    def parse(cls, text: str) -> Period:
        """A moment, a day, month or year, or two of them with a slash between them; raises UsageError.

        2024-05-01T10:30:00Z, 2024-05-01, 2024-05, 2024, 2023-06/2023-08. What has no time zone is taken for UTC.
        """
        first, slash, last = text.partition("/")
        return cls(_ends(first)[0], _ends(last if slash else first)[1])

    @classmethod
    def at(cls, moment: datetime) -> Period:
        """One moment."""
        return cls(moment, moment)

    def to_dict(self) -> dict[str, str | None]:
        """The fields of a STAC Item."""
        if self.start == self.end:
            return {"datetime": _utc(self.start)}
        return {"datetime": None, "start_datetime": _utc(self.start), "end_datetime": _utc(self.end)}


ANY_TIME = Period(datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""How the examples of STAC's model extension say that a model is bound to no time."""


def _ends(text: str) -> tuple[datetime, datetime]:
    """The first and the last moment of a moment, day, month or year."""
    told = CALENDAR.fullmatch(text.strip())
    try:
        if not told:
            moment = datetime.fromisoformat(text.strip())
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            return moment, moment
        year, month, day = (int(part) if part else None for part in told.groups())
        last_month = month or 12
        last_day = day or calendar.monthrange(year, last_month)[1]
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        return start, datetime(year, last_month, last_day, tzinfo=UTC) + timedelta(days=1, seconds=-1)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time: write 2024-05-01T10:30:00Z, 2024-05-01, 2024-05, 2024, or two of them with a slash "
            "between them"
        ) from error


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
