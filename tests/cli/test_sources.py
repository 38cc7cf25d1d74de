"""Commands on rasters by URL: outputs, refusals, and that no credential gets out of the process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

import geoseg
from geoseg.errors import InputError, UsageError
from geoseg.prediction.predict import Journal
from geoseg.source import OpeningPolicy, Source
from geoseg_cli.main import cli

MakeRaster = Callable[..., Path]
SECRET = "SECRET"
CODES = (np.arange(300 * 403) // 977 % 6).astype(np.uint8).reshape(300, 403)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


@pytest.fixture
def scene(web, make_raster: MakeRaster) -> Path:
    pixels = np.random.default_rng(5).integers(1, 256, (3, 300, 403)).astype(np.uint8)
    return make_raster(pixels, "web/scene.tif", **TILED)


@pytest.fixture
def truth(web, make_raster: MakeRaster) -> Path:
    return make_raster(CODES, "web/truth.tif", **TILED)


@pytest.fixture(autouse=True)
def nothing_gets_out(tmp_path: Path, capfd: pytest.CaptureFixture) -> Iterator[Callable]:
    """After the test no file and no text of the process holds the credential; but the server's own record does."""
    yield
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "requests.log":
            assert SECRET.encode() not in path.read_bytes(), path


def run(*words: object, code: int = 0) -> Result:
    arguments = [str(word) for word in words]
    # As a shell would have it: reports and hints quote it.
    sys.argv[:] = ["geoseg", *arguments]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    assert SECRET not in result.output
    return result


@pytest.fixture(autouse=True)
def own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def secret_url(web, name: str) -> str:
    return web.url(f"signed/{name}?X-Amz-Date=1&sig={SECRET}").replace("//", f"//user:{SECRET}@")


def shown(web, name: str) -> str:
    return web.url(f"signed/{name}?...")


def test_a_map_of_a_scene_on_the_web(web, scene: Path, trained_run: Path, tmp_path: Path) -> None:
    url, folder = secret_url(web, "scene.tif"), tmp_path / "maps"
    words = ("predict", url, "-o", f"{folder}/", "--model", trained_run, "--window", 128)
    (planned,) = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert (planned["scene"], planned["output"]) == (shown(web, "scene.tif"), f"{folder}/scene.tif")
    assert shown(web, "scene.tif") in run(*words, "--dry-run").stdout
    scores = ("--scores", "top", tmp_path / "scores.tif", "--quicklook", tmp_path / "map.png")
    assert json.loads(run(*words, *scores, "--json").stdout)["path"] == f"{folder}/scene.tif"
    geoseg.predict(scene, trained_run, tmp_path / "same.tif", window=128)
    with rasterio.open(folder / "scene.tif") as made, rasterio.open(tmp_path / "same.tif") as same:
        assert np.array_equal(made.read(), same.read())
        assert made.tags()["GEOSEG_INPUT"] == shown(web, "scene.tif")
    run("info", folder / "scene.tif", "--json")
    assert "300 x 403 px" in run("info", url).stdout


def test_a_report_on_a_truth_on_the_web(web, truth: Path, make_raster: MakeRaster, tmp_path: Path) -> None:
    prediction, url = make_raster(np.roll(CODES, 40), "map.tif"), secret_url(web, "truth.tif")
    reports = [tmp_path / f"report.{ending}" for ending in ("json", "csv", "md", "html")]
    words = [word for path in reports for word in ("--report", path)]
    images = ("--images", secret_url(web, "truth.tif"))
    result = run("score", prediction, url, "--legend", "deepglobe", "--json", *words, *images)
    local = geoseg.score(prediction, truth, "deepglobe")
    assert json.loads(result.stdout)["mean_iou"] == local.mean_iou
    record = json.loads(reports[0].read_text())
    assert record["provenance"]["command"].startswith(f"geoseg score {prediction} '{shown(web, 'truth.tif')}' --legend")
    assert "no pictures" not in reports[3].read_text() and "<img" in reports[3].read_text()
    run("score", url, url, "--legend", "deepglobe")
    compared = json.loads(run("compare", prediction, url, url, "--json").stdout)
    assert compared["b"] == shown(web, "truth.tif") and compared["overall"]["mean_iou"]["b"] == 1


