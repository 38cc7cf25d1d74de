"""Source: where a raster is read from, and what may be opened there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from geoseg.errors import UsageError
from geoseg.redaction import redact

NETWORK = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
"""What stands for a URL's scheme in GDAL's names."""
ARCHIVES = "/vsizip/", "/vsitar/"
IN_MEMORY = "/vsimem/"
"""Where rasterio's MemoryFile keeps its datasets."""
TILE_INDEX = ".gti.gpkg"
"""The ending of GDAL's tile indices."""
NEVER = (
    *("DAAS", "DERIVED", "EEDA", "EEDAI", "ESRIC", "GDALG", "GTI", "HTTP", "MEM", "MRF", "NGW", "OGCAPI", "PLMOSAIC"),
    *("PLSCENES", "POSTGISRASTER", "STACIT", "STACTA", "VRT", "WCS", "WFS", "WMS", "WMTS"),
)
"""Drivers whose files are orders to read something else, on the network or anywhere.

VRTs and tile indices are looked into instead."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOST_SLASH = re.compile(rf"({'|'.join(NETWORK)}):/(?!/)")
_VIRTUAL = re.compile(r"/vsi\w+")


@dataclass(frozen=True)
class OpeningPolicy:
    """What may be opened beyond single raster files of the usual formats. No file decides that for itself."""

    external: bool = False
    """What a VRT names may lie outside of its folder, and on the network."""
    archives: bool = False
    """Files within .zip and .tar archives, named as /vsizip/A.zip/B.tif."""
    large: bool = False
    """Any number of pixels and bands, and blocks of any size."""
    drivers: tuple[str, ...] = ()
    """GDAL's names of further formats. What such a driver opens beside the file is not looked at."""

    def __post_init__(self) -> None:
        for name in self.drivers:
            if name.upper() in NEVER:
                raise UsageError(
                    f"the driver {name} cannot be allowed: its files name what is to be read, wherever that lies "
                    f"(files that end in .vrt or {TILE_INDEX} are looked into first, and read without this)"
                )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> OpeningPolicy:
        """Read what ``to_dict`` gave."""
        return cls(**{**record, "drivers": tuple(record["drivers"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"drivers": list(self.drivers)}

    @property
    def options(self) -> list[str]:
        """How the command line says it."""
        flags = {"--allow-external": self.external, "--allow-archives": self.archives, "--allow-large": self.large}
        drivers = (word for name in self.drivers for word in ("--allow-driver", name))
        return [*(flag for flag, is_set in flags.items() if is_set), *drivers]


@dataclass(frozen=True)
class Source:
    """A raster file by its path or URL, or a folder of them, and the policy of opening it. Picklable.

    As a text it is what may be shown: the location without credentials. A local one is an os.PathLike.
    Raises UsageError for what is no name of a file.
    """

    location: str = field(repr=False)
    """A path; http(s)://, s3://, gs:// or az://; or these in GDAL's spelling, as /vsicurl/https://..."""
    policy: OpeningPolicy = OpeningPolicy()
    """What may be opened there beyond single raster files of the usual formats."""

    @classmethod
    def of(cls, value: str | Path | Source) -> Source:
        """The source that something stands for. Of a URL that went through a Path the lost slash is put back."""
        if isinstance(value, Source):
            return value
        text = os.fspath(value)
        return cls(text if isinstance(value, str) else _LOST_SLASH.sub(r"\1://", text, count=1))

    def __post_init__(self) -> None:
        text, scheme = self.location, _SCHEME.match(self.location)
        if text.lstrip().startswith("<"):
            raise UsageError("an XML document in place of a file name is refused; save it as a .vrt file")
        if not text or "\0" in text:
            raise UsageError(f"{text!r} is no name of a file")
        if scheme and scheme[1].lower() not in NETWORK:
            raise UsageError(
                f"{text}: {scheme[1]}:// is not read; a path is, and {', '.join(NETWORK)} (docs/sources.md)"
            )
        if (scheme or _VIRTUAL.match(text)) and (found := re.search(r"[\s\x00-\x1f]", text)):
            raise UsageError(f"{text[: found.start()]}: a URL has no white space; write %20 for a blank")
        if scheme and not _has_host(text):
            raise UsageError(f"{text}: is no URL of a file")
        if _VIRTUAL.match(text) and not text.startswith((*NETWORK.values(), *ARCHIVES, IN_MEMORY)):
            raise UsageError(
                f"{text}: of GDAL's virtual files /vsicurl/ with a URL, /vsis3/, /vsigs/ and /vsiaz/ are read; give "
                "options to GDAL in environment variables (docs/sources.md)"
            )

    def __str__(self) -> str:
        return self.location if self.local else redact(self.location)

    def __repr__(self) -> str:
        return f"Source({str(self)!r}, {self.policy})"

    def __fspath__(self) -> str:
        if not self.local:
            raise UsageError(f"{self}: is not a file of this machine")
        return self.location

    def under(self, policy: OpeningPolicy) -> Source:
        """The same place under another policy."""
        return replace(self, policy=policy)

    def at(self, location: str | Path) -> Source:
        """Another place under the same policy."""
        return replace(Source.of(location), policy=self.policy)

    @property
    def local(self) -> bool:
        """True for a path of this machine."""
        return not (_SCHEME.match(self.location) or _VIRTUAL.match(self.location))

    @property
    def remote(self) -> bool:
        """True where it is read over the network."""
        return self.container.startswith(tuple(NETWORK.values()))

    @property
    def in_archive(self) -> bool:
        """True for a file within an archive."""
        return self.location.startswith(ARCHIVES)

    @property
    def container(self) -> str:
        """GDAL's name, of a file within an archive without what makes it one: the archive's, followed by the file's."""
        name = self.gdal_name
        return name.split("/", 2)[2].replace("{", "", 1).replace("}", "", 1) if self.in_archive else name

    @property
    def has_secrets(self) -> bool:
        """True where the location holds what its text leaves out: with that text alone it may not open again."""
        return str(self) != self.location

    @property
    def gdal_name(self) -> str:
        """The name that GDAL opens: credentials and all, not to be shown.

        Paths are absolute in it, so that none can be taken for an XML document or for a driver's prefix.
        """
        scheme = _SCHEME.match(self.location)
        if scheme:
            return NETWORK[scheme[1].lower()] + self.location[scheme.end() :]
        return os.path.abspath(self.location) if self.local else self.location

    @property
    def filename(self) -> str:
        """The last part of the path; of a URL percent-decoded, "" where it names no file."""
        return self._file.name

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.filename[: len(self.filename) - len(self.suffix)]

    @property
    def suffix(self) -> str:
        """The ending with its point, in lower case; of a tile index TILE_INDEX."""
        return TILE_INDEX if self.filename.lower().endswith(TILE_INDEX) else self._file.suffix.lower()

    def exists(self) -> bool:
        """False where a path of this machine leads nowhere."""
        return not self.local or os.path.exists(self.location)

    def is_dir(self) -> bool:
        """True for a folder of this machine."""
        return self.local and os.path.isdir(self.location)

    @property
    def _file(self) -> PurePosixPath:
        if self.local:
            return PurePosixPath(self.location)
        path = urlsplit(self.location).path
        # What a server calls its file may hold %2F and %0A.
        return PurePosixPath(re.sub(r"[\x00-\x1f\x7f]", "_", unquote(path.rpartition("/")[2])))


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False
