"""SceneCache: decoded scenes as files, so that each is decoded once and not once a run."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio

from geoseg.datasets.resolve import cache_folder
from geoseg.datasets.samples import Framing, LabelledScene, Sample, framed, is_large, whole_bytes
from geoseg.datasets.survey import SceneTally, tally, tally_sample
from geoseg.errors import OutputError, ResourceError
from geoseg.files import disk_errors, replace_file
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import AnyLabels, VectorLabels
from geoseg.source import TILE_INDEX

log = logging.getLogger("geoseg")

CACHE_FORMAT = 2
"""Part of every key: raised where decoding or framing, or the files' layout, change."""
NO_CACHE = "none"
MOST_OF_THE_DISK = 0.5
"""Share of the free space that the scenes of a run may take; more is not begun."""
DIGEST = hashlib.sha256
ALIGNED = 8
"""Bytes of the widest pixel."""


class Decoded(NamedTuple):
    """A scene as it is kept."""

    sample: Sample
    """Framed."""
    tally: SceneTally
    """Of the scene at its own resolution."""


class SceneCache:
    """Scenes, decoded and framed, one file each: a checksum, a line of JSON (key, shape, dtype, tally), the arrays.

    A file is found by what it was made from (paths, sizes and times of the files, bands, legend, framing, versions),
    read as a memory map and checked against its checksum once a process. One that is damaged is made anew. Files are
    written whole, and two processes do not decode the same scene. Where nothing can be written scenes are just decoded.

    Args:
        folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None, framing: Framing) -> None:
        self.folder, self.framing = folder, framing
        self._checked: set[Path] = set()

    def sample(self, scene: LabelledScene) -> Sample:
        """A whole scene as training sees it, read-only where it comes from a file."""
        return self._decoded(scene).sample

    def tally(self, scene: LabelledScene) -> SceneTally:
        """What a scene holds; one that is never held whole is looked through window by window."""
        if self.folder is None or (is_large(scene) and not self.framing.whole):
            return tally(scene)
        return self._decoded(scene).tally

    def require_room(self, scenes: Sequence[LabelledScene]) -> None:
        """Keep nothing, and say so, where the scenes that are missing would take too much of the disk."""
        if self.folder is None:
            return
        missing = [scene for scene in scenes if (path := self._path(scene)[0]) and not path.exists()]
        needed = sum(whole_bytes(scene, self.framing) for scene in missing if self.framing.whole or not is_large(scene))
        free = shutil.disk_usage(self.folder).free
        if needed > MOST_OF_THE_DISK * free:
            self._give_up(f"{needed / 2**30:.1f} GiB of decoded scenes, {free / 2**30:.1f} GiB are free")

    def _decoded(self, scene: LabelledScene) -> Decoded:
        path, key = self._path(scene)
        if path is None:
            return _decode(scene, self.framing)
        try:
            return self._load(path, key) or self._make(path, key, scene)
        except (OutputError, ResourceError) as error:
            self._give_up(str(error))
            return _decode(scene, self.framing)

    def _path(self, scene: LabelledScene) -> tuple[Path | None, str]:
        """Where a scene is kept, and its key; None for one that is not."""
        key = None if self.folder is None else entry_key(scene, self.framing)
        if key is None:
            return None, ""
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{DIGEST(text.encode()).hexdigest()[:40]}.scene", text

    def _make(self, path: Path, key: str, scene: LabelledScene) -> Decoded:
        with _locked(path):
            # Another process may have been first.
            if found := self._load(path, key):
                return found
            if path.exists():
                log.warning("%s: is damaged or not ours; it is made anew", path)
            decoded = _decode(scene, self.framing)
            replace_file(path, _to_bytes(decoded, key))
        # From the file, as the next run will: the memory is free again.
        return self._load(path, key) or decoded

    def _load(self, path: Path, key: str) -> Decoded | None:
        """What the file holds; None where there is none, or none that was made from this key."""
        try:
            with open(path, "rb") as file:
                checksum, line = file.readline(), file.readline()
            content, header = np.memmap(path, np.uint8, "r", len(checksum)), json.loads(line)
            if header["key"] != key or not self._holds(path, content, checksum):
                return None
            sample = _split(content[len(line) :], header["shape"], np.dtype(header["dtype"]))
            return Decoded(sample, _tally_of(header["tally"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _holds(self, path: Path, content: np.ndarray, checksum: bytes) -> bool:
        if path not in self._checked and DIGEST(content).hexdigest().encode() != checksum.strip():
            return False
        self._checked.add(path)
        return True

    def _give_up(self, reason: str) -> None:
        log.warning("decoded scenes are not kept: %s; --cache DIR names another place", reason)
        self.folder = None


def open_cache(where: str | Path | None, framing: Framing, scenes: Sequence[LabelledScene]) -> SceneCache:
    """The cache in a folder; None takes geoseg's own (``cache_folder``), "none" keeps nothing."""
    if where == NO_CACHE:
        return SceneCache(None, framing)
    folder = cache_folder() / "scenes" if where is None else Path(where)
    cache = SceneCache(folder, framing)
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        cache.require_room(scenes)
    except (OutputError, ResourceError) as error:
        cache._give_up(str(error))
    return cache


