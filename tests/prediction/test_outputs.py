"""What predict writes beside the classes, and how the network may run."""

import os
import shutil

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rio_cogeo.cogeo import cog_validate

import geoseg
from geoseg.errors import ModelError, ResourceError, UsageError
from geoseg.legend import DEEPGLOBE
from geoseg.models.inference import folded, for_inference, resolve_engine
from geoseg.models.segmenter import Segmenter, SegmenterConfig, TileBatch
from geoseg.raster.scene import ArrayScene

LOCAL = {"device": "cpu", "precision": "fp32"}


def by_colour(image):
    return torch.stack([image[:, 0] * k / 255 - image[:, 1] * (k % 3) / 200 for k in range(7)], 1)


@pytest.fixture
def scene():
    return ArrayScene(np.random.default_rng(5).integers(0, 255, (3, 37, 53), dtype=np.uint8))


def expected_scores(scene) -> np.ndarray:
    logits = by_colour(torch.from_numpy(scene.pixels)[None].double())[0, :6]
    return logits.softmax(0).numpy()


@pytest.mark.parametrize("kind", ["top", "margin", "all"])
def test_scores_are_the_softmax_in_254_steps(make_segmenter, scene, tmp_path, kind):
    output, scores = tmp_path / "map.tif", tmp_path / "scores.tif"
    geoseg.predict(scene, make_segmenter(by_colour), output, scores=kind, scores_output=scores, **LOCAL)
    best = np.sort(expected_scores(scene), 0)
    expected = {"top": best[-1:], "margin": best[-1:] - best[-2:-1], "all": expected_scores(scene)}[kind]
    with rasterio.open(scores) as dataset:
        assert np.abs(dataset.read() * dataset.scales[0] - expected).max() <= 0.5 / 254 + 1e-5
        assert dataset.nodata == 255 and dataset.count == len(expected)
        assert dataset.descriptions[0] == {"all": "urban", "top": "score of the class"}.get(
            kind, "lead over the second class"
        )


def test_seen_from_all_sides_a_pointwise_network_says_the_same(make_segmenter, scene):
    segmenter = make_segmenter(by_colour)
    plain = geoseg.predict(scene, segmenter, window=16, overlap=4, **LOCAL)
    before = len(segmenter.network.calls)
    turned = geoseg.predict(scene, segmenter, window=16, overlap=4, tta=True, **LOCAL)
    assert len(segmenter.network.calls) == 9 * before
    assert (plain.codes == turned.codes).mean() > 0.999


def test_seeing_from_all_sides_averages_a_network_that_looks_one_way(make_segmenter):
    def left_neighbour(image):
        rolled = torch.roll(image[:, :1], 1, -1)
        return torch.cat([rolled, 128 - rolled, *[rolled * 0 - 999] * 5], 1)

    scene = ArrayScene(np.zeros((3, 8, 8), np.uint8))
    scene.pixels[:, 4, 4] = 255
    codes = geoseg.predict(scene, make_segmenter(left_neighbour), tta=True, scores="all", **LOCAL)
    urban = codes.scores[0]
    assert urban[4, 5] == urban[4, 3] == urban[3, 4] == urban[5, 4] == 64 and urban[4, 4] == 0


