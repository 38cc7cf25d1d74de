"""Doing the next work while the present is used: the one reader thread of prediction and training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def reader_thread() -> ThreadPoolExecutor:
    """One thread that reads; each has handles of its own, so one serves a whole prediction. A context manager."""
    return ThreadPoolExecutor(1, "geoseg-read")


def read_ahead(reader: ThreadPoolExecutor, calls: Iterable[Callable[[], Item]], depth: int = 4) -> Iterator[Item]:
    """The results of ``calls`` in order, made by the reader, at most ``depth`` before they are asked for."""
    waiting: deque = deque()
    try:
        for call in calls:
            waiting.append(reader.submit(call))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for call in waiting:
            call.cancel()


def batches(items: Iterable[Item], count: int) -> Iterator[tuple[Item, ...]]:
    """``items`` in tuples of ``count``, the last one shorter."""
    items = iter(items)
    while batch := tuple(islice(items, count)):
        yield batch