def entry_key(scene: LabelledScene, framing: Framing) -> dict[str, Any] | None:
    """All that decides what a scene decodes to, as JSON holds it; None where that cannot be told from files.

    Raises no error: a VRT, or a tile index, names files of others, and what is not a file has no time of change.
    """
    image, labels = _identity(scene.image), _identity_of_labels(scene.labels)
    if image is None or labels is None:
        return None
    return {
        "format": CACHE_FORMAT,
        "gdal": rasterio.__gdal_version__,
        "image": image,
        "labels": labels,
        "legend": scene.labels.legend.to_dict(),
        "framing": [framing.side, framing.size] if framing.whole else None,
    }


def _identity(scene: Scene) -> dict[str, Any] | None:
    if not scene.files or any(file.lower().endswith((".vrt", TILE_INDEX)) for file in scene.files):
        return None
    try:
        stats = {os.path.abspath(file): os.stat(file) for file in scene.files}
    except OSError:
        return None
    files = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in sorted(stats.items())]
    return {"files": files, "bands": list(scene.bands), "nodata_rule": str(scene.nodata_rule)}


def _identity_of_labels(labels: AnyLabels) -> dict[str, Any] | None:
    """Of a vector file what of it lies on the scene: a feature that changes elsewhere changes nothing here."""
    if isinstance(labels, VectorLabels):
        return {"shapes": labels.digest}
    return _identity(labels.scene)


def _decode(scene: LabelledScene, framing: Framing) -> Decoded:
    sample, flaws = scene.read()
    return Decoded(framed(sample, framing), tally_sample(sample, flaws))


def _to_bytes(decoded: Decoded, key: str) -> bytes:
    sample, found = decoded
    record = {
        "key": key,
        "shape": list(sample.pixels.shape),
        "dtype": sample.pixels.dtype.str,
        "tally": [
            *(found.counts.tolist(), found.undefined, found.contested, found.pixels),
            *(found.sums.tolist(), found.squares.tolist()),
        ],
    }
    line = json.dumps(record)
    # Pixels begin where any dtype may: after the checksum, in hexadecimal, and two ends of lines.
    line += " " * (-(2 * DIGEST().digest_size + len(line) + 2) % ALIGNED)
    content = line.encode() + b"\n" + b"".join(part.tobytes() for part in sample)
    return DIGEST(content).hexdigest().encode() + b"\n" + content


def _split(arrays: np.ndarray, shape: Sequence[int], dtype: np.dtype) -> Sample:
    bands, height, width = shape
    pixels = bands * height * width * dtype.itemsize
    if arrays.size != pixels + 2 * height * width:
        raise ValueError(f"{arrays.size} bytes for {shape} of {dtype}")
    planes = np.asarray(arrays[pixels:]).reshape(2, height, width)
    return Sample(np.asarray(arrays[:pixels]).view(dtype).reshape(shape), planes[0].view(bool), planes[1])


def _tally_of(record: Sequence[Any]) -> SceneTally:
    counts, undefined, contested, pixels, sums, squares = record
    moments = np.array([sums, squares], np.float64)
    return SceneTally(np.array(counts, np.int64), undefined, contested, pixels, *moments)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among processes and threads with the files of that first digit."""
    with disk_errors(path):
        lock = os.open(path.with_name(f"{path.name[0]}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
