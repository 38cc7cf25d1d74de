"""The class raster on disk: rasterio reads back what was asked for, and a failure leaves the old file alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

import geoseg
from geoseg.errors import GeosegError, OutputError, ResourceError, UsageError
from geoseg.grid import IDENTITY, Grid, GroundControlPoint, Window
from geoseg.legend import DEEPGLOBE, NODATA, Legend, LegendClass
from geoseg.raster import writer as writer_module
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.writer import LEGEND_TAG, ClassRasterWriter, require_writable
from geoseg.tiling import blocks

UTM = CRS.from_epsg(32631)
GRID = Grid(UTM, Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25), (37, 53))
CITY = Legend("city", (LegendClass(4, "road & <path>", (90, 90, 90)), LegendClass(1, "Gebäude", (220, 0, 0))))


def codes_of(grid: Grid, seed: int = 0) -> np.ndarray:
    """Random codes of DEEPGLOBE with a corner of nodata."""
    codes = np.random.default_rng(seed).integers(0, 6, grid.shape).astype(np.uint8)
    codes[:1, :2] = NODATA
    return codes


def write(
    path: Path, grid: Grid = GRID, codes: np.ndarray | None = None, legend: Legend = DEEPGLOBE, **options: object
) -> Path:
    """Write ``codes`` (default: codes_of) block by block."""
    codes = codes_of(grid) if codes is None else codes
    with ClassRasterWriter(path, grid, legend, **options) as writer:
        for window in blocks(grid.shape, 512):
            writer.write(window, codes[window.slices])
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shape", [(37, 53), (1, 1), (1, 5000), (5000, 1), (512, 512), (513, 1100)])
def test_codes_read_back(tmp_path: Path, shape: tuple[int, int]) -> None:
    grid = Grid(UTM, GRID.transform, shape)
    with rasterio.open(write(tmp_path / "map.tif", grid)) as dataset:
        assert dataset.count == 1 and dataset.dtypes == ("uint8",) and dataset.shape == shape
        assert np.array_equal(dataset.read(1), codes_of(grid))
    assert sorted(contents(tmp_path)) == ["map.tif", "map.tif.aux.xml"]


def test_the_file_is_tiled_deflate_with_nodata_255(tmp_path: Path) -> None:
    with rasterio.open(write(tmp_path / "map.tif")) as dataset:
        assert dataset.driver == "GTiff" and dataset.block_shapes == [(512, 512)]
        assert dataset.profile["compress"] == "deflate" and dataset.nodata == 255
        assert "PREDICTOR" not in dataset.tags(ns="IMAGE_STRUCTURE")
        assert np.array_equal(dataset.read_masks(1) == 0, codes_of(GRID) == 255)


@pytest.mark.parametrize("legend", [DEEPGLOBE, CITY])
def test_the_colour_table_is_the_legend_s(tmp_path: Path, legend: Legend) -> None:
    codes = legend.encode(np.array([[0, 1], [1, 255]], np.uint8))
    with rasterio.open(write(tmp_path / "map.tif", Grid(None, IDENTITY, (2, 2)), codes, legend)) as dataset:
        table = dataset.colormap(1)
        assert dataset.colorinterp == (ColorInterp.palette,)
        assert {c.code: table[c.code] for c in legend.classes} == {c.code: (*c.colour, 255) for c in legend.classes}


def test_tags_name_the_maker_the_legend_and_the_provenance(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", tags={"GEOSEG_MODEL": "abc"})
    with rasterio.open(path) as dataset:
        tags = dataset.tags()
        assert tags["TIFFTAG_SOFTWARE"] == f"geoseg {geoseg.__version__}" and tags["GEOSEG_MODEL"] == "abc"
        assert Legend.from_dict(json.loads(tags[LEGEND_TAG])) == DEEPGLOBE
        assert not [name for name in tags if "DATETIME" in name]


@pytest.mark.parametrize(
    "transform",
    [
        GRID.transform,
        Affine(0.1, 0, 441_754.3, 0, 0.7, 5_417_386.1),
        Affine(0.4, 0.3, 441_754.5, 0.2, -0.6, 5_417_386.25),
        Affine(1 / 3, 0, -1e-7, 0, -1 / 7, 89.999),
    ],
    ids=["north up", "south up", "rotated", "fractions"],
)
def test_the_transform_is_copied_exactly(tmp_path: Path, transform: Affine) -> None:
    grid = Grid(UTM, transform, (37, 53))
    with rasterio.open(write(tmp_path / "map.tif", grid)) as dataset:
        assert dataset.transform == transform and dataset.crs == UTM
    assert Scene(tmp_path / "map.tif").grid == grid


@pytest.mark.parametrize("crs", [None, UTM, CRS.from_wkt(CRS.from_epsg(2056).to_wkt())], ids=["none", "utm", "wkt"])
def test_the_crs_is_copied_with_and_without_a_transform(tmp_path: Path, crs: CRS | None) -> None:
    for transform in (IDENTITY, GRID.transform):
        grid = Grid(crs, transform, (37, 53))
        assert Scene(write(tmp_path / "map.tif", grid, overwrite=True)).grid == grid


def test_control_points_are_copied(tmp_path: Path) -> None:
    points = [(0.0, 0.0), (0.0, 53.0), (37.0, 53.0), (18.5, 7.25)]
    gcps = tuple(GroundControlPoint(r, c, 2 + c / 9, 48 - r / 9, 10.0 + r) for r, c in points)
    grid = Grid(CRS.from_epsg(4326), IDENTITY, (37, 53), gcps)
    with rasterio.open(write(tmp_path / "map.tif", grid)) as dataset:
        written, crs = dataset.gcps
        assert [(p.row, p.col, p.x, p.y, p.z) for p in written] == [tuple(p) for p in gcps]
        assert crs == grid.crs and dataset.transform == IDENTITY
    assert Scene(tmp_path / "map.tif").grid == grid
    assert sorted(contents(tmp_path)) == ["map.tif", "map.tif.aux.xml"]


def test_control_points_without_a_crs_are_copied(tmp_path: Path) -> None:
    gcps = tuple(GroundControlPoint(r, c, 2.0 + c, 48.0 - r, 0.0) for r, c in ((0, 0), (0, 53), (37, 53)))
    assert Scene(write(tmp_path / "map.tif", Grid(None, IDENTITY, (37, 53), gcps))).grid.gcps == gcps


def test_rational_coefficients_are_copied(tmp_path: Path) -> None:
    values = {"LINE_OFF": 18.5, "SAMP_OFF": 26.25, "LAT_OFF": 48, "LONG_OFF": 5, "HEIGHT_OFF": 100}
    values |= {"LINE_SCALE": 20, "SAMP_SCALE": 30, "LAT_SCALE": 1, "LONG_SCALE": 1.5, "HEIGHT_SCALE": 500}
    terms = {f"{side}_COEFF": " ".join(map(str, np.arange(20) / 8 + i)) for i, side in enumerate(
        ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN"))}  # fmt: skip
    rpcs = tuple(sorted({name: str(value) for name, value in (values | terms).items()}.items()))
    with rasterio.open(write(tmp_path / "map.tif", Grid(None, IDENTITY, (37, 53), rpcs=rpcs))) as dataset:
        written = dataset.rpcs
    assert (written.line_off, written.samp_off, written.long_scale, written.height_scale) == (18.5, 26.25, 1.5, 500)
    assert written.samp_den_coeff == (np.arange(20) / 8 + 3).tolist()
    assert sorted(contents(tmp_path)) == ["map.tif", "map.tif.aux.xml"]


@pytest.mark.parametrize(
    ("shape", "factors"), [((512, 512), []), ((513, 100), [2]), ((100, 1025), [2, 4]), ((1, 5000), [2, 4, 8, 16])]
)
def test_overviews_shrink_the_raster_to_one_block(tmp_path: Path, shape: tuple[int, int], factors: list[int]) -> None:
    with rasterio.open(write(tmp_path / "map.tif", Grid(None, IDENTITY, shape))) as dataset:
        assert dataset.overviews(1) == factors


def most_frequent(codes: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent of each factor x factor codes, and where no other is as frequent; NODATA counts for nothing."""
    height, width = (-(-length // factor) for length in codes.shape)
    whole = np.full((height * factor, width * factor), NODATA, np.uint8)
    whole[: codes.shape[0], : codes.shape[1]] = codes
    parts = whole.reshape(height, factor, width, factor).swapaxes(1, 2).reshape(height, width, -1)
    counts = np.stack([(parts == code).sum(-1) for code in range(6)])
    first, second = np.sort(counts, 0)[:-3:-1]
    return np.where(first > 0, counts.argmax(0), NODATA).astype(np.uint8), (first > second) | (first == 0)


def test_each_overview_holds_the_most_frequent_class_of_its_pixels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    grid = Grid(UTM, GRID.transform, (2048, 4096))
    codes = np.kron(random.integers(0, 6, (128, 256)).astype(np.uint8), np.ones((16, 16), np.uint8))
    noise = random.random(codes.shape) < 0.3
    codes[noise] = random.integers(0, 6, noise.sum())
    codes[:700, :900] = NODATA
    path = write(tmp_path / "map.tif", grid, codes)
    for level, factor in enumerate([2, 4, 8]):
        expected, clear = most_frequent(codes, factor)
        with rasterio.open(path, overview_level=level) as overview:
            assert np.array_equal(overview.read(1)[clear], expected[clear]) and clear.mean() > 0.5


def test_an_overview_that_does_not_read_back_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = ClassRasterWriter._build_overviews

    def spoil(self: ClassRasterWriter) -> None:
        build(self)
        with rasterio.open(self._partial, "r+", overview_level=0) as dataset:
            dataset.write(np.full((1, 1), 6, np.uint8), 1, window=Window(9, 9, 1, 1).to_rasterio())

    monkeypatch.setattr(ClassRasterWriter, "_build_overviews", spoil)
    with pytest.raises(ResourceError, match="does not read back"):
        write(tmp_path / "map.tif", Grid(UTM, GRID.transform, (600, 600)))
    assert contents(tmp_path) == {}


def test_a_sparse_raster_takes_room_and_time_for_what_is_written_only(tmp_path: Path) -> None:
    grid, path = Grid(UTM, GRID.transform, (60_000, 50_000)), tmp_path / "map.tif"
    island, codes = Window(20_480, 10_240, 512, 1024), np.full((512, 1024), 3, np.uint8)
    with ClassRasterWriter(path, grid, DEEPGLOBE) as writer:
        writer.write(island, codes)
        writer.skip(Window(0, 0, 20_480, 50_000))
        writer.skip(Window(20_480, 0, 512, 10_240))
        writer.skip(Window(20_480, 11_264, 512, 50_000 - 11_264))
        writer.skip(Window(20_992, 0, 60_000 - 20_992, 50_000))
    assert path.stat().st_size < 1_000_000
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1, window=island.to_rasterio()), codes)
        assert dataset.overviews(1) == [2, 4, 8, 16, 32, 64, 128]
    for level, factor in ((0, 2), (3, 16), (6, 128)):
        with rasterio.open(path, overview_level=level) as overview:
            seen = overview.read(1) == 3
            rows, cols = np.nonzero(seen)
            assert (rows.min(), cols.min()) == (20_480 // factor, 10_240 // factor)
            # Where the sides are no multiple of the factor a pixel may touch the island with its edge.
            assert 0 <= seen.sum() - codes.size // factor**2 <= 512 // factor + 1024 // factor + 1


def test_overviews_hold_the_most_frequent_class(tmp_path: Path) -> None:
    codes = np.tile(np.array([[3, 1], [3, 3]], np.uint8), (300, 300))
    codes[:200] = np.tile(np.array([[0, 5], [5, 5]], np.uint8), (100, 300))
    path = write(tmp_path / "map.tif", Grid(None, IDENTITY, (600, 600)), codes)
    with rasterio.open(path, overview_level=0) as overview:
        assert overview.shape == (300, 300)
        assert (overview.read(1)[:100] == 5).all() and (overview.read(1)[100:] == 3).all()


# The sidecar


def test_the_sidecar_names_the_classes_by_code(tmp_path: Path) -> None:
    codes = np.array([[4, 4, 1], [255, 4, 4]], np.uint8)
    path = write(tmp_path / "map.tif", Grid(None, IDENTITY, (2, 3)), codes, CITY)
    band = ElementTree.parse(f"{path}.aux.xml").getroot().find("PAMRasterBand")
    assert band.get("band") == "1"
    assert [entry.text or "" for entry in band.find("CategoryNames")] == ["", "Gebäude", "", "", "road & <path>"]


def test_the_sidecar_holds_an_attribute_table(tmp_path: Path) -> None:
    codes = np.array([[4, 4, 1], [255, 4, 4]], np.uint8)
    path = write(tmp_path / "map.tif", Grid(None, IDENTITY, (2, 3)), codes, CITY)
    table = ElementTree.parse(f"{path}.aux.xml").getroot().find("PAMRasterBand/GDALRasterAttributeTable")
    fields = " ".join(f"{field.findtext('Name')}:{field.findtext('Usage')}" for field in table.findall("FieldDefn"))
    assert table.get("tableType") == "thematic"
    assert fields == "Value:5 Class:2 Red:6 Green:7 Blue:8 Alpha:9 Count:1"
    rows = [[f.text for f in row] for row in table.findall("Row")]
    assert rows == [
        ["1", "Gebäude", "220", "0", "0", "255", "1"],
        ["4", "road & <path>", "90", "90", "90", "255", "4"],
    ]


def test_an_old_sidecar_is_replaced(tmp_path: Path) -> None:
    sidecar = tmp_path / "map.tif.aux.xml"
    sidecar.write_text("<PAMDataset><Metadata><MDI key='age'>old</MDI></Metadata></PAMDataset>")
    write(tmp_path / "map.tif")
    assert "old" not in sidecar.read_text() and "water" in sidecar.read_text()


def test_gdal_takes_the_sidecar_for_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif")
    with rasterio.open(path) as dataset:
        assert [Path(name).name for name in dataset.files] == ["map.tif", "map.tif.aux.xml"]


# Round trips


def test_a_map_reads_back_as_the_indices_it_was_made_from(tmp_path: Path) -> None:
    index = np.random.default_rng(1).choice([0, 1, 255], (37, 53)).astype(np.uint8)
    path = write(tmp_path / "map.tif", GRID, CITY.encode(index), CITY)
    assert np.array_equal(Labels(path, CITY).read(), index)


def test_written_twice_it_is_the_same_to_the_byte(tmp_path: Path) -> None:
    grid = Grid(UTM, GRID.transform, (600, 700))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "map.tif", grid, tags={"GEOSEG_MODEL": "abc"})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_pixels_are_counted_by_code(tmp_path: Path) -> None:
    grid = Grid(None, IDENTITY, (600, 700))
    codes = codes_of(grid)
    with ClassRasterWriter(tmp_path / "map.tif", grid, DEEPGLOBE) as writer:
        for window in blocks(grid.shape, 512):
            writer.write(window, codes[window.slices])
    assert np.array_equal(writer.counts, np.bincount(codes.ravel(), minlength=256))


