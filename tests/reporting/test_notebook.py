"""How values look in notebooks: escaped, self-contained, cheap, and never an error."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

import geoseg
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.reporting.notebook import details, facts, frame, never_failing, notes, table

MakeRaster = Callable[..., Path]
AWKWARD = Legend(
    "a & <script>alert(1)</script>",
    (
        LegendClass(1, "<road>", (1, 2, 3)),
        LegendClass(2, 'R&D "x"', (250, 250, 250)),
        LegendClass(3, "cloud", (0, 0, 0)),
    ),
    (3,),
)


class Elements(HTMLParser):
    """What elements there are, that each is closed, and what they would load."""

    VOID = ("img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.names, self.loaded, self.texts = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] != "style":
            self.texts.append(data)


def seen(value: object) -> Elements:
    """The parts of a value's card, which runs nothing and loads nothing."""
    html = value._repr_html_()
    assert html.startswith('<div class="geoseg">'), html[:300]
    found = Elements(html)
    assert not {"script", "link", "iframe", "object"} & set(found.names)
    assert (
        all(value.startswith("data:image/") for value in found.loaded) and "@import" not in html and "url(" not in html
    )
    return found


def picture(html: str) -> np.ndarray:
    """(H, W, 4) of the thumbnail."""
    data = re.search(r'src="data:image/\w+;base64,([^"]+)"', html).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_a_scene_says_what_it_is(make_raster: MakeRaster) -> None:
    scene = Scene(make_raster(name="a <b> & c.tif", nodata=0))
    texts = seen(scene).texts
    assert {"Scene", scene.name, "37 x 53 px (rows x columns)", "uint8, nodata 0", "0.75 x 0.5 m"} <= set(texts)
    assert any(text.startswith("EPSG:32631, x 441754.5 to 441781") for text in texts)
    assert picture(scene._repr_html_()).shape == (37, 53, 4)


def test_every_kind_of_scene_has_a_card(make_raster: MakeRaster) -> None:
    path = make_raster()
    bands = [make_raster(np.full((37, 53), n, np.uint16), f"{n}.tif", nodata=3) for n in range(3)]
    mosaic = geoseg.MosaicScene([path, path])
    for scene in (ArrayScene(np.ones((2, 9, 9), np.float32)), geoseg.StackScene(bands), mosaic):
        assert "img" in seen(scene).names
    assert "img" in seen(geoseg.CoarseScene(mosaic, 2)).names


def test_what_has_no_data_is_clear_and_classes_have_their_colours(make_raster: MakeRaster) -> None:
    codes = np.full((37, 53), 1, np.uint8)
    codes[:9] = 255
    path = make_raster(codes, nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (10, 200, 30, 255)})
    shown = picture(Scene(path)._repr_html_())
    assert (shown[:9, :, 3] == 0).all() and (shown[9:] == (10, 200, 30, 255)).all()


def test_a_picture_that_would_cost_much_is_left_out(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.raster.scene.MOST_FOR_THUMBNAIL", 37 * 53 - 1)
    assert "img" not in seen(Scene(make_raster())).names


def test_nothing_is_asked_of_the_network(web, make_raster: MakeRaster) -> None:
    (web.folder / "a.tif").write_bytes(make_raster().read_bytes())
    scene = Scene(web.url("plain/a.tif"))
    for one in (scene, geoseg.CoarseScene(scene, 2), geoseg.MosaicScene([scene.source])):
        before = len(web.requests)
        assert "img" not in seen(one).names and len(web.requests) == before


def test_a_file_that_went_away_is_shown_as_text(make_raster: MakeRaster) -> None:
    scene = Scene(make_raster())
    scene.close()
    Path(scene.name).unlink()
    assert scene._repr_html_() == f"<pre>{geoseg.reporting.markup.escape(repr(scene))}</pre>"


def test_a_card_is_never_an_error() -> None:
    class Broken:
        @never_failing
        def _repr_html_(self) -> str:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            return "<broken & bent>"

    assert Broken()._repr_html_() == "<pre>&lt;broken &amp; bent&gt;</pre>"


def test_a_legend_shows_its_colours() -> None:
    found = seen(AWKWARD)
    assert {"<road>", 'R&D "x"', "ignored", AWKWARD.name} <= set(found.texts)
    assert "background:#010203" in AWKWARD._repr_html_() and "description" not in found.texts
    assert "farms, cropland, orchards, vineyards, nurseries" in seen(DEEPGLOBE).texts


def test_a_model_and_its_run_say_how_they_were_made(trained_run: Path, sample_folder: Path) -> None:
    model = geoseg.load(trained_run)
    texts = " ".join(seen(model).texts)
    count = sum(weights.numel() for weights in model.network.parameters())
    assert f"the paper's U-Net, width 4, {count:,} parameters, on cpu" in texts and "sample (synthetic)" in texts
    assert "range 0 to 255" in texts and str(trained_run / "model.safetensors") in texts
    found = seen(geoseg.Run(str(trained_run)))
    assert "finished, 2 epochs" in found.texts and "svg" in found.names
    assert any(text.startswith("best") for text in found.texts)
    assert "not begun, 0 epochs" in seen(geoseg.Run(trained_run / "none")).texts


def test_a_prediction_shows_its_map(trained_run: Path, sample_folder: Path, tmp_path: Path) -> None:
    scene = sample_folder / "scene.tif"
    for output in (None, tmp_path / "map.tif"):
        result = geoseg.predict(scene, trained_run, output, device="cpu", precision="fp32")
        found, shown = seen(result), picture(result._repr_html_())
        assert {"Map", "urban", f"{result.shares['urban']:.1%}"} <= set(found.texts)
        colours = {tuple(colour) for colour in shown[shown[..., 3] > 0][:, :3].tolist()}
        assert colours <= {one.colour for one in DEEPGLOBE.classes}
    result.path.unlink()
    assert "img" not in seen(result).names


def test_reports_and_estimates(report: geoseg.Report, lone_report: geoseg.Report, folders: Path) -> None:
    assert {"<road>", "95 % interval"} <= set(seen(report).texts)
    assert not any("interval" in text for text in seen(lone_report).texts if len(text) < 20)
    comparison = geoseg.compare(folders / "maps", folders / "maps", folders / "labels", report.legend, draws=1000)
    assert {"Comparison", "IoU of <road>"} <= set(seen(comparison).texts)
    counts = np.array([[66, 5], [4, 153]])
    assert "<forest>" in seen(geoseg.olofsson_2014(counts, [20_000, 320_000], ["<forest>", "rest"])).texts


def test_parts_are_escaped_and_cut() -> None:
    parts = facts({"<a>": "<b>", "none": None, "long": "x" * 999}), notes(["<c>"]), details("<d>", notes(["e"]))
    html = frame("<kind>", "<name>", *parts, table(("<h>",), [("<cell>",)], caption="<caption>"))
    texts = Elements(html).texts
    assert {"<a>", "<b>", "<c>", "<d>", "<kind>", "<name>", "<h>", "<cell>", "<caption>"} <= set(texts)
    assert "none" not in texts and max(map(len, texts)) < 450
