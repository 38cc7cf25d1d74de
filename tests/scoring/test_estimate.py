"""From a map and labelled points to areas: which estimator, what is refused, and whether intervals cover the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

import geoseg
from geoseg.errors import InputError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.points import SamplePoints, write_points
from geoseg.scoring import strata as strata_module
from geoseg.scoring.area import OLOFSSON, STEHMAN, AreaEstimates, olofsson_2014
from geoseg.scoring.design import DESIGN_COLUMNS, SampleDesign, design_sample
from geoseg.scoring.estimate import areas_from_counts, estimate_areas

MakeRaster = Callable[..., Path]
PLACE = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
LAND = Legend(
    "land", tuple(LegendClass(10 * (i + 1), name, (i, i, 99)) for i, name in enumerate(("meadow", "Roof", "3")))
)
SHAPE = 37, 53


def truth(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W) class numbers: a large meadow, a roof, a small rest."""
    index = np.zeros(shape, np.uint8)
    index[: shape[0] // 3, shape[1] // 2 :] = 1
    index[-6:, :7] = 2
    return index


def mapped(seed: int = 0, wrong: float = 0.15, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """The truth with errors that lean to one side."""
    rng = np.random.default_rng(seed)
    off = rng.random(shape) < wrong * (1 + np.arange(shape[0])[:, None] / shape[0]) / 1.5
    return np.where(off, rng.choice(3, shape, p=[0.3, 0.5, 0.2]), truth(shape)).astype(np.uint8)


def labelled(points: SamplePoints, index: np.ndarray, transform: Affine = PLACE, by: str = "name") -> SamplePoints:
    """The points with the class that ``index`` has at each, by name or code."""
    col, row = ~transform @ (points.x, points.y)
    classes = [LAND.classes[k] for k in index[row.astype(int), col.astype(int)]]
    return points.with_columns(reference=np.array([getattr(c, by) for c in classes], object))


def counted(index: np.ndarray, points: SamplePoints, transform: Affine = PLACE) -> np.ndarray:
    """(3, 3) of a map under labelled points."""
    col, row = ~transform @ (points.x, points.y)
    names = list(LAND.names)
    counts = np.zeros((3, 3), int)
    for r, c, name in zip(row.astype(int), col.astype(int), points.columns["reference"], strict=True):
        counts[index[r, c], names.index(name)] += 1
    return counts


@pytest.fixture
def map_path(make_raster: MakeRaster) -> Path:
    return make_raster(LAND.encode(mapped()), "map.tif", nodata=255)


@pytest.fixture
def design(map_path: Path) -> SampleDesign:
    return design_sample(map_path, legend=LAND, size=200, min_per_class=40)


@pytest.fixture
def sample(design: SampleDesign) -> SamplePoints:
    return labelled(design.points, truth())


def require_equal(found: AreaEstimates, expected: AreaEstimates) -> None:
    assert (found.counts == expected.counts).all()
    for name in ("overall", "users", "producers", "area"):
        for part in ("value", "error", "low", "high"):
            mine, theirs = getattr(getattr(found, name), part), getattr(getattr(expected, name), part)
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, err_msg=f"{name} {part}")


# Which estimator


@pytest.mark.parametrize("side", [16, 1024])
def test_the_map_s_own_strata(
    map_path: Path, design: SampleDesign, sample: SamplePoints, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(strata_module, "WINDOW", side)
    found = estimate_areas(map_path, sample, LAND)
    assert found.method == OLOFSSON and found.classes == LAND.names
    require_equal(found, olofsson_2014(counted(mapped(), sample), design.hectares))
    assert found.mapped == pytest.approx(design.hectares)


def test_points_without_strata_are_taken_as_random_and_that_is_said(map_path: Path, sample: SamplePoints) -> None:
    plain = SamplePoints(sample.ids, sample.x, sample.y, sample.crs, {"reference": sample.columns["reference"]})
    found = estimate_areas(map_path, plain, LAND)
    require_equal(found, estimate_areas(map_path, sample, LAND))
    assert "taken as drawn at random" in found.notes[0]


def test_another_map_under_the_same_points(make_raster: MakeRaster, design: SampleDesign, sample: SamplePoints) -> None:
    other = mapped(seed=5, wrong=0.4)
    found = estimate_areas(make_raster(LAND.encode(other), "other.tif"), sample, LAND)
    assert found.method == STEHMAN and any("strata of another map" in note for note in found.notes)
    stratum = np.array([LAND.names.index(name) for name in sample.columns["stratum"]])
    reference = np.array([LAND.names.index(name) for name in sample.columns["reference"]])
    col, row = ~PLACE @ (sample.x, sample.y)
    under = other[row.astype(int), col.astype(int)]
    expected = geoseg.stehman_2014(stratum, under, reference, design.hectares, units=design.pixels, classes=LAND.names)
    require_equal(found, expected)
    assert found.mapped.sum() == pytest.approx(design.hectares.sum())


def test_a_map_that_was_changed_elsewhere_is_another_map(make_raster: MakeRaster, sample: SamplePoints) -> None:
    changed = mapped()
    col, row = ~PLACE @ (sample.x, sample.y)
    free = np.ones(SHAPE, bool)
    free[row.astype(int), col.astype(int)] = False
    changed[free & (changed == 1)] = 0
    found = estimate_areas(make_raster(LAND.encode(changed), "changed.tif"), sample, LAND)
    assert found.method == STEHMAN


def test_other_strata_without_their_sizes_are_refused(make_raster: MakeRaster, sample: SamplePoints) -> None:
    other = make_raster(LAND.encode(mapped(seed=5)), "other.tif")
    columns = {name: sample.columns[name] for name in ("reference", "stratum")}
    with pytest.raises(InputError, match="their sizes must be known: columns stratum_ha and stratum_pixels"):
        estimate_areas(other, SamplePoints(sample.ids, sample.x, sample.y, sample.crs, columns), LAND)
    sizes = sample.columns["stratum_ha"].copy()
    sizes[3] += 1
    with pytest.raises(InputError, match="points of one stratum disagree"):
        estimate_areas(other, sample.with_columns(stratum_ha=sizes), LAND)


def test_strata_of_a_wider_area_are_said(make_raster: MakeRaster, sample: SamplePoints) -> None:
    other = make_raster(LAND.encode(mapped(seed=5)), "other.tif")
    found = estimate_areas(other, sample.with_columns(stratum_ha=2.0 * sample.columns["stratum_ha"]), LAND)
    assert any("of the strata; the map covers" in note for note in found.notes)


# Labels


@pytest.mark.parametrize(
    ("by", "change"),
    [
        ("code", int),
        ("code", float),
        ("code", str),
        ("code", np.float32),
        ("code", "{} ".format),
        ("code", "{}.0".format),
        ("name", " {}".format),
        ("name", str.upper),
    ],
)
def test_labels_are_names_or_codes(map_path: Path, sample: SamplePoints, by: str, change: Callable) -> None:
    labels = labelled(sample, truth(), by=by).columns["reference"]
    other = sample.with_columns(reference=np.array([change(value) for value in labels], object))
    require_equal(estimate_areas(map_path, other, LAND), estimate_areas(map_path, sample, LAND))


def of_classes(sample: SamplePoints, names: tuple[str, str, str], ignored: str = "void") -> tuple[SamplePoints, Legend]:
    """The points labelled by other names of the classes, and the legend that has them."""
    classes = tuple(LegendClass(10 * (i + 1), name, (i, i, 99)) for i, name in enumerate((*names, ignored)))
    right = labelled(sample, truth()).columns["reference"]
    labels = np.array([names[LAND.names.index(label)] for label in right], object)
    return sample.with_columns(reference=labels), Legend("others", classes, ignore=(40,))


@pytest.mark.parametrize("names", [("None", "null", "nan"), ("Water", "water", "WATER"), ("20", "7.0", "10")])
@pytest.mark.parametrize("ending", ["", ".csv", ".gpkg"])
def test_a_label_is_first_the_class_of_exactly_that_name(
    map_path: Path, sample: SamplePoints, tmp_path: Path, names: tuple[str, str, str], ending: str
) -> None:
    named, legend = of_classes(sample, names)
    if ending:
        write_points(named, tmp_path / f"points{ending}")
    found = estimate_areas(map_path, tmp_path / f"points{ending}" if ending else named, legend)
    assert (found.counts == estimate_areas(map_path, labelled(sample, truth()), LAND).counts).all()


def test_another_case_is_taken_only_where_one_class_is_meant(map_path: Path, sample: SamplePoints) -> None:
    named, legend = of_classes(sample, ("Water", "water", "Road"), ignored="ROAD")
    for label in ("WATER", "road"):
        labels = named.columns["reference"].copy()
        labels[0] = label
        with pytest.raises(InputError, match=f"'{label}': no class of the legend 'others'"):
            estimate_areas(map_path, named.with_columns(reference=labels), legend)


def test_the_drawn_strata_of_awkward_names_are_known_again(map_path: Path, tmp_path: Path) -> None:
    _, legend = of_classes(design_sample(map_path, legend=LAND, size=200, min_per_class=40).points, ("null", "X", "x"))
    drawn = design_sample(map_path, tmp_path / "p.csv", legend, size=200, min_per_class=40)
    points = drawn.points.with_columns(reference=drawn.points.columns["stratum"])
    write_points(points, tmp_path / "q.csv")
    assert estimate_areas(map_path, tmp_path / "q.csv", legend).method == OLOFSSON


def test_unknown_labels_are_listed(map_path: Path, sample: SamplePoints) -> None:
    labels = sample.columns["reference"].copy()
    labels[:2] = "pond", 77
    with pytest.raises(InputError, match=r"'77', 'pond': no class of the legend 'land' \(10 meadow, 20 Roof, 30 3\)"):
        estimate_areas(map_path, sample.with_columns(reference=labels), LAND)


@pytest.mark.parametrize("empty", [None, "", " ", "NULL", float("nan")])
def test_points_without_a_label_are_refused_or_dropped(map_path: Path, sample: SamplePoints, empty: object) -> None:
    labels = sample.columns["reference"].copy()
    labels[[0, 7]] = empty
    gap = sample.with_columns(reference=labels)
    with pytest.raises(InputError, match=r"2 of 200 points have no class .* --drop-unlabelled"):
        estimate_areas(map_path, gap, LAND)
    found = estimate_areas(map_path, gap, LAND, drop_unlabelled=True)
    assert found.counts.sum() == 198 and any("holds only if" in note for note in found.notes)


def test_an_ignored_class_is_no_label(make_raster: MakeRaster) -> None:
    index = truth()
    path = make_raster(index, "deepglobe.tif")
    points = design_sample(path, legend=DEEPGLOBE, size=120, min_per_class=30).points
    names = np.array(DEEPGLOBE.names, object)[points.columns["code"]]
    names[0] = "unknown"
    with pytest.raises(InputError, match="1 of 120 points have no class"):
        estimate_areas(path, points.with_columns(reference=names), DEEPGLOBE)


def test_points_that_were_removed_from_the_file_are_missed(map_path: Path, sample: SamplePoints) -> None:
    fewer = sample.where(np.arange(200) >= 3)
    with pytest.raises(InputError, match="3 points of the design are missing"):
        estimate_areas(map_path, fewer, LAND)
    assert estimate_areas(map_path, fewer, LAND, drop_unlabelled=True).counts.sum() == 197


def test_points_that_were_added_are_refused(map_path: Path, sample: SamplePoints) -> None:
    drawn = sample.columns["stratum_points"] - 1
    with pytest.raises(InputError, match="more points of a stratum than were drawn"):
        estimate_areas(map_path, sample.with_columns(stratum_points=drawn), LAND)


def test_a_missing_column_is_named(map_path: Path, sample: SamplePoints) -> None:
    with pytest.raises(InputError, match="has no column 'truth', but x, y, stratum"):
        estimate_areas(map_path, sample, LAND, label_field="truth")
    renamed = sample.with_columns(truth=sample.columns["reference"])
    require_equal(estimate_areas(map_path, renamed, LAND, label_field="truth"), estimate_areas(map_path, sample, LAND))


# Places


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:25832"])
def test_points_in_another_crs(map_path: Path, sample: SamplePoints, crs: str) -> None:
    require_equal(estimate_areas(map_path, sample.to_crs(crs), LAND), estimate_areas(map_path, sample, LAND))


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".csv"])
def test_points_from_files(map_path: Path, sample: SamplePoints, tmp_path: Path, ending: str) -> None:
    write_points(sample, tmp_path / f"points{ending}")
    found = estimate_areas(map_path, tmp_path / f"points{ending}", LAND)
    require_equal(found, estimate_areas(map_path, sample, LAND))
    assert any("says no CRS" in note for note in found.notes) == (ending == ".csv")


