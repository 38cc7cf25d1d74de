"""Drawing a sample: how many, where, with which chance, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

import geoseg
from geoseg.errors import InputError, OutputError, UsageError
from geoseg.legend import Legend, LegendClass
from geoseg.points import read_points, read_table
from geoseg.scoring import strata as strata_module
from geoseg.scoring.design import DESIGN_COLUMNS, allocate, design_sample, sample_size

MakeRaster = Callable[..., Path]
LAND = Legend("land", tuple(LegendClass(10 * (i + 1), f"class {i}", (i, i, 99)) for i in range(4)))
OLOFSSON = np.array([0.02, 0.015, 0.32, 0.645])


def codes(shape: tuple[int, int] = (37, 53), seed: int = 0) -> np.ndarray:
    """Three classes of very different size, and a nodata corner."""
    index = np.random.default_rng(seed).choice(3, shape, p=[0.7, 0.25, 0.05])
    found = LAND.encode(index.astype(np.uint8))
    found[:5, :7] = 255
    return found


# How many


def test_the_published_sample_size() -> None:
    users = np.array([0.7, 0.6, 0.9, 0.95])
    assert sample_size(OLOFSSON, users, 0.01) == 641


@pytest.mark.parametrize(("target", "users"), [(0.0, 0.8), (1.5, 0.8), (0.01, 1.2)])
def test_accuracies_are_shares(target: float, users: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        sample_size(OLOFSSON, np.full(4, users), target)


def test_allocations_by_hand() -> None:
    assert allocate(640, OLOFSSON, "equal").tolist() == [160] * 4
    assert allocate(640, OLOFSSON, "proportional").tolist() == [13, 9, 205, 413]
    # 75 of each of the rare two; the other 490 by 0.32 : 0.645.
    assert allocate(640, OLOFSSON, "mixed", 75).tolist() == [75, 75, 162, 328]
    assert allocate(100, np.array([0.001, 0.999]), "proportional").tolist() == [2, 98]
    assert allocate(100, np.ones(4) / 4, "mixed", 25).tolist() == [25] * 4


def test_a_class_that_falls_below_the_least_by_others_gets_it_too() -> None:
    # By area 2, 26, 72 of 100; with 25 for the first the second would get 20.
    assert allocate(100, np.array([0.02, 0.26, 0.72]), "mixed", 25).tolist() == [25, 25, 50]


@pytest.mark.parametrize("method", ["equal", "proportional", "mixed"])
@pytest.mark.parametrize("total", [101, 137, 640])
def test_allocations_add_up(method: str, total: int) -> None:
    weights = np.random.default_rng(total).dirichlet(np.full(5, 0.3))
    found = allocate(total, weights, method, 20)
    assert found.sum() == total and found.min() >= (20 if method == "mixed" else 2)


def test_what_a_class_has_no_pixels_for_goes_to_the_others() -> None:
    shares = np.array([0.25, 0.25, 0.5])
    assert allocate(150, shares, "mixed", 50, pixels=np.array([1, 1000, 1000])).tolist() == [1, 50, 99]
    assert allocate(90, shares, "equal", pixels=np.array([7, 1000, 40])).tolist() == [7, 43, 40]
    assert allocate(90, shares, "proportional", pixels=np.array([1000, 1000, 40])).tolist() == [25, 25, 40]
    assert allocate(150, shares, "mixed", 50, pixels=np.array([3, 20, 60])).tolist() == [3, 20, 60], "all there are"


@pytest.mark.parametrize("method", ["equal", "proportional", "mixed"])
@pytest.mark.parametrize("seed", range(5))
def test_allocations_within_the_pixels_add_up(method: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, pixels = rng.dirichlet(np.full(5, 0.3)), rng.integers(1, 90, 5)
    found = allocate(137, weights, method, 20, pixels=pixels)
    assert found.sum() == min(137, pixels.sum()) and (found <= pixels).all()
    assert (found >= np.minimum(20 if method == "mixed" else 2, pixels)).all()


def test_too_few_points_are_refused_with_the_number_needed() -> None:
    with pytest.raises(UsageError, match="ask for at least 200 or fewer per class"):
        allocate(120, OLOFSSON, "mixed", 50)
    with pytest.raises(UsageError, match=r"ask for at least 8$"):
        allocate(7, OLOFSSON, "proportional")
    with pytest.raises(UsageError, match=r"ask for at least 151 "):
        allocate(120, OLOFSSON, "mixed", 50, pixels=np.array([1, 99, 99, 99]))


def test_an_unknown_allocation_and_a_seed_below_0_are_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(UsageError, match="no allocation 'even'; there are proportional, equal, mixed"):
        design_sample(make_raster(codes()), legend=LAND, size=200, allocation="even")
    with pytest.raises(UsageError, match="seed is a whole number >= 0, got -1"):
        design_sample(make_raster(codes()), legend=LAND, size=200, seed=-1)


def test_a_target_decides_the_number(make_raster: MakeRaster) -> None:
    path = make_raster(codes())
    found = design_sample(path, legend=LAND, target_se=0.05, class_ua={"class 0": 0.9}, min_per_class=10)
    shares = found.hectares[:3] / found.hectares.sum()
    assert found.units.sum() == sample_size(shares, np.array([0.9, 0.8, 0.8]), 0.05)
    raised = design_sample(path, legend=LAND, target_se=0.2, min_per_class=10)
    assert raised.units.sum() == 30 and any("every class has its least" in note for note in raised.notes)
    with pytest.raises(UsageError, match="no class 'water'"):
        design_sample(path, legend=LAND, target_se=0.05, class_ua={"water": 0.9})


@pytest.mark.parametrize("options", [{}, {"size": 100, "target_se": 0.1}])
def test_one_of_size_and_target(make_raster: MakeRaster, options: dict) -> None:
    with pytest.raises(UsageError, match="either"):
        design_sample(make_raster(codes()), legend=LAND, **options)


# Where


@pytest.mark.parametrize("side", [16, 1024])
def test_points_are_distinct_pixel_centres_of_their_class(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(strata_module, "WINDOW", side)
    transform = Affine(0.5, 0.1, 441_754.5, 0.05, -0.75, 5_417_386.25)
    drawn = design_sample(make_raster(codes(), transform=transform), legend=LAND, size=200, min_per_class=40)
    points = drawn.points
    col, row = ~transform @ (points.x, points.y)
    assert np.allclose(col % 1, 0.5) and np.allclose(row % 1, 0.5)
    at = codes()[row.astype(int), col.astype(int)]
    assert (at == points.columns["code"]).all()
    assert len(set(zip(row.round(1), col.round(1), strict=True))) == 200
    names, numbers = np.unique(points.columns["stratum"], return_counts=True)
    assert dict(zip(names, numbers, strict=True)) == dict(zip(drawn.classes[:3], drawn.units[:3], strict=True))


def test_sizes_are_the_map_s(make_raster: MakeRaster) -> None:
    drawn = design_sample(make_raster(codes()), legend=LAND, size=200, min_per_class=40)
    expected = [(codes() == code).sum() for code in (10, 20, 30, 40)]
    assert drawn.pixels.tolist() == expected and drawn.units[3] == 0
    assert drawn.hectares == pytest.approx(np.array(expected) * 0.5 * 0.75 / 10_000, rel=2e-3)
    first = {name: values[0] for name, values in drawn.points.columns.items()}
    k = drawn.classes.index(first["stratum"])
    assert (first["stratum_pixels"], first["stratum_ha"]) == (drawn.pixels[k], drawn.hectares[k])
    assert first["stratum_points"] == drawn.units[k] and first["reference"] is None
    assert first["inclusion"] == pytest.approx(drawn.units[k] / drawn.pixels[k], rel=1e-6)


def test_the_seed_decides_and_ids_tell_nothing(make_raster: MakeRaster) -> None:
    path = make_raster(codes())
    one, same, other = (design_sample(path, legend=LAND, size=200, min_per_class=40, seed=s).points for s in (1, 1, 2))
    assert (one.x == same.x).all() and (one.y == same.y).all() and not (one.x == other.x).all()
    assert one.ids == tuple(str(i) for i in range(1, 201))
    order = one.columns["code"]
    assert (order[1:] != order[:-1]).sum() > 60, "classes are mixed, not in blocks"
    assert abs(np.corrcoef(one.y, np.arange(200))[0, 1]) < 0.3, "no order by row"


def test_each_pixel_has_the_same_chance(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata_module, "WINDOW", 4)
    index = np.zeros((7, 9), np.uint8)
    index[2:5, 3:8] = 1
    path, transform = make_raster(LAND.encode(index)), Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
    hits, runs = np.zeros((7, 9)), 400
    for seed in range(runs):
        points = design_sample(path, legend=LAND, size=12, allocation="equal", seed=seed).points
        col, row = ~transform @ (points.x, points.y)
        hits[row.astype(int), col.astype(int)] += 1
    for k, chance in ((0, 6 / 48), (1, 6 / 15)):
        error = binomial_error(chance, runs)
        assert abs(hits[index == k] / runs - chance).max() < 4 * error


def binomial_error(chance: float, runs: int) -> float:
    return (chance * (1 - chance) / runs) ** 0.5


def test_in_degrees_each_hectare_has_the_same_chance(make_raster: MakeRaster) -> None:
    # From the equator to 80 degrees north: the northernmost pixels have a sixth of the area.
    transform = Affine(0.5, 0, 3, 0, -0.5, 80)
    index = np.zeros((160, 120), np.uint8)
    index[:, 100:] = 1
    path = make_raster(LAND.encode(index), crs="EPSG:4326", transform=transform)
    north = []
    for seed in range(60):
        points = design_sample(path, legend=LAND, size=400, min_per_class=50, seed=seed).points
        here = points.columns["code"] == 10
        north.append((points.y[here] > 40).mean())
        assert points.columns["inclusion"][here] * 100 == pytest.approx(
            np.cos(np.radians(points.y[here]))
            / np.cos(np.radians(points.y[here][0]))
            * points.columns["inclusion"][here][0]
            * 100,
            rel=0.02,
        )
    sine = np.sin(np.radians([40, 80]))
    assert np.mean(north) == pytest.approx((sine[1] - sine[0]) / sine[1], abs=4 * np.std(north) / 60**0.5 + 0.002)


# Small classes


def test_a_class_of_one_pixel(make_raster: MakeRaster) -> None:
    index = np.zeros((37, 53), np.uint8)
    index[30, 50] = 1
    drawn = design_sample(make_raster(LAND.encode(index)), legend=LAND, size=100)
    assert drawn.units.tolist() == [99, 1, 0, 0] and drawn.notes == ("class 1: every pixel that it has is drawn (1)",)
    assert drawn.points.columns["inclusion"][drawn.points.columns["code"] == 20].tolist() == [1]


@pytest.mark.parametrize("options", [{"size": 99}, {"target_se": 0.001}])
def test_a_map_of_fewer_pixels_than_points(make_raster: MakeRaster, options: dict) -> None:
    index = np.zeros((7, 9), np.uint8)
    index[:2] = 1
    drawn = design_sample(make_raster(LAND.encode(index)), legend=LAND, min_per_class=5, **options)
    assert drawn.units.tolist() == [45, 18, 0, 0]
    wanted = options.get("size", 160_000)
    assert drawn.notes[-1] == f"{wanted} points were wanted, and the map has {63} pixels of its classes: all are drawn"


def test_a_target_counts_the_least_of_small_classes_as_what_they_have(make_raster: MakeRaster) -> None:
    index = np.zeros((37, 53), np.uint8)
    index[30, 50] = 1
    drawn = design_sample(make_raster(LAND.encode(index)), legend=LAND, target_se=0.2)
    assert drawn.units.tolist() == [50, 1, 0, 0]


def test_a_map_without_pixels_of_a_class_is_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match="holds no pixel of the classes class 0, class 1"):
        design_sample(make_raster(np.full((7, 9), 255, np.uint8)), legend=LAND, size=100)


def test_a_map_without_a_place_is_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(InputError, match="has no place on Earth"):
        design_sample(make_raster(codes(), crs=None, transform=None), legend=LAND, size=100)


# Files


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".csv"])
def test_what_is_written_is_read_back(make_raster: MakeRaster, tmp_path: Path, ending: str) -> None:
    drawn = design_sample(make_raster(codes()), tmp_path / f"points{ending}", LAND, size=200, min_per_class=40)
    read = read_points(tmp_path / f"points{ending}")
    assert read.ids == drawn.points.ids
    placed = read.to_crs("EPSG:32631")
    assert np.allclose(placed.x, drawn.points.x, atol=1e-6) and np.allclose(placed.y, drawn.points.y, atol=1e-6)
    assert [str(v) for v in read.columns["stratum"]] == list(drawn.points.columns["stratum"])
    for name in ("stratum_pixels", "stratum_ha", "inclusion"):
        assert read.numbers(name) == pytest.approx(drawn.points.numbers(name), rel=1e-12)
    assert not any(value for value in read.columns["reference"])
    assert not list(tmp_path.glob(".*"))


def test_qgis_offers_the_classes_and_hides_the_design(make_raster: MakeRaster, tmp_path: Path) -> None:
    import sqlite3
    from xml.etree import ElementTree

    path = tmp_path / "points.gpkg"
    design_sample(make_raster(codes()), path, LAND, size=200, min_per_class=40)
    with sqlite3.connect(path) as file:
        query = "SELECT f_table_name, f_geometry_column, f_table_schema, useAsDefault, styleQML FROM layer_styles"
        ((table, geometry, schema, default, style),) = file.execute(query)
        ((named,),) = file.execute("SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (table,))
    file.close()
    assert (geometry, schema, default) == (named, "", 1)
    root = ElementTree.fromstring(style)
    widgets = {f.get("name"): f.find("editWidget") for f in root.iter("field")}
    assert [o.get("value") for o in widgets["reference"].iter("Option") if o.get("value")] == list(LAND.names)
    assert {name for name, widget in widgets.items() if widget.get("type") == "Hidden"} == set(DESIGN_COLUMNS)
    assert {c.get("name") for c in root.iter("column") if c.get("hidden") == "1"} == set(DESIGN_COLUMNS)


@pytest.mark.parametrize("ending", [".gpkg", ".csv"])
def test_a_key_leaves_nothing_that_tells_the_class(make_raster: MakeRaster, tmp_path: Path, ending: str) -> None:
    points, key = tmp_path / f"points{ending}", tmp_path / "key.csv"
    drawn = design_sample(make_raster(codes()), points, LAND, size=200, min_per_class=40, key=key)
    read = read_points(points)
    assert set(read.columns) == {"id", "x", "y", "reference", "key"}
    assert set(read_table(key)) == {"id", *DESIGN_COLUMNS}
    joined = read.where(np.arange(200) % 2 == 1).joined(key)
    assert (joined.columns["stratum"] == drawn.points.columns["stratum"][1::2]).all()


def test_outputs_that_exist_or_cannot_be_are_refused(make_raster: MakeRaster, tmp_path: Path) -> None:
    path, output = make_raster(codes()), tmp_path / "points.gpkg"
    options = {"legend": LAND, "size": 200, "min_per_class": 40}
    output.write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        design_sample(path, output, **options)
    assert output.read_text() == "precious"
    design_sample(path, output, overwrite=True, **options)
    assert len(read_points(output)) == 200
    with pytest.raises(UsageError, match=r"\.gpkg, \.geojson, \.csv"):
        design_sample(path, tmp_path / "points.shp", **options)
    with pytest.raises(OutputError, match="no such folder"):
        design_sample(path, tmp_path / "there" / "points.csv", **options)
    with pytest.raises(UsageError, match="a file of its own"):
        design_sample(path, tmp_path / "a.csv", key=tmp_path / "a.csv", **options)


def test_texts(make_raster: MakeRaster) -> None:
    drawn = geoseg.design_sample(make_raster(codes()), legend=LAND, size=200, min_per_class=40, seed=7)
    assert "200 points to label" in drawn.to_text() and "class 2" in drawn._repr_html_()
    record = drawn.to_dict()
    assert (record["points"], record["seed"], record["strata"]["class 3"]["points"]) == (200, 7, 0)
