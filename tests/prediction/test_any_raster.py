"""Any raster in: whatever small raster is made up, there is a map on its own grid or one clear error."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from rasterio.enums import ColorInterp

import geoseg
from geoseg.errors import GeosegError, InputError
from geoseg.legend import DEEPGLOBE, NODATA

EXAMPLES = int(os.environ.get("GEOSEG_EXAMPLES", "50"))
"""More of them find more: GEOSEG_EXAMPLES=2000 pytest tests/prediction/test_any_raster.py"""
MANY = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
DTYPES = *("uint8",) * 9, "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64"
PLACES = {
    "none": {},
    "north-up": {"crs": "EPSG:32631", "transform": Affine(0.5, 0, 441_754.5, 0, -0.75, 5_417_386.25)},
    "south-up": {"crs": "EPSG:32631", "transform": Affine(10, 0, 441_750, 0, 10, 5_417_380)},
    "rotated": {"crs": "EPSG:32631", "transform": Affine.translation(441_750, 5_417_380) @ Affine.rotation(30)},
    "degrees": {"crs": "EPSG:4326", "transform": Affine(1e-3, 0, 179.99, 0, -1e-3, 89.99)},
    "feet": {"crs": "EPSG:2263", "transform": Affine(2, 0, 980_000, 0, -2, 195_000)},
    "no CRS": {"transform": Affine(3, 0, 7, 0, -3, 9)},
    "no transform": {"crs": "EPSG:3857"},
}
LAYOUTS = {
    "strips": {},
    "tall strips": {"blockysize": 64},
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 32},
}
COMPRESSIONS = "none", "deflate", "zstd", "lzw", "packbits"
numbers = itertools.count()


@st.composite
def rasters(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES, most_bands: int = 5) -> dict:
    """What make_up writes."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    # Mostly three bands of the model's dtype: the others may be refused.
    bands = draw(st.one_of(st.just(min(3, most_bands)), st.integers(1, most_bands)))
    shape = (bands, draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    few = np.array([0, 1, 2, 5, 6, 7, 100, 127], dtype)
    # Most pixels of a few values, so that codes and nodata are met.
    elements = st_numpy.from_dtype(dtype) if draw(st.booleans()) else st.sampled_from(few)
    pixels = draw(st_numpy.arrays(dtype, shape, elements=elements, fill=st.sampled_from(few)))
    nodata = draw(st.sampled_from([None, 0, 1, 7] + ([float("nan")] if dtype.kind == "f" else [])))
    return {
        "pixels": pixels,
        "nodata": None if dtype.kind == "c" else nodata,
        "place": draw(st.sampled_from(list(PLACES))),
        "layout": draw(st.sampled_from(list(LAYOUTS))),
        "compress": draw(st.sampled_from(COMPRESSIONS)),
        "interleave": draw(st.sampled_from(["pixel", "band"])),
        "alpha": draw(st.booleans()),
        "mask": draw(st.sampled_from([None, None, 0, 1, 128])),
        "palette": draw(st.booleans()),
    }


def make_up(folder: Path, made: dict) -> Path:
    path, pixels = folder / f"{next(numbers)}.tif", made["pixels"]
    count, height, width = pixels.shape
    how = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name, "nodata": made["nodata"]}
    how |= {"compress": made["compress"], "interleave": made["interleave"]}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", **how, **PLACES[made["place"]], **LAYOUTS[made["layout"]]) as dataset,
    ):
        if made["alpha"] and count > 1:
            dataset.colorinterp = [*dataset.colorinterp[:-1], ColorInterp.alpha]
        if made["palette"] and count == 1 and pixels.dtype == np.uint8:
            dataset.write_colormap(1, {i: (i * 30, 255 - i * 30, i) for i in range(8)})
        dataset.write(pixels)
        if made["mask"] is not None:
            rows = np.arange(height * width).reshape(height, width) % 3
            dataset.write_mask(np.where(rows == 0, made["mask"], 255).astype(np.uint8))
    return path


def has_data(dataset: rasterio.DatasetReader) -> np.ndarray:
    """(H, W) bool: where the file says so and all bands but alpha are finite."""
    colours = zip(dataset.indexes, dataset.colorinterp, strict=True)
    pixels = dataset.read([number for number, colour in colours if colour != ColorInterp.alpha])
    finite = np.isfinite(pixels).all(0) if pixels.dtype.kind in "fc" else True
    return (dataset.dataset_mask() > 0) & finite


def require_clear(error: GeosegError, path: Path) -> None:
    assert isinstance(error, InputError) and str(path) in str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made-up")


@pytest.fixture(scope="module")
def segmenter(make_segmenter: Callable) -> geoseg.Segmenter:
    """Of three bands, windows of 32 px."""
    import torch

    return make_segmenter(lambda image: torch.cat([image, -image, image[:, :1]], 1) / 16, window=32)


@MANY
@given(rasters())
def test_a_map_on_the_same_grid_or_one_clear_error(folder: Path, segmenter: geoseg.Segmenter, made: dict) -> None:
    path, output = make_up(folder, made), folder / "map.tif"
    output.unlink(missing_ok=True)
    try:
        geoseg.predict(path, segmenter, output, device="cpu", precision="fp32")
    except GeosegError as error:
        require_clear(error, path)
        assert not output.exists()
        return
    with rasterio.open(path) as scene, rasterio.open(output) as written:
        assert (written.crs, written.transform, written.shape) == (scene.crs, scene.transform, scene.shape)
        codes = written.read(1)
        assert ((codes != NODATA) == has_data(scene)).all()
        assert set(np.unique(codes)) <= {*(DEEPGLOBE.classes[i].code for i in DEEPGLOBE.scored), NODATA}


@MANY
@given(rasters(), rasters(dtypes=("uint8", "uint8", "int16"), most_bands=3), st.booleans())
def test_a_report_or_one_clear_error(folder: Path, first: dict, second: dict, alike: bool) -> None:
    if alike:
        second |= {"pixels": np.resize(second["pixels"], first["pixels"].shape), "place": first["place"]}
    prediction, truth = make_up(folder, first), make_up(folder, second)
    for pair in ((prediction, truth), (truth, truth)):
        try:
            report = geoseg.score(*pair, "deepglobe")
        except GeosegError as error:
            assert isinstance(error, InputError) and any(str(path) in str(error) for path in pair)
            assert "\n" not in str(error)
            continue
        height, width = second["pixels"].shape[1:]
        assert report.matrix.total <= height * width
        if pair[0] == pair[1]:
            ious = [value for value in report.iou.values() if not np.isnan(value)]
            assert all(value == 1 for value in ious)
