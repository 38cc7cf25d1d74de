"""Doing other work while the device computes: threads that read ahead and one that writes behind."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reader_threads(count: int = 1) -> ThreadPoolExecutor:
    """Threads that read; each has file handles of its own. A context manager."""
    return ThreadPoolExecutor(count, "geoseg-read")


def read_ahead(readers: ThreadPoolExecutor, calls: Iterable[Callable[[], Item]], depth: int = 4) -> Iterator[Item]:
    """The results of ``calls`` in order, made by the readers, at most ``depth`` before they are asked for."""
    waiting: deque = deque()
    try:
        for call in calls:
            waiting.append(readers.submit(call))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for call in waiting:
            call.cancel()


@contextmanager
def write_behind(write: Callable[[Item], object], depth: int = 1) -> Iterator[Callable[[Item], None]]:
    """A function that hands an item to ``write`` on a thread of its own, one after the other.

    It waits while more than ``depth`` items are unwritten, and raises what an earlier ``write`` raised; so does the end
    of the block, after the last item. After an error in the block, items not yet begun are dropped.
    """
    waiting: deque = deque()
    with ThreadPoolExecutor(1, "geoseg-write") as writer:

        def hand_over(item: Item) -> None:
            while len(waiting) > depth:
                waiting.popleft().result()
            waiting.append(writer.submit(write, item))

        try:
            yield hand_over
            while waiting:
                waiting.popleft().result()
        finally:
            for call in waiting:
                call.cancel()


def batches(items: Iterable[Item], count: int) -> Iterator[tuple[Item, ...]]:
    """``items`` in tuples of ``count``, the last one shorter."""
    items = iter(items)
    while batch := tuple(islice(items, count)):
        yield batch
