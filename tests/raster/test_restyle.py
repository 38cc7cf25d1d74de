"""geoseg.restyle: other legends for maps, without touching more than must be."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

import geoseg
from geoseg.errors import InputError, OutputError, ResourceError, UsageError
from geoseg.grid import Grid, Window
from geoseg.legend import NODATA, Legend, LegendClass
from geoseg.raster import restyle as module
from geoseg.raster.labels import LEGEND_TAG
from geoseg.raster.writer import ClassRasterWriter

OLD = Legend(
    "old",
    (LegendClass(0, "town", (255, 0, 0)), LegendClass(1, "wood", (0, 99, 0)), LegendClass(2, "lake", (0, 0, 255))),
)
RECOLOURED = Legend(
    "bright",
    (LegendClass(0, "town", (1, 2, 3)), LegendClass(1, "wood", (4, 5, 6)), LegendClass(2, "lake", (7, 8, 9), "water")),
)
RECODED = Legend(
    "tens",
    (LegendClass(30, "lake", (0, 0, 255)), LegendClass(10, "town", (255, 0, 0)), LegendClass(20, "wood", (0, 99, 0))),
)
RENAMED = Legend(
    "german",
    (LegendClass(0, "Stadt", (255, 0, 0)), LegendClass(1, "Wald", (0, 99, 0)), LegendClass(2, "lake", (0, 0, 255))),
)
SWAPPED = Legend(
    "swapped",
    (LegendClass(0, "wood", (255, 0, 0)), LegendClass(1, "town", (0, 99, 0)), LegendClass(2, "See", (0, 0, 255))),
)
GRID = Grid(CRS.from_epsg(32631), Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25), (530, 737))


def codes() -> np.ndarray:
    found = np.random.default_rng(0).integers(0, 3, GRID.shape).astype(np.uint8)
    found[:40, :30] = NODATA
    return found


@pytest.fixture
def make_map(tmp_path: Path) -> Callable[..., Path]:
    def make(**options: object) -> Path:
        with ClassRasterWriter(tmp_path / "map.tif", GRID, OLD, {"GEOSEG_MODEL": "abc"}, True, **options) as writer:
            writer.write(Window(0, 0, *GRID.shape), codes())
        return tmp_path / "map.tif"

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table_of(path: Path) -> list[list[str]]:
    table = ElementTree.parse(f"{path}.aux.xml").getroot().find("PAMRasterBand/GDALRasterAttributeTable")
    return [[field.text for field in row] for row in table.findall("Row")]


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("new", [RECOLOURED, RECODED, RENAMED], ids=lambda legend: legend.name)
@pytest.mark.parametrize("cog", [False, True])
def test_pixels_keep_their_classes(make_map, tmp_path, new, in_place, cog) -> None:
    path = make_map(cog=cog)
    before, output = path.read_bytes(), path if in_place else tmp_path / "new.tif"
    found = geoseg.restyle(path, new, None if in_place else output)
    expected = codes()
    if new is RECODED:
        expected = np.array([10, 20, 30, *[NODATA] * 253], np.uint8)[codes()]
    with rasterio.open(output) as dataset:
        assert np.array_equal(dataset.read(1), expected) and dataset.nodata == NODATA
        table, tags = dataset.colormap(1), dataset.tags()
        assert {c.code: table[c.code][:3] for c in new.classes} == {c.code: c.colour for c in new.classes}
        assert (dataset.crs, dataset.transform) == (GRID.crs, GRID.transform) and dataset.overviews(1) == [2]
    assert Legend.from_dict(json.loads(tags[LEGEND_TAG])) == new and tags["GEOSEG_MODEL"] == "abc"
    (record,) = json.loads(tags["GEOSEG_RESTYLED"])
    assert Legend.from_dict(record["from"]) == OLD and record["to"] == new.name
    assert record.get("codes") == ({"0": 10, "1": 20, "2": 30} if new is RECODED else None)
    assert found.kept_codes == (new is not RECODED)
    rows = {row[1]: (int(row[0]), int(row[6])) for row in table_of(output)}
    assert rows == {c.name: (c.code, int((expected == c.code).sum())) for c in new.classes}
    with rasterio.open(output, overview_level=0) as overview:
        assert overview.colormap(1)[new.classes[0].code][:3] == new.classes[0].colour
    if cog:
        assert cog_validate(output, strict=True, quiet=True)[0]
    if not in_place:
        assert path.read_bytes() == before


def test_where_codes_stay_pixels_are_not_written_again(make_map, monkeypatch) -> None:
    monkeypatch.setattr(module, "ClassRasterWriter", None)
    geoseg.restyle(make_map(), RECOLOURED)
    with pytest.raises(TypeError):
        geoseg.restyle(make_map(), RECODED)


def test_there_and_back_again(make_map) -> None:
    path = make_map()
    geoseg.restyle(path, RECODED)
    geoseg.restyle(path, OLD)
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), codes())
        assert [entry["to"] for entry in json.loads(dataset.tags()["GEOSEG_RESTYLED"])] == ["tens", "old"]


def test_without_a_legend_the_sidecar_is_made_anew(make_map) -> None:
    path = make_map()
    whole = contents(path.parent)
    Path(f"{path}.aux.xml").unlink()
    geoseg.restyle(path)
    assert contents(path.parent)["map.tif.aux.xml"] == whole["map.tif.aux.xml"]
    with rasterio.open(path) as dataset:
        assert "GEOSEG_RESTYLED" not in dataset.tags()


def test_a_mapping_joins_classes_and_leaves_some_out(make_map, tmp_path) -> None:
    two = Legend("two", (LegendClass(5, "dry", (9, 9, 9)), LegendClass(6, "lake", (0, 0, 255))))
    (tmp_path / "mapping.json").write_text(json.dumps({"town": "dry", "wood": None}))
    path = make_map()
    found = geoseg.restyle(path, two, mapping=tmp_path / "mapping.json")
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), np.array([5, NODATA, 6, *[NODATA] * 253], np.uint8)[codes()])
    assert found.to_dict()["codes"] == {"0": 5, "1": None, "2": 6} and "1 to no data" in found.to_text()


def test_a_raster_without_a_legend_is_given_one(tmp_path, make_raster) -> None:
    pixels = np.array([[0, 1, 2], [2, 7, 1]], np.uint8)
    path = make_raster(pixels, nodata=7)
    with pytest.raises(InputError, match="carries no legend in its tags"):
        geoseg.restyle(path, output=tmp_path / "new.tif")
    with pytest.raises(InputError, match="which are 0, 1, 2; the legend 'tens' has 10, 20, 30"):
        geoseg.restyle(path, RECODED, tmp_path / "new.tif")
    geoseg.restyle(path, OLD, tmp_path / "new.tif")
    with rasterio.open(tmp_path / "new.tif") as dataset:
        assert dataset.read(1).tolist() == [[0, 1, 2], [2, NODATA, 1]]
    assert [row[1] for row in table_of(tmp_path / "new.tif")] == ["town", "wood", "lake"]


@pytest.mark.parametrize(
    ("legend", "options", "kind", "said"),
    [
        (SWAPPED, {}, InputError, "has no class lake; say what becomes of it with --mapping"),
        (RECODED, {"mapping": {"tower": "town"}}, UsageError, "names 'tower'; the legend 'old' has town, wood, lake"),
        (RECODED, {"mapping": {"town": "tower"}}, UsageError, "names 'tower'; the legend 'tens'"),
        ("missing.json", {}, InputError, "no such legend file"),
        (RECODED, {"output": "map.tif"}, OutputError, "exists"),
        (RECODED, {"output": "map.tif", "overwrite": True}, UsageError, "is the map itself"),
        (RECODED, {"output": "none/map.tif"}, OutputError, "no such folder"),
        (RECODED, {"output": "map.png"}, UsageError, "end in .tif"),
    ],
    ids=str,
)
def test_refusals_leave_the_map_as_it_was(make_map, tmp_path, legend, options, kind, said) -> None:
    path = make_map()
    before = contents(tmp_path)
    options = options | ({"output": tmp_path / options["output"]} if "output" in options else {})
    with pytest.raises(kind, match=said):
        geoseg.restyle(path, legend, **options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("new", [RECOLOURED, RECODED], ids=lambda legend: legend.name)
def test_a_failure_leaves_the_map_as_it_was(make_map, monkeypatch, tmp_path, new) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    path = make_map()
    before = contents(tmp_path)
    monkeypatch.setattr("geoseg.raster.writer._flush", full)
    with pytest.raises(ResourceError, match="No space left"):
        geoseg.restyle(path, new)
    assert contents(tmp_path) == before


def test_pixels_that_are_no_codes_are_refused(make_raster, tmp_path) -> None:
    with pytest.raises(InputError, match="one band of uint8 codes, this one 3 of uint8"):
        geoseg.restyle(make_raster(), OLD, tmp_path / "new.tif")


def test_a_map_behind_a_link_keeps_its_rights_and_the_link(make_map, tmp_path) -> None:
    path = make_map()
    path.chmod(0o600)
    link = tmp_path / "link.tif"
    link.symlink_to(path)
    geoseg.restyle(link, RECOLOURED)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    with geoseg.Scene(path) as scene:
        assert scene.colour_table[0] == RECOLOURED.classes[0].colour


def test_a_history_that_is_damaged_begins_anew_and_is_told(make_map, caplog) -> None:
    path = make_map()
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(GEOSEG_RESTYLED="[{")
    geoseg.restyle(path, RECOLOURED)
    assert "its tag GEOSEG_RESTYLED is damaged" in caplog.text
    with rasterio.open(path) as dataset:
        assert len(json.loads(dataset.tags()["GEOSEG_RESTYLED"])) == 1


def test_the_style_for_qgis(make_map) -> None:
    path = make_map()
    geoseg.restyle(path, RECOLOURED, qml=True)
    entries = ElementTree.parse(path.with_suffix(".qml")).getroot().iter("paletteEntry")
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in entries] == [
        ("0", "town", "#010203"), ("1", "wood", "#040506"), ("2", "lake", "#070809")
    ]  # fmt: skip


def test_a_stac_item_that_no_longer_tells_the_truth_is_named(make_map, caplog) -> None:
    path = make_map()
    item = path.with_suffix(".json")
    item.write_text("{}")
    with caplog.at_level("INFO", "geoseg"):
        geoseg.restyle(path, RECOLOURED)
    assert f"{item}: is left as it was" in caplog.text and item.read_text() == "{}"
