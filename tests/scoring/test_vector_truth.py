"""Scoring against polygons and points: the figures of their raster, and what is said or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from PIL import Image

from geoseg.errors import GridMismatch, InputError, UsageError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.points import read_points, write_points
from geoseg.reporting.worst import find_image, read_views, worst_scenes, worst_windows
from geoseg.reporting.write import write_report
from geoseg.scoring.compare import compare
from geoseg.scoring.design import design_sample
from geoseg.scoring.estimate import estimate_areas
from geoseg.scoring.report import Report
from geoseg.scoring.score import score
from geoseg.source import Source

MakeRaster = Callable[..., Path]
MakeVector = Callable[..., Path]
LAND = Legend("land", tuple(LegendClass(code, f"c{code}", (code, 0, 0)) for code in (3, 7, 9, 12)), ignore=(12,))
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
BESIDE = OFF_ORIGIN @ Affine.translation(53, 0)
TURNED = Affine.translation(441_754.5, 5_417_386.25) @ Affine.rotation(31) @ Affine.scale(0.5, -0.75)
BURNT = "1 pair(s): vector truth burnt onto the map's own grid, each pixel by its centre"
SAME = "1 pair(s): same grid, pixel by pixel"


def patches(seed: int) -> np.ndarray:
    """(37, 53) uint8 patches of the codes of LAND, 255 where there is none."""
    drawn = np.random.default_rng(seed).choice([3, 7, 9, 12, 255], (10, 14))
    return drawn.repeat(4, 0).repeat(4, 1)[:37, :53].astype(np.uint8)


def outlines(*paths: Path, to: str = "EPSG:32631") -> tuple[list[shapely.Polygon], list[str]]:
    """The polygons of rasters, named by their classes, in another CRS."""
    shapes, values = [], []
    way = pyproj.Transformer.from_crs("EPSG:32631", to, always_xy=True)
    for path in paths:
        with rasterio.open(path) as dataset:
            found = rasterio.features.shapes(dataset.read(1), dataset.read_masks(1), transform=dataset.transform)
        for shape, value in found:
            moved = shapely.transform(shapely.geometry.shape(shape), lambda xy: np.column_stack(way.transform(*xy.T)))
            shapes.append(moved)
            values.append(f"c{int(value)}")
    return shapes, values


def without_names(report: Report) -> dict:
    """The record of a report less what tells its files apart."""
    record = report.to_dict()
    scenes = [{**scene, "alignment": "", "prediction": ""} for scene in record.pop("scenes").values()]
    return {**record, "scenes": scenes, "provenance": {}, "notes": []}


@pytest.fixture
def folders(make_raster: MakeRaster, tmp_path: Path) -> Path:
    """Maps, their truths and images of two scenes beside each other."""
    for number, (stem, transform) in enumerate((("a", OFF_ORIGIN), ("b", BESIDE))):
        make_raster(patches(number), f"maps/{stem}.tif", transform=transform, nodata=255)
        make_raster(patches(number + 7), f"truths/{stem}.tif", transform=transform, nodata=255)
        make_raster(name=f"images/{stem}.tif", transform=transform)
    return tmp_path


@pytest.mark.parametrize("transform", [OFF_ORIGIN, TURNED])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326", "EPSG:3857"])
def test_polygons_score_as_their_raster(
    crs: str, transform: Affine, make_raster: MakeRaster, make_vector: MakeVector
) -> None:
    maps, truth = (
        make_raster(patches(i), f"{name}.tif", transform=transform, nodata=255) for i, name in enumerate(("m", "t"))
    )
    vector = make_vector(*outlines(truth, to=crs), crs=crs)
    asked = {"boundary": 1.5, "block": 10, "details": True}
    expected, found = score(maps, truth, LAND, **asked), score(maps, vector, LAND, label_field="kind", **asked)
    assert without_names(found) == without_names(expected)
    assert found.notes == (BURNT,) and expected.notes == (SAME,)
    (pair,) = found.pairs.values()
    assert pair.overlap == 1 and pair.contested == 0 and not pair.pointwise
    assert np.array_equal(pair.blocks.counts, next(iter(expected.pairs.values())).blocks.counts)


@pytest.mark.parametrize("driver", ["PNG", "GTiff"])
def test_maps_without_a_place_take_layers_without_one(
    driver: str, make_raster: MakeRaster, make_vector: MakeVector
) -> None:
    maps, truth = (
        make_raster(patches(i), f"{name}.tif", transform=None, crs=None, nodata=255, driver=driver)
        for i, name in enumerate(("m", "t"))
    )
    vector = make_vector(*outlines(truth), crs=None)
    assert score(maps, vector, LAND).matrix == score(maps, truth, LAND).matrix


def test_what_no_polygon_covers_is_not_scored(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    maps = make_raster(np.full((37, 53), 3, np.uint8), "m.tif")
    corner = OFF_ORIGIN @ (10, 10)
    # Ten pixels down and five right, less a hole of two by two.
    square = shapely.box(corner[0], corner[1] - 7.5, corner[0] + 2.5, corner[1])
    hole = shapely.box(corner[0] + 0.5, corner[1] - 2.25, corner[0] + 1.5, corner[1] - 0.75)
    report = score(maps, make_vector([square - hole, square & hole, None], ["c3", "c12", "c7"]), LAND)
    assert report.matrix.total == 46 and report.pixel_accuracy == 1
    record = report.to_dict()
    assert record["left_out"]["unlabelled_or_ignored"] == 37 * 53 - 46
    assert report.hectares.sum() == pytest.approx(46 * 0.5 * 0.75 / 10_000, rel=0.01)


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_one_file_for_a_folder_of_maps_and_a_folder_of_files(
    folders: Path, make_vector: MakeVector, suffix: str
) -> None:
    truths = [folders / f"truths/{stem}.tif" for stem in "ab"]
    one = make_vector(*outlines(*truths))
    for path in truths:
        make_vector(*outlines(path), f"each/{path.stem}{suffix}.gpkg")
    expected = score(folders / "maps", folders / "truths", LAND, draws=1000)
    shared = score(folders / "maps", one, LAND, draws=1000)
    each = score(folders / "maps", folders / "each", LAND, draws=1000)
    assert without_names(shared) == without_names(expected) == without_names(each)
    assert list(shared.pairs) == [f"{one} (a)", f"{one} (b)"]
    assert list(each.pairs) == [str(folders / f"each/{stem}{suffix}.gpkg") for stem in "ab"]
    assert shared.notes == (BURNT.replace("1", "2"),)


def test_maps_that_the_one_file_does_not_label_are_left_out_and_said(folders: Path, make_vector: MakeVector) -> None:
    one = make_vector(*outlines(folders / "truths/b.tif"))
    report = score(folders / "maps", one, LAND)
    assert report.matrix == score(folders / "maps/b.tif", folders / "truths/b.tif", LAND).matrix
    assert f"{folders / 'maps'}: 1 file(s) without a partner left out (a)" in report.notes
    with pytest.raises(GridMismatch, match=r"labels.gpkg: nothing of it lies on .*a.tif .*is its CRS right"):
        score(folders / "maps/a.tif", one, LAND)
    nowhere = make_vector([shapely.box(0, 0, 1, 1)], ["c3"], "nowhere.gpkg")
    with pytest.raises(GridMismatch, match="nothing of it lies on any of the 2 maps"):
        score(folders / "maps", nowhere, LAND)


def test_two_maps_are_compared_on_one_file(folders: Path, make_vector: MakeVector) -> None:
    one = make_vector(*outlines(*(folders / f"truths/{stem}.tif" for stem in "ab")))
    args = folders / "maps", folders / "truths"
    found = compare(*args, one, LAND, label_field="kind", draws=1000)
    expected = compare(*args, folders / "truths", LAND, draws=1000)
    assert found.overall == expected.overall and found.classes == expected.classes


def test_shapes_of_several_classes_are_counted_and_the_last_one_is_scored(
    make_raster: MakeRaster, make_vector: MakeVector
) -> None:
    maps = make_raster(np.full((37, 53), 7, np.uint8), "m.tif")
    x, y = OFF_ORIGIN @ (10, 10)
    path = make_vector([shapely.box(x, y - 7.5, x + 5, y), shapely.box(x, y - 3.75, x + 5, y)], ["c3", "c7"])
    report = score(maps, path, LAND)
    assert report.matrix.support.tolist() == [50, 50, 0, 0] and report.pixel_accuracy == 0.5
    assert f"{path}: 50 pixels lie in shapes of several classes; the last one in the file counts" in report.notes


def test_each_point_scores_its_pixel(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    maps = make_raster(patches(3), "m.tif", nodata=255)
    with rasterio.open(maps) as dataset:
        codes = dataset.read(1)
    rows, cols = np.nonzero(np.isin(codes, (3, 7, 9)))
    chosen = np.random.default_rng(0).permutation(len(rows))[:40]
    rows, cols = rows[chosen], cols[chosen]
    values = codes[rows, cols].astype(int)
    values[:5] = 3
    inside = [shapely.Point(*(OFF_ORIGIN @ at)) for at in zip(cols + 0.9, rows + 0.1, strict=True)]
    outside = [shapely.Point(*(OFF_ORIGIN @ at)) for at in ((60, 3), (-0.1, 5))]
    path = make_vector([*inside, *outside, inside[0]], [*values, 7, 7, 3])
    report = score(maps, path, LAND, block=8, draws=1000)
    assert report.matrix.total == 40 and report.matrix.hits.sum() == (values == codes[rows, cols]).sum()
    assert f"{path}: 2 of 43 points lie outside of the scene" in report.notes
    assert next(iter(report.pairs.values())).pointwise and len(next(iter(report.pairs.values())).blocks.windows) > 5


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".csv"])
def test_points_of_geoseg_design_are_a_truth_too(ending: str, make_raster: MakeRaster, tmp_path: Path) -> None:
    maps = make_raster(patches(3), "m.tif", nodata=255)
    sample = tmp_path / f"points{ending}"
    design_sample(maps, sample, LAND, size=60, allocation="equal")
    with pytest.raises(InputError, match="'reference' gives none of the 60 features a class"):
        score(maps, sample, LAND)
    points = read_points(sample)
    labels = points.columns["code"].astype(object).astype(str).astype(object)
    labels[:7] = "c3"
    write_points(points.with_columns(reference=labels), sample)
    report, area = score(maps, sample, LAND), estimate_areas(maps, sample, LAND)
    # Both lay the same points on the same pixels.
    assert np.array_equal(report.matrix.counts[:3, :3].T, area.counts)
    assert any("drawn by class" in note and "geoseg area" in note for note in report.notes)


def test_boundaries_need_polygons_that_touch(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    maps = make_raster(patches(3), "m.tif", nodata=255)
    x, y = OFF_ORIGIN @ (10, 10)
    apart = [shapely.box(x, y - 3, x + 2, y), shapely.box(x + 5, y - 3, x + 7, y)]
    with pytest.raises(UsageError, match=r"p.gpkg: holds points, which have no borders; leave --boundary out"):
        score(maps, make_vector([shapely.Point(x, y)], ["c3"], "p.gpkg"), LAND, boundary=2)
    with pytest.raises(InputError, match=r"apart.gpkg: no two of its polygons of different classes touch.*--boundary"):
        score(maps, make_vector(apart, ["c3", "c7"], "apart.gpkg"), LAND, boundary=2)
    with pytest.raises(InputError, match=r"alike.gpkg: no two of its polygons of different classes touch"):
        score(
            maps,
            make_vector([apart[0], shapely.box(x + 2, y - 3, x + 5, y)], ["c3"] * 2, "alike.gpkg"),
            LAND,
            boundary=2,
        )
    touching = make_vector([apart[0], shapely.box(x + 2, y - 3, x + 5, y)], ["c3", "c7"], "touch.gpkg")
    assert score(maps, touching, LAND, boundary=2).boundary.truth.tolist() == [16, 16, 0, 0]


@pytest.mark.parametrize("shared", [True, False])
def test_reports_show_the_truth_the_image_and_the_errors(folders: Path, make_vector: MakeVector, shared: bool) -> None:
    truths = [folders / f"truths/{stem}.tif" for stem in "ab"]
    for path in truths if not shared else ():
        make_vector(*outlines(path), f"labels/{path.stem}.gpkg")
    truth = make_vector(*outlines(*truths), "all.gpkg") if shared else folders / "labels"
    expected = score(folders / "maps", folders / "truths", LAND, details=True)
    found = score(folders / "maps", truth, LAND, label_field="kind", details=True)
    for worst in (worst_scenes, worst_windows):
        views = zip(
            read_views(expected, worst(expected, 4), 320, Source.of(folders / "images")),
            read_views(found, worst(found, 4), 320),
            strict=True,
        )
        for one, other in views:
            assert one.place.window == other.place.window and one.image is not None
            for part in ("truth", "prediction", "scored", "image"):
                assert np.array_equal(getattr(one, part), getattr(other, part))
    write_report(found, folders / "report.html")
    page = (folders / "report.html").read_text()
    assert page.count("<img") > 12 and "no pictures" not in page and (not shared or "all.gpkg (a)" in page)


def test_a_page_on_points_says_why_it_has_no_pictures(
    make_raster: MakeRaster, make_vector: MakeVector, tmp_path
) -> None:
    maps = make_raster(patches(3), "m.tif", nodata=255)
    report = score(maps, make_vector([shapely.Point(*(OFF_ORIGIN @ (5, 5)))], ["c3"]), LAND, details=True)
    write_report(report, tmp_path / "r.html")
    assert "no pictures: the truth is points, and each is a single pixel" in (tmp_path / "r.html").read_text()


def test_the_image_of_one_file_of_all_scenes_is_the_maps(folders: Path, make_vector: MakeVector) -> None:
    one = make_vector(*outlines(folders / "truths/a.tif"), "labels.gpkg")
    report = score(folders / "maps/a.tif", one, LAND, details=True)
    (view,) = read_views(report, worst_scenes(report, 1), 320)
    truth = Source.of(folders / "labels/a.gpkg")
    assert view.image is not None and find_image(truth, None) == Source.of(folders / "images/a.tif")
    (named,) = read_views(report, worst_scenes(report, 1), 320, Source.of(folders / "images/b.tif"))
    assert "does not cover" in named.note


def test_the_maps_own_legend_and_a_mapping_name_the_classes(
    make_raster: MakeRaster, make_vector: MakeVector, tmp_path: Path
) -> None:
    codes = patches(3)
    maps = make_raster(codes, "m.tif", nodata=255)
    with rasterio.open(maps, "r+") as dataset:
        dataset.update_tags(GEOSEG_LEGEND=json.dumps(LAND.to_dict()))
    truth = make_raster(patches(4), "t.tif", nodata=255)
    shapes, values = outlines(truth)
    assert score(maps, make_vector(shapes, values)).matrix == score(maps, truth, LAND).matrix
    other = Legend("other", (LegendClass(1, "tree", (1, 1, 1)), LegendClass(2, "c9", (2, 2, 2))))
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"prediction": {"c3": "tree", "c7": "tree", "c12": None}}))
    named = make_vector(shapes, [{"c9": "c9"}.get(value, "tree") for value in values], "other.gpkg")
    report = score(maps, named, other, mapping=mapping)
    assert report.legend.names == ("tree", "c9") and report.matrix.total == (patches(4) != 255).sum()


def test_a_field_or_a_layer_is_of_vector_files_alone(folders: Path) -> None:
    for option in ("label_field", "label_layer"):
        with pytest.raises(UsageError, match="a raster has neither --label-field nor --label-layer"):
            score(folders / "maps", folders / "truths", LAND, **{option: "kind"})


def test_a_map_placed_by_control_points_is_refused(make_raster: MakeRaster, make_vector: MakeVector) -> None:
    points = [rasterio.control.GroundControlPoint(r, c, 3 + c / 99, 50 - r / 99) for r, c in ((0, 0), (0, 9), (9, 0))]
    maps = make_raster(patches(3), "m.tif", transform=None, crs="EPSG:4326", gcps=points)
    with pytest.raises(
        InputError, match=r"m.tif: is placed by control points, and .*labels.gpkg cannot be laid over it"
    ):
        score(maps, make_vector([shapely.box(3, 49, 4, 50)], ["c3"], crs="EPSG:4326"), LAND)


def test_deepglobe_by_names(make_raster: MakeRaster, make_vector: MakeVector, tmp_path: Path) -> None:
    index = np.random.default_rng(2).integers(0, 7, (37, 53)).astype(np.uint8)
    Image.fromarray(np.moveaxis(DEEPGLOBE.to_rgb(index), 0, -1)).save(tmp_path / "t_mask.png")
    shapes = [(shapely.geometry.shape(s), DEEPGLOBE.names[int(v)].upper()) for s, v in rasterio.features.shapes(index)]
    maps = make_raster(np.roll(index, 3, 1), "m.tif", crs=None, transform=None)
    vector = make_vector(*zip(*shapes, strict=True), crs=None)
    assert score(maps, vector).matrix == score(maps, tmp_path / "t_mask.png").matrix