def test_points_off_the_map_and_on_nodata(make_raster: MakeRaster, sample: SamplePoints) -> None:
    codes = LAND.encode(mapped())
    codes[:3] = 255
    path = make_raster(codes, "gap.tif", nodata=255)
    with pytest.raises(InputError, match=r"holds no class at \d+ of the 200 points .* drawn by strata"):
        estimate_areas(path, sample, LAND)
    plain = {"reference": np.append(sample.columns["reference"], ["Roof", "Roof"])}
    x, y = np.append(sample.x, [0.0, np.inf]), np.append(sample.y, [0.0, 1.0])
    found = estimate_areas(path, SamplePoints((*sample.ids, "a", "b"), x, y, sample.crs, plain), LAND)
    row = (~PLACE @ (sample.x, sample.y))[1]
    assert found.counts.sum() == (row >= 3).sum()
    assert any(f"{(row < 3).sum() + 2} of 202 points lie where the map holds no class" in n for n in found.notes)


def test_no_point_on_the_map_is_refused(map_path: Path, sample: SamplePoints) -> None:
    plain = {"reference": sample.columns["reference"]}
    with pytest.raises(InputError, match="no labelled point lies on"):
        estimate_areas(map_path, SamplePoints(sample.ids, sample.x + 1e5, sample.y, sample.crs, plain), LAND)


