"""The page in a browser: no errors, no requests, the JSON's figures, and no sideways scrolling on a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.legend import Legend, LegendClass
from geoseg.reporting.layout import POLICY
from geoseg.reporting.page import to_html
from geoseg.reporting.write import write_report
from geoseg.scoring.pair import Pair

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    "--enable-logging=stderr",
)
WIDTHS = (1280, 400)
FRAME = """<!DOCTYPE html><iframe id="frame" width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<script>
onload = () => {{
  const {{ documentElement, body }} = frame.contentDocument;
  document.title = `${{frame.contentWindow.innerWidth}} ${{Math.max(documentElement.scrollWidth, body.scrollWidth)}}`;
}};
</script>"""
"""A browser's own window is at least 500 px wide; a frame in it is as wide as it is told."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")


class Seen(NamedTuple):
    """What a browser made of a page."""

    dom: str
    console: list[str]
    requests: list[str]
    """Addresses that the page, not the browser itself, asked a network for."""


def browse(page: Path, width: int = 1280, screenshot: Path | None = None) -> Seen:
    folder = page.parent
    log = folder / "net.json"
    shot = () if screenshot is None else (f"--screenshot={screenshot}",)
    flags = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", f"--window-size={width},900", *shot)
    command = [BROWSER, *FLAGS, *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = [e["url"] for e in events if e.get("initiator", "not an origin") != "not an origin"]
    return Seen(done.stdout, console, [url for url in asked if url.startswith(("http", "ws", "ftp"))])


@pytest.fixture
def page(report: geoseg.Report, tmp_path: Path) -> Path:
    write_report(report, tmp_path / "report.html")
    return tmp_path / "report.html"


def test_the_page_makes_no_error_and_no_request(page: Path) -> None:
    seen = browse(page)
    assert "Accuracy of the map" in seen.dom
    assert (seen.console, seen.requests) == ([], [])


def test_errors_and_requests_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("hey")</script>')
    seen = browse(tmp_path / "bad.html")
    assert seen.requests == ["http://127.0.0.1:9/x.png"] and "hey" in seen.console[0]


def test_the_policy_of_the_page_holds(tmp_path: Path) -> None:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    (tmp_path / "bad.html").write_text(f'{policy}<img src="http://127.0.0.1:9/x.png">')
    seen = browse(tmp_path / "bad.html")
    assert not seen.requests and "violates" in seen.console[0]


def test_the_browser_shows_the_figures_of_the_json(page: Path, report: geoseg.Report) -> None:
    dom = browse(page).dom
    (inside,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', dom, re.DOTALL)
    record = json.loads(inside)
    assert record == json.loads(json.dumps(report.to_dict()))
    for row in record["classes"].values():
        cells = [row["iou"], row["precision"], row["recall"], row["f1"]]
        for value in ("n/a" if cell is None else f"{cell:.4f}" for cell in cells):
            assert f"<td>{value}</td>" in dom
    assert f'<dd class="figure">{record["mean_iou"]:.4f}</dd>' in dom


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_scrolls_sideways(page: Path, width: int) -> None:
    assert needed_width(page, width) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_many_classes_and_long_names_scroll_in_their_own_box(tmp_path: Path, width: int) -> None:
    classes = tuple(LegendClass(i, f"{'very' * 12} long name {i}", (i, 255 - i, 10 * i)) for i in range(20))
    legend = Legend("wide", classes)
    counts = ConfusionMatrix(np.random.default_rng(1).integers(0, 10**9, (20, 20)))
    pairs = {f"{'truth' * 20}{i}": Pair("map" * 30, counts) for i in range(2)}
    report = geoseg.Report(legend, pairs, ("note" * 60,))
    (tmp_path / "wide.html").write_text(to_html(report.to_dict(), legend), encoding="utf-8")
    assert needed_width(tmp_path / "wide.html", width) <= width


def needed_width(page: Path, width: int) -> int:
    """The width in pixels that the page needs where it is given ``width``."""
    text = re.sub("<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=width, page=escape(text)), encoding="utf-8")
    given, needed = re.search(r"<title>(\d+) (\d+)</title>", browse(frame, 1400).dom).groups()
    assert int(given) == width
    return int(needed)


def test_a_picture_of_the_page_is_no_blank(page: Path, tmp_path: Path) -> None:
    browse(page, screenshot=tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert pixels.shape == (900, 1280) and pixels.mean() > 200 and (pixels < 80).mean() > 0.002
