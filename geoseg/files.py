"""Writing whole files: beside their place first, then in it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from geoseg.errors import OutputError, ResourceError

NO_PLACE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS),
    errno.ENAMETOOLONG,
)
"""Errors of the system that say that a file cannot be there, whatever room the disk has."""
LOCK = ".lock"
"""Name of the file by which a process holds a folder."""
JOURNALS = "-wal", "-journal"
"""Endings of the files beside a SQLite database that hold changes which are not in it yet."""


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn the system's errors into OutputError, where there is no writing at ``path``, and ResourceError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_PLACE:
            raise OutputError(f"{path}: cannot be written there ({error.strerror})") from error
        raise ResourceError(f"{path}: could not be written; is the disk full? ({error})") from error


def require_place(path: Path, overwrite: bool) -> None:
    """Raise OutputError unless a file can be put at ``path``; call it before any work."""
    if path.is_dir():
        raise OutputError(f"{path}: a folder is in the place of the output")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent}: no right to write there")


def is_alive(process: int) -> bool:
    """True where a process of that number runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        # Somebody else's.
        return True
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; it is made where it is missing. Raises OutputError where another one holds it."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{folder}: is being written by another process; wait for it") from error
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file, or leave the old one as it was and raise OutputError or ResourceError."""
    # Not the file's own name with more to it: that may already be as long as names can be.
    partial = path.with_name(f".{uuid4().hex}.partial")
    with disk_errors(path):
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def require_closed(path: Path) -> None:
    """Raise OutputError where changes of a SQLite database (a GeoPackage is one) wait beside it."""
    for journal in (path.with_name(path.name + ending) for ending in JOURNALS):
        with disk_errors(path):
            waiting = journal.exists() and journal.stat().st_size
        if waiting:
            raise OutputError(
                f"{path}: is open in another program; close it (where it was killed, open the file there once more, or "
                f"remove {journal.name})"
            )


def replace_database(partial: Path, path: Path) -> None:
    """Put a finished SQLite database in the place of another one, or of none.

    The old one's journals would be taken for the new one's, and damage it. Raises OutputError, with the old one as it
    was, where another program has changed it and not closed it; ResourceError.
    """
    require_closed(path)
    with disk_errors(path):
        for ending in (*JOURNALS, "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        os.replace(partial, path)
