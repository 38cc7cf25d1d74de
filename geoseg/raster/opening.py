"""The one door to raster files: which are opened (docs/sources.md), GDAL's settings, errors in one line."""

from __future__ import annotations

import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geoseg.errors import InputError, ResourceError, UsageError
from geoseg.files import disk_errors
from geoseg.raster.tile_index import nested_tiles
from geoseg.raster.vrt import nested_sources
from geoseg.raster.vsi import read_start
from geoseg.redaction import redact
from geoseg.source import TILE_INDEX, Source

DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG")
"""Formats that are read without being asked for, by GDAL's names; and VRTs and tile indices of them (INDEX_DRIVERS)."""
INDEX_DRIVERS = {".vrt": "VRT", TILE_INDEX: "GTI"}
"""Formats of files that name others, by their ending."""
SEQUENTIAL_DRIVERS = ("JPEG", "PNG", "GIF", "BMP")
MOST_PIXELS, MOST_BANDS, MOST_SOURCES = 10**12, 1024, 100_000
"""That a raster declares, and files that a VRT or a tile index names, without --allow-large."""
DECODED_AT_ONCE = 2 << 30
"""Bytes of the largest block, or of the largest file of a sequential format, that is read without --allow-large."""
MOST_VRT = 64 << 20
"""Bytes of the largest VRT or tile index."""
DEEPEST = 8
"""VRTs within VRTs."""
LOOKING = 8
"""Threads that look at the sources of a VRT on the network."""

GDAL_SETTINGS = {
    # Otherwise a PNG that was cut short is read whole, without an error, as mostly wrong pixels.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # Bytes. The default is a share of the machine's memory, which a bounded reader has no use for.
    "GDAL_CACHEMAX": 64 << 20,
    # VRTs that ask for these are refused before; GDAL before 3.12 ignores the second.
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
}
PREFERRED_SETTINGS = {
    # Damage that the JPEG decoder notices is an error; by default GDAL only warns, and gives other pixels.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES"
}
"""Set unless the environment has them otherwise."""
NETWORK_SETTINGS = {
    "GDAL_HTTP_MAX_RETRY": 3,
    # Seconds before the first of them; each later one waits about twice as long.
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    # A server that sends less than so many bytes a second, for so many seconds, is given up.
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_LOW_SPEED_TIME": 20,
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # The header of a large GeoTIFF in one request.
    "GDAL_INGESTED_BYTES_AT_OPEN": 32 << 10,
}
"""Likewise, for files on the network and VRTs that may name such."""
REMOTE_SETTINGS = {
    # No listing of the folder and no asking for .aux.xml, .ovr, .tfw and others, which are then not read.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"
}
"""Likewise, for files on the network themselves."""
WAITS = (1.0, 5.0)
"""Seconds before a read on the network is made again: GDAL does not make answers good that break off."""


class _Redacting(logging.Filter):
    """rasterio's messages without credentials: it passes on what GDAL says, and opens datasets by their whole URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


for _name in ("rasterio._err", "rasterio._env", "rasterio.env", "rasterio._base", "rasterio._io"):
    logging.getLogger(_name).addFilter(_Redacting())

# For the process: a filter for the length of a block is not safe among reading threads. geoseg says it itself.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

GDAL_ERRORS = (RasterioError, CPLE_BaseError)
"""rasterio wraps most of GDAL's own errors, but not those of overviews."""


@contextmanager
def gdal_settings(source: Source | None = None) -> Iterator[None]:
    """GDAL as geoseg needs it, for the length of a block. Every read and write is made inside one."""
    preferred: dict[str, object] = dict(PREFERRED_SETTINGS)
    if source is not None and (source.remote or source.policy.external):
        preferred |= NETWORK_SETTINGS | (REMOTE_SETTINGS if source.remote else {})
    with rasterio.Env(**GDAL_SETTINGS, **{name: value for name, value in preferred.items() if name not in os.environ}):
        yield


@contextmanager
def reading(source: str | Path | Source, doing: str) -> Iterator[None]:
    """GDAL's settings around an access to a file; its errors become an InputError that says what was ``doing``."""
    source = Source.of(source)
    try:
        with gdal_settings(source):
            yield
    except GDAL_ERRORS as error:
        said = _without_secrets(one_line(error), source).rstrip(".")
        if source.remote:
            # GDAL's own error may hold the URL, and is not shown.
            raise InputError(f"{source}: cannot be {doing} ({said}{_advice(source, said)})") from None
        raise InputError(
            f"{source}: cannot be {doing}; is the file damaged? ({said}{_advice(source, said)})"
        ) from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """GDAL's settings around writing a file; GDAL's and the system's errors become OutputError or ResourceError."""
    try:
        with disk_errors(path), gdal_settings():
            yield
    except GDAL_ERRORS as error:
        raise ResourceError(f"{path}: could not be written; is the disk full? ({one_line(error)})") from error