# Refusals and failures


def test_an_existing_output_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"map.tif: exists; --overwrite") as caught:
        write(path, codes=np.zeros((37, 53), np.uint8))
    assert contents(tmp_path) == before and caught.value.exit_code == 5
    write(path, codes=np.zeros((37, 53), np.uint8), overwrite=True)
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == 0).all()


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with pytest.raises(OutputError, match="exists"):
        with ClassRasterWriter(path, GRID, DEEPGLOBE) as writer:
            writer.write(GRID.window, codes_of(GRID))
            path.write_text("another's")
    assert contents(tmp_path) == {"map.tif": b"another's"}


@pytest.mark.parametrize("existing", [False, True])
def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path, existing: bool) -> None:
    if existing:
        write(tmp_path / "map.tif")
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError):
        with ClassRasterWriter(tmp_path / "map.tif", GRID, DEEPGLOBE, overwrite=True) as writer:
            writer.write(GRID.window, np.zeros((37, 53), np.uint8))
            assert len(contents(tmp_path)) == len(before) + 1
            raise ZeroDivisionError
    assert contents(tmp_path) == before


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif")
    before = path.read_bytes()
    with ClassRasterWriter(path, GRID, DEEPGLOBE, overwrite=True) as writer:
        writer.write(GRID.window, np.zeros((37, 53), np.uint8))
        assert path.read_bytes() == before
    assert path.read_bytes() != before


