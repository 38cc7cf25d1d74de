"""redact: a text without the credentials in its URLs."""

from __future__ import annotations

import re

_IN_URL = r"[^\s\"<>]"
_BEGIN = r"[a-z][a-z0-9+.-]*://|\bhttps?:/"
_USER = re.compile(
    # Up to the last @ before the path; or up to the last one at all, where no port follows the first colon: a password
    # that was not percent-encoded.
    rf"({_BEGIN})(?:[^\s\"<>/?#]*@|[^\s\"<>/?#@]*:(?!\d*(?:[/?#\s\"<>]|$)){_IN_URL}*@)",
    re.IGNORECASE,
)
_QUERY = re.compile(
    # What was redacted before stays, with the punctuation that follows it.
    rf"((?:{_BEGIN}|/vsi\w+(?=[/?]))[^\s\"<>?#]*)[?#](?!\.\.\.[:;,.)'\]]*(?:\s|$)){_IN_URL}*",
    re.IGNORECASE,
)
_REST_OF_URL = re.compile(r"\?[^\s\"<>?=]*=[^\s\"<>]*")


def redact(text: str) -> str:
    """The text with user and password of every URL left out, and "?..." in place of every query.

    Any part of a query may be what gives access (signatures, tokens, keys), so none of it is shown. URLs are those with
    a scheme, or in GDAL's spelling (/vsicurl/...); they end at white space, double quotes and angle brackets. GDAL also
    calls a file by the last part of its URL alone, so that ?name=value is taken for a query anywhere.
    """
    return _REST_OF_URL.sub("?...", _QUERY.sub(r"\1?...", _USER.sub(r"\1", text)))
