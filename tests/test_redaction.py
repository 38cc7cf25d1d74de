"""redact: nothing that gives access is left in a text; all else is."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.redaction import redact
from geoseg.source import Source


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a.tif", "https://host/a.tif"),
        ("https://user:SECRET@host:8080/a.tif", "https://host:8080/a.tif"),
        ("https://SECRET@host/a.tif", "https://host/a.tif"),
        ("https://user:SEC@RET@host/a.tif", "https://host/a.tif"),
        ("https://user:SEC/RET@host/a.tif", "https://host/a.tif"),
        ("https://user:SEC?R#ET@host/a.tif", "https://host/a.tif"),
        ("https://host/a.tif?X-Amz-Signature=SECRET&X-Amz-Date=1", "https://host/a.tif?..."),
        ("az://box/a.tif?sv=1&sig=SECRET%3D", "az://box/a.tif?..."),
        ("https://host/a.tif#SECRET", "https://host/a.tif?..."),
        ("HTTPS://user:SECRET@host/a", "HTTPS://host/a"),
        ("https:/user:SECRET@host/a.tif?SECRET", "https:/host/a.tif?..."),
        ("/vsicurl/https://user:SECRET@host/a.tif?SECRET", "/vsicurl/https://host/a.tif?..."),
        ("/vsicurl?url=https%3A%2F%2Fuser%3ASECRET%40host&header.Authorization=SECRET", "/vsicurl?..."),
        ("/vsiaz/box/a.tif?SECRET", "/vsiaz/box/a.tif?..."),
        ("/vsizip/{/vsicurl/https://user:SECRET@host/a.zip}/b.tif", "/vsizip/{/vsicurl/https://host/a.zip}/b.tif"),
        ("postgresql://user:SECRET@host/db", "postgresql://host/db"),
        ('{"a": "https://host/x?SECRET", "b": 1}', '{"a": "https://host/x?...", "b": 1}'),
        ("one https://u:SECRET@h/a and https://h/b?SECRET=1 more", "one https://h/a and https://h/b?... more"),
        ("a.tif?day=1&sig=SECRET, band 1: read failed", "a.tif?... band 1: read failed"),
        # Not secrets: at-signs and question marks elsewhere, and ports.
        ("https://host:8080/a@2x.tif", "https://host:8080/a@2x.tif"),
        ("https://host/me@work/a:b@c.tif", "https://host/me@work/a:b@c.tif"),
        ("data/who?.tif: me@host, 3:4@5", "data/who?.tif: me@host, 3:4@5"),
        ("the ratio 1:2 // see a@b", "the ratio 1:2 // see a@b"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


WORD = st.text("abc019._~!$&'()*+,;=-%", min_size=1, max_size=12)


@given(st.sampled_from(["http", "https", "s3", "az"]), WORD, WORD, st.text("abc/._-@:", max_size=12))
def test_no_part_of_a_query_or_of_a_password_stays(scheme: str, name: str, tail: str, path: str) -> None:
    password, query = f"SECRET{name}", f"SECRET{tail}"
    text = f"cannot open {scheme}://{name}:{password}@host/{path}?{tail}={query}#x: why"
    assert "SECRET" not in redact(text) and redact(text).startswith(f"cannot open {scheme}://host/")


@given(st.text(st.characters(exclude_characters=":/"), max_size=40))
def test_texts_without_urls_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_errors_hold_none() -> None:
    source = Source("https://user:SECRET@host/a.tif?SECRET")
    error = InputError(f"{source}: no such file ({source.gdal_name}: 404)")
    assert str(error) == "https://host/a.tif?...: no such file (/vsicurl/https://host/a.tif?... 404)"
    assert "SECRET" not in repr(pickle.loads(pickle.dumps(error)))
