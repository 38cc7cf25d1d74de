"""--config: tables of options, checked as the command line is, which wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geoseg.models.storage import load
from geoseg_cli.main import cli


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "geoseg.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def asked(monkeypatch):
    """What a command asks the library for, in place of doing it."""
    found: dict = {}

    def instead(*words, **options):
        found.update(options, words=words)
        raise KeyboardInterrupt

    for name in ("geoseg.train", "geoseg.predict_scenes.predict_scenes", "geoseg.plan_job"):
        monkeypatch.setattr(name, instead)
    return found


def test_values_come_as_if_they_were_typed(write, asked):
    path = write(
        """
        [train]
        data = "here"
        encoder-weights = "imagenet"
        batch_size = 3
        lr = 1e-3
        augment = false
        scale = [[0, 10000], [0, 3000]]
        bands = ["B04", "B03"]
        allow_large = true
        allow_driver = ["HFA"]
        cache = "none"
        [predict]
        """
    )
    run("train", "--config", path, "--lr", "0.5", "--no-compile", code=130)
    data, output = asked["words"]
    assert str(data) == "here" and data.policy.large and data.policy.drivers == ("HFA",) and output is None
    expected = {"encoder_weights": "imagenet", "batch_size": 3, "augment": False, "compile": False, "lr": 0.5}
    expected |= {"scale": ((0, 10_000), (0, 3000)), "bands": ("B04", "B03"), "cache": "none", "setting": None}
    assert {name: asked[name] for name in expected} == expected


def test_one_pair_arguments_and_options_of_two_words(write, asked):
    path = write(
        """
        [train]
        scale = [0, 10000]
        bands = [3, 2, 1]
        [predict]
        scenes = ["a.tif", "b.tif"]
        output = "maps/"
        scores = ["top", "t.tif"]
        co = ["COMPRESS=ZSTD", "NUM_THREADS=2"]
        bbox = [2.5, 40, 3, 41.5]
        bidx = "1,2,3"
        """
    )
    run("train", "--config", path, code=130)
    assert (asked["scale"], asked["bands"]) == (((0, 10_000),), (3, 2, 1))
    run("predict", "--config", path, code=130)
    assert [str(scene) for scene in asked["words"][0]] == ["a.tif", "b.tif"] and asked["words"][1] == "maps/"
    assert (asked["scores"], str(asked["scores_output"])) == ("top", "t.tif") and asked["bbox"] == (2.5, 40, 3, 41.5)
    assert asked["creation_options"] == {"COMPRESS": "ZSTD", "NUM_THREADS": "2"} and asked["bands"] == (1, 2, 3)
    run("predict", "c.tif", "-o", "c_map.tif", "--config", path, code=130)
    assert [str(scene) for scene in asked["words"][0]] == ["c.tif"] and asked["words"][1] == "c_map.tif"


def test_a_command_of_a_group_has_a_table_of_both_names(write, asked):
    path = write("[train]\nepochs = 3\n[job.plan]\npart = 1024\nmatch-gsd = true\n[job.run]\nthreads = 2")
    run("job", "plan", "a.tif", "-o", "job/", "--config", path, code=130)
    assert asked["words"][1] == "job/" and (asked["part"], asked["match_gsd"]) == (1024, True)
    said = run("job", "merge", "job/", "-o", "map.tif", "--config", path, code=2).stderr
    assert "has no table [job.merge]; there is [train], [job.plan], [job.run]" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoch = 3", "geoseg train has no option epoch; did you mean epochs?"),
        ("[train]\n[predict]\nwindwo = 3", "geoseg predict has no option windwo; did you mean window?"),
        ("[trian]\nepochs = 3", "there is no command trian; did you mean train?"),
        ("epochs = 3", "epochs stands in no table; put it below [train]"),
        ("[job]\npart = 512", "job.part stands in no table"),
        ("[job.plam]\npart = 512", "there is no command job.plam; did you mean job.plan?"),
        ("[job.plan]\nparts = 512", "geoseg job plan has no option parts; did you mean part?"),
        ("[predict]\nwindow = 64", "has no table [train]; there is [predict]"),
        ("[train", "cannot be read as TOML"),
        ("[train]\nepochs = true", "epochs is a value, not true or false, got True"),
        ("[train]\naugment = 'yes'", "augment is true or false, got 'yes'"),
        ("[train]\nepochs = {a = 1}", "epochs cannot be {'a': 1}"),
        ("[train]\nepochs = 1.5", "Invalid value for '--epochs'"),
        ("[train]\nloss = 'mse'", "Invalid value for '--loss'"),
        ("[train]\nbatch-size = 2\nbatch_size = 3", "[train] has batch_size twice, under two spellings"),
        ("[train]\nconfig = 'a.toml'", "geoseg train has no option config"),
    ],
)
def test_what_is_wrong_is_a_usage_error(write, asked, text, said):
    done = run("train", "--config", write(text), code=2)
    assert said in done.stderr and not asked


def test_a_file_that_is_not_there(tmp_path):
    assert "none.toml: no such file" in run("train", "--config", tmp_path / "none.toml", code=2).stderr


def test_a_run_s_own_record_trains_alike(sample_folder, tmp_path):
    words = ("--width", 2, "--steps", 2, "--lr", 0.01, "--device", "cpu", "--precision", "fp32", "--bands", "3,1,2")
    run("train", sample_folder, "-o", tmp_path / "a", *words, "--setting", "focal", "-q")
    run("train", "--config", tmp_path / "a" / "config.toml", "-o", tmp_path / "b", "-q")
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    assert first.weights_sha256() == second.weights_sha256() and first.config == second.config
    assert second.config.band_numbers == (3, 1, 2)
    done = run("train", "--config", tmp_path / "a" / "config.toml", "-o", tmp_path / "c", "--seed", 1, "--json", "-q")
    assert json.loads(done.stdout)["settings"]["seed"] == 1
    assert load(tmp_path / "c").weights_sha256() != first.weights_sha256()
