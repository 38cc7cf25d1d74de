"""geoseg.plot: what a figure says is so, and nothing of it is cut off or written over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import geoseg
from geoseg.errors import UsageError
from geoseg.legend import DEEPGLOBE, Legend, LegendClass
from geoseg.plotting.figure import encoded
from geoseg.plotting.plot import areas_said, share_said
from geoseg_cli.main import cli

MakeRaster = Callable[..., Path]
LONG = "Broad-leaved deciduous forest with a closed canopy of more than forty in a hundred "
UTM = Affine(10.0, 0.0, 497_350.0, 0.0, -10.0, 5_401_850.0)


def land(shape: tuple[int, int] = (37, 53), classes: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)


def words(figure: Figure) -> list[str]:
    """Texts beside the panels, from top to bottom."""
    return [text.get_text() for text in figure.texts]


def heads(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]


def layer(figure: Figure, axes: int = 0) -> np.ndarray:
    """(h, w, 4) of a panel's upper layer."""
    return np.asarray(figure.axes[axes].get_images()[-1].get_array())


def legend_of(classes: int, name: str = LONG) -> Legend:
    entries = (LegendClass(i, f"{name}{i}", (12 * i, 255 - 12 * i, 40)) for i in range(classes))
    return Legend("some", tuple(entries))


# One map


def test_a_map_has_its_classes_and_their_true_areas(make_raster: MakeRaster) -> None:
    codes = np.where(land() < 3, 0, 4).astype(np.uint8)
    codes[0] = 2
    figure = geoseg.plot(make_raster(codes, transform=UTM), legend=DEEPGLOBE)
    pixel = 1e-2 / 0.9996**2
    amounts = [f"{pixel * (codes == code).sum():.2f} ha" for code in (0, 2, 4)]
    assert words(figure)[:6] == ["urban", amounts[0], "rangeland", amounts[1], "water", amounts[2]]
    assert words(figure)[6] == "100 m" and heads(figure) == [""]
    assert np.array_equal(layer(figure)[..., :3], np.moveaxis(DEEPGLOBE.to_rgb(codes), 0, -1))


def test_all_classes_shares_and_no_amounts(make_raster: MakeRaster) -> None:
    path = make_raster(np.full((37, 53), 4, np.uint8), transform=UTM)
    every = geoseg.plot(path, legend=DEEPGLOBE, all_classes=True, amounts="none")
    assert words(every)[:7] == list(DEEPGLOBE.names)
    assert words(geoseg.plot(path, legend=DEEPGLOBE, amounts="share"))[:2] == ["water", "100.0 %"]
    nowhere = make_raster(np.full((37, 53), 4, np.uint8), "n.tif", crs=None, transform=None)
    assert words(geoseg.plot(nowhere, legend=DEEPGLOBE)) == ["water", "100.0 %"]


def test_a_rare_class_is_in_the_key_though_no_pixel_of_the_figure_shows_it(make_raster: MakeRaster) -> None:
    codes = np.zeros((300, 400), np.uint8)
    codes[150, 200] = 3
    figure = geoseg.plot(make_raster(codes, transform=UTM), legend=DEEPGLOBE, width=40, dpi=40)
    assert "forest" in words(figure) and not (layer(figure)[..., :3] == DEEPGLOBE.classes[3].colour).all(-1).any()


def test_pixels_without_a_class_are_clear_and_hatched_where_white_is_a_class(make_raster: MakeRaster) -> None:
    codes = np.full((37, 53), 4, np.uint8)
    codes[:5] = 255
    figure = geoseg.plot(make_raster(codes, nodata=255), legend=DEEPGLOBE)
    assert (layer(figure)[:5, :, 3] == 0).all() and (layer(figure)[5:, :, 3] == 255).all()
    assert "no data" not in words(figure) and figure.axes[0].patch.get_hatch() is None
    codes[20:] = 5
    figure = geoseg.plot(make_raster(codes, "white.tif", nodata=255), legend=DEEPGLOBE)
    assert "no data" in words(figure) and figure.axes[0].patch.get_hatch()


def test_names_are_no_formulas(make_raster: MakeRaster) -> None:
    signs = "a $x$ of $5_$ {"
    figure = geoseg.plot(make_raster(land(classes=2)), legend=legend_of(2, signs), title=signs)
    figure.canvas.draw()
    assert signs in words(figure)


