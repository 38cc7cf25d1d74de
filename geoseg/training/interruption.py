"""Interruptions: a signal lets the step in progress end, so that what was learned can be kept."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("geoseg")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether the user asked to stop: SIGINT or SIGTERM while ``heeded``; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._waits = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Signals set ``asked`` in this block. In threads other than the main one they keep their meaning."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        self._waits = True
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A part of the block above that a signal ends with KeyboardInterrupt, as it changes nothing."""
        if self.asked:
            raise KeyboardInterrupt
        waits, self._waits = self._waits, False
        try:
            yield
        finally:
            self._waits = waits

    def _hear(self, number: int, frame: object) -> None:
        if self.asked or not self._waits:
            raise KeyboardInterrupt
        self.asked = True
        log.info("stopping after this step; once more stops at once")
