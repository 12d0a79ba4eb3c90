"""A pruned run: the comparison of its levels, and the folder of the chosen level."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import unet_jax
from unet_jax.analysis.prune import extract, levels, pruning, report
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.data.datasets.electrodes.render import render
from unet_jax.errors import UserError
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.experiment.build import build_experiment, create_dataset
from unet_jax.runs import loop
from unet_jax.runs import workdir as folder
from unet_jax.runs.load import load_predictor, open_run
from unet_jax.runs.score import score_run
from unet_jax.storage import paths
from unet_jax.training.state import create_state

ROOT = Path(__file__).parents[2]
STEP = 3


def write_run(config, workdir):
    """Writes a run as training does, but with random weights, as the tests need no good ones."""
    parts = build_experiment(config)
    workdir = folder.open_workdir(workdir, config, parts.dataset, config.train.num_steps)
    sizes = {"patch": parts.loading_options["patch"], "channels": parts.dataset.channels}
    shapes = jax.eval_shape(lambda: create_state(parts.module, parts.tx, seed=0, **sizes))
    rng = np.random.default_rng(config.seed)

    def draw(leaf):
        if len(leaf.shape) < 2:
            return np.ones(leaf.shape, np.float32)
        return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype(np.float32)

    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes).replace(
        params=jax.tree.map(draw, shapes.params), batch_stats=jax.tree.map(draw, shapes.batch_stats)
    )
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        checkpointer.save(STEP, state, 0.5)
    return workdir


def score(config, workdir, **chosen):
    """Returns the summary of a run's network on val."""
    source = create_dataset(config).source("val")
    return evaluate(load_predictor(workdir, **chosen), source, batch_size=4)[0]


@pytest.fixture(scope="module")
def config(cache_dir):
    config = default.get_config()
    config.model.widths = (4, 8, 8)
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 4, "num_val": 3, "num_test": 2})
    config.train.batch_size, config.eval.batch_size, config.eval.pad_multiple = 4, 4, 32
    config.loss.head_weights = (0.25, 0.75)
    return config


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return write_run(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def pruned(run, tmp_path_factory):
    """Returns the folder of level 1, the result, and the arguments of `restore` when the folder was written."""
    asked, restore = [], Checkpointer.restore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "restore", lambda self, *args: asked.append(args) or restore(self, *args))
        out = tmp_path_factory.mktemp("pruned") / "small"
        return out, pruning.prune(run, max_iou_drop=100, rounds=2, out=out), asked[-1]