def test_a_wall_to_wall_mask_is_no_sample(map_path: Path) -> None:
    with pytest.raises(InputError, match=r"a census of its scene, not a probability sample.* geoseg score"):
        estimate_areas(map_path, map_path, LAND)


def test_the_key_is_asked_for_and_taken(map_path: Path, tmp_path: Path) -> None:
    path, key = tmp_path / "points.gpkg", tmp_path / "key.csv"
    drawn = design_sample(map_path, path, LAND, size=200, min_per_class=40, key=key)
    whole = labelled(drawn.points, truth())
    blind = labelled(geoseg.read_points(path), truth())
    with pytest.raises(InputError, match=r"put aside in key\.csv; give that as --key"):
        estimate_areas(map_path, blind, LAND)
    found = estimate_areas(map_path, blind, LAND, key=key)
    require_equal(found, estimate_areas(map_path, whole, LAND))
    assert set(DESIGN_COLUMNS) <= set(blind.joined(key).columns)


def test_a_class_of_one_pixel_is_estimated(make_raster: MakeRaster) -> None:
    index = np.where(truth() == 2, 0, truth())
    index[20, 20] = 2
    path = make_raster(LAND.encode(index))
    points = labelled(design_sample(path, legend=LAND, size=150).points, index)
    found = estimate_areas(path, points, LAND)
    assert found.counts[2, 2] == 1 and (found.users.low[2], found.users.high[2]) == (1, 1)


