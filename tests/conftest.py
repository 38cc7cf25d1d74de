"""What the tests share: rasters that would show a shift, networks whose answer is known, a small trained model."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import settings

if TYPE_CHECKING:
    import torch

    from geoseg.models.segmenter import Segmenter

# Machines differ in speed: no example fails by the clock.
settings.register_profile("geoseg", deadline=None)
settings.load_profile("geoseg")

# Before torch is loaded: its waiting threads would spin, and small networks take 15 times as long on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SHARED = Path(__file__).resolve().parents[2] / "shared"
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
"""Unequal pixel sizes, an origin off round numbers."""


@pytest.fixture(autouse=True)
def messages_as_they_were() -> Iterator[None]:
    """A command's -q is not for the tests after it."""
    logger = logging.getLogger("geoseg")
    level, handlers = logger.level, logger.handlers
    yield
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_raster(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as a GeoTIFF and return its path.

    By default 3 x 37 x 53 uint8 with every pixel different in at least one band, off-origin, unequal pixel sizes.
    """

    def make(
        pixels: np.ndarray | None = None,
        name: str = "scene.tif",
        crs: str | None = "EPSG:32631",
        transform: Affine | None = OFF_ORIGIN,
        **profile: object,
    ) -> Path:
        pixels = unique_pixels() if pixels is None else np.atleast_3d(pixels) if pixels.ndim == 1 else pixels
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        place = {"crs": crs} if crs else {}
        if transform is not None:
            place["transform"] = transform
        count, height, width = pixels.shape
        shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
        with rasterio.open(path, "w", **({"driver": "GTiff"} | shape | place | profile)) as dataset:
            dataset.write(pixels)
        return path

    return make


def unique_pixels(shape: tuple[int, int] = (37, 53)) -> np.ndarray:
    """(3, H, W) uint8, no two pixels alike (up to 65,025 of them), never 0 in the third band."""
    number = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    return np.stack([number % 255, number // 255 % 255, 1 + number % 7]).astype(np.uint8)


class Web:
    """A web server of the files in ``folder``; the first part of a path says how it behaves (tests/file_server.py)."""

    def __init__(self, root: Path) -> None:
        self.folder, self._log = root / "web", root / "requests.log"
        self.folder.mkdir()
        self._log.touch()
        command = [sys.executable, Path(__file__).with_name("file_server.py"), self.folder, self._log]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.host = f"127.0.0.1:{self.process.stdout.readline().strip()}"

    def url(self, path: str) -> str:
        """Of "MANNER/FILE"."""
        return f"http://{self.host}/{path}"

    @property
    def requests(self) -> list[str]:
        """Lines of method, path and range."""
        return self._log.read_text().splitlines()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server, and waits that are short for whoever reads from it."""
    quick = {"MAX_RETRY": "2", "RETRY_DELAY": "0.05", "CONNECTTIMEOUT": "3", "LOW_SPEED_TIME": "1"}
    for name, value in quick.items():
        monkeypatch.setenv(f"GDAL_HTTP_{name}", value)
    monkeypatch.setattr("geoseg.raster.scene.WAITS", (0.05, 0.05))
    server = Web(tmp_path)
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture
def make_vector(tmp_path: Path) -> Callable[..., Path]:
    """Write shapely shapes with a value each as a vector file, or as one more layer of it, and return its path."""
    import pyogrio.raw
    import shapely

    formats = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}

    def make(
        shapes: object,
        values: object,
        name: str = "labels.gpkg",
        crs: str | None = "EPSG:32631",
        field: str = "kind",
        layer: str | None = None,
        **fields: object,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {field: np.array(values)} | {key: np.array(value) for key, value in fields.items()}
        columns = {key: value.astype(object) if value.dtype.kind in "OU" else value for key, value in columns.items()}
        geometry = shapely.to_wkb(np.array(list(shapes), object), include_srid=False, output_dimension=3)
        with warnings.catch_warnings():
            # Of a layer without a CRS.
            warnings.simplefilter("ignore")
            pyogrio.raw.write(
                path,
                geometry,
                list(columns.values()),
                list(columns),
                driver=formats[path.suffix],
                geometry_type="Unknown" if path.suffix != ".shp" else "Polygon",
                crs=crs,
                layer=layer,
                append=layer is not None and path.exists(),
            )
        return path

    return make


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Write a data folder in the images/labels layout and return it.

    Takes {stem: (pixels (C, H, W), codes (H, W))}; the legend has codes 10, 20 and 30, and 0 ignored.
    """

    def make(
        scenes: dict[str, tuple[np.ndarray, np.ndarray]],
        split: dict[str, list[str]] | None = None,
        name: str = "data",
        transform: Affine | None = OFF_ORIGIN,
    ) -> Path:
        root = tmp_path / name
        place = {"crs": "EPSG:32631", "transform": transform} if transform else {}
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True)
        for stem, (pixels, codes) in scenes.items():
            for folder, bands in (("images", pixels), ("labels", codes[None])):
                count, height, width = bands.shape
                shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype.name}
                with rasterio.open(root / folder / f"{stem}.tif", "w", driver="GTiff", **shape, **place) as dataset:
                    dataset.write(bands)
        names = ((10, "meadow", "#00ff00"), (20, "roof", "#dc0000"), (30, "pond", "#0000ff"))
        classes = [{"code": code, "name": label, "color": colour} for code, label, colour in names]
        (root / "legend.json").write_text(json.dumps({"name": "small", "classes": classes, "ignore": [0]}))
        if split:
            (root / "split.json").write_text(json.dumps(split))
        return root

    return make


@pytest.fixture(scope="session")
def make_segmenter() -> Callable[..., Segmenter]:
    """A segmenter whose network is a function, so that a test knows the answer.

    The function takes the image (N, C, H, W) float32 and gives logits (N, K, H, W). Unless told otherwise the image is
    the raw uint8 pixels: by 255 and times 255, mean 0, fill 0. ``segmenter.network.calls`` has the shape of each image
    it saw.
    """
    import torch

    from geoseg.legend import DEEPGLOBE
    from geoseg.models.segmenter import Segmenter, SegmenterConfig

    class FunctionNetwork(torch.nn.Module):
        def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], stride: int) -> None:
            super().__init__()
            self.function, self.stride = function, stride
            self.calls: list[tuple[int, ...]] = []

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.calls.append(tuple(image.shape))
            return self.function(image)

    def make(
        function: Callable[[torch.Tensor], torch.Tensor], stride: int = 1, bands: int = 3, **config: object
    ) -> Segmenter:
        plain = {"mean": (0.0,) * bands, "std": (1 / 255,) * bands, "fill": (0.0,) * bands, "width": 1}
        plain |= {"legend": DEEPGLOBE, "bands": bands, "window": 32, "size": config.get("window", 32)}
        segmenter = Segmenter(SegmenterConfig(**(plain | config)))
        segmenter.network = FunctionNetwork(function, stride)
        return segmenter.eval()

    return make


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set of 6 scenes of 64 px."""
    from geoseg.datasets.synthetic import write_sample

    folder = tmp_path_factory.mktemp("sample") / "sample"
    write_sample(folder, scenes=6, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def trained_run(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a narrow U-Net trained for two epochs on ``sample_folder``."""
    import geoseg

    run = tmp_path_factory.mktemp("run") / "run"
    geoseg.train(sample_folder, run, width=4, norm="batch", epochs=2, lr=1e-2, device="cpu", precision="fp32")
    return run


STAC_EXTENSION = re.compile(r"https://stac-extensions\.github\.io/([a-z]+)/v\d+\.\d+\.\d+/schema\.json")
STAC_FIELDS = {"datetime", "start_datetime", "end_datetime", "title", "description", "gsd", "bands", "href", "type"}
STAC_FIELDS |= {"roles", "data_type", "nodata"}
STAC_PREFIXES = {"proj": "projection"} | {
    name: name for name in ("classification", "file", "mlm", "processing", "raster")
}


@pytest.fixture(scope="session")
def require_stac() -> Callable[[dict[str, Any]], None]:
    """Fails unless an Item is valid by STAC 1.1's own schema, which pystac brings along, and each field of an extension
    has its extension declared, whose schemas cannot be had without the network."""
    import pystac
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()

    def require(item: dict[str, Any]) -> None:
        validator.validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
        declared = {STAC_EXTENSION.fullmatch(uri)[1] for uri in item["stac_extensions"]}
        fields = {*item["properties"], *(field for asset in item["assets"].values() for field in asset)} - STAC_FIELDS
        assert not {field for field in fields if ":" not in field}
        prefixes = {field.partition(":")[0] for field in fields} - {"geoseg"}
        # Of a model's classes, which are fields of an output.
        nested = {"classification"} & {
            field.partition(":")[0] for one in item["properties"].get("mlm:output", ()) for field in one
        }
        assert {STAC_PREFIXES[prefix] for prefix in prefixes} | nested == declared

    return require
