"""Every error a user can cause or meet, each with the one exit code the command line gives it."""

from __future__ import annotations

from geoseg.redaction import redact


class GeosegError(Exception):
    """Root of geoseg's errors: one line that says what, in which file, and what to do; never with credentials."""

    exit_code = 1

    def __init__(self, *parts: object) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in parts))


class UsageError(GeosegError):
    """The call contradicts itself or asks for something that does not exist."""

    exit_code = 2


class InputError(GeosegError):
    """A raster, a mask, a legend or a data set cannot be used."""

    exit_code = 3


class GridMismatch(InputError):
    """Two rasters cannot be laid over each other."""


class ModelError(GeosegError):
    """A model or its weights cannot be used."""

    exit_code = 4


class OutputError(GeosegError):
    """The output exists, or cannot be written where it was asked for."""

    exit_code = 5


class FailedParts(GeosegError):
    """Some parts of a job failed while the others were finished."""

    exit_code = 6


class ResourceError(GeosegError):
    """The disk, the memory or the device does not suffice."""

    exit_code = 7
