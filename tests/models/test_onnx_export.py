"""geoseg.export_onnx: run by onnxruntime, against the segmenter, on sizes and pixels that the export did not see."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import geoseg
from geoseg.errors import ModelError, OutputError, UsageError
from geoseg.legend import DEEPGLOBE
from geoseg.models import onnx_export as module
from geoseg.models.segmenter import Segmenter, SegmenterConfig, TileBatch
from geoseg.scaling import Scaling

ROOT = Path(__file__).resolve().parents[2]
SHAPES = (2, 37, 53), (1, 64, 32), (3, 5, 1)


def make(**config: Any) -> Segmenter:
    """A network whose classes and logits vary as a trained one's do, so that a difference would show."""
    torch.manual_seed(7)
    small = {"width": 4, "window": 64, "size": 32, "fill": (90.0, 80.0, 70.0)}
    segmenter = Segmenter(SegmenterConfig(DEEPGLOBE, **(small | config))).eval()
    head, taken = segmenter.network.head, {}
    head.register_forward_hook(lambda module, inputs, output: taken.update(features=inputs[0]))
    with torch.no_grad():
        segmenter.network(torch.rand(1, 3, 64, 64))
        logits = head(taken["features"])
        head.weight.mul_(3 / logits.std((0, 2, 3)).view(-1, 1, 1, 1))
        head.bias.mul_(0).sub_(head(taken["features"]).mean((0, 2, 3)))
    head._forward_hooks.clear()
    return segmenter


def pixels_of(segmenter: Segmenter, shape: tuple[int, int, int], low: float = 0, high: float = 256) -> np.ndarray:
    count, height, width = shape
    random = np.random.default_rng(height * width)
    values = random.uniform(low, high, (count, segmenter.config.bands, height, width))
    return values.astype(segmenter.config.dtype)


@torch.inference_mode()
def logits_of(segmenter: Segmenter, pixels: np.ndarray, valid: np.ndarray | None = None, stretch=None) -> np.ndarray:
    valid = np.ones((len(pixels), *pixels.shape[2:]), bool) if valid is None else valid
    return segmenter(TileBatch(torch.from_numpy(pixels), torch.from_numpy(valid), stretch)).numpy()


def run(path: Path, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == list(inputs)
    (found,) = session.run(None, inputs)
    return found


def facts_of(path: Path) -> dict[str, Any]:
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in metadata.items()}


def require_close(found: np.ndarray, expected: np.ndarray) -> None:
    largest = np.abs(expected).max()
    assert largest > 0.5 and np.isfinite(expected).all() and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, largest))


def test_a_network_on_an_encoder_at_any_size(tmp_path):
    segmenter = make(norm="batch", encoder="test_resnet", decoder="nearest")
    written = geoseg.export_onnx(segmenter, tmp_path / "m.onnx", output="logits")
    assert written.difference < 1e-2 and written.outputs == {"logits": "float32 (batch, 7, height, width)"}
    for shape in SHAPES:
        pixels = pixels_of(segmenter, shape)
        require_close(run(tmp_path / "m.onnx", pixels=pixels), logits_of(segmenter, pixels))


