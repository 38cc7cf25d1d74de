"""geoseg.restyle: other names, colours or codes for the classes of a map that is there."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

import geoseg
from geoseg.errors import InputError, ResourceError, UsageError
from geoseg.files import replace_file, require_place
from geoseg.grid import Window
from geoseg.legend import NODATA, Legend, find_legend
from geoseg.qgis import class_raster_style, qml_path
from geoseg.raster.areas import AreaTally
from geoseg.raster.labels import LEGEND_TAG, own_legend
from geoseg.raster.opening import open_raster, writing
from geoseg.raster.scene import Scene
from geoseg.raster.writer import (
    OPTIONS,
    ClassRasterWriter,
    class_names,
    colour_table,
    partial_path,
    put_in_place,
    require_writable,
)
from geoseg.source import Source
from geoseg.tiling import blocks

log = logging.getLogger("geoseg")
TILE = 1024
"""Side in pixels of the windows in which a map is read."""
HISTORY_TAG = "GEOSEG_RESTYLED"
"""The tag that says which legends a map had before, as JSON."""
NOT_COPIED = ("AREA_OR_POINT", "TIFFTAG_SOFTWARE", LEGEND_TAG, HISTORY_TAG)

Renames = Mapping[str, str | None]
"""Old class names to new ones; None for no data."""


@dataclass(frozen=True, eq=False)
class Restyled:
    """A map with another legend."""

    path: Path
    """The GeoTIFF."""
    legend: Legend
    """The new one."""
    codes: Mapping[int, int]
    """The new code of each old one that occurs in the map; NODATA for none."""
    counts: np.ndarray
    """(256,) int64 pixels of each new code."""

    @property
    def kept_codes(self) -> bool:
        """True where no pixel has another code than before."""
        return all(old == new for old, new in self.codes.items())

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        classes = {c.name: {"code": c.code, "pixels": int(self.counts[c.code])} for c in self.legend.classes}
        codes = {str(old): None if new == NODATA else new for old, new in self.codes.items()}
        return {"path": str(self.path), "legend": self.legend.name, "codes": codes, "classes": classes}

    def to_text(self) -> str:
        """A line for the terminal."""
        moved = ", ".join(
            f"{old} to {'no data' if new == NODATA else new}" for old, new in self.codes.items() if old != new
        )
        return f"{self.path}: legend {self.legend.name} ({', '.join(self.legend.names)}); codes {moved or 'as before'}"


def restyle(
    map: str | Path | Source,
    legend: Legend | str | Path | None = None,
    output: str | Path | None = None,
    *,
    mapping: str | Path | Renames | None = None,
    qml: bool = False,
    overwrite: bool = False,
) -> Restyled:
    """Give a class raster another legend without predicting again: its pixels change where codes do, and only there.

    A class keeps its pixels by its name, whatever code the new legend has for it. Where names are new and codes are
    not, classes are renamed by their codes; ``mapping`` says it where neither is enough.

    Args:
        map: a GeoTIFF of uint8 codes. One without a legend in its tags is given one, by its codes.
        legend: a legend, its name, or its file; None takes the map's own, which makes its sidecar anew.
        output: the GeoTIFF to write; None replaces the map.
        mapping: {"old name": "new name", or None for no data}, or a JSON file of that.
        qml: write a style for QGIS beside it, too.
        overwrite: replace an output that exists.

    Raises InputError (no class raster, no legend, classes without a place in the new one), OutputError, ResourceError,
    UsageError. The map, and an older output, stay as they are then.
    """
    source = Source.of(map)
    path = _resolve_output(source, output, overwrite)
    if qml:
        require_place(qml_path(path), overwrite or output is None)
    layout = _Layout.of(source)
    with Scene(source) as scene:
        _require_codes(scene)
        old, tally = own_legend(scene), AreaTally(scene.grid)
        new = _resolve_legend(old, legend, scene.name)
        for window in blocks(scene.grid.shape, TILE):
            tally.add(window, _read(scene, window))
        present = np.flatnonzero(tally.counts[:NODATA]).tolist()
        codes = resolve_codes(present, old, new, _read_renames(mapping), scene.name)
        tags = {name: value for name, value in scene.tags.items() if name not in NOT_COPIED}
        kept = all(before == after for before, after in codes.items())
        history = _history(scene)
        history += [] if kept and old == new else [_record(old, new, codes)]
        tags |= {HISTORY_TAG: json.dumps(history)} if history else {}
        if old is not None and layout.editable and kept:
            _write_edited(source, path, new, tags, tally)
        else:
            tally = _write_anew(scene, path, new, codes, tags, layout)
    if qml:
        replace_file(qml_path(path), class_raster_style(new).encode())
    elif qml_path(path).exists():
        log.info("%s: is left as it was; --qml makes it anew", qml_path(path))
    if (item := path.with_suffix(".json")).exists():
        log.info("%s: is left as it was; if it is the map's STAC Item, geoseg stac makes it anew", item)
    return Restyled(path, new, codes, tally.counts)


def resolve_codes(
    present: list[int], old: Legend | None, new: Legend, renames: Renames | None, name: str
) -> dict[int, int]:
    """The new code of each code that is ``present`` in a map called ``name``; NODATA for none.

    Raises InputError where a class has no place in the new legend, UsageError for renames of or into what is no class.
    """
    codes, kept = {c.name: c.code for c in new.classes}, {c.code for c in new.classes}
    if old is None:
        if renames is not None or not kept.issuperset(present):
            raise InputError(
                f"{name}: carries no legend, so it is given one by its codes, which are {_listed(present)}; the legend "
                f"{new.name!r} has {_listed(sorted(kept))}"
            )
        return {code: code for code in present}
    names = {c.code: c.name for c in old.classes}
    if unknown := [code for code in present if code not in names]:
        raise InputError(f"{name}: holds codes that its own legend does not know ({_listed(unknown)})")
    _require_classes(renames or {}, old, new)
    wanted = {code: (renames or {}).get(names[code], names[code]) for code in present}
    lost = [one for one in wanted.values() if one is not None and one not in codes]
    if not lost:
        return {code: NODATA if one is None else codes[one] for code, one in wanted.items()}
    others = {c.code: c.name for c in new.classes}
    if renames is None and all(
        code in kept and (others[code] == names[code] or (others[code] not in old.names and names[code] not in codes))
        for code in present
    ):
        # New names at the old codes, and no name has moved.
        return {code: code for code in present}
    raise InputError(
        f"{name}: the legend {new.name!r} has no class {_listed(lost)}; say what becomes of it with --mapping "
        f'FILE.json: {{"{lost[0]}": "{new.names[0]}"}}, or null for no data'
    )


@dataclass(frozen=True)
class _Layout:
    """How a map lies in its file."""

    editable: bool
    """True where geoseg wrote it and its tags can be changed without moving anything else."""
    cog: bool
    options: Mapping[str, str]
    """Creation options that give its compression."""

    @classmethod
    def of(cls, source: Source) -> _Layout:
        """Of the map in a file."""
        with open_raster(source) as dataset:
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            cog, compression = structure.get("LAYOUT") == "COG", structure.get("COMPRESSION", "NONE").upper()
            plain = dataset.driver == "GTiff" and dataset.nodata == NODATA
            palette = dataset.colorinterp == (ColorInterp.palette,)
        options = {"COMPRESS": compression} if compression in OPTIONS["COMPRESS"] else {}
        return cls(source.local and plain and palette and not cog, cog, options)


def _resolve_output(source: Source, output: str | Path | None, overwrite: bool) -> Path:
    if output is None:
        if not source.local:
            raise UsageError(f"{source}: is not a file of this machine; name the new one with -o")
        # Of a link what it leads to.
        path = Path(source).resolve()
        require_writable(path, True)
        return path
    path = Path(output)
    require_writable(path, overwrite)
    if source.local and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"{path}: is the map itself; leave -o out to change it in its place")
    return path


def _history(scene: Scene) -> list[Any]:
    try:
        return list(json.loads(scene.tags.get(HISTORY_TAG, "[]")))
    except (ValueError, TypeError):
        log.warning("%s: its tag %s is damaged; what was done to the map before is not known", scene.name, HISTORY_TAG)
        return []


def _require_codes(scene: Scene) -> None:
    if len(scene.bands) != 1 or scene.dtype != "uint8":
        raise InputError(
            f"{scene.name}: a class raster has one band of uint8 codes, this one {len(scene.bands)} of {scene.dtype}"
        )


def _resolve_legend(old: Legend | None, legend: Legend | str | Path | None, name: str) -> Legend:
    if legend is not None:
        return legend if isinstance(legend, Legend) else find_legend(legend)
    if old is None:
        raise InputError(f"{name}: carries no legend in its tags; name one with --legend")
    return old


def _read_renames(mapping: str | Path | Renames | None) -> Renames | None:
    """Raises InputError."""
    if mapping is None or isinstance(mapping, Mapping):
        return mapping
    try:
        record = json.loads(Path(mapping).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{mapping}: cannot be read as a mapping in JSON ({error})") from error
    if not isinstance(record, dict) or not all(value is None or isinstance(value, str) for value in record.values()):
        raise InputError(f'{mapping}: a mapping is {{"old class": "new class", "another": null}}')
    return record


def _require_classes(renames: Renames, old: Legend, new: Legend) -> None:
    for before, after in renames.items():
        for one, legend in ((before, old), (after, new)):
            if one is not None and one not in legend.names:
                raise UsageError(f"the mapping names {one!r}; the legend {legend.name!r} has {', '.join(legend.names)}")


def _read(scene: Scene, window: Window) -> np.ndarray:
    """(H, W) uint8 codes, NODATA where there is no data."""
    pixels, valid = scene.read(window)
    return np.where(valid, pixels[0], np.uint8(NODATA))


def _record(old: Legend | None, new: Legend, codes: Mapping[int, int]) -> dict[str, Any]:
    """What is kept of a change; no clock."""
    moved = {str(before): after for before, after in codes.items() if before != after}
    legends = {"from": None if old is None else old.to_dict(), "to": new.name}
    return {"version": geoseg.__version__} | legends | ({"codes": moved} if moved else {})


def _write_edited(source: Source, path: Path, legend: Legend, tags: Mapping[str, str], tally: AreaTally) -> None:
    """A copy of the file with other tags and colours, its pixels as they are."""
    partial = partial_path(path)
    try:
        with writing(str(path)):
            shutil.copyfile(source, partial)
            with rasterio.open(partial, "r+") as dataset:
                levels = len(dataset.overviews(1))
                dataset.update_tags(**{LEGEND_TAG: json.dumps(legend.to_dict()), **tags})
                dataset.write_colormap(1, colour_table(legend))
            for level in range(levels):
                with rasterio.open(partial, "r+", OVERVIEW_LEVEL=f"{level}only") as overview:
                    overview.write_colormap(1, colour_table(legend))
            _require_as_asked(partial, path, legend)
            put_in_place(partial, class_names(legend, tally), path)
    finally:
        for ending in ("", ".aux.xml"):
            partial.with_name(partial.name + ending).unlink(missing_ok=True)


def _require_as_asked(partial: Path, path: Path, legend: Legend) -> None:
    with Scene(partial) as scene:
        if own_legend(scene) != legend or scene.colour_table[legend.classes[0].code] != legend.classes[0].colour:
            raise ResourceError(f"{path}: the new legend does not read back; is the disk full?")


def _write_anew(
    scene: Scene, path: Path, legend: Legend, codes: Mapping[int, int], tags: Mapping[str, str], layout: _Layout
) -> AreaTally:
    """The map with other codes, in the layout that it had."""
    table = np.full(256, NODATA, np.uint8)
    table[list(codes)] = list(codes.values())
    with ClassRasterWriter(
        path, scene.grid, legend, tags, overwrite=True, cog=layout.cog, options=layout.options
    ) as writer:
        for window in blocks(scene.grid.shape, TILE):
            some = table[_read(scene, window)]
            if (some == NODATA).all():
                writer.skip(window)
            else:
                writer.write(window, some)
        scene.close()
    return writer.tally


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "") if values else "none"
