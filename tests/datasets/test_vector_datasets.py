"""Data sets whose labels are polygons or points: found, checked, cached, and learned from as from their raster."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import torch
from affine import Affine

import geoseg
from geoseg.datasets.cache import SceneCache, entry_key
from geoseg.datasets.dataset import has_known_layout, open_dataset
from geoseg.datasets.samples import Framing, LabelledScene
from geoseg.datasets.survey import survey
from geoseg.errors import InputError, UsageError
from geoseg.legend import NO_CLASS
from geoseg.models.storage import read_model_file
from geoseg.raster.features import LabelField

MakeVector = Callable[..., Path]
OFF_ORIGIN = Affine(0.5, 0.0, 441_754.5, 0.0, -0.75, 5_417_386.25)
SHAPE, KIND = (37, 53), LabelField("kind")
SMALL = {"width": 4, "norm": "batch", "size": 24, "epochs": 2, "lr": 1e-2, "device": "cpu", "precision": "fp32"}
NAMES = {10: "meadow", 20: "roof", 30: "pond"}


def patches(seed: int) -> np.ndarray:
    """(37, 53) uint8 patches of the codes 10, 20, 30, and 0 where nothing is labelled."""
    drawn = np.random.default_rng(seed).choice([0, 10, 20, 30], (10, 14))
    return drawn.repeat(4, 0).repeat(4, 1)[: SHAPE[0], : SHAPE[1]].astype(np.uint8)


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, *SHAPE), np.uint8)


@pytest.fixture
def root(make_dataset: Callable[..., Path]) -> Path:
    """Six scenes beside each other with raster labels."""
    root = make_dataset({stem: (pixels(i), patches(i)) for i, stem in enumerate("abcdef")})
    for place, stem in enumerate("abcdef"):
        for folder in ("images", "labels"):
            with rasterio.open(root / folder / f"{stem}.tif", "r+") as dataset:
                dataset.transform = OFF_ORIGIN @ Affine.translation(place * SHAPE[1], 0)
    return root


def outlines(path: Path) -> tuple[list[shapely.Polygon], list[str]]:
    with rasterio.open(path) as dataset:
        values, transform = dataset.read(1), dataset.transform
    found = rasterio.features.shapes(values, transform=transform)
    found = [(shapely.geometry.shape(shape), NAMES[int(value)]) for shape, value in found if value]
    return [shape for shape, _ in found], [value for _, value in found]


def vectorised(root: Path, make_vector: MakeVector, to: str, shared: bool) -> Path:
    """A copy of a data set with polygons for labels: a file each, or one for all."""
    copy = Path(shutil.copytree(root, root.with_name(to)))
    each = {path.stem: outlines(path) for path in sorted((root / "labels").iterdir())}
    shutil.rmtree(copy / "labels")
    if shared:
        shapes, values = ([item for found in each.values() for item in found[place]] for place in (0, 1))
        make_vector(shapes, values, f"{to}/labels.gpkg", nr=range(len(values)))
    else:
        for stem, found in each.items():
            make_vector(*found, f"{to}/labels/{stem}.geojson", crs="EPSG:32631")
    return copy


@pytest.mark.parametrize("shared", [True, False])
def test_scenes_are_labelled_as_by_their_raster(root: Path, make_vector: MakeVector, shared: bool) -> None:
    copy = vectorised(root, make_vector, "vectors", shared)
    plain, dataset = open_dataset(root), open_dataset(copy, field=KIND)
    assert [pair.stem for pair in dataset.pairs] == list("abcdef") and dataset.shares_labels == shared
    assert (plain.field, dataset.field, dataset.left_out) == (None, KIND, ()) and has_known_layout(copy)
    for one, other in zip(plain.pairs, dataset.pairs, strict=True):
        expected, flaws = LabelledScene(one, plain.legend).read()
        sample, same = LabelledScene(other, dataset.legend).read()
        assert flaws == same and all(map(np.array_equal, sample, expected))
    found = [
        survey([LabelledScene(pair, data.legend) for pair in data.pairs], data.legend) for data in (plain, dataset)
    ]
    assert np.array_equal(found[0].scene_counts, found[1].scene_counts) and found[0].counts.all()
    assert found[0].without_class == found[1].without_class


@pytest.mark.parametrize(
    ("shared", "options"), [(True, {}), (False, {"window": 32, "size": 16, "balance_crops": True, "epochs": 1})]
)
def test_training_on_polygons_is_training_on_their_raster(
    root: Path, make_vector: MakeVector, tmp_path: Path, shared: bool, options: dict
) -> None:
    copy = vectorised(root, make_vector, "vectors", shared)
    geoseg.train(root, tmp_path / "rasters", **(SMALL | options))
    geoseg.train(copy, tmp_path / "polygons", label_field="kind", **(SMALL | options))
    first, second = (read_model_file(tmp_path / run / "last.safetensors")[1] for run in ("rasters", "polygons"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    reports = [json.loads((tmp_path / run / "report.json").read_text()) for run in ("rasters", "polygons")]
    assert reports[1]["data"].pop("labels") == {"name": "kind", "layer": None}
    assert reports[0]["last"] == reports[1]["last"] and "labels" not in reports[0]["data"]


def test_a_run_goes_on_with_the_field_it_began_with(root: Path, make_vector: MakeVector, tmp_path: Path) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    geoseg.train(copy, tmp_path / "run", label_field="kind", **(SMALL | {"epochs": 1}))
    with pytest.raises(InputError, match="which field holds the classes"):
        geoseg.train(copy, tmp_path / "run", resume=True, epochs=2)
    again = {"resume": True, "epochs": 2, "device": "cpu", "precision": "fp32", "label_field": "kind"}
    with pytest.raises(UsageError, match="was begun with another labels"):
        geoseg.train(copy, tmp_path / "run", label_layer="labels", **again)
    geoseg.train(copy, tmp_path / "run", **again)
    assert len((tmp_path / "run/history.csv").read_text().splitlines()) == 3


def test_images_without_a_label_are_left_out_and_said(root: Path, make_vector: MakeVector, caplog) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    inside = shapely.box(*rasterio.open(copy / "images/b.tif").bounds).buffer(-1)
    outside = shapely.Point(0, 0)
    (copy / "labels.gpkg").unlink()
    make_vector([inside, outside, outside], ["pond", "roof", "roof"], "vectors/labels.gpkg")
    (copy / "split.json").write_text(json.dumps({"train": ["a", "b"], "val": ["c"], "test": []}))
    with caplog.at_level(logging.WARNING, "geoseg"):
        dataset = open_dataset(copy)
    assert [pair.stem for pair in dataset.pairs] == ["b"] and dataset.left_out == tuple("acdef")
    assert "nothing of it lies on 5 images, which are left out: a, c, d, e, f" in caplog.text
    assert "2 of 2 points lie on none of 6 scenes" in caplog.text
    assert [pair.stem for pair in dataset.part(("a", "b"))] == ["b"]
    with pytest.raises(InputError, match=r"1 scene\(s\) of the split are not there, x first"):
        dataset.part(("a", "x"))


def test_labels_that_lie_on_no_image_are_refused(root: Path, make_vector: MakeVector) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    (copy / "labels.gpkg").unlink()
    make_vector([shapely.box(0, 0, 9, 9)], ["pond"], "vectors/labels.gpkg")
    with pytest.raises(InputError, match=r"labels.gpkg: nothing of it lies on any of the 6 images; is its CRS right"):
        open_dataset(copy)


def test_no_labelled_pixel_in_training(root: Path, make_vector: MakeVector) -> None:
    # One file a scene, each far away.
    copy = vectorised(root, make_vector, "vectors", shared=False)
    for path in (copy / "labels").iterdir():
        path.unlink()
        make_vector([shapely.box(0, 0, 9, 9)], ["pond"], f"vectors/labels/{path.name}")
    with pytest.raises(
        InputError, match=r"no pixel of the training scenes has a class.*do the labels lie on the scenes"
    ):
        geoseg.train(copy, copy / "run", **SMALL)


def test_one_scene_whose_own_labels_lie_elsewhere_is_named(
    root: Path, make_vector: MakeVector, tmp_path: Path, caplog
) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=False)
    (copy / "labels/c.geojson").unlink()
    make_vector([shapely.box(0, 0, 9, 9)], ["pond"], "vectors/labels/c.geojson")
    with caplog.at_level(logging.WARNING, "geoseg"):
        geoseg.train(copy, tmp_path / "run", **(SMALL | {"epochs": 1}))
    said = [record.getMessage() for record in caplog.records if "nothing of it lies on" in record.getMessage()]
    assert len(said) == 1
    assert "labels/c.geojson: nothing of it lies on" in said[0] and said[0].endswith("images/c.tif; is its CRS right?")


def test_sparse_points_are_learned_from_and_their_share_is_said(
    root: Path, make_vector: MakeVector, tmp_path: Path, caplog
) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    (copy / "labels.gpkg").unlink()
    random = np.random.default_rng(0)
    places = [
        OFF_ORIGIN @ Affine.translation(scene * SHAPE[1], 0) @ tuple(random.uniform((0, 0), SHAPE[::-1]))
        for scene in (0, 1, 2, 4, 5)
        for _ in range(5)
    ]
    kinds = random.choice(["meadow", "roof", "pond"], len(places)).tolist()
    make_vector(map(shapely.Point, places), kinds, "vectors/labels.gpkg")
    with caplog.at_level(logging.INFO, "geoseg"):
        geoseg.train(
            copy, tmp_path / "run", split="60/20/20", **(SMALL | {"window": 32, "balance_crops": True, "epochs": 1})
        )
    assert "nothing of it lies on 1 images, which are left out: d" in caplog.text
    assert "0.25 % of the training pixels have a class; --window with --balance-crops looks there" in caplog.text


def test_what_is_contested_or_empty_is_said(root: Path, make_vector: MakeVector, tmp_path: Path, caplog) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=False)
    bounds = [rasterio.open(copy / f"images/{stem}.tif").bounds for stem in "ab"]
    for stem in "ab":
        (copy / f"labels/{stem}.geojson").unlink()
    whole, half = shapely.box(*bounds[0]), shapely.box(*bounds[0][:2], bounds[0][2], bounds[0][3] - 13.5)
    bowtie = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    make_vector([whole, half, bowtie], ["meadow", "pond", "pond"], "vectors/labels/a.gpkg")
    make_vector([shapely.box(0, 0, 9, 9), shapely.Point(0, 0)], ["pond", "roof"], "vectors/labels/b.gpkg")
    with caplog.at_level(logging.INFO, "geoseg"):
        geoseg.train(copy, tmp_path / "run", split="100/0/0", **(SMALL | {"epochs": 1}))
    assert f"{19 * 53} training pixels lie in shapes of several classes; the last one counts" in caplog.text
    assert "1 of 6 training scenes hold no label" in caplog.text
    assert "a.gpkg: 1 of 3 features had to be mended" in caplog.text
    assert "b.gpkg: 1 of 1 points lie outside of the scene" in caplog.text


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda root: (root / "labels").mkdir(), "has both labels and labels.gpkg; which are the labels"),
        (lambda root: shutil.copy(root / "labels.gpkg", root / "labels.fgb"), "has both labels.gpkg and labels.fgb"),
        (lambda root: (root / "legend.json").unlink(), "has no legend.json"),
    ],
)
def test_layouts_that_say_two_things(root: Path, make_vector: MakeVector, change: Callable, what: str) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    change(copy)
    with pytest.raises(InputError, match=what):
        open_dataset(copy, field=KIND)


def test_one_file_of_all_images_in_the_folder_of_labels_is_told_its_place(root: Path, make_vector: MakeVector) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    (copy / "labels").mkdir()
    (copy / "labels.gpkg").rename(copy / "labels/all.gpkg")
    with pytest.raises(InputError, match=r"a is in images/ but not in labels/ .*lies beside images/, as labels.gpkg"):
        open_dataset(copy, field=KIND)


def test_rasters_have_no_field(root: Path) -> None:
    with pytest.raises(UsageError, match="its labels are rasters, which have neither --label-field nor --label-layer"):
        open_dataset(root, field=KIND)


def test_the_cache_knows_what_lies_on_the_scene_and_nothing_else(
    root: Path, make_vector: MakeVector, tmp_path: Path
) -> None:
    copy, framing = vectorised(root, make_vector, "vectors", shared=True), Framing(53, 24, whole=True)
    shapes, values = ([x for stem in "abcdef" for x in outlines(root / f"labels/{stem}.tif")[part]] for part in (0, 1))

    def keys(field: str = "kind") -> list[str]:
        dataset = open_dataset(copy, field=LabelField(field))
        scenes = [LabelledScene(pair, dataset.legend) for pair in dataset.pairs]
        return [json.dumps(entry_key(scene, framing)) for scene in scenes]

    def rewritten(shapes: list, values: list) -> None:
        (copy / "labels.gpkg").unlink()
        make_vector(shapes, values, "vectors/labels.gpkg", other=values[::-1])

    rewritten(shapes, values)
    before = keys()
    rewritten(shapes, values)
    assert keys() == before and keys("other") != before
    # A feature of the first scene gets another class, then another outline, then a feature is drawn over all.
    rewritten(shapes, [{"meadow": "pond"}.get(values[0], "meadow"), *values[1:]])
    changed = keys()
    assert changed[0] != before[0] and changed[1:] == before[1:]
    rewritten([shapes[0].buffer(0.2), *shapes[1:]], values)
    assert keys()[0] not in (before[0], changed[0]) and keys()[1:] == before[1:]
    # What is kept is what would be decoded.
    dataset = open_dataset(copy, field=KIND)
    scene = LabelledScene(dataset.pairs[0], dataset.legend)
    kept = [SceneCache(tmp_path, framing).sample(scene) for _ in range(2)]
    without = SceneCache(None, framing).sample(scene)
    assert all(np.array_equal(one, other) for sample in kept for one, other in zip(sample, without, strict=True))
    assert len(list(tmp_path.glob("*.scene"))) == 1 and (without.index != NO_CLASS).any()


def test_stats_are_those_of_the_raster(root: Path, make_vector: MakeVector) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    plain, found = geoseg.stats(root).to_dict(), geoseg.stats(copy, label_field="kind").to_dict()
    assert {**plain, "data": ""} == {**found, "data": ""} and plain["classes"]


def test_an_ablation_on_polygons_tests_what_that_on_their_raster_tests(
    root: Path, make_vector: MakeVector, tmp_path: Path
) -> None:
    copy = vectorised(root, make_vector, "vectors", shared=True)
    options = {"settings": ["baseline"], "seeds": 1, "width": 2, "norm": "batch", "size": 16, "device": "cpu"}
    options |= {"fixed_steps": 2, "precision": "fp32", "split": "60/20/20"}
    rasters = geoseg.ablate(root, tmp_path / "rasters", **options)
    polygons = geoseg.ablate(copy, tmp_path / "polygons", label_field="kind", **options)
    for one, other in zip(rasters.runs, polygons.runs, strict=True):
        assert one.tested.matrices == other.tested.matrices
    page = (tmp_path / "polygons/ablation.html").read_text()
    assert "no pictures" not in page and page.count("<img") == (tmp_path / "rasters/ablation.html").read_text().count(
        "<img"
    )
    with pytest.raises(UsageError, match="another field of labels"):
        geoseg.ablate(copy, tmp_path / "polygons", label_field="kind", label_layer="labels", **options)