@pytest.mark.parametrize("cog", [False, True])
def test_creation_options_reach_the_file(make_segmenter, scene, tmp_path, cog):
    output = tmp_path / "map.tif"
    options = {"creation_options": {"compress": "ZSTD"}, "cog": cog}
    result = geoseg.predict(scene, make_segmenter(by_colour), output, **options, **LOCAL)
    with rasterio.open(output) as dataset:
        assert dataset.compression.name == "zstd" and np.array_equal(dataset.read(1), result.codes)
        assert (dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == cog
        assert dataset.colormap(1)[0][:3] == DEEPGLOBE.classes[0].colour
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


@pytest.mark.parametrize("scores", [False, True])
def test_a_cog_is_valid_with_its_overviews(make_segmenter, tmp_path, scores):
    random = np.random.default_rng(8)
    scene = ArrayScene(np.kron(random.integers(0, 255, (3, 70, 50), np.uint8), np.ones((1, 31, 31), np.uint8)))
    scene.valid[:600, :700] = False
    kept = {"scores": "margin", "scores_output": tmp_path / "scores.tif"} if scores else {}
    result = geoseg.predict(
        scene, make_segmenter(by_colour, window=512), tmp_path / "map.tif", cog=True, **kept, **LOCAL
    )
    for path in filter(None, (result.path, result.scores_path)):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid, (errors, warnings)
        with rasterio.open(path) as dataset:
            assert dataset.overviews(1) == [2, 4, 8]


@pytest.mark.parametrize("options", [{"COMPRESS": "JPEG"}, {"TILED": "NO"}, {"ZLEVEL": "high"}, {"NODATA": "3"}])
def test_creation_options_that_would_change_the_map_are_refused(make_segmenter, scene, tmp_path, options):
    with pytest.raises(UsageError, match="creation option"):
        geoseg.predict(scene, make_segmenter(by_colour), tmp_path / "map.tif", creation_options=options, **LOCAL)
    assert not list(tmp_path.glob("*.tif"))


def test_a_quicklook_has_the_map_and_its_legend(make_segmenter, scene, tmp_path):
    result = geoseg.predict(scene, make_segmenter(by_colour), tmp_path / "map.tif", **LOCAL)
    result.write_quicklook(tmp_path / "map.png")
    picture = np.asarray(Image.open(tmp_path / "map.png"))
    colours = {c.code: c.colour for c in DEEPGLOBE.classes}
    assert [tuple(picture[9, col]) for col in range(53)] == [colours[code] for code in result.codes[9]]
    assert picture.shape[1] > 53 and "urban" in result._repr_html_()


def test_a_sparse_scene_gives_a_sparse_map_and_no_work(make_segmenter, tmp_path):
    path, output = tmp_path / "scene.tif", tmp_path / "map.tif"
    island = rasterio.windows.Window(20_000, 30_000, 300, 200)
    shape = {"count": 3, "height": 60_000, "width": 50_000, "dtype": "uint8", "nodata": 0}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **layout) as dataset:
        dataset.write(np.random.default_rng(0).integers(1, 255, (3, 200, 300), np.uint8), window=island)
    segmenter = make_segmenter(by_colour, window=512)
    result = geoseg.predict(path, segmenter, output, overlap=64, **LOCAL)
    assert result.counts[:7].sum() == 200 * 300 and result.counts.sum() == 60_000 * 50_000
    assert len(segmenter.network.calls) <= 4 and output.stat().st_size < 1_000_000
    with rasterio.open(path) as scene, rasterio.open(output) as written:
        logits = by_colour(torch.from_numpy(scene.read(window=island))[None].float())[0, :6]
        assert np.array_equal(written.read(1, window=island), logits.argmax(0).numpy())


def test_strips_cover_the_scene_once(make_segmenter):
    scene = ArrayScene(np.random.default_rng(5).integers(0, 255, (3, 1100, 700), dtype=np.uint8))
    segmenter = make_segmenter(by_colour)
    whole = geoseg.predict(scene, segmenter, window=300, **LOCAL).codes
    seen = np.zeros(whole.shape, int)
    for strip in geoseg.predict_strips(scene, segmenter, window=300, shard_shape=(512, 512), **LOCAL):
        assert np.array_equal(strip.codes, whole[strip.window.slices])
        seen[strip.window.slices] += 1
    assert (seen == 1).all()


