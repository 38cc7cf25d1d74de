"""run_shard with networks whose answer is known: as over the whole scene, whatever the shards and batches."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import geoseg
import geoseg.tiling
from geoseg.ahead import reader_threads
from geoseg.errors import InputError, ModelError, UsageError
from geoseg.grid import Window
from geoseg.legend import Legend, LegendClass
from geoseg.models.storage import load, save_segmenter
from geoseg.prediction.plan import Plan, make_plan
from geoseg.prediction.shard import engine_of, run_shard, run_shards, scored_blocks
from geoseg.raster.scene import ArrayScene, Scene

BLOCK = 16
LOCAL = {"device": "cpu", "precision": "fp32"}
WHOLE_NUMBERS = torch.tensor(
    [[1, 0, -1], [0, 1, 0], [-1, 1, 1], [0, 0, 1], [1, -1, 1], [1, 1, -1], [9, 9, 9]], dtype=torch.float32
)
"""(7, 3) weights for which logits are exact in any order of summation. Class 6, unknown, would always win."""


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geoseg.tiling, "BLOCK", BLOCK)
        yield


def pointwise(image: torch.Tensor) -> torch.Tensor:
    """A 1 x 1 convolution."""
    return torch.nn.functional.conv2d(image, WHOLE_NUMBERS[:, :, None, None].to(image.dtype))


def by_place_in_tile(image: torch.Tensor) -> torch.Tensor:
    """Logits that differ in every tile that sees a pixel; any float dtype."""
    height, width = image.shape[-2:]
    row = torch.arange(height, dtype=torch.float64)[:, None] / height
    col = torch.arange(width, dtype=torch.float64)[None] / width
    waves = torch.stack([torch.sin((k + 2) * 4 * row + k) + torch.cos((k + 1) * 5 * col) for k in range(7)])
    logits = torch.nn.functional.conv2d(image / 400, WHOLE_NUMBERS[:, :, None, None].to(image.dtype))
    return logits + waves.to(image.dtype)


def random_scene(shape: tuple[int, int], seed: int = 0, holes: bool = True) -> ArrayScene:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (3, *shape), np.uint8)
    valid = np.ones(shape, bool)
    if holes:
        valid[: shape[0] // 2, : shape[1] // 3] = False
        valid &= random.random(shape) > 0.1
    return ArrayScene(pixels, valid)


def run_all(plan: Plan, scene, segmenter) -> np.ndarray:
    """(H, W) codes of all shards, each pixel from the one shard that has it."""
    codes = np.full(plan.lattice.shape, 77, np.uint8)
    for index, shard in enumerate(plan.shards):
        result = run_shard(plan, index, scene=scene, segmenter=segmenter)
        assert (result.index, result.window, result.codes.dtype) == (index, shard, np.uint8)
        assert (codes[shard.slices] == 77).all()
        codes[shard.slices] = result.codes
    assert not (codes == 77).any()
    return codes


def oracle_starts(length: int, side: int, overlap: int) -> list[int]:
    """By taking away windows of an even spacing while neighbours still share the overlap."""
    if length <= side:
        return [0]
    unit = next(u for u in (32, 16, 8, 4, 2, 1) if (side - overlap) % u == 0)
    gaps = 1
    while (length - side) > gaps * (side - overlap):
        gaps += 1
    places = -(-(length - side) // unit)
    return [*(places * number // gaps * unit for number in range(gaps)), length - side]


def halve(image: np.ndarray) -> np.ndarray:
    """(C, 2h, 2w) to (C, h, w): whole numbers nearest to the means of four."""
    channels, height, width = image.shape
    return np.floor(image.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4)) + 0.5)


def double(logits: np.ndarray) -> np.ndarray:
    """(K, h, w) to (K, 2h, 2w), linear between the centres of the pixels."""
    for axis in (1, 2):
        length = logits.shape[axis]
        centres = (np.arange(2 * length) + 0.5) / 2 - 0.5
        logits = np.apply_along_axis(lambda line: np.interp(centres, np.arange(length), line), axis, logits)  # noqa: B023
    return logits


def oracle_scores(
    function, scene: ArrayScene, side: int, overlap: int, fill: float = 0, halved: bool = False
) -> np.ndarray:
    """(6, H, W) float64: softmax of every tile over the scored classes, weighted and summed over the whole scene."""
    shape = scene.grid.shape
    height, width = (min(side, length) for length in shape)
    total = np.zeros((6, *shape))
    weight_of = lambda i, n: max(min(1.0, (min(i, n - 1 - i) + 1) / (overlap + 1)) ** 8, 1e-6)  # noqa: E731
    down = np.array([weight_of(i, height) for i in range(height)])[:, None]
    across = np.array([weight_of(i, width) for i in range(width)])[None]
    filled = np.where(scene.valid, scene.pixels, fill).astype(np.float64)
    for row in oracle_starts(shape[0], side, overlap):
        for col in oracle_starts(shape[1], side, overlap):
            here = np.s_[:, row : row + height, col : col + width]
            tile = halve(filled[here]) if halved else filled[here]
            logits = function(torch.from_numpy(np.ascontiguousarray(tile))[None])[0, :6].numpy()
            logits = double(logits) if halved else logits
            e = np.exp(logits - logits.max(0))
            total[here] += e / e.sum(0) * down * across
    return total


@st.composite
def cases(draw):
    side = draw(st.integers(2, 40))
    return {
        "shape": (draw(st.integers(1, 60)), draw(st.integers(1, 60))),
        "window": side,
        "overlap": draw(st.integers(0, 3 * side // 4)),
        "batch_size": draw(st.integers(1, 4)),
        "shard_shape": (BLOCK * draw(st.integers(1, 4)), BLOCK * draw(st.integers(1, 4))),
    }


@settings(max_examples=20, deadline=None)
@given(cases())
def test_pointwise_network_gives_exactly_its_argmax_on_the_whole_scene(make_segmenter, case):
    scene = random_scene(case.pop("shape"))
    segmenter = make_segmenter(pointwise, fill=(3.0, 200.0, 90.0))
    logits = pointwise(torch.from_numpy(scene.pixels).float()[None])[0, :6].numpy()
    expected = np.where(scene.valid, logits.argmax(0), 255)
    assert np.array_equal(run_all(make_plan(scene, segmenter, **case, **LOCAL), scene, segmenter), expected)


@settings(max_examples=15, deadline=None)
@given(cases())
def test_tiles_that_disagree_are_blended_as_over_the_whole_scene(make_segmenter, case):
    scene = random_scene(case.pop("shape"))
    segmenter = make_segmenter(by_place_in_tile, fill=(100.0,) * 3)
    scores = oracle_scores(by_place_in_tile, scene, case["window"], case["overlap"], fill=100)
    first, second = np.sort(scores / scores.sum(0), 0)[:-3:-1]
    clear = scene.valid & (first - second > 1e-5)
    codes = run_all(make_plan(scene, segmenter, **case, **LOCAL), scene, segmenter)
    assert np.array_equal(codes[clear], scores.argmax(0)[clear])
    assert np.array_equal(codes == 255, ~scene.valid)
    assert clear.sum() > 0.99 * scene.valid.sum() - 1


def neighbourhood(image: torch.Tensor) -> torch.Tensor:
    """Logits that depend on the neighbours of a pixel within the tile."""
    return pointwise(torch.nn.functional.avg_pool2d(image, 5, 1, 2, count_include_pad=False))


@pytest.mark.parametrize("case", [{"window": 24, "overlap": 6}, {"window": 60, "overlap": 10, "batch_size": 2}])
def test_what_lies_under_nodata_does_not_reach_its_neighbours(make_segmenter, case):
    scene = random_scene((50, 70))
    scores = oracle_scores(neighbourhood, scene, case["window"], case["overlap"], fill=100)
    first, second = np.sort(scores / scores.sum(0), 0)[:-3:-1]
    clear = scene.valid & (first - second > 1e-5)
    segmenter = make_segmenter(neighbourhood, fill=(100.0,) * 3)
    codes = run_all(make_plan(scene, segmenter, **case, **LOCAL), scene, segmenter)
    assert np.array_equal(codes[clear], scores.argmax(0)[clear]) and clear.mean() > 0.5


def test_scores_of_resampled_windows_lie_on_the_pixels_of_the_scene(make_segmenter):
    scene, segmenter = random_scene((50, 70), holes=False), make_segmenter(by_place_in_tile)
    scores = oracle_scores(by_place_in_tile, scene, 32, 8, halved=True)
    plan = make_plan(scene, segmenter, window=32, size=16, overlap=8, batch_size=2, shard_shape=(32, 32), **LOCAL)
    assert np.allclose(all_scores(plan, scene, segmenter), scores, atol=1e-4)


def test_nodata_of_resampled_windows_stays_where_it_is(make_segmenter):
    scene = random_scene((50, 70))
    other = ArrayScene(np.where(scene.valid, scene.pixels, 255 - scene.pixels), scene.valid)
    segmenter = make_segmenter(neighbourhood, fill=(100.0,) * 3)
    plan = make_plan(scene, segmenter, window=32, size=16, **LOCAL)
    codes = run_all(plan, scene, segmenter)
    assert np.array_equal(codes == 255, ~scene.valid)
    assert np.array_equal(run_all(plan, other, segmenter), codes)


def scored_shards(plan: Plan, scene, segmenter):
    engine = engine_of(plan, segmenter)
    with reader_threads(2) as readers:
        for shard in plan.shards:
            for block in scored_blocks(plan, shard, scene, engine, readers):
                assert block.window.intersect(shard) == block.window
                yield block


def all_scores(plan: Plan, scene, segmenter) -> np.ndarray:
    """(6, H, W) float32 stitched scores, not a number where no shard gave any."""
    scores = np.full((6, *plan.lattice.shape), np.nan, np.float32)
    for rows in scored_shards(plan, scene, segmenter):
        scores[:, *rows.window.slices] = rows.scores
    return scores


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_do_not_depend_on_the_shards_nor_on_the_run(trained_run, sample_folder, batch_size):
    segmenter = load(trained_run)
    with Scene(sample_folder / "scene.tif") as scene:
        plan = make_plan(scene, segmenter, window=64, overlap=16, batch_size=batch_size, **LOCAL)
        whole = all_scores(plan, scene, segmenter)
        assert not np.isnan(whole).any()
        for side in (BLOCK * 5, BLOCK * 500):
            assert np.array_equal(all_scores(replace(plan, shard_shape=(side, side)), scene, segmenter), whole)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (31, 33), (16, 16), (15, 47), (37, 53)])
def test_any_shape_is_covered_once(make_segmenter, shape):
    scene = random_scene(shape, holes=False)
    segmenter = make_segmenter(pointwise)
    plan = make_plan(scene, segmenter, window=20, overlap=6, shard_shape=(BLOCK, BLOCK), **LOCAL)
    written = np.zeros(shape, int)
    for rows in scored_shards(plan, scene, segmenter):
        assert rows.scores.shape == (6, *rows.window.shape) and rows.valid.shape == rows.window.shape
        written[rows.window.slices] += 1
    assert (written == 1).all()


def test_advance_hears_of_every_pixel_once(make_segmenter):
    scene = random_scene((37, 20))
    segmenter = make_segmenter(pointwise)
    plan = make_plan(scene, segmenter, window=12, shard_shape=(32, 32), **LOCAL)
    heard = []
    with reader_threads() as readers:
        list(run_shards(plan, [0, 1], scene, engine_of(plan, segmenter), readers, heard.append))
    assert sum(heard) == 37 * 20 and min(heard) > 0


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_every_forward_pass_has_the_batch_shape_of_the_plan(make_segmenter, batch_size):
    segmenter = make_segmenter(pointwise)
    plan = make_plan(random_scene((50, 70)), segmenter, window=16, batch_size=batch_size, shard_shape=(32, 32), **LOCAL)
    run_all(plan, random_scene((50, 70)), segmenter)
    assert {(n, h, w) for n, _, h, w in segmenter.network.calls} == {plan.numerics.batch_shape}


def test_nothing_is_forwarded_where_there_is_no_data(make_segmenter):
    segmenter = make_segmenter(pointwise)
    scene = ArrayScene(np.zeros((3, 50, 70), np.uint8), np.zeros((50, 70), bool))
    codes = run_all(make_plan(scene, segmenter, window=16, **LOCAL), scene, segmenter)
    assert (codes == 255).all() and segmenter.network.calls == []


def test_only_tiles_with_data_are_forwarded(make_segmenter):
    segmenter = make_segmenter(pointwise)
    valid = np.zeros((64, 64), bool)
    valid[40, 50] = True
    scene = ArrayScene(np.zeros((3, 64, 64), np.uint8), valid)
    codes = run_all(make_plan(scene, segmenter, window=16, overlap=0, shard_shape=(64, 64), **LOCAL), scene, segmenter)
    assert len(segmenter.network.calls) == 1
    assert np.argwhere(codes != 255).tolist() == [[40, 50]]


def test_a_network_that_loves_unknown_never_says_it(make_segmenter):
    def loves_unknown(image):
        return torch.tensor([0.0, 0, 1, 0, 0, 0, 100])[:, None, None].expand(len(image), -1, *image.shape[2:])

    scene = random_scene((20, 20), holes=False)
    segmenter = make_segmenter(loves_unknown)
    assert (run_all(make_plan(scene, segmenter, **LOCAL), scene, segmenter) == 2).all()


@pytest.mark.parametrize(("ignore", "expected"), [((), 20), ((10,), 20), ((20,), 7), ((20, 7), 10), ((7,), 20)])
def test_codes_are_those_of_the_legend_without_the_ignored(make_segmenter, ignore, expected):
    classes = [(10, (0, 0, 1)), (20, (0, 0, 2)), (30, (0, 0, 3)), (7, (0, 0, 4))]
    legend = Legend("mine", tuple(LegendClass(code, f"c{code}", colour) for code, colour in classes), ignore)

    def second_then_fourth_then_first(image):
        return torch.tensor([1.0, 3, 0, 2])[:, None, None].expand(len(image), -1, *image.shape[2:])

    scene = random_scene((20, 20), holes=False)
    segmenter = make_segmenter(second_then_fourth_then_first, legend=legend)
    assert (run_all(make_plan(scene, segmenter, **LOCAL), scene, segmenter) == expected).all()


@pytest.mark.parametrize(("window", "size"), [(64, 32), (50, 17), (32, 50), (None, 60), (400, 100)])
def test_resampled_windows_of_a_constant_image_give_a_constant_map(make_segmenter, window, size):
    scene = ArrayScene(np.full((3, 120, 150), 5, np.uint8) * np.array([1, 9, 2], np.uint8)[:, None, None])
    segmenter = make_segmenter(pointwise)
    plan = make_plan(scene, segmenter, window=window, size=size, **LOCAL)
    codes = run_all(plan, scene, segmenter)
    assert (codes == (WHOLE_NUMBERS[:6] @ torch.tensor([5.0, 45, 10])).argmax().item()).all()
    assert {call[2:] for call in segmenter.network.calls} == {plan.tile_shape} != {plan.window_shape}


def two_halves(image: torch.Tensor) -> torch.Tensor:
    bright = image[:, :1] - 100
    return torch.cat([-bright, bright, *[torch.full_like(bright, -500)] * 5], 1)


@pytest.mark.parametrize(("window", "size"), [(64, 32), (64, 23), (50, 100), (None, 50)])
@pytest.mark.parametrize("axis", [1, 2])
def test_resampled_windows_keep_borders_in_their_place(make_segmenter, window, size, axis):
    pixels = np.zeros((3, 130, 170), np.uint8)
    np.moveaxis(pixels, axis, 0)[71:] = 200
    scene, segmenter = ArrayScene(pixels), make_segmenter(two_halves)
    codes = run_all(make_plan(scene, segmenter, window=window, size=size, **LOCAL), scene, segmenter)
    lines = codes if axis == 2 else codes.T
    reach = 2 if window else 4  # the whole scene is shrunk 3.4 times
    assert (lines[:, : 71 - reach] == 0).all() and (lines[:, 71 + reach :] == 1).all()


@pytest.fixture
def on_disk(trained_run, sample_folder, tmp_path):
    """A scene and a model of this test's own, and a plan for them."""
    scene = tmp_path / "scene.tif"
    shutil.copy(sample_folder / "scene.tif", scene)
    model = tmp_path / "model.safetensors"
    segmenter = load(trained_run)
    save_segmenter(segmenter, model, note={"of": str(tmp_path)})
    plan = make_plan(Scene(scene), load(model), window=64, shard_shape=(64, 64), **LOCAL)
    return scene, model, plan


