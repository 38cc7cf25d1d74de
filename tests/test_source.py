"""Source: what a name stands for, what GDAL opens of it, and what is shown."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from geoseg.errors import UsageError
from geoseg.source import OpeningPolicy, Source


@pytest.mark.parametrize(
    ("location", "gdal_name", "stem"),
    [
        ("https://host/dir/a.tif", "/vsicurl/https://host/dir/a.tif", "a"),
        ("HTTP://host/a.b.tif?c=d/e.f", "/vsicurl/http://host/a.b.tif?c=d/e.f", "a.b"),
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif", "a"),
        ("gs://bucket/dir/a", "/vsigs/bucket/dir/a", "a"),
        ("az://box/a%20b.tif", "/vsiaz/box/a%20b.tif", "a b"),
        ("/vsicurl/https://host/a.tif?q=/b", "/vsicurl/https://host/a.tif?q=/b", "a"),
        ("/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif", "a"),
        ("https://host/", "/vsicurl/https://host/", ""),
        ("https://host", "/vsicurl/https://host", ""),
        ("https://host/%2e%2e%2fevil.tif", "/vsicurl/https://host/%2e%2e%2fevil.tif", "evil"),
        ("https://host/%2Fetc%2Fa%0A.tif", "/vsicurl/https://host/%2Fetc%2Fa%0A.tif", "a_"),
    ],
)
def test_addresses(location: str, gdal_name: str, stem: str) -> None:
    source = Source(location)
    assert (source.gdal_name, source.stem) == (gdal_name, stem)
    assert source.remote and not source.local and source.exists() and not source.is_dir()
    with pytest.raises(UsageError, match="not a file of this machine"):
        os.fspath(source)


@pytest.mark.parametrize("name", ["a.tif", "dir/b?c#d.TIF", "GTIFF_DIR:1:a.tif", "a b!{}.tif", "x://", ".hidden"])
def test_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "x://":
        with pytest.raises(UsageError, match="x:// is not read; a path is, and http, https, s3, gs, az"):
            Source(name)
        return
    source = Source.of(name)
    assert source.local and not source.remote and str(source) == os.fspath(source) == name
    assert source.gdal_name == f"{tmp_path}/{name}"
    assert (source.stem, source.suffix) == (Path(name).stem, Path(name).suffix.lower())
    assert not source.exists() and Source.of(tmp_path).is_dir()


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "no name of a file"),
        ("a\0.tif", "no name of a file"),
        (" <VRTDataset/>", "XML document"),
        ("ftp://host/a.tif", "ftp:// is not read"),
        ("zip:///tmp/a.zip!b.tif", "zip:// is not read"),
        ("https://host/a b.tif?sig=SECRET", "white space"),
        ("s3://bucket/a\n.tif", "white space"),
        ("https://", "no URL"),
        ("http://[host/a.tif", "no URL"),
        ("/vsicurl?url=https%3A%2F%2Fhost%2Fa.tif&header.Authorization=SECRET", "virtual files"),
        ("/vsicurl/file:///etc/passwd", "virtual files"),
        ("/vsicurl/ftp://host/a.tif", "is not read|virtual files"),
        ("/vsicurl_streaming/https://host/a.tif", "virtual files"),
        ("/vsistdin/", "virtual files"),
        ("/vsigzip//tmp/a.tif.gz", "virtual files"),
        ("/vsisubfile/0_9,/etc/passwd", "virtual files"),
        ("/vsihdfs/a.tif", "virtual files"),
        ("/vsisparse/a.xml", "virtual files"),
    ],
)
def test_what_is_no_name_of_a_file(location: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        Source(location)
    assert "SECRET" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_url_that_went_through_a_path() -> None:
    assert Source.of(Path("https://host//a.tif")) == Source("https://host/a.tif")
    assert Source.of(Path("s3://bucket/a.tif")).gdal_name == "/vsis3/bucket/a.tif"


def test_secrets_are_kept_and_not_shown() -> None:
    source = Source("https://user:SECRET@host/a.tif?sig=SECRET")
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source and copy.gdal_name == "/vsicurl/https://user:SECRET@host/a.tif?sig=SECRET"
    assert str(source) == f"{source}" == "https://host/a.tif?..." and "SECRET" not in repr(source)
    assert source.has_secrets and not Source("https://host/a.tif").has_secrets and not Source("a?b@c.tif").has_secrets


def test_the_policy_goes_along() -> None:
    policy = OpeningPolicy(external=True, drivers=("HFA", "BMP"))
    source = Source("a.vrt").under(policy)
    assert source.at("b.tif") == Source("b.tif", policy) and Source.of(source) is source
    assert policy.options == ["--allow-external", "--allow-driver", "HFA", "--allow-driver", "BMP"]
    assert OpeningPolicy.from_dict(policy.to_dict()) == policy and OpeningPolicy().options == []


@pytest.mark.parametrize("driver", ["WMS", "wcs", "VRT", "GTI", "STACTA", "PostGISRaster", "MEM"])
def test_drivers_that_read_what_their_files_name_cannot_be_allowed(driver: str) -> None:
    with pytest.raises(UsageError, match=driver):
        OpeningPolicy(drivers=(driver,))