def test_areas_are_true_in_degrees(make_raster: MakeRaster) -> None:
    transform = Affine(0.001, 0, 9, 0, -0.001, 60)
    path = make_raster(LAND.encode(mapped()), crs="EPSG:4326", transform=transform)
    points = labelled(design_sample(path, legend=LAND, size=200, min_per_class=40).points, truth(), transform)
    found = estimate_areas(path, points, LAND)
    # A thousandth of a degree at 60 degrees north: 111.41 m by 55.8 m (WGS 84).
    assert found.mapped.sum() == pytest.approx(37 * 53 * 111.41 * 55.84 / 1e4, rel=1e-3)


# Whether intervals cover


@pytest.mark.parametrize("other_map", [False, True])
def test_intervals_cover_the_truth_as_often_as_they_say(make_raster: MakeRaster, other_map: bool) -> None:
    shape, runs = (111, 97), 200
    path = make_raster(LAND.encode(mapped(shape=shape)), "map.tif")
    assessed = mapped(seed=9, wrong=0.3, shape=shape) if other_map else mapped(shape=shape)
    assessed_path = make_raster(LAND.encode(assessed), "assessed.tif")
    right = truth(shape)
    areas, covered, accuracies, users = [], [], [], []
    for seed in range(runs):
        points = labelled(design_sample(path, legend=LAND, size=300, seed=seed).points, right)
        found = estimate_areas(assessed_path, points, LAND)
        assert found.method == (STEHMAN if other_map else OLOFSSON)
        shares = np.array([found.area.value, found.area.low, found.area.high]) / found.mapped.sum()
        expected = np.bincount(right.ravel()) / right.size
        areas.append(shares[0])
        covered.append((shares[1] <= expected) & (expected <= shares[2]))
        accuracies.append(found.overall.value)
        users.append(found.users.value)
    error = np.std(areas, axis=0) / runs**0.5
    assert (np.abs(np.mean(areas, axis=0) - expected) < 3.5 * error).all()
    assert np.mean(accuracies) == pytest.approx((assessed == right).mean(), abs=3.5 * np.std(accuracies) / runs**0.5)
    true_users = [(right[assessed == k] == k).mean() for k in range(3)]
    assert np.mean(users, axis=0) == pytest.approx(true_users, abs=0.01)
    assert ((np.mean(covered, axis=0) >= 0.90) & (np.mean(covered, axis=0) <= 0.99)).all()


