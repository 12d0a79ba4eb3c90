"""Scores read from the files of an evaluation, and made where they are missing."""

import json
import os

import jax
import numpy as np
import pytest
from helpers.compared_runs import LATER, NAMES, STEP, some_counts, write_scores

from unet_jax.analysis.compare import comparison, runs, scores
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.evaluation import jackknife
from unet_jax.experiment.build import create_dataset, create_module
from unet_jax.runs import workdir as folder


def test_splits_are_chosen_as_run_eval_does(make, capsys):
    opened = runs.open_runs([make("a")])
    assert scores.choose_splits(opened) == ("val",)
    assert "val" in capsys.readouterr().out
    assert scores.choose_splits(opened, ["val", "train", "val"]) == ("val", "train")
    opened[0].facts["splits"]["test"] = 2
    assert scores.choose_splits(opened) == ("test",)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"step": LATER}, "step 6, not 3"),
        ({"mode": "fast"}, "mode fast, not accurate"),
        ({"level": 1}, "level 1, not 0"),
        # The run was trained anew in its folder.
        ({"checkpoint_sha256": "ab" * 32}, "a checkpoint with other contents"),
        ({"step": None}, "KeyError.*step"),
        ({"num": 5}, "5 images.*6"),
        ({"counts": ("tp",)}, "pixel counts"),
    ],
)
def test_scores_that_cannot_be_used(make, about, message):
    run, count = make("a"), some_counts(about.pop("num", 6), 0)
    count = {kind: count[kind] for kind in about.pop("counts", jackknife.COUNTS)}
    write_scores(run, "val", count, **about)
    before = (run / "eval/val.json").read_text()
    with pytest.raises(UserError, match=rf"val\.json .*{message}.*--overwrite"):
        comparison.compare([run])
    assert (run / "eval/val.json").read_text() == before


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", 1, "ids"),
        ("id", "val 1", "ids"),
        ("id", None, "ids"),
        ("group", 1, "groups"),
        ("tp/anode", True, "pixel counts"),
        ("tp/anode", "12", "pixel counts"),
        ("tp/anode", [12], "pixel counts"),
        ("tp/anode", 1.5, "pixel counts"),
        ("tp/anode", -1, "pixel counts"),
        ("tp/anode", 10**40, "pixel counts"),
    ],
)
def test_rows_of_other_types_cannot_be_used(make, key, value, message):
    run = make("a")
    path = run / "eval/val.json"
    content = json.loads(path.read_text())
    # The rows are in the reverse order: this one is of the image "val 5".
    content["images"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"val\.json .*{message}.*--overwrite"):
        comparison.compare([run])


def test_a_pipe_in_the_place_of_scores_is_not_waited_for(make):
    run = make("a")
    (run / "eval/val.json").unlink()
    os.mkfifo(run / "eval/val.json")
    with pytest.raises(UserError, match=r"val\.json .*pipe.*--overwrite"):
        comparison.compare([run])


def test_scores_of_other_images(make):
    dirs = [make("a"), make("b", seed=1)]
    write_scores(dirs[1], "val", some_counts(6, 0), ids=[f"val {i}" for i in (0, 1, 2, 3, 4, 9)])
    with pytest.raises(UserError, match=r"a/eval/val\.json and .*b/eval/val\.json .*2 ids .*'val 5'"):
        comparison.compare(dirs)
    write_scores(dirs[1], "val", some_counts(6, 0), fingerprint="cd" * 32)
    with pytest.raises(UserError, match=r"a/eval/val\.json and .*b/eval/val\.json .*abababababab, cdcdcdcdcdcd"):
        comparison.compare(dirs)


def test_scores_on_other_data_than_the_runs_are_named(make, capsys):
    dirs = [make("a"), make("b", seed=1)]
    comparison.compare(dirs)
    assert "other data" not in capsys.readouterr().out
    for run in dirs:
        write_scores(run, "val", some_counts(6, 0), fingerprint="cd" * 32)
    comparison.compare(dirs)
    named = [line for line in capsys.readouterr().out.splitlines() if "other data" in line]
    assert [f"{run}/eval/val.json" in line for run, line in zip(dirs, named, strict=True)] == [True, True]


def test_missing_scores_are_made_of_the_whole_images_trained_on(tmp_path, cache_dir, capsys):
    """A network of zeros predicts background everywhere, so it misses all pixels of the other classes."""
    config = default.get_config()
    config.model = default.unet()
    config.model.widths, config.data.train_fraction, config.train.num_steps = (2, 2), 0.5, STEP
    config.data.update(
        {"patch": (16, 16), "size": (32, 40), "cache_dir": cache_dir, "num_train": 6, "num_val": 2, "num_test": 1}
    )
    config.eval.num_pictures = 1
    dataset, workdir = create_dataset(config), tmp_path / "run"
    folder.open_workdir(workdir, config, dataset, config.train.num_steps)
    module = create_module(config, dataset.class_names)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16, 16, 1), "float32"))
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        checkpointer.save(STEP, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes)), 0.5)
    comparison.compare([workdir], splits=["train"])
    assert "scoring 1 of 1" in capsys.readouterr().err
    content = json.loads((workdir / "eval/train.json").read_text())
    source = dataset.source("train")
    assert len(content["images"]) == len(source) == 3
    assert content["checkpoint_sha256"] == runs.open_runs([workdir])[0].checkpoint_sha256
    for row, example in zip(content["images"], source, strict=False):
        assert row["id"] == example["id"]
        assert [row[f"fn/{name}"] for name in NAMES] == [0, *((example["mask"] == k).sum() for k in (1, 2))]
    assert content["fingerprint"] == dataset.fingerprint
    assert (workdir / "eval/train/best.png").exists()

    # The file exists now.
    comparison.compare([workdir], splits=["train"])
    assert "scoring" not in capsys.readouterr().err
    content["step"] = 99
    (workdir / "eval/train.json").write_text(json.dumps(content))
    comparison.compare([workdir], splits=["train"], overwrite=True)
    assert json.loads((workdir / "eval/train.json").read_text())["step"] == STEP
    facts = json.loads((workdir / "versions.json").read_text())
    facts["data"]["fingerprint"] = "ab" * 32
    (workdir / "versions.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"run .*--split=val --root="):
        comparison.compare([workdir], splits=["val"])