def trained_like(norm: str) -> Segmenter:
    torch.manual_seed(2)
    segmenter = Segmenter(SegmenterConfig(DEEPGLOBE, width=8, norm=norm)).eval()
    for module in segmenter.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
    return segmenter


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_folding_changes_rounding_only_and_leaves_the_model_as_it_is(norm):
    segmenter = trained_like(norm)
    tiles = TileBatch(torch.randint(0, 255, (2, 3, 37, 53), dtype=torch.uint8), torch.ones(2, 37, 53, dtype=torch.bool))
    before = segmenter.weights_sha256()
    plain = for_inference(segmenter, "fp32", "plain")(tiles)
    ready = for_inference(segmenter, "fp32", "folded")
    assert torch.allclose(plain, ready(tiles), atol=1e-4) and segmenter.weights_sha256() == before
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded(segmenter.network).modules())
    rough = for_inference(segmenter, "bf16", "folded")(tiles).float()
    assert 0 < (rough - plain).abs().max() < 0.1 * plain.abs().max()


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="compiling needs a C++ compiler")
def test_compiling_changes_rounding_only():
    segmenter = trained_like("batch")
    random = np.random.default_rng(4)
    tiles = TileBatch(torch.from_numpy(random.integers(0, 255, (1, 3, 64, 64), np.uint8)), torch.ones(1, 64, 64) > 0)
    plain = for_inference(segmenter, "fp32", "plain")(tiles)
    compiled = for_inference(segmenter, "fp32", "compiled")
    assert torch.allclose(plain, compiled(tiles), atol=1e-4)
    assert for_inference(segmenter, "fp32", "compiled").segmenter.network is compiled.segmenter.network
    torch.nn.init.zeros_(segmenter.network.head.weight)
    assert torch.allclose(for_inference(segmenter, "fp32", "compiled")(tiles).std((0, 2, 3)), torch.zeros(7), atol=1e-6)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ResourceError, match="needs a C\\+\\+ compiler"):
        resolve_engine("compiled", trained_like("batch"), torch.device("cpu"))


def test_a_network_that_cannot_be_traced_runs_plainly_or_is_refused(make_segmenter):
    segmenter, cpu = make_segmenter(by_colour), torch.device("cpu")
    assert resolve_engine("plain", segmenter, cpu) == "plain"
    assert resolve_engine("auto", trained_like("batch"), cpu) == "folded"
    with pytest.raises(UsageError):
        resolve_engine("fast", segmenter, cpu)


def test_prior_correction_needs_the_record_of_the_weights(make_segmenter, scene):
    with pytest.raises(ModelError, match="no class weights"):
        geoseg.predict(scene, make_segmenter(by_colour), prior_correction=0.5, **LOCAL)


def test_prior_correction_takes_the_tau_of_validation(make_segmenter, scene):
    weights = dict(zip(DEEPGLOBE.names, [1.0, 2, 4, 0.5, 8, 1, 1], strict=True))
    found = make_segmenter(by_colour, provenance={"class_weights": weights, "prior_tau": 0.75})
    codes = [geoseg.predict(scene, found, prior_correction=tau, **LOCAL).codes for tau in ("auto", 0.75, 0)]
    assert np.array_equal(codes[0], codes[1]) and not np.array_equal(codes[0], codes[2])
    without = make_segmenter(by_colour, provenance={"class_weights": weights})
    with pytest.raises(ModelError, match="no tau found by validation"):
        geoseg.predict(scene, without, prior_correction="auto", **LOCAL)
    for wrong in ("much", -1, 3):
        with pytest.raises(UsageError, match="prior correction"):
            geoseg.predict(scene, without, prior_correction=wrong, **LOCAL)


def test_prior_correction_divides_by_the_weights_to_the_power_tau(make_segmenter, scene):
    weights = dict(zip(DEEPGLOBE.names, [1.0, 2, 4, 0.5, 8, 1, 1], strict=True))
    segmenter = make_segmenter(by_colour, provenance={"class_weights": weights})
    corrected = geoseg.predict(scene, segmenter, prior_correction=0.5, **LOCAL).codes
    scores = expected_scores(scene) / np.array([1.0, 2, 4, 0.5, 8, 1])[:, None, None] ** 0.5
    assert (corrected == scores.argmax(0)).mean() > 0.999
    assert (corrected != expected_scores(scene).argmax(0)).any()