def test_areas_of_a_map_on_the_web(web, truth: Path, tmp_path: Path) -> None:
    url, points = secret_url(web, "truth.tif"), tmp_path / "points.csv"
    run("design", url, "-o", points, "--size", 300, "--seed", 1, "--legend", "deepglobe")
    table = geoseg.read_points(points)
    assert len(table) == 300
    filled = points.read_text().splitlines()
    head = filled[0].split(",")
    stratum, reference = head.index("stratum"), head.index("reference")
    rows = [line.split(",") for line in filled[1:]]
    for row in rows:
        row[reference] = row[stratum]
    points.write_text("\n".join(map(",".join, [head, *rows])))
    found = json.loads(run("area", url, "--sample", points, "--legend", "deepglobe", "--json").stdout)
    assert found["overall_accuracy"]["value"] == 1


def test_a_stopped_run_goes_on_unless_the_file_has_changed(
    web, trained_run: Path, tmp_path: Path, make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_raster(np.random.default_rng(1).integers(1, 256, (3, 2100, 40)).astype(np.uint8), "web/scene.tif")
    url, output = secret_url(web, "scene.tif"), tmp_path / "map.tif"
    words = ("predict", url, "-o", output, "--model", trained_run, "--window", 64)
    add, added = Journal.add, []

    def interrupted(journal: Journal, result: object) -> None:
        add(journal, result)
        added.append(result)
        if len(added) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", interrupted)
        stopped = run(*words, code=130)
    assert f"'{shown(web, 'scene.tif')}'" in stopped.stderr and "(with the credentials in its URL)" in stopped.stderr
    # Signed on another day, it is the same file.
    again = (words[0], url.replace("Date=1", "Date=2"), *words[2:], "--resume")
    content = scene.read_bytes()
    scene.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "the unfinished run had another scene" in run(*again, code=2).stderr
    scene.write_bytes(content)
    assert "of 3 shards were finished before" in run(*again).stderr
    assert output.is_file()


def test_a_file_that_changes_while_it_is_read(
    web, scene: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Journal.add

    def changing(journal: Journal, result: object) -> None:
        add(journal, result)
        scene.write_bytes(scene.read_bytes() + b" ")

    monkeypatch.setattr(Journal, "add", changing)
    done = run("predict", secret_url(web, "scene.tif"), "-o", tmp_path / "m.tif", "--model", trained_run, code=3)
    assert "was changed while it was read" in done.stderr and not (tmp_path / "m.tif").exists()


@pytest.mark.parametrize("manner", ["forbidden", "plain/no", "stalls", "no-ranges", "cut", "fails-99"])
def test_errors_are_one_line_and_leave_no_map(
    manner: str, web, scene: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    url = secret_url(web, "scene.tif").replace("signed", manner)
    done = run("predict", url, "-o", tmp_path / "m.tif", "--model", trained_run, code=3)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("geoseg: "))
    assert line.startswith(f"geoseg: {web.url(manner)}/scene.tif?...: cannot be")
    assert not (tmp_path / "m.tif").exists()
    if manner != "cut":
        run("score", scene, url, code=3)
        run("info", url, code=3)


@pytest.mark.parametrize(
    "words",
    [
        ("score", "{}", "{}", "{}"),
        ("predict", "a.tif", "-o", "{}"),
        ("predict", "a.tif", "-o", "m.tif", "--scores", "top", "{}"),
        ("predict", "a.tif", "-o", "m.tif", "--model", "{}"),
        ("predict", "a.tif", "-o", "m.tif", "--window", "{}"),
        ("predict", "a.tif", "-o", "m.tif", "--co", "{}"),
        ("score", "a.tif", "b.tif", "--report", "{}"),
        ("score", "a.tif", "b.tif", "--legend", "{}"),
        ("score", "a.tif", "b.tif", "--mapping", "{}"),
        ("train", "{}"),
        ("area", "a.tif", "--sample", "{}"),
        ("area", "--counts", "{}"),
        ("stats", "{}"),
        ("info", "{}", "--debug"),
        ("{}",),
    ],
)
def test_credentials_in_the_wrong_place(
    words: tuple[str, ...], make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://user:{SECRET}@no.invalid/a.tif?sig={SECRET}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for name in ("a.tif", "b.tif"):
        make_raster(np.zeros((3, 8, 8), np.uint8), name)
    arguments = [word.format(url) for word in words]
    sys.argv[:] = ["geoseg", *arguments]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code in (1, 2, 3, 4, 5) and SECRET not in result.output


def test_a_process_of_its_own(web, scene: Path, trained_run: Path, tmp_path: Path) -> None:
    url = secret_url(web, "scene.tif").replace("signed", "forbidden")
    words = ["predict", url, "-o", tmp_path / "map.tif", "--model", trained_run, "--debug"]
    command = [sys.executable, "-m", "geoseg_cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" in done.stderr and "403" in done.stderr
    assert SECRET not in done.stdout + done.stderr


class TestFromPython:
    def test_errors_and_their_causes(self, web, scene: Path, trained_run: Path, tmp_path: Path) -> None:
        import traceback

        for manner in ("forbidden", "cut"):
            url = secret_url(web, "scene.tif").replace("signed", manner)
            with pytest.raises(InputError) as caught:
                geoseg.predict(url, trained_run, tmp_path / "m.tif")
            assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_messages(self, web, scene: Path, trained_run: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        geoseg.predict(secret_url(web, "scene.tif").replace("signed", "cut-once"), trained_run)
        assert "once more" in caplog.text and SECRET not in caplog.text

    def test_plans(self, web, scene: Path, trained_run: Path) -> None:
        result = geoseg.predict(secret_url(web, "scene.tif"), trained_run)
        assert SECRET not in result.plan.to_json() + repr(result.plan) + repr(result) + result._repr_html_()


def test_leave_is_given_by_options(make_raster: MakeRaster, tmp_path: Path) -> None:
    picture = make_raster(name="a.bmp", crs=None, transform=None, driver="BMP")
    assert "--allow-driver" in run("info", picture, code=3).stderr
    assert "37 x 53" in run("info", picture, "--allow-driver", "BMP").stdout
    assert "cannot be allowed" in run("info", picture, "--allow-driver", "WMS", code=2).stderr
    outside = make_raster(np.zeros((37, 53), np.uint8), "out/a.tif")
    vrt = tmp_path / "in" / "m.vrt"
    vrt.parent.mkdir()
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{outside}</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    vrt.write_text(f'<VRTDataset rasterXSize="53" rasterYSize="37">{band}</VRTDataset>')
    assert "--allow-external" in run("score", vrt, outside, "--legend", "deepglobe", code=3).stderr
    run("score", vrt, outside, "--legend", "deepglobe", "--allow-external")
    run("score", outside, vrt, "--legend", "deepglobe", "--allow-external")


def test_leave_is_for_what_is_named(tmp_path: Path) -> None:
    assert "--allow-large is for rasters and folders that are named" in run("train", "--allow-large", code=2).stderr


def test_training_data_are_opened_under_the_policy(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    pixels, codes = np.full((3, 8, 8), 9, np.uint8), np.full((8, 8), 10, np.uint8)
    root = make_dataset({stem: (pixels, codes) for stem in "abc"})
    (root / "images/a.tif").rename(tmp_path / "a.tif")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">../../a.tif'
        f"</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i in (1, 2, 3)
    )
    place = "<SRS>EPSG:32631</SRS><GeoTransform>441754.5, 0.5, 0, 5417386.25, 0, -0.75</GeoTransform>"
    (root / "images/a.vrt").write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{place}{bands}</VRTDataset>')
    words = (
        "train",
        root,
        "-o",
        tmp_path / "run",
        "--split",
        "100/0/0",
        "--width",
        2,
        "--epochs",
        1,
        "--cache",
        "none",
    )
    for command in (words, ("stats", root, "--split", "100/0/0")):
        assert "--allow-external" in run(*command, code=3).stderr
        run(*command, "--allow-external")
    with pytest.raises(InputError, match="--allow-external"):
        geoseg.stats(root, split="100/0/0")
    geoseg.stats(Source(str(root), OpeningPolicy(external=True)), split="100/0/0")


def test_maps_are_written_here(make_raster: MakeRaster, trained_run: Path) -> None:
    with pytest.raises(UsageError, match=r"^s3://bucket/m.tif: maps are written to files of this machine"):
        geoseg.predict(make_raster(), trained_run, "s3://bucket/m.tif")
