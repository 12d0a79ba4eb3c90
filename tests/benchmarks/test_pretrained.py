"""A run becomes a shipped network."""

import json
import shutil

import numpy as np
import pytest
from helpers.small_config import small_config

from benchmarks import pretrained
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.pretrained import shipped
from unet_jax.runs.load import load_predictor


def test_the_best_network_of_a_run_is_shipped(trained, cache_dir, tmp_path, monkeypatch):
    config = small_config(cache_dir)
    pretrained.ship(trained[0], config, "small", "the command", tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    record = shipped.read("small").record
    test = json.loads((trained[0] / "eval/test.json").read_text())
    assert record["step"] == test["step"]
    assert (record["command"], record["seed"], record["num_classes"]) == ("the command", 0, 3)
    for name in ("background", "anode", "cathode", "mean"):
        assert record["score"][f"iou_pooled/{name}"] == test["summary"][f"iou_pooled/{name}"]
    assert record["versions"]["packages"]["jax"]
    image = render(5, 0, size=(32, 32))["image"]
    for chosen in ({}, {"level": 1, "mode": "fast"}):
        expected, given = (load_predictor(model, **chosen).predict(image)[1] for model in (trained[0], "small"))
        np.testing.assert_array_equal(given, expected)


def test_a_run_of_another_config_or_without_its_score_is_not_shipped(trained, cache_dir, tmp_path):
    config = small_config(cache_dir)
    # No result depends on it.
    config.train.log_every = 100
    config.optim.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optim\.learning_rate 0\.002, not 0\.5;") as raised:
        pretrained.ship(trained[0], config, "small", "", tmp_path / "out")
    assert "log_every" not in str(raised.value)
    shutil.copytree(trained[0], tmp_path / "run")
    scores = tmp_path / "run/eval/test.json"
    content = json.loads(scores.read_text())
    for change in ({"step": 1}, {"mode": "fast"}, None):
        if change is None:
            scores.unlink()
        else:
            scores.write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=r"eval/test\.json"):
            pretrained.ship(tmp_path / "run", small_config(cache_dir), "small", "", tmp_path / "out")
    assert not (tmp_path / "out").exists()