def test_the_map_lies_over_its_image_in_grey(make_raster: MakeRaster) -> None:
    codes = land()
    path, image = make_raster(codes), make_raster(name="image.tif")
    figure = geoseg.plot(path, legend=DEEPGLOBE, scene=image, alpha=0.4)
    below, above = (np.asarray(one.get_array()) for one in figure.axes[0].get_images())
    assert (np.ptp(below[..., :3], axis=-1) == 0).all() and (above[..., 3] == round(255 * 0.4)).all()
    grey = below[..., 0].mean()
    expected = [round(0.4 * part + 0.6 * grey) for part in DEEPGLOBE.classes[0].colour]
    box = next(one for one in figure.artists or figure.patches if hasattr(one, "get_facecolor"))
    assert [round(255 * part) for part in box.get_facecolor()[:3]] == pytest.approx(expected, abs=1)


def test_south_up_maps_are_shown_north_up(make_raster: MakeRaster) -> None:
    codes = land()
    path = make_raster(codes, transform=Affine(10.0, 0.0, 497_350.0, 0.0, 10.0, 5_401_480.0))
    figure = geoseg.plot(path, legend=DEEPGLOBE)
    assert np.array_equal(layer(figure)[..., :3], np.moveaxis(DEEPGLOBE.to_rgb(codes[::-1]), 0, -1))
    assert "N" not in words(figure)


def test_an_arrow_where_north_is_not_up(make_raster: MakeRaster) -> None:
    path = make_raster(land(), transform=UTM @ Affine.rotation(40))
    assert "N" in words(geoseg.plot(path, legend=DEEPGLOBE))


def test_the_scale_is_as_long_as_it_says(make_raster: MakeRaster) -> None:
    path = make_raster(land((90, 80)), crs="EPSG:3857", transform=Affine(10.0, 0, 1_335_000, 0, -10.0, 8_600_000))
    figure = geoseg.plot(path, legend=DEEPGLOBE)
    (said,) = [text for text in words(figure) if text.endswith(" m")]
    halves = [one for one in figure.patches + figure.artists if one.get_facecolor()[:3] in ((1, 1, 1), (34 / 255,) * 3)]
    inches = sum(one.get_width() for one in halves[-2:]) * figure.get_size_inches()[0]
    (box,) = (axes.get_position() for axes in figure.axes)
    metres = inches / (box.width * figure.get_size_inches()[0]) * 80 * 10 * np.cos(np.radians(61.0))
    assert metres == pytest.approx(float(said[:-2]), rel=0.01)


def test_coordinates_stand_at_a_single_panel(make_raster: MakeRaster) -> None:
    path = make_raster(land(), transform=UTM)
    axes = geoseg.plot(path, legend=DEEPGLOBE).axes[0]
    assert all(label.get_text().endswith("°E") for label in axes.get_xticklabels()) and len(axes.get_yticks())
    for figure in (geoseg.plot(path, legend=DEEPGLOBE, coordinates=False), geoseg.plot(path, truth=path)):
        assert not any(label.get_visible() for label in figure.axes[0].get_xticklabels() if label.get_text())


# Several panels


def test_panels_are_those_there_are_rasters_for(make_raster: MakeRaster) -> None:
    path, image, truth = make_raster(land()), make_raster(name="image.tif"), make_raster(land(seed=1), "t.tif")
    given = {"legend": DEEPGLOBE, "truth": truth}
    right = (land() == land(seed=1)).mean()
    errors = f"errors: {right:.1%} right"
    assert heads(geoseg.plot(path, **given)) == ["truth", "map", errors]
    assert heads(geoseg.plot(path, **given, scene=image)) == ["image", "truth", "map", errors]
    assert heads(geoseg.plot(path, **given, scene=image, panels=("errors", "image"))) == [errors, "image"]
    over = geoseg.plot(path, **given, scene=image, panels=("truth", "map"))
    assert [len(axes.get_images()) for axes in over.axes] == [1, 2]


def test_amounts_beside_a_truth_are_only_given_when_asked_for(make_raster: MakeRaster) -> None:
    path = make_raster(land(), transform=UTM)
    assert not [word for word in words(geoseg.plot(path, truth=path)) if word.endswith(("ha", "%"))]
    assert [word for word in words(geoseg.plot(path, truth=path, amounts="share")) if word.endswith("%")]


def test_what_cannot_be_drawn_is_refused(make_raster: MakeRaster) -> None:
    path = make_raster(land())
    for options, said in (
        ({"panels": ("image",)}, "the panel image needs a scene"),
        ({"panels": ("errors",)}, "the panel errors needs a truth"),
        ({"panels": ("frame",)}, "no panel 'frame'"),
        ({"panels": ("map", "map")}, "named once each"),
        ({"alpha": 0.5}, "name that with --scene"),
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"amounts": "acres"}, "no amounts 'acres'"),
        ({"width": 20}, "30 mm wide"),
        ({"dpi": 9999}, "20,000 pixels"),
        ({"label_field": "kind"}, "is for a truth"),
        ({"truth": path, "label_field": "kind"}, "neither --label-field"),
    ):
        with pytest.raises(UsageError, match=said):
            geoseg.plot(path, legend=DEEPGLOBE, **options)


