"""The shipped networks: their files are whole, fit their config, and score what their record says."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util
from ml_collections import ConfigDict

import unet_jax
from unet_jax.configs import default
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.experiment.build import create_dataset, create_module
from unet_jax.experiment.sections import read_sections, with_later_keys
from unet_jax.pretrained import shipped
from unet_jax.runs.load import open_model
from unet_jax.runs.predict import predict_images
from unet_jax.storage import json_file

ROOT = Path(__file__).parents[2]


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def test_the_network_of_the_quickstart_is_shipped():
    assert "electrodes" in shipped.names()


@pytest.mark.parametrize("name", shipped.names())
def test_the_arrays_are_those_of_the_network_that_the_config_builds(name):
    network = shipped.read(name)
    config = ConfigDict(with_later_keys(network.record["config"]))
    read_sections(config)
    facts = network.record["data"]
    module = create_module(config, facts["class_names"], facts["overlapping"])
    assert module.num_classes == network.record["num_classes"]
    images = jax.ShapeDtypeStruct((1, *config.data.patch, facts["channels"]), "float32")
    expected = flat(jax.eval_shape(module.init, jax.random.key(0), images))
    arrays = flat(network.variables)
    assert {path: (x.shape, x.dtype) for path, x in arrays.items()} == {
        path: (x.shape, np.dtype("float32")) for path, x in expected.items()
    }
    assert all(np.isfinite(x).all() for x in arrays.values())


def test_electrodes_is_small_and_of_the_default_config():
    record = shipped.read("electrodes").record
    content = (shipped.FOLDER / "electrodes.npz").read_bytes()
    assert len(content) < 2.5e6
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["command"].startswith("unet-jax train --config=default ")
    assert record["seed"] == 0
    # A key that is new since then does not matter; a value that differs makes the command untrue: train it anew.
    now, then = (flat(config) for config in (json.loads(default.get_config().to_json()), dict(record["config"])))
    assert {key: now[key] for key in now.keys() & then.keys()} == {
        key: json_file.plain(then[key]) for key in now.keys() & then.keys()
    }


def test_electrodes_scores_what_its_record_says(cache_dir):
    run = open_model("electrodes")
    config = run.config.copy_and_resolve_references()
    config.data.cache_dir = cache_dir
    # The images of a split do not depend on the size of another.
    config.data.update({"num_train": 1, "num_val": 1})
    source = create_dataset(config).source("test")
    score = shipped.read("electrodes").record["score"]
    assert len(source) == score["num_images"] == 32
    summary, _ = evaluate(run.predictor, source, batch_size=8)
    # Another machine rounds otherwise: single pixels at a border change their class.
    for key, value in score.items():
        if isinstance(value, float):
            assert summary[key] == pytest.approx(value, abs=2e-4), key
    assert summary["iou_pooled/mean"] > 0.91


def test_an_unknown_name_lists_the_known(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^model=electrode .*: electrodes$"):
        unet_jax.load("electrode")
    # What has a slash, and a folder that exists, is the folder of a run.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "electrodes").mkdir()
    for given in ("./electrodes", "~/electrodes", tmp_path / "electrodes"):
        with pytest.raises(UserError, match=rf"^model={given} .*config\.json"):
            unet_jax.load(given)
    # Then the message says how to reach the network.
    for given in ("electrodes", Path("electrodes")):
        with pytest.raises(UserError, match=r"^model=electrodes .*config\.json.*shipped.*\./electrodes"):
            unet_jax.load(given)
    with pytest.raises(UserError, match=r"^model=runs/none .*electrodes"):
        unet_jax.load("runs/none")
    with pytest.raises(UserError, match=r"^--model=runs/none "):
        predict_images("runs/none", [], "out")
    with pytest.raises(UserError, match=r"^--workdir=runs/none "):
        predict_images("runs/none", [], "out", flag="--workdir")


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"checkpoint": 4}, r"checkpoint 4\b.*320"),
        ({"weights": "ema"}, "'ema'"),
        ({"weights": "none"}, "'none'.*raw, ema"),
        ({"level": 4}, r"level 4\b.*0, 1, 2, 3"),
        ({"mode": "quick"}, "'quick'.*accurate, fast"),
    ],
)
def test_what_a_shipped_network_does_not_have_is_an_error(chosen, says):
    with pytest.raises(UserError, match=says):
        unet_jax.load("electrodes", **chosen)


def test_checkpoint_mode_and_level_can_be_chosen():
    run = open_model("electrodes", checkpoint="320", mode="fast", level=2, weights="raw")
    assert (run.step, run.weights, run.predictor.mode, run.predictor.level) == (320, "raw", "fast", 2)
    assert run.predictor.network.levels == (2,)


def test_an_image_of_channels_that_cannot_be_converted_is_an_error():
    with pytest.raises(UserError, match=r"\(8, 8, 5\).*5 channels"):
        unet_jax.load("electrodes").predict(np.zeros((8, 8, 5), np.uint8))


def test_a_damaged_file_is_an_error(tmp_path):
    for suffix in (".npz", ".json"):
        shutil.copy(shipped.FOLDER / f"electrodes{suffix}", tmp_path)
    assert shipped.names(tmp_path) == ("electrodes",)
    content = bytearray((tmp_path / "electrodes.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "electrodes.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"electrodes\.npz\b.*sha256"):
        shipped.read("electrodes", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"num_classes": 3', '"num_classes": 4'),
        lambda text: text.replace('"num_classes": 3,', ""),
        lambda text: text.replace('"num_classes": 3', '"num_classes": 3, "unknown": 1'),
        lambda text: text.replace('"background"', "NaN"),
        lambda text: text.replace('"record_sha256"', '"other"'),
        lambda text: text[:-40],
        lambda text: "[]",
        lambda text: "",
    ],
)
def test_a_record_that_differs_from_what_was_written_is_an_error(tmp_path, change):
    text = (shipped.FOLDER / "electrodes.json").read_text()
    shutil.copy(shipped.FOLDER / "electrodes.npz", tmp_path)
    (tmp_path / "electrodes.json").write_text(change(text))
    assert change(text) != text
    with pytest.raises(UserError, match=r"electrodes\.json .*install"):
        shipped.read("electrodes", tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    variables = {"params": {"head": {"kernel": np.ones((1, 2), np.float64), "bias": np.zeros(2, np.float32)}}}
    record = {"step": 3, "config": {"seed": 1, "model": {"widths": (4, 8)}}}
    first = [path.read_bytes() for path in shipped.write("small", variables, record, tmp_path)]
    network = shipped.read("small", tmp_path)
    assert {path: x.dtype for path, x in flat(network.variables).items()} == {
        "params/head/kernel": np.float32,
        "params/head/bias": np.float32,
    }
    assert network.record["config"] == record["config"]
    again = dataclasses.replace(network).record
    paths = shipped.write("small", network.variables, {key: again[key] for key in ("step", "config")}, tmp_path)
    assert [path.read_bytes() for path in paths] == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.json", "small.npz"]


def test_loading_and_predicting_needs_no_library_of_data_or_checkpoints(tmp_path):
    """Nor does the command, which also writes pictures."""
    image = render(7, 0, size=(40, 50))["image"]
    np.save(tmp_path / "image.npy", image)
    code = f"""
import sys
import numpy as np
import unet_jax
masks, probabilities = unet_jax.load("electrodes").predict(np.load({str(tmp_path / "image.npy")!r}))
assert masks.shape == (40, 50, 2) and masks.any((0, 1)).all(), masks.shape
import unet_jax.runs.predict
print([name for name in ("orbax", "tensorflow_datasets", "grain", "array_record", "skimage", "scipy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