def open_raster(source: str | Path | Source, looked_into: bool = False) -> rasterio.DatasetReader:
    """Open a raster file for reading, on the calling thread, as far as the source's policy allows it.

    Args:
        looked_into: what a VRT or a tile index names was looked at before, and is not again.

    Raises InputError in one line: missing, a folder, not a raster of an allowed format, cut short, a VRT that names
    what it may not, larger than anything sound. UsageError for a format that GDAL does not have.
    """
    source = Source.of(source)
    _require_file(source)
    if source.suffix in INDEX_DRIVERS:
        drivers = [INDEX_DRIVERS[source.suffix]]
        if source.suffix == TILE_INDEX:
            _require_tile_index(source)
        if not looked_into:
            _look_into(source)
    else:
        drivers = [*DRIVERS, *_known(source.policy.drivers)]
    with reading(source, "opened as a raster"):
        # rasterio.open takes one driver only.
        dataset = rasterio.DatasetReader(_opened_name(source), driver=drivers)
        try:
            _require_own_overviews(dataset, source)
            _require_sound_size(dataset, source)
        except BaseException:
            dataset.close()
            raise
    return dataset


def _require_tile_index(index: Source) -> None:
    """Raise InputError where GDAL might open another file than is looked into, UsageError where it has no driver."""
    if not index.local:
        raise InputError(f"{index}: tile indices are read as files of this machine; a .vrt is read from elsewhere")
    name = _opened_name(index)
    # GDAL puts the name in quotation marks, and gives an index of another ending to any driver of vectors.
    if '"' in name or "\\" in name or not name.lower().endswith(TILE_INDEX):
        raise InputError(f'{name}: a tile index has neither " nor \\ in its path, and ends in {TILE_INDEX}; rename it')
    with rasterio.Env() as gdal:
        there = gdal.drivers()
    if INDEX_DRIVERS[TILE_INDEX] not in there:
        version = rasterio.__gdal_version__
        raise UsageError(f"{index}: is read with GDAL 3.9 or newer, and here is {version}; merge into a .vrt or .tif")


def _opened_name(source: Source) -> str:
    """What GDAL opens: before it looks for parts it follows a link to a VRT, but none to a tile index."""
    return os.path.realpath(source) if source.suffix == TILE_INDEX else source.gdal_name


def _require_file(source: Source) -> None:
    """Raise InputError unless there may be a file, and one that a read of ends."""
    if source.in_archive:
        return _require_archive(source)
    if not source.local:
        return
    try:
        mode = os.stat(source).st_mode
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{source}: {reason}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{source}: a folder, not a raster file")
    if not stat.S_ISREG(mode):
        raise InputError(f"{source}: not a regular file")


def _require_archive(source: Source) -> None:
    if not source.policy.archives:
        raise InputError(f"{source}: archives are not opened; unpack it first, or give --allow-archives")
    if source.remote:
        return
    if source.container.startswith("/vsi") or not any(part.is_file() for part in Path(source.container).parents):
        raise InputError(f"{source}: no such archive; a file in one is named as /vsizip/PATH.zip/NAME.tif")


def _known(drivers: Sequence[str]) -> list[str]:
    with rasterio.Env() as gdal:
        there = {name.lower(): name for name in gdal.drivers()} if drivers else {}
    for name in drivers:
        if name.lower() not in there:
            raise UsageError(f"GDAL has no driver {name!r} here; rio env --formats lists those it has")
    return [there[name.lower()] for name in drivers]


def _look_into(vrt: Source, above: tuple[str, ...] = ()) -> None:
    """Raise InputError unless a VRT or a tile index is a plain one, as is all that it names, down to the last file."""
    name = os.path.realpath(vrt) if vrt.local else vrt.gdal_name
    if name in above or len(above) == DEEPEST:
        raise InputError(f"{vrt}: names itself" if name in above else f"{vrt}: VRTs within VRTs, more than {DEEPEST}")
    found = _named_in(vrt)
    if len(found) > MOST_SOURCES and not vrt.policy.large:
        raise _too_large(vrt, f"names {len(found)} files; over {MOST_SOURCES}")

    def look_at(source: Source) -> None:
        """Open what the VRT names, or what that names in turn."""
        try:
            if source.suffix == TILE_INDEX:
                # GDAL would look for the parts of a link elsewhere.
                raise InputError(f"{source}: a tile index is not read within another file")
            if source.suffix == ".vrt":
                _require_file(source)
                _look_into(source, (*above, name))
            else:
                open_raster(source).close()
        except InputError as error:
            raise InputError(f"{vrt}: cannot be read: {error}") from error

    if any(source.remote for source in found):
        with ThreadPoolExecutor(LOOKING, "geoseg-look") as pool:
            list(pool.map(look_at, found))
    else:
        for source in found:
            look_at(source)


