"""Real rasters turned, placed by control points, cut, put together and seen at another resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from rasterio.features import rasterize
from rasterio.warp import transform_geom

import geoseg

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "geotiff_variety"
RGB = DATA / "RGB.byte.tif"
LOCAL = {"device": "cpu", "precision": "fp32", "window": 128}

pytestmark = pytest.mark.skipif(not RGB.exists(), reason="the rasters in ../shared/data are not there")


def by_neighbours(image: torch.Tensor) -> torch.Tensor:
    above = torch.nn.functional.pad(image, (0, 0, 2, 0))[..., :-2, :] - image
    return torch.cat([torch.sin(above[:, :1] / 30 * (k + 1)) for k in range(7)], 1)


@pytest.fixture
def segmenter(make_segmenter):
    return make_segmenter(by_neighbours, fill=(60.0,) * 3)


@pytest.fixture
def whole(segmenter) -> np.ndarray:
    return geoseg.predict(RGB, segmenter, **LOCAL).codes


def test_a_turned_raster_keeps_its_transform(make_segmenter, tmp_path) -> None:
    scene = DATA / "rotated.tif"
    geoseg.predict(scene, make_segmenter(by_neighbours, bands=1), tmp_path / "map.tif", **LOCAL)
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "map.tif") as made:
        assert made.transform == source.transform and made.transform.b != 0 and made.crs is None
        expected = geoseg.predict(source.read(), make_segmenter(by_neighbours, bands=1), **LOCAL).codes
        assert np.array_equal(made.read(1), expected)


@pytest.mark.parametrize("name", ["RGB.byte.gcp.vrt", "RGB.byte.rpc.vrt"])
@pytest.mark.parametrize("cog", [False, True])
def test_what_places_a_raster_changes_no_class(segmenter, whole, tmp_path, name, cog) -> None:
    geoseg.predict(DATA / name, segmenter, tmp_path / "map.tif", cog=cog, **LOCAL)
    with rasterio.open(DATA / name) as source, rasterio.open(tmp_path / "map.tif") as made:
        assert np.array_equal(made.read(1), whole)
        assert len(made.gcps[0]) == len(source.gcps[0]) and made.gcps[1] == source.gcps[1]
        assert (made.rpcs is None) == (source.rpcs is None) and bool(made.gcps[0]) != bool(made.rpcs)


def test_an_area_in_degrees_on_a_raster_in_metres(segmenter, whole, tmp_path) -> None:
    with rasterio.open(RGB) as source:
        place, crs, shape = source.transform, source.crs, source.shape
    wanted = shapely.Point(place @ (400, 350)).buffer(60_000)
    degrees = shapely.geometry.shape(
        transform_geom(crs, "EPSG:4326", shapely.segmentize(wanted, 100).__geo_interface__)
    )
    columns: list = []
    pyogrio.raw.write(
        tmp_path / "area.geojson", shapely.to_wkb([degrees]), columns, [], driver="GeoJSON", geometry_type="Polygon",
        crs="EPSG:4326",
    )  # fmt: skip
    found = geoseg.predict(RGB, segmenter, aoi=tmp_path / "area.geojson", **LOCAL).codes
    inside = rasterize([wanted], shape, transform=place).astype(bool)
    # GeoJSON keeps seven digits: a centimetre, of pixels of 300 m.
    assert (found != np.where(inside, whole, 255)).sum() <= 2 and (found != 255).sum() > 50_000


def test_pieces_of_a_raster_are_the_raster(segmenter, whole, tmp_path) -> None:
    pieces = []
    with rasterio.open(RGB) as source:
        for number, (row, col, height, width) in enumerate(
            [(300, 0, 418, 500), (0, 0, 340, 791), (310, 450, 408, 341)]
        ):
            window = rasterio.windows.Window(col, row, width, height)
            profile = source.profile | {"height": height, "width": width, "transform": source.window_transform(window)}
            pieces.append(tmp_path / f"{number}.tif")
            with rasterio.open(pieces[-1], "w", **profile) as piece:
                piece.write(source.read(window=window))
        found = geoseg.predict(pieces, segmenter, tmp_path / "map.tif", mosaic=True, **LOCAL)
        assert found.grid.shape == source.shape and found.grid.same_as(geoseg.Scene(RGB).grid, 1e-6)
    assert np.array_equal(found.codes, whole)


@pytest.mark.parametrize(("gsd", "factor"), [(3000, 10), (1000, 3), (60, None)])
def test_a_raster_of_300_m_at_other_resolutions(make_segmenter, tmp_path, gsd, factor) -> None:
    segmenter = make_segmenter(by_neighbours, gsd=gsd, window=64)
    how = {"device": "cpu", "precision": "fp32", "match_gsd": True}
    found = geoseg.predict(RGB, segmenter, tmp_path / "map.tif", **how)
    assert found.plan.scene.get("factor") == factor
    with rasterio.open(RGB) as source, rasterio.open(tmp_path / "map.tif") as made:
        assert (made.transform, made.shape, made.crs) == (source.transform, source.shape, source.crs)
        assert ((made.read(1) == 255) == (source.dataset_mask() == 0)).all()


def test_a_box_in_degrees_on_the_whole_earth(make_segmenter) -> None:
    scene = DATA / "world.rgb.tif"
    with rasterio.open(scene) as source:
        assert source.crs.is_geographic
        rows, cols = np.meshgrid(*(np.arange(n) + 0.5 for n in source.shape), indexing="ij")
        x, y = source.transform @ (cols, rows)
    found = geoseg.predict(scene, make_segmenter(by_neighbours), bbox=(170, -40, -170, 20), **LOCAL).codes
    wanted = ((x > 170) | (x < -170)) & (y > -40) & (y < 20)
    assert np.array_equal(found != 255, wanted) and wanted.any()