def test_areas_are_unbiased_where_pixels_shrink_towards_the_pole(make_raster: MakeRaster) -> None:
    shape, transform, runs = (150, 120), Affine(0.5, 0, 3, 0, -0.5, 76), 100
    index = np.zeros(shape, np.uint8)
    index[:70] = 1
    path = make_raster(LAND.encode(np.zeros(shape, np.uint8)), crs="EPSG:4326", transform=transform)
    found = []
    for seed in range(runs):
        points = labelled(design_sample(path, legend=LAND, size=200, seed=seed).points, index, transform)
        estimate = estimate_areas(path, points, LAND)
        found.append(estimate.area.value[1] / estimate.area.value.sum())
    sines = np.sin(np.radians([1.0, 41.0, 76.0]))
    expected = (sines[2] - sines[1]) / (sines[2] - sines[0])
    # On the ellipsoid the share differs from the sphere's by some 0.2 %; by pixels it would be 0.47.
    assert np.mean(found) == pytest.approx(expected, abs=3.5 * np.std(found) / runs**0.5 + 0.002)
    assert expected < 0.34


# Counts


TABLE = """class,meadow,Roof,area_ha
meadow,66,5,18000
Roof,3,55,13500
"""


def test_a_table_of_counts(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text(TABLE)
    found = areas_from_counts(tmp_path / "counts.csv", level=0.9)
    require_equal(found, olofsson_2014(np.array([[66, 5], [3, 55]]), [18000, 13500], level=0.9))
    assert found.classes == ("meadow", "Roof")


def test_a_table_with_pixels_in_any_order_of_columns(tmp_path: Path) -> None:
    text = "map;pixels;pond;Roof;meadow\nmeadow;200000;4;5;66\nRoof;150000;;55;3\n"
    (tmp_path / "counts.csv").write_text(text, encoding="utf-8-sig")
    found = areas_from_counts(tmp_path / "counts.csv", pixel_ha=0.09)
    assert found.classes == ("meadow", "Roof", "pond")
    counts = np.array([[66, 5, 4], [3, 55, 0], [0, 0, 0]])
    require_equal(found, olofsson_2014(counts, [18000, 13500, 0]))
    assert found.notes[0] == "only columns have these classes, so the map has no area of them: pond"


def test_a_class_may_be_called_total(tmp_path: Path) -> None:
    text = "map,a,total,area_ha\na,66,5,18000\ntotal,3,55,13500\n"
    (tmp_path / "counts.csv").write_text(text)
    assert areas_from_counts(tmp_path / "counts.csv").classes == ("a", "total")


@pytest.mark.parametrize(
    ("text", "pixel_ha", "what"),
    [
        (TABLE, 0.09, "area_ha, or a column pixels and --pixel-ha"),
        (TABLE.replace("area_ha", "pixels"), None, "area_ha, or a column pixels and --pixel-ha"),
        (TABLE.replace("area_ha", "hectares"), None, "area_ha, or a column pixels"),
        (TABLE.replace("66", "6.6"), None, "column 'meadow' holds a value that is not a whole number"),
        (TABLE.replace("66", "many"), None, "column 'meadow' holds a value that is no number"),
        (TABLE.replace("18000", "-1"), None, "column 'area_ha' holds"),
        (TABLE.replace("Roof,3", "meadow,3"), None, "names a class of the map in two rows"),
        (TABLE.replace("66,5,", "66,"), None, "a line of column names"),
        (TABLE.replace("66,5", "1,0"), None, "'meadow' has an area but one sample unit"),
        ("", None, "a line of column names"),
        (TABLE.replace("area_ha", "Area_ha,pixels").replace("00\n", "00,9\n"), None, "has both Area_ha and pixels"),
        (TABLE.replace("13500", ""), None, "column 'area_ha' is empty in a row"),
        (TABLE.replace("class,meadow", "class,Roof"), None, "two columns are called 'Roof'"),
        (TABLE.replace("13500", "0"), None, "'Roof' has sample units but no area"),
        (TABLE.replace("area_ha", "pixels").replace("13500", "57"), 0.09, "'Roof' has 58 sample units but 57 pixels"),
        (
            "map,meadow,Roof,Total,area_ha\nmeadow,66,5,71,18000\nRoof,3,55,58,13500\n",
            None,
            "'Total' holds the sums of the others, and is no class: remove it",
        ),
        (
            "map,meadow,Roof,area_ha\nmeadow,66,5,18000\nRoof,3,55,13500\nsum,69,60,31500\n",
            None,
            "'sum' holds the sums of the others, and is no class: remove it",
        ),
        (
            "map,a,b,sum,area_ha\na,6,5,11,180\nb,3,5,8,135\nsum,9,10,19,315\n",
            None,
            "'sum' holds the sums of the others, and is no class: remove it",
        ),
    ],
)
def test_what_is_no_table_of_counts_is_refused(tmp_path: Path, text: str, pixel_ha: float | None, what: str) -> None:
    (tmp_path / "counts.csv").write_text(text)
    with pytest.raises(InputError, match=what):
        areas_from_counts(tmp_path / "counts.csv", pixel_ha=pixel_ha)


def test_figures_that_say_less_than_they_seem_to_are_named(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("map,a,b,area_ha\na,9,0,5\nb,9,0,5\n")
    assert areas_from_counts(tmp_path / "counts.csv").notes == (
        "overall accuracy has a standard error of 0, with Wilson's interval",
        "user's accuracy has a standard error of 0, with Wilson's interval: a, b",
        "producer's accuracy has a standard error of 0, which is no certainty: a",
        "the area has a standard error of 0, which is no certainty: a",
        "never seen in the reference, so the area of 0 has no interval: b",
    )


def test_a_sample_of_every_pixel_needs_no_remark(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("map,a,b,pixels\na,9,0,9\nb,9,0,9\n")
    assert areas_from_counts(tmp_path / "counts.csv", pixel_ha=1).notes == ()
