"""Real rasters of many kinds: predict ends in a map on exactly the input's grid, or in one clear line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from geoseg_cli.main import cli

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
VARIETY = sorted(path for path in DATA.glob("geotiff_variety/*") if path.suffix in (".tif", ".jpg", ".vrt"))
KOREA = DATA / "sentinel2_korea"

pytestmark = pytest.mark.skipif(not VARIETY, reason="the rasters in ../shared/data are not there")

REFUSED = {
    "RGBA.uint16.tif": "uint16",
    "all-nodata.tif": "4 band(s)",
    "byte.tif": "1 band(s)",
    "corrupt.tif": "damaged",
    "float.tif": "1 band(s)",
    "float32.tif": "1 band(s)",
    "float_nan.tif": "1 band(s)",
    "float_raster_with_extra_nodata.tif": "1 band(s)",
    "float_raster_with_nodata.tif": "1 band(s)",
    "landsat8_reflectance_float32.tif": "1 band(s)",
    "naip_2014.tif": "--bands 1,2,3",
    "rotated.tif": "1 band(s)",
    "shade.tif": "1 band(s)",
    "test_esri_wkt.tif": "1 band(s)",
    "world.byte.tif": "1 band(s)",
}
"""What a model of three uint8 bands cannot take, and what the message says."""


def predict(scene: Path, output: Path, model: Path, *more: str) -> Result:
    words = ["predict", str(scene), "-o", str(output), "--model", str(model), "--window", "256", *more]
    return CliRunner().invoke(cli, words)


def place(point: GroundControlPoint) -> tuple[float, ...]:
    """What a GeoTIFF keeps of a control point; it has no field for names."""
    return point.row, point.col, point.x, point.y, point.z


def require_same_grid(path: Path, like: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as made, rasterio.open(like) as scene:
            assert (made.shape, made.transform, made.nodata) == (scene.shape, scene.transform, 255)
            points, points_crs = scene.gcps
            assert [place(point) for point in made.gcps[0]] == [place(point) for point in points]
            if not points:
                assert made.crs == scene.crs
            elif like.name != "compdcs.vrt":  # its vertical datum "unknown" gets another name in a GeoTIFF
                assert made.gcps[1] == points_crs
            rpcs, made_rpcs = scene.tags(ns="RPC"), made.tags(ns="RPC")
            assert rpcs.keys() == made_rpcs.keys()
            for name, value in rpcs.items():
                ours, theirs = (np.array(text.split(), float) for text in (made_rpcs[name], value))
                np.testing.assert_allclose(ours, theirs, rtol=1e-12)
            assert ((made.read(1) == 255) == (scene.dataset_mask() == 0)).all()


@pytest.mark.parametrize("scene", VARIETY, ids=lambda path: path.name)
def test_a_map_on_the_same_grid_or_one_clear_line(scene: Path, trained_run: Path, tmp_path: Path) -> None:
    done = predict(scene, tmp_path / "map.tif", trained_run)
    assert "Traceback" not in done.stderr
    if scene.name in REFUSED:
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("geoseg: "))
        assert done.exit_code == 3 and REFUSED[scene.name] in line and scene.name in line
        assert not list(tmp_path.iterdir())
    else:
        assert done.exit_code == 0, done.stderr
        require_same_grid(tmp_path / "map.tif", scene)


def test_chosen_bands(trained_run: Path, tmp_path: Path) -> None:
    scene = DATA / "geotiff_variety" / "naip_2014.tif"
    done = predict(scene, tmp_path / "map.tif", trained_run, "--bands", "4,1,2")
    assert done.exit_code == 0, done.stderr
    require_same_grid(tmp_path / "map.tif", scene)


def test_sentinel2_train_predict_score(tmp_path: Path) -> None:
    """One epoch is enough to show that real labels go all the way; the figures mean nothing."""
    import geoseg

    run = tmp_path / "run"
    options = {"window": 128, "steps": 6, "encoder": "resnet18", "encoder_weights": "none", "norm": "batch"}
    model = geoseg.train(KOREA, run, **options)
    assert model.config.gsd == pytest.approx(10, rel=0.01) and model.config.bands == 3
    for stem in ("patch_02", "patch_18"):
        geoseg.predict(KOREA / "images" / f"{stem}.tif", model, tmp_path / f"{stem}.tif")
        require_same_grid(tmp_path / f"{stem}.tif", KOREA / "images" / f"{stem}.tif")
    (tmp_path / "maps").mkdir()
    for path in tmp_path.glob("patch_*.tif"):
        path.rename(tmp_path / "maps" / path.name)
    report = geoseg.score(tmp_path / "maps", KOREA / "labels")
    assert list(report.iou) == ["building", "road", "field", "forest", "background"]
    assert len(report.matrices) == 2 and report.matrix.total == 2 * 512 * 512
