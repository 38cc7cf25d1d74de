"""Which data a command takes where none is named; the embedded synthetic sample is the last resort."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from geoseg.datasets.dataset import has_known_layout
from geoseg.datasets.synthetic import SAMPLE_VERSION, write_sample
from geoseg.errors import OutputError
from geoseg.source import Source

DATA_VARIABLE = "GEOSEG_DATA"
CACHE_VARIABLE = "GEOSEG_CACHE"


def resolve_data(data: str | Path | Source | None) -> tuple[Source, str]:
    """The data folder, and one line that says which it is and why.

    In this order: ``data``; $GEOSEG_DATA; ./data where it has a known layout; the embedded synthetic sample.
    """
    if data is not None:
        return Source.of(data), f"data: {Source.of(data)}"
    if os.environ.get(DATA_VARIABLE):
        found = Source.of(os.environ[DATA_VARIABLE])
        return found, f"data: {found} (from {DATA_VARIABLE})"
    if has_known_layout(Path("data")):
        return Source.of("data"), "data: ./data"
    folder = embedded_sample()
    return (
        Source.of(folder),
        f"data: the embedded SYNTHETIC sample ({folder}); name a folder, or set {DATA_VARIABLE}, for your own",
    )


def embedded_sample() -> Path:
    """The folder of the synthetic sample, drawn on first use into the user's cache."""
    folder = cache_folder() / f"sample-{SAMPLE_VERSION}"
    if not folder.is_dir():
        try:
            write_sample(folder)
        except OutputError:
            # Another process was first, and its sample is the same.
            if not folder.is_dir():
                raise
    return folder


def cache_folder() -> Path:
    """Where geoseg keeps what it can make again: $GEOSEG_CACHE, else below the user's cache folder.

    The temporary folder where there is no home to write to.
    """
    if os.environ.get(CACHE_VARIABLE):
        return _made(Path(os.environ[CACHE_VARIABLE])) or _temporary()
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), caches)
    return _made(Path(base) / "geoseg") or _temporary()


def _made(folder: Path) -> Path | None:
    """The folder, made where it is missing; None where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / "geoseg"
