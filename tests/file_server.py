"""A web server of a folder's files that behaves, or misbehaves, as the first part of a path says.

A process of its own: GDAL holds Python's lock in some calls that wait for an answer, so a thread could not answer. Run
with the folder and the file that requests are noted in; prints its port.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

LATER = 20_000
"""Requests from this byte on are not the first ones of a file: "later" and "cut" misbehave there."""
FOREVER = 60
"""Seconds; no test waits for it."""
AUTHORISATION, SIGNATURE = "Basic dXNlcjpTRUNSRVQ=", "SECRET"
"""Of user:SECRET, and what "signed" wants as sig."""


class Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counts: ClassVar[Counter] = Counter()
    folder: Path
    log: Path
    etag = ""

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        asked = self.headers.get("Range")
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path} {asked or ''}\n")
        manner, _, name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        file = self.folder / name
        self.counts[self.path.partition("?")[0]] += 1
        times = self.counts[self.path.partition("?")[0]]
        if not file.is_file():
            return self.say(404)
        content = file.read_bytes()
        self.etag = f'"{hashlib.sha256(content).hexdigest()}"'
        first, last = part(asked, len(content))
        if status := self.refusal(manner, times):
            return self.say(status)
        if manner == "stalls" or (manner == "stalls-later" and first >= LATER):
            return time.sleep(FOREVER)
        if manner == "fails-later" and first >= LATER:
            return self.say(503)
        if asked and manner != "no-ranges":
            range_ = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
            return self.send(206, content[first : last + 1], range_, self.is_cut(manner, first, times))
        self.send(200, content, {})

    def refusal(self, manner: str, times: int) -> int | None:
        query = parse_qs(urlsplit(self.path).query)
        if manner == "forbidden" or (manner == "signed" and query.get("sig") != [SIGNATURE]):
            return 403
        if manner == "get-only" and self.command == "HEAD":
            return 403
        if manner == "protected" and self.headers.get("Authorization") != AUTHORISATION:
            return 401
        count = re.fullmatch(r"fails-(\d+)", manner)
        return 500 if count and times <= int(count[1]) else None

    def is_cut(self, manner: str, first: int, times: int) -> bool:
        if manner == "cut-once" and first >= LATER:
            self.counts["cuts"] += 1
            return self.counts["cuts"] == 1
        return manner == "cut" and first >= LATER

    def say(self, status: int) -> None:
        self.send(status, b"", {})

    def send(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        if self.etag and not self.path.startswith("/untold/"):
            headers |= {"ETag": self.etag}
        if not self.path.startswith("/no-ranges/"):
            headers |= {"Accept-Ranges": "bytes"}
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection |= cut


def part(asked: str | None, size: int) -> tuple[int, int]:
    """First and last byte of a range."""
    first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
    return int(first), min(int(last or size), size - 1)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients hang up."""


if __name__ == "__main__":
    Files.folder, Files.log = Path(sys.argv[1]), Path(sys.argv[2])
    server = Server(("127.0.0.1", 0), Files)
    print(server.server_address[1], flush=True)
    server.serve_forever()
