"""Memory that is freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD = -3
"""mallopt's number for the size from which an allocation is a mapping of its own."""


def return_freed_memory(threshold: int = 8 << 20) -> None:
    """Let blocks of over ``threshold`` bytes leave the process when they are freed.

    glibc else raises its threshold to 32 MiB as it goes, and keeps as much again as a prediction holds. Other
    C libraries have no such setting and are left alone.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_THRESHOLD, threshold)
