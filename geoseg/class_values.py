"""ClassValues: what people write for a class into the fields of vector files and tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.legend import NO_CLASS, Legend

WHOLE = re.compile(r"([+-]?\d+)\.0*")
"""A whole number that went through floats on its way into a text."""
LISTED = 8
"""Values that a message lists at most."""


@dataclass(frozen=True)
class ClassValues:
    """The class indices of a legend by name and by code."""

    legend: Legend
    exact: dict[str, int]
    """Indices by code and by name; a name that looks like another's code is a name. NO_CLASS for ignored codes."""
    folded: dict[str, int]
    """Likewise by name without regard to case, where it is then still one class's."""

    @classmethod
    def of(cls, legend: Legend) -> ClassValues:
        """Of all classes of a legend, and of the codes that it ignores."""
        names = {name: index for index, name in enumerate(legend.names)}
        codes = {str(code): NO_CLASS for code in legend.ignore}
        codes |= {str(entry.code): index for index, entry in enumerate(legend.classes)}
        times = Counter(name.casefold() for name in names)
        folded = {name.casefold(): index for name, index in names.items() if times[name.casefold()] == 1}
        return cls(legend, codes | names, folded)

    def index(self, value: Any) -> int | None:
        """The class index of a value; NO_CLASS without one, or of an ignored code; None for what is no class."""
        text = str(value).strip()
        if isinstance(value, str) and text in self.exact:
            return self.exact[text]
        if is_empty(value):
            return NO_CLASS
        return self.exact.get(one_spelling(value), self.folded.get(text.casefold()))

    def indices(self, values: Iterable[Any], where: str) -> np.ndarray:
        """(n,) uint8 class indices of values; raises InputError that lists those which are no class.

        Args:
            where: what the error begins with: the file and its field.
        """
        known: dict[Hashable, int | None] = {}
        found: list[int | None] = []
        for value in values:
            # A field may hold lists, which are no class.
            key = value if isinstance(value, Hashable) else str(value)
            if key not in known:
                known[key] = self.index(value)
            found.append(known[key])
        unknown = sorted({str(value).strip() for value, index in known.items() if index is None})
        if unknown:
            listed = ", ".join(map(repr, unknown[:LISTED])) + (", ..." if len(unknown) > LISTED else "")
            classes = ", ".join(f"{entry.code} {entry.name}" for entry in self.legend.classes)
            raise InputError(
                f"{where} holds {listed}: no class of the legend {self.legend.name!r} ({classes}), by name or by code"
            )
        return np.array(found, np.uint8)


def one_spelling(value: Any) -> str:
    """7, 7.0, "7", "7.0" and " 7 " are one, as files differ in how they keep numbers."""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def is_empty(value: Any) -> bool:
    """True for what files hold where there is no value."""
    return value is None or str(value).strip().lower() in ("", "nan", "null", "none")