def test_a_plan_in_json_is_enough_for_a_worker(on_disk):
    scene, model, plan = on_disk
    worker = Plan.from_json(plan.to_json())
    assert len(plan.shards) == 9
    for index in (0, 4, 8):
        local = run_shard(plan, index, scene=Scene(scene), segmenter=load(model))
        assert np.array_equal(run_shard(worker, index).codes, local.codes)


def test_a_worker_reads_the_bands_and_the_nodata_rule_of_the_plan(on_disk):
    path, model, _ = on_disk
    scene = Scene(path, bands=(3, 1, 2), nodata_rule="any")
    plan = make_plan(scene, load(model), window=64, **LOCAL)
    assert np.array_equal(
        run_shard(Plan.from_json(plan.to_json()), 0).codes,
        run_shard(plan, 0, scene=scene, segmenter=load(model)).codes,
    )


def test_a_changed_scene_is_refused(on_disk):
    scene, _, plan = on_disk
    os.utime(scene, ns=(1, 1))
    with pytest.raises(InputError, match=r"scene\.tif: has changed"):
        run_shard(plan, 0)


def test_a_changed_model_is_refused(on_disk, make_segmenter):
    _, model, plan = on_disk
    segmenter = load(model)
    with torch.no_grad():
        segmenter.network.head.bias[0] += 1e-3
    save_segmenter(segmenter, model)
    with pytest.raises(ModelError, match="not the model"):
        run_shard(plan, 0)