def _named_in(vrt: Source) -> list[Source]:
    with gdal_settings(vrt):
        content = read_start(vrt.gdal_name, MOST_VRT + 1)
    if content is None or len(content) > MOST_VRT:
        raise InputError(f"{vrt}: {'cannot be read' if content is None else f'is larger than {MOST_VRT >> 20} MiB'}")
    return nested_tiles(content, vrt) if vrt.suffix == TILE_INDEX else nested_sources(content, vrt)


def files_of(dataset: rasterio.DatasetReader, source: Source) -> tuple[str, ...]:
    """The files that are read with a raster, itself among them. Of a tile index GDAL names no other."""
    tiles = _named_in(source) if source.suffix == TILE_INDEX else []
    return (*dataset.files, *(tile.gdal_name for tile in tiles))


def _require_own_overviews(dataset: rasterio.DatasetReader, source: Source) -> None:
    """Overviews and masks may be other files, which GDAL opens as any format: by their ending, or named in metadata."""
    if any(key.upper() == "OVERVIEW_FILE" for key in dataset.tags(ns="OVERVIEWS")):
        raise InputError(f"{source}: names a file of overviews in its metadata, which is not followed; copy it without")
    if source.remote and "GDAL_DISABLE_READDIR_ON_OPEN" not in os.environ:
        return
    for ending in (".ovr", ".msk", ".OVR", ".MSK"):
        beside = source.at(source.location + ending)
        if beside.exists() and (beside.local or read_start(beside.gdal_name, 1) is not None):
            open_raster(beside).close()


def _require_sound_size(dataset: rasterio.DatasetReader, source: Source) -> None:
    """A few bytes can declare any size; and a block of a strip file, or a whole interlaced PNG or progressive JPEG, is
    held in memory to read any of it."""
    if dataset.count == 0:
        raise InputError(
            f"{source}: holds no bands of its own; write one of its subdatasets to a file with gdal_translate"
        )
    if source.policy.large:
        return
    height, width = dataset.shape
    if height * width > MOST_PIXELS:
        raise _too_large(source, f"declares {height} x {width} px; over {MOST_PIXELS:.0e} pixels")
    if dataset.count > MOST_BANDS:
        raise _too_large(source, f"declares {dataset.count} bands; over {MOST_BANDS}")
    whole = dataset.driver in SEQUENTIAL_DRIVERS
    height, width = dataset.shape if whole else dataset.block_shapes[0]
    size = height * width * dataset.count * max(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    if size > DECODED_AT_ONCE:
        what = f"a {dataset.driver} of" if whole else f"one block of {height} x {width} px and"
        raise InputError(
            f"{source}: {what} {size / 2**30:.1f} GiB would have to be decoded at once; tile it first (gdal_translate "
            "-co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER IN OUT.tif), or give --allow-large"
        )


def _too_large(source: Source, what: str) -> InputError:
    return InputError(f"{source}: {what} are taken for damage or a trap; --allow-large reads it all the same")


def _without_secrets(said: str, source: Source) -> str:
    """GDAL calls a file by the last part of its address, query and all; of VRTs also the files within."""
    if not (source.remote or source.policy.external):
        return said
    if source.has_secrets:
        said = said.replace(source.gdal_name.rpartition("/")[2], source.filename or "...")
    return re.sub(r"\?[^\s\"<>]*", "?...", redact(said))


def _advice(source: Source, said: str) -> str:
    """What to do about GDAL's error, where that is known."""
    if "response code: 401" in said or "response code: 403" in said:
        return "; are there credentials, and do they hold? docs/sources.md says where they go"
    if "libjpeg: Corrupt JPEG data" in said:
        return "; GDAL_ERROR_ON_LIBJPEG_WARNING=NO in the environment reads it with whatever pixels come out"
    if "not recognized as being in a supported file format" not in said:
        return ""
    if source.remote and not _sends_parts(source):
        return "; the server sends no parts of files (HTTP ranges): download the file first"
    return "; GeoTIFF, PNG, JPEG, JPEG 2000 and .vrt are read, and with --allow-driver NAME other formats of GDAL's"


def _sends_parts(source: Source) -> bool:
    with gdal_settings(source):
        return bool(read_start(source.gdal_name, 1))


def one_line(error: BaseException) -> str:
    """The message of an error, or of the error behind it, on one line."""
    cause = error.__cause__ if error.__cause__ is not None and str(error.__cause__) else error
    return " ".join(str(cause).split())
