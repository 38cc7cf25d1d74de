"""geoseg.stac_model_item: STAC 1.1, and what the MLM extension 1.5 asks for, read off its published schema."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import geoseg
from geoseg.errors import ModelError, UsageError
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import save_segmenter

REQUIRED = {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"}
OPTIONAL = {"mlm:framework", "mlm:framework_version", "mlm:memory_size", "mlm:total_parameters", "mlm:pretrained"}
OPTIONAL |= {"mlm:pretrained_source", "mlm:batch_size_suggestion", "mlm:accelerator", "mlm:accelerator_constrained"}
OPTIONAL |= {"mlm:accelerator_summary", "mlm:accelerator_count", "mlm:hyperparameters"}


def require_mlm(item: dict) -> None:
    """What the schema of the extension requires of an Item, and cannot be had without the network."""
    properties = item["properties"]
    fields = {field for field in properties if field.startswith("mlm:")}
    assert fields >= REQUIRED and fields <= REQUIRED | OPTIONAL
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["mlm:framework_version"])
    assert set(properties["mlm:hyperparameters"]) and all(
        re.fullmatch(r"[\w.-]+", k) for k in properties["mlm:hyperparameters"]
    )
    assert properties["mlm:pretrained"] == (properties["mlm:pretrained_source"] is not None)
    (taken,), (given,) = properties["mlm:input"], properties["mlm:output"]
    assert len(taken["input"]["shape"]) == len(taken["input"]["dim_order"])
    assert len(given["result"]["shape"]) == len(given["result"]["dim_order"])
    # Bands that an input names are described in the properties, and are a dimension of it; an output has none.
    assert taken["bands"] == [band["name"] for band in properties["bands"]] and "bands" in taken["input"]["dim_order"]
    assert "bands" not in given and "bands" not in given["result"]["dim_order"]
    assert all({"value", "name", "description"} <= one.keys() for one in given["classification:classes"])
    models = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    assert models and all(asset.get("mlm:artifact_type") for asset in models)
    for asset in item["assets"].values():
        assert {field for field in asset if field.startswith("mlm:")} <= {"mlm:artifact_type"}


def test_it_says_what_the_model_is(trained_run, tmp_path, require_stac):
    item = geoseg.stac_model_item(trained_run, tmp_path / "model.json")
    require_stac(item)
    require_mlm(item)
    assert json.loads((tmp_path / "model.json").read_text()) == item
    properties = item["properties"]
    segmenter = geoseg.load(trained_run)
    assert properties["mlm:total_parameters"] == sum(p.numel() for p in segmenter.parameters())
    assert properties["mlm:input"][0]["input"] == {
        "shape": [-1, 3, 64, 64],
        "dim_order": ["batch", "bands", "height", "width"],
        "data_type": "uint8",
    }
    assert properties["mlm:output"][0]["result"]["shape"] == [-1, 7, 64, 64]
    assert [one["value"] for one in properties["mlm:output"][0]["classification:classes"]] == list(range(7))
    assert properties["mlm:hyperparameters"]["lr"] == 1e-2 and properties["mlm:pretrained"] is False
    assert properties["end_datetime"] == "9999-12-31T23:59:59Z" and item["geometry"] is None and "bbox" not in item
    data = (trained_run / "model.safetensors").read_bytes()
    assert item["assets"]["model"]["file:checksum"] == f"1220{hashlib.sha256(data).hexdigest()}"
    assert (tmp_path / item["assets"]["model"]["href"]).resolve() == trained_run.resolve() / "model.safetensors"


def test_time_ground_bands_and_a_second_file(tmp_path, require_stac):
    config = SegmenterConfig(
        geoseg.DEEPGLOBE,
        width=1,
        window=128,
        size=64,
        gsd=10.0,
        band_numbers=(4, 3, 2),
        band_names=("B04", "B03", "B02"),
        provenance={"settings": {"encoder_weights": "imagenet"}, "versions": {"torch": "2.11.0+cu128"}},
    )
    model, onnx = tmp_path / "2.safetensors", tmp_path / "m.onnx"
    save_segmenter(Segmenter(config), model)
    onnx.write_bytes(b"a file")
    item = geoseg.stac_model_item(model, onnx=onnx, datetime="2019/2023", bbox=(5, 45, 11, 48))
    require_stac(item)
    require_mlm(item)
    properties = item["properties"]
    assert (properties["start_datetime"], properties["end_datetime"]) == (
        "2019-01-01T00:00:00Z",
        "2023-12-31T23:59:59Z",
    )
    assert item["bbox"] == [5, 45, 11, 48] and item["geometry"]["type"] == "Polygon"
    assert properties["mlm:input"][0]["bands"] == ["B04", "B03", "B02"] and properties["gsd"] == 10
    assert properties["mlm:input"][0]["resize_type"] == "interpolation-area"
    assert (properties["mlm:pretrained_source"], properties["mlm:framework_version"]) == ("ImageNet", "2.11.0")
    assert item["assets"]["onnx"]["href"] == onnx.as_uri() and item["assets"]["onnx"]["file:size"] == 6
    assert item["id"] == "geoseg-2-model"


def test_what_is_refused(trained_run, tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        geoseg.stac_model_item(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="is no time"):
        geoseg.stac_model_item(trained_run, tmp_path / "m.json", datetime="May")
    assert not (tmp_path / "m.json").exists()
    with pytest.raises(UsageError, match="west, south, east and north in degrees, got 5, 48, 11, 45"):
        geoseg.stac_model_item(trained_run, bbox=(5, 48, 11, 45))
    with pytest.raises(UsageError, match=r"is a \.json file"):
        geoseg.stac_model_item(Path(trained_run), tmp_path / "m.txt")