# How it looks


SHAPES = {"square": (60, 60), "wide": (30, 700), "tall": (700, 30), "thin": (1, 2000)}


@pytest.mark.parametrize(("width", "classes"), [(60, 3), (180, 20)])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.filterwarnings("error")
def test_nothing_is_cut_off_or_written_over(
    make_raster: MakeRaster, kind: str, width: int, classes: int, several: bool
) -> None:
    path = make_raster(land(SHAPES[kind], classes), transform=UTM)
    options = {"truth": path, "amounts": "share"} if several else {}
    title = "A title that says what is seen, of which year, and where"
    figure = geoseg.plot(path, legend=legend_of(classes), width=width, dpi=60, title=title, **options)
    inches = figure.get_size_inches()
    assert inches[0] * 25.4 <= max(width, 110) + 1e-6
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, *axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text() and t.get_visible()]
    right, top = inches * figure.dpi
    for said, box in boxes:
        assert box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= right + 0.5 and box.y1 <= top + 0.5, said
    panels = [("panel", axes.get_window_extent(renderer)) for axes in figure.axes]
    for (one, first), (other, second) in combinations(boxes + panels, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(across, down) < 2, (one, other)


def test_amounts_in_words() -> None:
    assert areas_said([1234.4, 0.3, 0]) == ["1,234 ha", "<1 ha", "0 ha"]
    assert areas_said([12.34, 0.004]) == ["12.3 ha", "<0.1 ha"]
    assert areas_said([250_000, 120]) == ["2,500 km²", "1 km²"]
    assert areas_said([0.05, 0.01]) == ["500 m²", "100 m²"] and areas_said([]) == []
    assert [share_said(share) for share in (0, 0.0001, 0.123, 1)] == ["0.0 %", "<0.1 %", "12.3 %", "100.0 %"]


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_equal_figures_are_equal_files(make_raster: MakeRaster, ending: str, start: bytes) -> None:
    path = make_raster(land(), transform=UTM)
    once, again = (encoded(geoseg.plot(path, legend=DEEPGLOBE), ending, 72) for _ in range(2))
    assert once == again and once.startswith(start)


# The command


def run(*given: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["plot", *map(str, given)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_writes_a_figure(make_raster: MakeRaster, tmp_path: Path) -> None:
    path, image, truth = make_raster(land()), make_raster(name="image.tif"), make_raster(land(seed=1), "t.tif")
    output = tmp_path / "figure.png"
    said = run(path, "--legend", "deepglobe", "--scene", image, "--truth", truth, "-o", output, "--dpi", 50)
    assert said.stdout == f"{output}\n"
    with Image.open(output) as picture:
        assert picture.width == pytest.approx(180 / 25.4 * 50, abs=1)
    run(path, "-o", output, code=5)
    record = json.loads(run(path, "-o", output, "--overwrite", "--json", "--width", 90, "--dpi", 50).stdout)
    assert record["path"] == str(output) and record["width_mm"] == pytest.approx(90, abs=0.1)
    run(path, "-o", tmp_path / "figure.svg", "--panels", "map")


def test_the_command_draws_files_of_one_band_each(make_raster: MakeRaster, tmp_path: Path) -> None:
    path, bands = make_raster(land()), [make_raster(land(seed=n), f"{n}.tif") for n in range(3)]
    run(path, *(word for band in bands for word in ("--scene", band)), "--panels", "image", "-o", tmp_path / "a.png")


def test_the_command_says_what_is_wrong(
    make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_raster(land())
    assert "ends in .png, .pdf or .svg" in run(path, "-o", tmp_path / "a.jpeg", code=2).stderr
    assert "no panel 'frame'" in run(path, "-o", tmp_path / "a.png", "--panels", "frame", code=2).stderr
    assert "no such file" in run(tmp_path / "none.tif", "-o", tmp_path / "a.png", code=3).stderr
    assert "no such folder" in run(path, "-o", tmp_path / "none" / "a.png", code=5).stderr
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "geoseg.plotting.shown", raising=False)
    assert "pip install 'geoseg[figures]'" in run(path, "-o", tmp_path / "a.png", code=2).stderr
    assert not list(tmp_path.glob("*.png"))
