"""Which bands of a raster are meant: by number, by description, or by colour."""

from __future__ import annotations

from collections.abc import Sequence

from geoseg.errors import InputError

Band = int | str
"""A number from 1, or a name."""
ALPHA = "alpha"


def resolve_bands(
    wanted: Sequence[Band] | None, names: Sequence[str | None], colours: Sequence[str], source: str
) -> tuple[int, ...]:
    """The numbers of the bands that are meant; None means all but alpha.

    Args:
        names: the description of each band, None where it has none.
        colours: the colour interpretation of each band, as GDAL calls it.

    A name is looked for among the descriptions, whatever its case, and then among the colours. Raises InputError where
    a band is not there, or two have the name.
    """
    numbers = range(1, len(names) + 1)
    if wanted is None:
        spectral = tuple(number for number in numbers if colours[number - 1] != ALPHA)
        return spectral or tuple(numbers)
    missing = [band for band in wanted if isinstance(band, int) and band not in numbers]
    if missing or not wanted:
        raise InputError(f"{source}: has bands 1 to {len(names)}, not {', '.join(map(str, missing)) or 'none'}")
    return tuple(band if isinstance(band, int) else _numbered(band, names, colours, source) for band in wanted)


def same_name(first: str | None, second: str | None) -> bool:
    """True where two bands are called the same, in whatever case."""
    return first is not None and second is not None and first.strip().casefold() == second.strip().casefold()


def listed(numbers: Sequence[int], names: Sequence[str | None], colours: Sequence[str]) -> str:
    """Bands for a message: '1 "B04" (red), 2 "B03" (green), 3'."""
    named = (f' "{name}"' if name else "" for name in names)
    coloured = ("" if colour == "undefined" else f" ({colour})" for colour in colours)
    return ", ".join(map("".join, zip(map(str, numbers), named, coloured, strict=True)))


def _numbered(name: str, names: Sequence[str | None], colours: Sequence[str], source: str) -> int:
    for known in (names, colours):
        found = [number for number, one in enumerate(known, 1) if same_name(one, name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{source}: bands {' and '.join(map(str, found))} are both {name!r}; choose by number")
    there = listed(range(1, len(names) + 1), names, colours)
    raise InputError(f"{source}: has no band {name!r}; its bands are {there}")