def test_a_missing_model_is_refused(on_disk):
    _, model, plan = on_disk
    model.unlink()
    with pytest.raises(ModelError, match="no such model"):
        run_shard(plan, 0)


def test_what_lives_in_memory_must_be_handed_over(make_segmenter, on_disk):
    segmenter = make_segmenter(pointwise)
    scene = random_scene((9, 9))
    plan = make_plan(scene, segmenter, **LOCAL)
    with pytest.raises(InputError, match=r"was in memory \(array\)"):
        run_shard(plan, 0, segmenter=segmenter)
    with pytest.raises(UsageError, match="never saved"):
        run_shard(plan, 0, scene=scene)


def test_other_numerics_are_refused(make_segmenter):
    segmenter, scene = make_segmenter(pointwise), random_scene((9, 9))
    plan = make_plan(scene, segmenter, **LOCAL)
    record = json.loads(plan.to_json())
    record["numerics"]["instruction_set"] = "abacus"
    with pytest.raises(UsageError, match="cpu with abacus"):
        run_shard(Plan.from_json(json.dumps(record)), 0, scene=scene, segmenter=segmenter)


def test_bf16_reaches_the_network(make_segmenter):
    seen = []

    def spy(image):
        seen.append(pointwise(image).dtype)
        return pointwise(image)

    scene = random_scene((9, 9))
    for precision in ("bf16", "fp32"):
        segmenter = make_segmenter(spy)
        run_all(make_plan(scene, segmenter, device="cpu", precision=precision), scene, segmenter)
    assert seen == [torch.bfloat16, torch.float32]


def test_shard_windows_are_in_scene_pixels(make_segmenter):
    scene, segmenter = random_scene((40, 40)), make_segmenter(pointwise)
    plan = make_plan(scene, segmenter, window=16, shard_shape=(BLOCK, BLOCK), **LOCAL)
    assert run_shard(plan, 5, scene=scene, segmenter=segmenter).window == Window(32, 16, 8, 16)
    assert geoseg.Plan is Plan
