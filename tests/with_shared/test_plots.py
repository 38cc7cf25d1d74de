"""Figures and cards of real rasters."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geoseg

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
KOREA = DATA / "sentinel2_korea"
pytestmark = pytest.mark.skipif(not KOREA.is_dir(), reason="the shared rasters are not here")


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_sentinel_2_patch_over_its_image() -> None:
    labels = KOREA / "labels" / "patch_03.tif"
    figure = geoseg.plot(labels, legend=KOREA / "legend.json", scene=KOREA / "images" / "patch_03.tif", dpi=60)
    names = [entry["name"] for entry in json.loads((KOREA / "legend.json").read_text())["classes"]]
    assert [text for text in texts(figure) if text in names] == names and "1 km" in texts(figure)
    with rasterio.open(labels) as dataset:
        roads = (dataset.read(1) == 30).sum() / 100
    assert abs(float(texts(figure)[3].split()[0]) - roads) <= 1


def test_three_landsat_bands_are_an_image() -> None:
    bands = [DATA / "landsat8" / f"LC80460282016177LGN00_B{band}.TIF" for band in (4, 3, 2)]
    with geoseg.StackScene(bands) as scene:
        shape = scene.grid.shape
        assert "<img" in scene._repr_html_()
    figure = geoseg.plot(np.zeros(shape, np.uint8), scene=bands, panels=("image",), dpi=60)
    picture = np.asarray(figure.axes[0].get_images()[0].get_array())
    inside = picture[picture[..., :3].any(-1)][:, :3]
    assert 60 < np.median(inside) < 140


def test_a_whole_tile_is_read_in_strips() -> None:
    path = DATA / "large" / "cloudmask_10980.tif"
    classes = [{"code": n, "name": f"c{n}", "color": f"#0{n}0{n}0{n}"} for n in range(4)]
    legend = geoseg.Legend.from_dict({"classes": classes})
    figure = geoseg.plot(path, legend=legend, dpi=60, amounts="share")
    with rasterio.open(path) as dataset:
        counts = np.bincount(dataset.read(1).ravel(), minlength=4)
    assert texts(figure)[1:8:2] == [f"{100 * count / counts.sum():.1f} %" for count in counts]


@pytest.mark.parametrize("path", sorted((DATA / "geotiff_variety").glob("*.tif")), ids=lambda path: path.stem)
def test_every_raster_has_a_card_and_a_picture(path: Path) -> None:
    with geoseg.Scene(path) as scene:
        assert scene._repr_html_().startswith('<div class="geoseg">')
        codes = np.zeros(scene.grid.shape, np.uint8)
    figure = geoseg.plot(codes, scene=path, panels=("image",), width=40, dpi=40)
    figure.savefig(io.BytesIO())
