"""The memory that predictions and evaluations take: given, of the config, of the run's start, or the default."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.inference.predictor import Predictor
from unet_jax.runs import same_bits, score
from unet_jax.runs.load import load_predictor, open_run
from unet_jax.runs.predict import predict_images
from unet_jax.runs.training_run import open_training_run
from unet_jax.runtime.memory import prediction_budget

MIB = 2**20


def default():
    return prediction_budget(jax.local_devices())


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def record(run, memory):
    """Writes the memory of the run's only start."""
    content = json.loads((run / "versions.json").read_text())
    (start,) = content["starts"]
    assert start["memory"] == default()
    start["memory"] = memory
    if memory is None:
        del start["memory"]
    (run / "versions.json").write_text(json.dumps(content))


def memory_of(config, run):
    with open_training_run(config, run) as opened:
        return opened.memory


def test_a_run_keeps_the_memory_of_its_start(run, config):
    record(run, 3 * MIB)
    assert memory_of(config, run) == 3 * MIB
    assert open_run(run, as_started=True).predictor.budget == 3 * MIB
    # A prediction is none of the run's evaluations.
    assert open_run(run).predictor.budget == default()
    config.eval.memory = "5MiB"
    assert memory_of(config, run) == 5 * MIB
    # It is in config.json now.
    assert open_run(run, as_started=True).predictor.budget == open_run(run).predictor.budget == 5 * MIB
    assert open_run(run, memory="7MiB").predictor.budget == 7 * MIB


def test_a_run_of_an_earlier_version_has_the_default(run, config, capsys):
    record(run, None)
    content = json.loads((run / "config.json").read_text())
    del content["eval"]["memory"], content["data"]["targets"], content["data"]["border_width"]
    (run / "config.json").write_text(json.dumps(content))
    capsys.readouterr()
    opened = open_run(run, as_started=True)
    assert opened.predictor.budget == default()
    assert opened.border_width == 0
    assert memory_of(config, run) == default()
    assert "memory" not in capsys.readouterr().out


def test_a_change_of_the_memory_is_said():
    (line,) = same_bits.changes({"memory": 5}, {"memory": 6})
    assert line == "bytes of eval.memory 5 there, 6 now"
    assert same_bits.changes({}, {"memory": 6}) == []


def test_each_network_and_view_has_the_memory(trained):
    ensemble = load_predictor([trained[0]], views="flips", memory="3MiB")
    assert [predictor.budget for predictor in ensemble.predictors] == [3 * MIB]
    for memory in ("much", "0", -1, "1e9"):
        # Before anything is read.
        with pytest.raises(UserError, match=rf"^memory {memory}: give a size, such as 300MiB or 2GiB$"):
            load_predictor("no/run", memory=memory)


def test_scores_say_the_memory_and_what_is_approximate(run, monkeypatch, capsys):
    part = {"height": 9, "width": 8, "tile": 64, "approximate": False}
    for approximate in (False, True):
        parts = [part | {"approximate": approximate}]
        monkeypatch.setattr(Predictor, "parts", property(lambda self, parts=parts: parts))
        score.score_run(run, split="val", memory="3MiB")
        content = json.loads((run / "eval/val.json").read_text())
        assert (content["memory"], content["parts"]) == (3 * MIB, parts)
        assert (", approximate\n" in capsys.readouterr().out) == approximate


def test_a_prediction_goes_on_with_its_memory(trained, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 255, (150, 130), np.uint8)
    one = jax.local_devices()[:1]
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in ("a", "b"):
        Image.fromarray(pixels).save(images / f"{name}.png")
    predict_images(trained[0], images, out, memory="1.5MiB", devices=one)
    content = json.loads((out / "prediction.json").read_text())
    assert content["settings"]["memory"] == 1.5 * MIB
    (part,) = content["parts"]["a"]
    assert (part["height"], part["width"], part["approximate"]) == (150, 130, False)
    (out / "ids/b.png").unlink()
    # Without the flag it is that of the record.
    assert predict_images(trained[0], images, out, devices=one)["num_images"] == 1
    assert json.loads((out / "prediction.json").read_text()) == content
    with pytest.raises(
        UserError, match=r"holds results that were made with memory 1572864, not 2097152; .*--overwrite"
    ):
        predict_images(trained[0], images, out, memory="2MiB", devices=one)
    assert "approximate" not in capsys.readouterr().out
    predict_images(trained[0], images, out, overwrite=True, devices=one)
    assert json.loads((out / "prediction.json").read_text())["settings"]["memory"] == default()
    assert "parts" not in json.loads((out / "prediction.json").read_text())