def test_what_killed_processes_left_is_swept_and_what_others_write_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [f".map.tif.{process}.partial.tif" for process in (gone.pid, 10**30, os.getppid(), 1)]
    others = [".other.tif.1.partial.tif", ".map.tif.me.partial.tif"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    write(tmp_path / "map.tif")
    assert {*left, *others} & {path.name for path in tmp_path.iterdir()} == {*left[2:], *others}


def test_an_error_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: ClassRasterWriter) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ClassRasterWriter, "_describe", full)
    with pytest.raises(ResourceError, match="disk full"):
        write(tmp_path / "map.tif")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("step", ["_build_overviews", "_verify"])
def test_a_disk_that_fills_up_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(self: ClassRasterWriter) -> None:
        raise OSError(28, "No space left on device")

    path = write(tmp_path / "map.tif")
    before = contents(tmp_path)
    monkeypatch.setattr(ClassRasterWriter, step, full)
    with pytest.raises(ResourceError, match=r"map.tif: could not be written.*No space left"):
        write(path, codes=np.zeros((37, 53), np.uint8), overwrite=True)
    assert contents(tmp_path) == before


FULL_DISK = """
import resource, signal, sys
import numpy as np
from geoseg.errors import ResourceError
from geoseg.grid import IDENTITY, Grid, Window
from geoseg.legend import DEEPGLOBE
from geoseg.raster.writer import ClassRasterWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
grid = Grid(None, IDENTITY, (1024, 1024))
codes = np.random.default_rng(0).integers(0, 6, grid.shape).astype(np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with ClassRasterWriter(sys.argv[1], grid, DEEPGLOBE, overwrite=True) as writer:
        writer.write(grid.window, codes)
except ResourceError as error:
    print(error)
    sys.exit(error.exit_code)
"""
"""Writes some 400 kB, and their overviews, where no file may be longer than the second argument."""


