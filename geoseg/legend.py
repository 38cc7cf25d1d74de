"""The classes of a map: codes on disk, names, colours, and what is ignored. The one source of all four."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError

NODATA = 255
"""Code of class rasters where there is no class."""
LONGEST_NAME = 200
"""Characters of a class's name, which stands in tags, tables and pictures."""
PIECE = 1 << 14
"""Codes that are counted at once."""
NO_CLASS = 255
"""Class index in tensors where there is no class to learn or to score."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LegendClass:
    """One class of a legend."""

    code: int
    """Value on disk, 0 to 254."""
    name: str
    """Name as in reports and tags."""
    colour: Colour
    """(red, green, blue), 0 to 255."""
    description: str = ""
    """What the class takes in, for people."""

    def __post_init__(self) -> None:
        if not 0 <= self.code < NODATA:
            remedy = (
                "geoseg writes 255 as nodata: give the class another code" if self.code == NODATA else "use uint8 codes"
            )
            raise InputError(f"legend: class {self.name!r} has code {self.code}, not in 0 to 254; {remedy}")
        if not self.name.strip() or not self.name.isprintable():
            raise InputError(f"legend: the class with code {self.code} needs a printable name, got {self.name!r}")
        if len(self.name) > LONGEST_NAME:
            raise InputError(
                f"legend: the name of class {self.code} has {len(self.name)} characters, over {LONGEST_NAME}"
            )
        if len(self.colour) != 3 or any(not 0 <= part <= 255 for part in self.colour):
            raise InputError(f"legend: class {self.name!r} needs a colour of three parts 0 to 255, got {self.colour}")


@dataclass(frozen=True)
class Legend:
    """The classes in the order of the network's outputs: the index of a class is its place in ``classes``."""

    name: str
    """What the legend is called in records and messages."""
    classes: tuple[LegendClass, ...]
    """The classes, each with a code and a name of its own."""
    ignore: tuple[int, ...] = ()
    """Codes that are neither learned, predicted nor scored; they may or may not be among the classes."""
    rgb_threshold: int | None = None
    """Where set, each channel of an RGB mask counts as 255 from this value on and as 0 below (DeepGlobe: 128)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", tuple(sorted(set(self.ignore))))
        codes = [c.code for c in self.classes]
        for what, values in (("code", codes), ("name", self.names), ("colour", [c.colour for c in self.classes])):
            twice = sorted({value for value in values if list(values).count(value) > 1})
            if twice:
                raise InputError(f"legend {self.name!r}: {what} {twice[0]!r} is given to two classes")
        if len(self.scored) < 2:
            raise InputError(f"legend {self.name!r}: at least two classes that are not ignored are needed")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the indices."""
        return tuple(c.name for c in self.classes)

    @property
    def ignored(self) -> tuple[int, ...]:
        """Indices of the classes that are ignored."""
        return tuple(i for i, c in enumerate(self.classes) if c.code in self.ignore)

    @property
    def scored(self) -> tuple[int, ...]:
        """Indices of the classes that are learned, predicted and scored."""
        return tuple(i for i, c in enumerate(self.classes) if c.code not in self.ignore)

    def code_classes(self) -> np.ndarray:
        """(256,) int16: the class index of each code, NO_CLASS for NODATA and ignored codes without a class, -1 for the
        codes that the legend does not know."""
        table = np.full(256, -1, np.int16)
        table[[code for code in self.ignore if 0 <= code < 256]] = NO_CLASS
        table[NODATA] = NO_CLASS
        table[[c.code for c in self.classes]] = range(len(self.classes))
        return table

    def decode(self, codes: np.ndarray, valid: np.ndarray | None = None, source: str = "labels") -> np.ndarray:
        """Codes (H, W) of any integer dtype to class indices (H, W) uint8.

        NO_CLASS where ``valid`` is False, where the code is NODATA, and where an ignored code has no class.
        Raises InputError that lists codes the legend does not know.
        """
        table = self.code_classes()
        valid = np.ones(codes.shape, bool) if valid is None else valid
        in_range = (codes >= 0) & (codes < 256)
        index = np.where(in_range, table[np.where(in_range, codes, 0).astype(np.uint8)], -1)
        unknown = valid & (index < 0)
        if unknown.any():
            # Ignored codes without a class may be any number the file's dtype holds.
            index[unknown & np.isin(codes, self.ignore)] = NO_CLASS
            unknown = valid & (index < 0)
        if unknown.any():
            listed = ", ".join(str(code) for code in np.unique(codes[unknown])[:8])
            raise InputError(
                f"{source}: {int(unknown.sum())} pixels hold codes that the legend {self.name!r} does not know "
                f"({listed}); "
                'name the right legend with --legend, or list the codes under its "ignore"'
            )
        return np.where(valid, index, NO_CLASS).astype(np.uint8)

    def decode_rgb(
        self, rgb: np.ndarray, valid: np.ndarray | None = None, source: str = "mask"
    ) -> tuple[np.ndarray, int]:
        """A colour mask (3, H, W) uint8 to class indices (H, W) uint8 and the number of undefined pixels.

        With ``rgb_threshold`` each channel is cut at it first, and a colour that is no class's even then (DeepGlobe:
        pure red) becomes NO_CLASS and is counted. Without, colours must match exactly.
        Raises InputError that counts and lists unknown colours.
        """
        if self.rgb_threshold is not None:
            rgb = np.where(rgb >= self.rgb_threshold, np.uint8(255), np.uint8(0))
        packed = rgb[0].astype(np.uint32) << 16 | rgb[1].astype(np.uint32) << 8 | rgb[2]
        index = np.full(packed.shape, NO_CLASS, np.uint8)
        undefined = np.ones(packed.shape, bool) if valid is None else valid.copy()
        for i, c in enumerate(self.classes):
            here = packed == (c.colour[0] << 16 | c.colour[1] << 8 | c.colour[2])
            index[here & undefined] = i
            undefined &= ~here
        count = int(undefined.sum())
        if count and self.rgb_threshold is None:
            listed = ", ".join(f"#{colour:06x}" for colour in np.unique(packed[undefined])[:8])
            raise InputError(
                f"{source}: {count} pixels have colours that the legend {self.name!r} does not know ({listed}); "
                "name the right legend with --legend, and never save masks as JPEG or resize them as pictures"
            )
        return index, count

    def encode(self, index: np.ndarray) -> np.ndarray:
        """Class indices (H, W) uint8 to codes (H, W) uint8; NO_CLASS becomes NODATA."""
        table = np.full(256, NODATA, np.uint8)
        table[: len(self.classes)] = [c.code for c in self.classes]
        return table[index]

    def to_rgb(self, index: np.ndarray) -> np.ndarray:
        """Class indices (H, W) uint8 to a picture (3, H, W) uint8; NO_CLASS becomes black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [c.colour for c in self.classes]
        return np.moveaxis(table[index], -1, 0)

    def to_dict(self) -> dict[str, Any]:
        """The legend as JSON holds it; ``from_dict`` reads it back."""
        classes = [
            {"code": c.code, "name": c.name, "color": "#{:02x}{:02x}{:02x}".format(*c.colour)}
            | ({"description": c.description} if c.description else {})
            for c in self.classes
        ]
        threshold = {} if self.rgb_threshold is None else {"rgb_threshold": self.rgb_threshold}
        return {"name": self.name, "classes": classes, "ignore": list(self.ignore)} | threshold

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], name: str = "legend", source: str = "legend") -> Legend:
        """Read ``{"classes": [{"code", "name", "color"}, ...], "ignore": [codes]}``; raises InputError."""
        try:
            classes = tuple(
                LegendClass(_whole(c["code"]), str(c["name"]), _colour(c["color"]), str(c.get("description", "")))
                for c in record["classes"]
            )
            ignore = tuple(_whole(code) for code in record.get("ignore", ()))
            threshold = record.get("rgb_threshold")
            return cls(str(record.get("name", name)), classes, ignore, None if threshold is None else _whole(threshold))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f'{source}: not a legend ({error!r}); expected {{"classes": [{{"code": 10, "name": "building", '
                '"color": "#dc0000"}, ...], "ignore": [0]}'
            ) from error

    @classmethod
    def from_file(cls, path: str | Path) -> Legend:
        """Read a legend from a JSON file; its default name is the file's (or its folder's for legend.json)."""
        path = Path(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such legend file") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a legend in JSON ({error})") from error
        default = path.resolve().parent.name if path.stem == "legend" else path.stem
        return cls.from_dict(record, name=default, source=str(path))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _colour(text: str) -> Colour:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"colour {text!r} is not #rrggbb")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


DEEPGLOBE = Legend(
    "deepglobe",
    (
        LegendClass(0, "urban", (0, 255, 255), "man-made, built-up areas"),
        LegendClass(1, "agriculture", (255, 255, 0), "farms, cropland, orchards, vineyards, nurseries"),
        LegendClass(
            2, "rangeland", (255, 0, 255), "green land that is neither forest nor farmed: grass, sparse vegetation"
        ),
        LegendClass(3, "forest", (0, 255, 0), "land with a certain density of trees"),
        LegendClass(4, "water", (0, 0, 255), "rivers, oceans, lakes, wetlands, ponds"),
        LegendClass(5, "barren", (255, 255, 255), "little or no vegetation: mountains, rock, desert, beaches"),
        LegendClass(6, "unknown", (0, 0, 0), "clouds and whatever else hides the ground"),
    ),
    ignore=(6,),
    rgb_threshold=128,
)
"""DeepGlobe land cover 2018, in the order of the paper's Table 1. Pure red is the one undefined corner."""

NAMED = {DEEPGLOBE.name: DEEPGLOBE}


def count_codes(codes: np.ndarray) -> np.ndarray:
    """(256,) int64 pixels of each value of (H, W) uint8 codes."""
    # numpy widens to 64 bits first; in pieces that happens in the processor's cache, three times as fast.
    flat = np.ascontiguousarray(codes).ravel()
    pieces = (flat[start : start + PIECE] for start in range(0, len(flat), PIECE))
    return sum((np.bincount(piece, minlength=256) for piece in pieces), np.zeros(256, np.int64))


def find_legend(name: str | Path) -> Legend:
    """The legend of that name, or in that JSON file."""
    return NAMED[str(name)] if str(name) in NAMED else Legend.from_file(name)