def test_table_has_every_level_and_mode(run, pruned):
    out, result, _ = pruned
    with (out / "prune.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["level"], row["mode"]) for row in rows] == [(k, m) for k in "12" for m in ("accurate", "fast")]
    for row, measured in zip(rows, result["levels"], strict=True):
        predictor = load_predictor(run, mode=row["mode"], level=int(row["level"]))
        assert int(row["parameters"]) == optax.tree.size(predictor.variables["params"])
        assert measured["argument_bytes"] == 4 * (sum(x.size for x in jax.tree.leaves(predictor.variables)) + 32 * 32)
        assert measured["output_bytes"] == 4 * 32 * 32 * 3
        assert 0 < measured["p50_ms"] <= measured["p95_ms"]
        assert measured["iou_pooled_low"] <= measured["iou_pooled"] <= measured["iou_pooled_high"]
        # The depth is not the paper's.
        assert measured["paper_faster"] is None
    assert float(rows[0]["flops"]) < float(rows[2]["flops"])
    assert int(rows[1]["peak_bytes"]) < int(rows[3]["peak_bytes"])
    assert json.loads((out / "prune.json").read_text())["levels"] == result["levels"]
    assert (out / "prune.png").read_bytes().startswith(b"\x89PNG")
    text = report.text(result)
    assert "32 x 32" in text
    assert "Level 1 is chosen" in text
    assert "95 % intervals over n = 3 images: Student's t" in text
    assert "over n = 2 groups of 3 images:" in report.text(result | {"num_groups": 2})
    assert "paper" not in text


def test_scores_are_those_of_an_evaluation(run, pruned, config):
    # At level 1 both modes are the same.
    assert len({row["iou_pooled"] for row in pruned[1]["levels"]}) == 3
    for row in pruned[1]["levels"]:
        scores = score(config, run, mode=row["mode"], level=row["level"])
        assert row["iou_pooled"] == scores["iou_pooled/mean"]
        assert row["iou_image"] == scores["iou_image/mean"]


def test_a_map_is_freed_after_its_last_reader(pruned):
    memory = pruned[1]["memory"]
    # Bytes of a channel.
    one = 4 * 32 * 32
    expected = {"x_0_0": 4 * one, "x_0_1": 4 * one, "x_0_2": 4 * one, "x_1_0": 2 * one, "x_1_1": 2 * one}
    assert memory["nodes"] == {**expected, "x_2_0": one // 2}
    assert memory["keeping_bytes"] > memory["held_bytes"]


def test_pruned_folder_is_a_run_of_that_level_alone(run, pruned):
    out, result, (step, like) = pruned
    assert (step, result["level"]) == (STEP, 1)
    assert set(like["params"]) == {"x_0_0", "x_1_0", "up_0_1", "x_0_1", "head_1"}
    small = open_run(out)
    assert (small.step, small.config.model.level, small.config.eval.mode) == (STEP, 1, "accurate")
    assert small.config.loss.head_weights == (0.25,)
    assert json.loads((out / "versions.json").read_text())["pruned"]["from"] == str(run)
    sizes = [
        sum(p.stat().st_size for p in Path(path, "checkpoints").rglob("*") if p.is_file() and "state" in p.parts)
        for path in (out, run)
    ]
    assert sizes[0] < sizes[1] / 2
    # No working folder is left.
    assert sorted(p.name for p in out.parent.iterdir()) == ["small"]
    scores = score_run(out, split="val")
    assert scores["iou_pooled/mean"] == result["levels"][0]["iou_pooled"]
    with Checkpointer(out / "checkpoints", read_only=True) as checkpointer:
        assert checkpointer.best_step() == STEP


def test_output_is_that_of_the_wholes_head_bit_by_bit(run, pruned):
    image = render(5, 0, size=(32, 32))["image"]
    whole = load_predictor(run)
    heads = jax.jit(lambda v, x: whole.module.apply(v, x, train=False))(whole.variables, whole.prepare(image)[None])
    small = unet_jax.load(pruned[0])
    logits = jax.jit(lambda v, x: small.network.apply(v, x, train=False))(small.variables, small.prepare(image)[None])
    assert (len(heads), len(logits)) == (2, 1)
    np.testing.assert_array_equal(logits[0], heads[0])
    expected = load_predictor(run, mode="fast", level=1).predict(image)[1]
    np.testing.assert_array_equal(small.predict(image)[1], expected)


def test_what_is_there_is_kept(run, pruned, config, tmp_path, monkeypatch):
    # Every error comes before the timing.
    monkeypatch.setattr(levels, "measure", None)
    before = (pruned[0] / "prune.json").read_text()
    with pytest.raises(UserError, match=r"small .*--out.*--overwrite"):
        pruning.prune(run, out=pruned[0])
    assert (pruned[0] / "prune.json").read_text() == before
    added = pruned[0] / "masks"
    added.mkdir()
    with pytest.raises(UserError, match=r"small .*masks.*--out"):
        pruning.prune(run, out=pruned[0], overwrite=True)
    added.rmdir()
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=rf"{tmp_path.name} .*--out"):
            pruning.prune(run, out=tmp_path, overwrite=overwrite)
    with pytest.raises(UserError, match=r"small.*optimiser"):
        loop.train_and_evaluate(config, pruned[0])
    for arguments, message in (
        ({"level": 3}, "level 3 .*0, 1, 2"),
        ({"mode": "slow"}, "mode 'slow'.*accurate, fast"),
        ({"split": "all"}, r"split 'all'.*train \(4\), val \(3\)"),
        ({"max_iou_drop": -1}, "max_iou_drop.*-1.*0 to 100"),
    ):
        with pytest.raises(UserError, match=message):
            pruning.prune(run, **arguments)


def test_what_was_pruned_comes_back_where_replacing_it_fails(run, tmp_path, monkeypatch):
    target = tmp_path / "small"
    arguments = {"level": 1, "mode": "fast", "step": STEP, "score": 0.5, "overwrite": True}
    extract.write(run, target, **arguments)
    (tmp_path / "link").symlink_to(target)
    move, before = paths.move, (target / "config.json").read_text()

    def failing(source, place):
        # The old folder may be moved back.
        if place == target and not source.name.endswith(".old"):
            raise KeyboardInterrupt
        move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(paths, "move", failing)
        with pytest.raises(KeyboardInterrupt):
            extract.write(run, target, **arguments)
    assert (target / "config.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "small"]
    # A link is replaced, not followed.
    extract.write(run, tmp_path / "link", **arguments)
    assert not (tmp_path / "link").is_symlink()
    assert (target / "config.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "small"]


def test_a_given_level_replaces_the_pruned_network(run, pruned, config, tmp_path, monkeypatch):
    measured = {(row["level"], row["mode"]): row for row in pruned[1]["levels"]}
    monkeypatch.setattr(levels, "measure", lambda *_: measured)
    monkeypatch.setattr(levels, "node_memory", lambda *_: pruned[1]["memory"])
    alone = []

    def train(config, workdir):
        alone.append(config)
        other = config.copy_and_resolve_references()
        other.seed = 1
        write_run(other, workdir)

    monkeypatch.setattr(loop, "train_and_evaluate", train)
    arguments = {"max_iou_drop": 100, "rounds": 1, "mode": "fast", "out": tmp_path / "out"}
    pruning.prune(run, **arguments)
    result = pruning.prune(run, **arguments, level=2, overwrite=True, retrain=True)
    assert (result["level"], load_predictor(tmp_path / "out").mode) == (2, "fast")
    assert "--level=2" in result["reason"]
    assert "level 1" in result["reason"]
    changed = {key: value for key, value in alone[0].to_dict().items() if value != config.to_dict()[key]}
    assert set(changed) == {"model", "eval"}
    assert (alone[0].model.level, alone[0].loss.head_weights) == (2, (0.25, 0.75))
    retrained = json.loads((tmp_path / "out/prune.json").read_text())["retrained"]
    scores = score(config, run / "retrained-level2-fast", mode="fast")
    assert retrained["iou_pooled"] == scores["iou_pooled/mean"]
    embedded = result["levels"][3]["iou_pooled"]
    assert retrained["embedded_minus_alone"] == pytest.approx(embedded - retrained["iou_pooled"])
    assert (
        retrained["embedded_minus_alone_low"]
        < retrained["embedded_minus_alone"]
        < retrained["embedded_minus_alone_high"]
    )
    assert f"embedded {embedded:.4f}, alone {retrained['iou_pooled']:.4f}" in report.comparison(result)


def call(*arguments):
    command = [sys.executable, "-m", "unet_jax.programs.prune", *arguments]
    env = os.environ | {"PYTHONWARNINGS": ""}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_bad_input_ends_in_one_line():
    done = call("--workdir=/no/such/run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --workdir=/no/such/run has no config.json")
    assert len(done.stderr.strip().splitlines()) == 1
    done = call("--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in ("--max_iou_drop", "--split", "--out", "retrain", "--root", "--level"))
