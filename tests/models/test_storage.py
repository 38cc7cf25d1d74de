"""Models on disk: what is saved comes back; what is cut, spoiled, foreign or a pickle is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import geoseg
from geoseg.errors import ModelError, ResourceError
from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import Segmenter, SegmenterConfig, TileBatch
from geoseg.models.storage import load, model_file, model_sha256, read_model_file, read_record, save_segmenter


@pytest.fixture
def segmenter():
    torch.manual_seed(3)
    config = SegmenterConfig(DEEPGLOBE, width=4, norm="batch", fill=(9.0, 8.0, 7.0), gsd=2.0, provenance={"seed": 3})
    return Segmenter(config).eval()


@pytest.fixture
def path(segmenter, tmp_path):
    save_segmenter(segmenter, tmp_path / "model.safetensors", note={"epoch": 4})
    return tmp_path / "model.safetensors"


def respell(path, tensors=None, metadata=None):
    """Write a model file anew with other tensors or another record."""
    with safe_open(path, framework="pt") as file:
        old, record = {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()
    save_file({n: t for n, t in {**old, **(tensors or {})}.items() if t is not None}, path, metadata or record)


@torch.inference_mode()
def test_what_is_loaded_computes_the_same(segmenter, path):
    batch = TileBatch(torch.randint(0, 256, (1, 3, 37, 53), dtype=torch.uint8), torch.rand(1, 37, 53) > 0.2)
    loaded = load(path)
    assert loaded.config == segmenter.config and not loaded.training
    assert torch.allclose(loaded(batch), segmenter(batch), atol=1e-5)
    assert all(torch.equal(value, segmenter.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_folder_stands_for_its_model(path):
    assert model_file(path.parent) == path and load(path.parent).origin["path"] == str(path)


def test_record_is_read_without_the_weights(segmenter, path):
    record = read_record(path)
    assert record["version"] == geoseg.__version__ and record["epoch"] == 4
    assert SegmenterConfig.from_dict(record["config"]) == segmenter.config


def test_sha256_is_that_of_the_file(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model_sha256(path) == model_sha256(path.parent) == load(path).origin["sha256"] == digest


def test_equal_models_are_equal_files(segmenter, path, tmp_path):
    save_segmenter(segmenter, tmp_path / "again.safetensors", note={"epoch": 4})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_extra_tensors_are_kept_and_do_not_disturb(segmenter, tmp_path):
    save_segmenter(segmenter, tmp_path / "last.safetensors", {"optimiser.0.step": torch.tensor(7.0)})
    _, tensors = read_model_file(tmp_path / "last.safetensors")
    assert tensors["optimiser.0.step"] == 7
    assert load(tmp_path / "last.safetensors").config == segmenter.config


def test_a_failed_save_leaves_the_old_model(segmenter, path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(ResourceError, match="could not be written"):
        save_segmenter(segmenter, path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


class Marker:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "model.pth", "model.ckpt", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_loaded(tmp_path, name, zipped):
    marker = Marker(tmp_path / "marker")
    torch.save(marker, tmp_path / name) if zipped else (tmp_path / name).write_bytes(pickle.dumps(marker))
    with pytest.raises(ModelError) as caught:
        load(tmp_path / name)
    assert caught.value.exit_code == 4 and not marker.path.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:300],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: struct.pack("<Q", 1 << 40) + data[8:],
        lambda data: struct.pack("<Q", len(data)) + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda data: b"II*\0" + data[4:],
    ],
    ids=["empty", "no header", "cut header", "cut", "trailing", "huge header", "long header", "no JSON", "a TIFF"],
)
def test_a_damaged_file_is_refused(path, spoil):
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ModelError, match=r"model\.safetensors: not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        ("network.head.weight", torch.zeros(5, 4, 1, 1), r"network\.head\.weight has the shape \(5, 4, 1, 1\)"),
        ("network.head.bias", torch.full((7,), float("nan")), r"network\.head\.bias holds values that are not finite"),
        ("network.head.bias", torch.full((7,), float("inf")), r"network\.head\.bias holds values that are not finite"),
        ("network.head.bias", None, r"network\.head\.bias is missing"),
        ("network.more.bias", torch.zeros(1), r"network\.more\.bias is not one of this network"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(path, layer, value, message):
    respell(path, {layer: value})
    with pytest.raises(ModelError, match=message):
        load(path)


@pytest.mark.parametrize("record", ["not JSON", json.dumps({"config": {}}), json.dumps({"config": None})])
def test_a_record_that_cannot_be_read_is_refused(path, record):
    respell(path, metadata={"geoseg": record})
    with pytest.raises(ModelError):
        load(path)


@pytest.mark.parametrize("record", ["{}", "[]", "3", '{"version": "0.1"}'])
def test_a_record_without_a_config_is_refused(path, record):
    respell(path, metadata={"geoseg": record})
    with pytest.raises(ModelError):
        load(path)


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("text", [NESTED, json.dumps({"config": {}, "note": "x" * (1 << 24)})], ids=["deep", "long"])
def test_a_record_of_no_honest_size_is_refused(path, text):
    respell(path, metadata={"geoseg": text})
    with pytest.raises(ModelError, match=r"not a whole safetensors file|longer than any"):
        load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 4096}, r"has the shape .*, expected"),
        ({"width": 10**9}, "width of 1000000000 is beyond"),
        ({"size": 10**9}, "size of 1000000000 is beyond"),
        ({"bands": 10**8}, "normalisation for .3. bands"),
        ({"encoder": "resnet152"}, "has the shape .*, expected"),
    ],
)
def test_a_record_of_a_network_that_the_file_does_not_hold_takes_no_memory(path, change, said, monkeypatch):
    record = read_record(path)
    respell(path, metadata={"geoseg": json.dumps(record | {"config": record["config"] | change})})
    real = torch.empty

    def small(*shape, **options):
        """What layers are made of: on no device but meta may they be those of the record."""
        made = real(*shape, **options)
        assert made.device.type == "meta" or made.numel() < 10**6
        return made

    monkeypatch.setattr(torch, "empty", small)
    with pytest.raises(ModelError, match=said):
        load(path)


def test_another_projects_safetensors_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="no record of a geoseg model"):
        load(tmp_path / "model.safetensors")


def test_a_missing_model_and_a_folder_without_one(tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        load(tmp_path)