def test_scores_what_the_file_tells_and_the_documents_example(trained_run, sample_folder, tmp_path, monkeypatch):
    """Of a trained model, by its run folder."""
    segmenter = geoseg.load(trained_run)
    written = geoseg.export_onnx(trained_run, tmp_path / "s.onnx")
    assert written.inputs == {"pixels": "uint8 (batch, 3, height, width)"}
    assert written.outputs == {"scores": "float32 (batch, 6, height, width)"}
    pixels = pixels_of(segmenter, SHAPES[0])
    scored = torch.from_numpy(logits_of(segmenter, pixels))[:, list(DEEPGLOBE.scored)]
    expected = torch.softmax(scored, 1).numpy()
    np.testing.assert_allclose(run(tmp_path / "s.onnx", pixels=pixels), expected, atol=1e-5)
    facts = facts_of(tmp_path / "s.onnx")
    assert facts["class_names"] == dict(zip("012345", DEEPGLOBE.names, strict=False))
    assert (facts["model_type"], facts["seg_thresh"], facts["tile_size"]) == ("Segmentor", 0, 64)
    ours = facts["geoseg"]
    assert (ours["codes"], ours["nodata"], ours["colors"][4]) == ([0, 1, 2, 3, 4, 5], 255, "#0000ff")
    assert SegmenterConfig.from_dict(ours["config"]) == segmenter.config
    assert ours["model"] == {
        "name": "model.safetensors",
        "sha256": segmenter.origin["sha256"],
        "weights_sha256": segmenter.weights_sha256(),
    }
    (tmp_path / "s.onnx").rename(tmp_path / "first.onnx")
    shutil.copy(sample_folder / "scene.tif", tmp_path)
    monkeypatch.chdir(tmp_path)
    example = (ROOT / "docs/export.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(example, found := {})
    with geoseg.Scene("scene.tif") as scene:
        pixels, valid = scene.read()
    index = logits_of(segmenter, pixels[None], valid[None])[0, list(DEEPGLOBE.scored)].argmax(0)
    assert not valid.all() and (found["codes"] == np.where(valid, index, 255)).mean() > 0.999


def test_what_is_no_data_and_a_raster_s_own_percentiles_are_inputs(tmp_path):
    scaling = Scaling("percentile", percentiles=(2.0, 98.0))
    segmenter = make(dtype="float32", scaling=scaling, fill=(0.3, 0.2, 0.1))
    written = geoseg.export_onnx(segmenter, tmp_path / "m.onnx", output="logits", valid_input=True)
    assert written.inputs["stretch"] == "float32 (batch, 2, 3)"
    assert written.inputs["valid"] == "bool (batch, height, width)"
    pixels = pixels_of(segmenter, SHAPES[0], 0, 4000)
    stretch = np.array([[[100, 150, 200], [3000, 3500, 3900]], [[0, 10, 20], [2000, 900, 4000]]], np.float32)
    valid = np.random.default_rng(3).random((2, 37, 53)) > 0.4
    told = valid.copy()
    pixels[0, 2, 4, 5], valid[0, 4, 5] = np.inf, False
    pixels[1, 1, 9:11, 7], valid[1, 9:11, 7] = np.nan, False
    expected = logits_of(segmenter, pixels, valid, torch.from_numpy(stretch))
    require_close(run(tmp_path / "m.onnx", pixels=pixels, valid=told, stretch=stretch), expected)


def test_as_deepness_feeds_and_reads_it(tmp_path):
    """The steps of the plugin: divide by 255, standardise, channels first, cut below a threshold, take the highest."""
    segmenter = make(gsd=0.5, encoder="test_convnext")
    geoseg.export_onnx(segmenter, tmp_path / "m.onnx", deepness=True)
    session, facts = onnxruntime.InferenceSession(tmp_path / "m.onnx"), facts_of(tmp_path / "m.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert taken.type == "tensor(float)" and taken.shape[1:] == [3, 32, 32] and isinstance(taken.shape[0], str)
    assert given.shape[1:] == [6, 32, 32]
    # 64 px of 0.5 m seen as 32.
    assert (facts["tile_size"], facts["resolution"], facts["tiles_overlap"]) == (32, 100, 25)
    pixels = pixels_of(segmenter, (2, 32, 32))
    tiles = np.float32(np.moveaxis(pixels, 1, -1) * (1.0 / 255.0))
    mean, deviation = (np.float32(facts[f"standardization_{name}"]) for name in ("mean", "std"))
    scores = run(tmp_path / "m.onnx", pixels=np.moveaxis((tiles - mean) / deviation, -1, 1))
    scores[scores < facts["seg_thresh"]] = 0
    expected = logits_of(segmenter, pixels)[:, list(DEEPGLOBE.scored)].argmax(1)
    assert (scores.argmax(1) == expected).mean() > 0.999


def test_codes_come_out_and_a_file_that_differs_is_not_put_in_its_place(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    segmenter = make(dtype="uint16", scaling=Scaling("range", ((0.0, 10_000.0),)))
    with pytest.raises(OutputError, match="exists; --overwrite"):
        geoseg.export_onnx(segmenter, path, output="classes")
    assert geoseg.export_onnx(segmenter, path, output="classes", overwrite=True).difference < 0.01
    pixels = pixels_of(segmenter, SHAPES[0], 0, 12_000)
    expected = logits_of(segmenter, pixels)[:, list(DEEPGLOBE.scored)].argmax(1)
    found = run(path, pixels=pixels)
    assert found.dtype == np.uint8 and (found == expected).mean() > 0.999
    assert len(np.unique(found)) > 1
    good = path.read_bytes()
    monkeypatch.setattr(module, "_exported", lambda graph: onnx.load_from_string(good))
    torch.manual_seed(8)
    other = Segmenter(segmenter.config).eval()
    with pytest.raises(ModelError, match="differs from the model by"):
        geoseg.export_onnx(other, path, output="classes", overwrite=True)
    assert path.read_bytes() == good and [one.name for one in tmp_path.iterdir()] == ["m.onnx"]


def test_what_is_refused_before_any_work(tmp_path, monkeypatch, caplog):
    segmenter = make()
    monkeypatch.setattr(module, "_exported", None)
    with pytest.raises(UsageError, match=r"an ONNX file ends in \.onnx"):
        geoseg.export_onnx(segmenter, tmp_path / "m.pt")
    with pytest.raises(UsageError, match="leave --output and --valid-input out"):
        geoseg.export_onnx(segmenter, tmp_path / "m.onnx", deepness=True, output="logits")
    with pytest.raises(UsageError, match="Deepness knows no percentiles"):
        scaled = make(scaling=Scaling("percentile", percentiles=(2.0, 98.0)), fill=(0.3, 0.2, 0.1))
        geoseg.export_onnx(scaled, tmp_path / "m.onnx", deepness=True)
    with pytest.raises(UsageError, match='"scores", "logits" or "classes"'):
        geoseg.export_onnx(segmenter, tmp_path / "m.onnx", output="codes")
    with pytest.raises(OutputError, match="no such folder"):
        geoseg.export_onnx(segmenter, tmp_path / "no" / "m.onnx")
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(ModelError, match="one ONNX file holds 2 GiB"):
        geoseg.export_onnx(segmenter, tmp_path / "m.onnx")


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'geoseg\[onnx\]'"):
        geoseg.export_onnx(make(), tmp_path / "m.onnx")


def test_a_network_that_cannot_be_exported_says_why(make_segmenter, tmp_path):
    segmenter = make_segmenter(lambda image: image if image.sum() > 0 else -image)
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        geoseg.export_onnx(segmenter, tmp_path / "m.onnx")