@pytest.mark.parametrize("limit", [300, 200_000, 400_000])
def test_a_full_disk_leaves_no_target(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "map.tif"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert contents(tmp_path) == {}
    assert "map.tif: " in done.stdout and "is the disk full?" in done.stdout and done.returncode == 7


def test_what_does_not_read_back_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(self: ClassRasterWriter) -> None:
        with rasterio.open(self._partial, "r+") as dataset:
            dataset.write(np.zeros((1, 1), np.uint8), 1, window=Window(36, 52, 1, 1).to_rasterio())

    monkeypatch.setattr(ClassRasterWriter, "_build_overviews", spoil)
    with pytest.raises(ResourceError, match="does not read back"):
        write(tmp_path / "map.tif", codes=np.ones((37, 53), np.uint8))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("window", [Window(1, 0, 36, 53), Window(0, 256, 512, 10)])
def test_windows_begin_on_block_borders(tmp_path: Path, window: Window) -> None:
    with pytest.raises(UsageError, match="block border"):
        with ClassRasterWriter(tmp_path / "map.tif", Grid(None, IDENTITY, (600, 600)), DEEPGLOBE) as writer:
            writer.write(window, np.zeros(window.shape, np.uint8))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "codes", [np.zeros((10, 10), np.uint8), np.zeros((53, 37), np.uint8), np.ones((37, 53), np.int64)], ids=str
)
def test_codes_of_another_shape_or_dtype_are_never_kept(tmp_path: Path, codes: np.ndarray) -> None:
    with pytest.raises(GeosegError):
        write(tmp_path / "map.tif", codes=codes)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["map.png", "map", "map.tif.zip"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"end in .tif"):
        require_writable(tmp_path / name, overwrite=True)


@pytest.mark.parametrize("name", ["map.tif", "MAP.TIFF"])
def test_a_free_place_is_writable(tmp_path: Path, name: str) -> None:
    require_writable(tmp_path / name, overwrite=False)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match="a folder is in the place"):
        require_writable(tmp_path / "folder.tif", overwrite=True)
    with pytest.raises(OutputError, match="no such folder"):
        require_writable(tmp_path / "missing" / "map.tif", overwrite=False)
    monkeypatch.setattr(writer_module.os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no right to write"):
        require_writable(tmp_path / "map.tif", overwrite=False)
