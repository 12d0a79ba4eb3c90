"""Whole runs: their files, resuming bit by bit, and stopping."""

import json
import re
import shutil
import signal
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import unet_jax
from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.configs import default
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
from unet_jax.experiment import build
from unet_jax.experiment.build import build_experiment
from unet_jax.runs import evaluate_and_save, loop, training_run
from unet_jax.runs.patience import out_of_patience
from unet_jax.runs.stop_signal import Interrupted
from unet_jax.runtime import out_of_memory
from unet_jax.runtime.out_of_memory import OutOfMemory
from unet_jax.tracking.metrics_file import MetricWriter, read_metrics
from unet_jax.training.state import create_state

pytestmark = pytest.mark.usefixtures("shared_steps")


@pytest.fixture
def final_state(config):
    """Returns a function that reads the whole state of step 6, the last one, of a workdir."""
    parts = build_experiment(config)
    like = jax.eval_shape(lambda: create_state(parts.module, parts.tx, seed=0, patch=(32, 32), channels=1))

    def read(workdir):
        with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
            assert checkpointer.latest_step() == 6
            return checkpointer.restore(6, like)

    return read


def test_run_leaves_what_it_promises(trained, config):
    workdir, summary = trained
    scores = json.loads((workdir / "eval/test.json").read_text())
    assert scores["summary"]["iou_pooled/mean"] == summary["iou_pooled/mean"]
    assert scores["step"] in (3, 6)
    assert len(scores["images"]) == 3
    for folder in ("ids", "masks/anode", "masks/cathode"):
        names = [path.name for path in (workdir / "eval/test" / folder).iterdir()]
        assert len(names) == 3
        with Image.open(workdir / "eval/test" / folder / names[0]) as picture:
            assert picture.size == (32, 32)
    assert len(list((workdir / "eval/test/overlays").iterdir())) == 2
    assert all((workdir / "eval/test" / f"{name}.png").exists() for name in ("best", "median", "worst"))
    assert (workdir / "curves.png").stat().st_size > 0
    assert json.loads((workdir / "config.json").read_text()) == json.loads(config.to_json())
    assert json.loads((workdir / "versions.json").read_text())["data"]["class_names"] == [
        "background",
        "anode",
        "cathode",
    ]


def test_metrics_rows(trained):
    rows = read_metrics(trained[0] / "metrics.jsonl")
    assert [(row["step"], row["split"]) for row in rows] == [
        (2, "train"), (3, "train"), (3, "val"), (4, "train"), (6, "train"), (6, "val"), (6, "run"),
    ]  # fmt: skip
    assert {"loss", "iou_pooled/mean", "learning_rate", "grad_norm", "images_per_s", "data_wait"} <= rows[0].keys()
    assert {"iou_pooled/anode", "dice_image/cathode", "pixel_accuracy", "num_compiles"} <= rows[2].keys()
    assert rows[-1]["compile_s"] > 0
    assert rows[-1]["peak_memory_gib"] > 0


def test_interrupted_and_resumed_is_bit_equal(trained, interrupted, config, final_state, tmp_path):
    """The resumed part changes every key that may change, and drops rows after its checkpoint, as a killed run leaves."""
    workdir = tmp_path / "run"
    shutil.copytree(interrupted, workdir)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "split": "train", "loss": 9.0}\n{"step": 6, "spl')
    config.update_from_flattened_dict({"train.log_every": 1, "data.num_threads": 1, "data.cache_bytes": 0})
    config.update_from_flattened_dict({"checkpoint.every": 1, "eval.batch_size": 8})
    summary = loop.train_and_evaluate(config, workdir)
    jax.tree.map(np.testing.assert_array_equal, final_state(workdir), final_state(trained[0]))
    # docs/how-to/gpu.md compares these files.
    digests = "checkpoints/6/digests/metadata"
    assert (workdir / digests).read_bytes() == (trained[0] / digests).read_bytes()
    assert {k: v for k, v in summary.items() if "iou" in k} == {k: v for k, v in trained[1].items() if "iou" in k}
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["loss"] for row in rows if (row["step"], row["split"]) == (6, "train")] != [9.0]
    assert len({(row["step"], row["split"]) for row in rows}) == len(rows)
    starts = json.loads((workdir / "versions.json").read_text())["starts"]
    assert [start["start_step"] for start in starts] == [0, rows_before(interrupted)]


def rows_before(workdir):
    return read_metrics(workdir / "metrics.jsonl")[-1]["step"]


def test_resumed_on_another_number_of_devices(trained, interrupted, config, final_state, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(interrupted, workdir)
    loop.train_and_evaluate(config, workdir, devices=jax.local_devices()[:2])
    resumed, wanted = final_state(workdir), final_state(trained[0])
    with Checkpointer(interrupted / "checkpoints", read_only=True) as checkpointer:
        start = checkpointer.restore(checkpointer.latest_step(), wanted)
    for one, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(wanted), strict=True):
        # The step, and the optimiser's count.
        if not np.issubdtype(one.dtype, np.floating):
            np.testing.assert_array_equal(one, other)
    # The difference as a fraction of the distance trained; a ReLU that switched made it 0.001.
    for part in ("params", "batch_stats"):
        end, end_of_one, before = (getattr(state, part) for state in (resumed, wanted, start))
        apart, way = optax.tree.sub(end, end_of_one), optax.tree.sub(end_of_one, before)
        assert optax.tree.norm(apart) < 0.01 * optax.tree.norm(way)


def test_a_state_whose_scoring_fails_is_saved_and_scored_first(
    trained, config, final_state, tmp_path, capsys, monkeypatch
):
    evaluate = evaluate_and_save.evaluate

    def fails_at(failing):
        def fail(predictor, source, **options):
            if read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == failing:
                raise OutOfMemory(
                    "an image of 32 x 32 pixels does not fit into the memory: 9 GB were asked for; cut it"
                )
            return evaluate(predictor, source, **options)

        return fail

    # The second start fails before its first step, because it scores first. Then the last evaluation fails.
    for failing, steps in ((3, [3]), (3, [3]), (6, [3, 6])):
        monkeypatch.setattr(evaluate_and_save, "evaluate", fails_at(failing))
        with pytest.raises(OutOfMemory, match=rf"step {failing}: .*9 GB.*saved without a score.*eval\.memory"):
            loop.train_and_evaluate(config, tmp_path)
        with Checkpointer(tmp_path / "checkpoints", read_only=True) as checkpointer:
            assert checkpointer.steps() == steps
            assert [checkpointer.is_scored(step) for step in steps] == [step != failing for step in steps]
    monkeypatch.setattr(evaluate_and_save, "evaluate", evaluate)
    capsys.readouterr()
    summary = loop.train_and_evaluate(config, tmp_path)
    assert "step 6: saved without a score" in capsys.readouterr().out
    with Checkpointer(tmp_path / "checkpoints", read_only=True) as checkpointer:
        assert all(map(checkpointer.is_scored, (3, 6)))
    # All is as if nothing had failed.
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(trained[0]))
    assert {k: v for k, v in summary.items() if "iou" in k} == {k: v for k, v in trained[1].items() if "iou" in k}
    scores, wanted = (
        [
            (row["step"], row["iou_pooled/mean"])
            for row in read_metrics(workdir / "metrics.jsonl")
            if row["split"] == "val"
        ]
        for workdir in (tmp_path, trained[0])
    )
    assert scores == wanted


def test_where_the_second_of_two_scores_fails_no_row_is_written_twice(config, tmp_path, monkeypatch):
    summaries = iter([{"iou_pooled/mean": 0.5}, None, {"iou_pooled/mean": 0.5}, {"iou_pooled/mean": 0.4}])

    def evaluate(*_, **__):
        if (summary := next(summaries)) is None:
            raise OutOfMemory("it does not fit")
        return summary, []

    monkeypatch.setattr(evaluate_and_save, "evaluate", evaluate)
    for name in ("create_predictor", "data_facts"):
        monkeypatch.setattr(evaluate_and_save, name, lambda *_, **__: None)
    run = SimpleNamespace(config=config, devices=None, memory=2**30, tensorboard=None, val_source=None)
    run.parts = SimpleNamespace(module=None, dataset=None, report_classes=("anode",))
    run.writer, run.progress = MetricWriter(tmp_path / "metrics.jsonl"), SimpleNamespace(print=print)
    state = SimpleNamespace(variables_to_score=lambda _: {"val": {}, "val_ema": {}})
    with pytest.raises(OutOfMemory):
        evaluate_and_save._score_on_val(run, 3, state)
    assert evaluate_and_save._score_on_val(run, 3, state) == 0.5
    rows = [(row["step"], row["split"]) for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert rows == [(3, "val"), (3, "val_ema")]


@pytest.mark.parametrize(("key", "value"), [("train.batch_size", 10**6), ("model.widths", (2**16,) * 3)])
def test_a_state_or_a_batch_that_does_not_fit_is_refused_before_anything_is_written(
    config, tmp_path, monkeypatch, key, value
):
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 1e9)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(
        OutOfMemory, match=r"train\.batch_size=\d+, .* GB were asked for, .* GB are free; .*model\.remat"
    ):
        loop.train_and_evaluate(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_step_that_does_not_fit_is_one_line(config, tmp_path, monkeypatch):
    least = build_experiment(config).least_bytes(1)
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: least + 1)
    with pytest.raises(OutOfMemory, match=r"train\.batch_size=\d+, data\.patch=.* GB are free; .*model\.remat"):
        loop.train_and_evaluate(config, tmp_path)
    assert (tmp_path / "config.json").exists()
    # Before the first step.
    assert not read_metrics(tmp_path / "metrics.jsonl")


def test_a_damaged_checkpoint_changes_nothing_in_the_end(trained, config, final_state, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    (workdir / "checkpoints/6/state/manifest.ocdbt").write_bytes(b"")
    loop.train_and_evaluate(config, workdir)
    printed = capsys.readouterr().out
    assert "checkpoint 6 in" in printed
    assert "going on from step 3 in" in printed
    assert "0.00 MB free, but up to 3 more checkpoints of 0." in printed
    jax.tree.map(np.testing.assert_array_equal, final_state(workdir), final_state(trained[0]))
    rows = [(row["step"], row["split"]) for row in read_metrics(workdir / "metrics.jsonl")]
    assert rows == [(2, "train"), (3, "train"), (3, "val"), (4, "train"), (6, "train"), (6, "val"), (6, "run")]
    assert (workdir / "checkpoints_damaged/6/digests").is_dir()


def test_finished_run_is_scored_again_without_training(trained, config, final_state, capsys, monkeypatch):
    # The starts before have said it.
    monkeypatch.setattr(training_run, "note_of_change", lambda *_: "not bit-equal from here")
    before = final_state(trained[0])
    summary = loop.train_and_evaluate(config, trained[0])
    assert summary["iou_pooled/mean"] == trained[1]["iou_pooled/mean"]
    jax.tree.map(np.testing.assert_array_equal, before, final_state(trained[0]))
    printed = capsys.readouterr().out
    assert "6 steps of 4 images (4 epochs of 6 images), evaluated every 3 steps" in printed
    assert "mean of anode, cathode" in printed
    assert "not bit-equal" not in printed


def test_a_run_out_of_patience_ends_early_and_for_good(config, monkeypatch, tmp_path, capsys):
    config.train.update({"eval_every": 1, "patience": 2})
    scores, evaluate = iter((0.1, 0.3, float("nan"), 0.3)), evaluate_and_save.evaluate

    def scored(*args, **kwargs):
        summary, rows = evaluate(*args, **kwargs)
        return summary | {"iou_pooled/mean": next(scores)}, rows

    monkeypatch.setattr(evaluate_and_save, "evaluate", scored)
    loop.train_and_evaluate(config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    # An equal score is not a gain.
    assert [row["step"] for row in rows if row["split"] == "val"] == [1, 2, 3, 4]
    assert rows[-1]["step"] == 4
    assert "step 4: no better score in 2 evaluations" in capsys.readouterr().out
    # No step is taken: the next score would raise StopIteration.
    loop.train_and_evaluate(config, tmp_path / "run")
    assert read_metrics(tmp_path / "run/metrics.jsonl") == rows
    assert re.search(r"the run has ended: its last 2 .*train\.patience", capsys.readouterr().out)


def test_more_patience_and_a_signal_in_the_last_evaluation(trained, config, final_state, monkeypatch, tmp_path):
    workdir, evaluate = tmp_path / "run", evaluate_and_save.evaluate

    def scored(*args, **kwargs):
        summary, rows = evaluate(*args, **kwargs)
        if len(read_metrics(workdir / "metrics.jsonl")) > 3:
            signal.raise_signal(signal.SIGTERM)
        return summary | {"iou_pooled/mean": 0.5}, rows

    monkeypatch.setattr(evaluate_and_save, "evaluate", scored)
    shutil.copytree(trained[0], workdir)
    shutil.rmtree(workdir / "checkpoints/6")
    assert (config.train.patience, config.train.eval_every) == (0, 3)
    stopped = json.loads((workdir / "config.json").read_text())
    # As if that had ended the run.
    stopped["train"]["patience"] = 1
    (workdir / "config.json").write_text(json.dumps(stopped))
    with pytest.raises(Interrupted, match=r"step 6\b.*/run"):
        loop.train_and_evaluate(config, workdir)
    jax.tree.map(np.testing.assert_array_equal, final_state(workdir), final_state(trained[0]))
    (workdir / "eval/test.json").unlink()
    loop.train_and_evaluate(config, workdir)
    assert (workdir / "eval/test.json").exists()


def test_a_score_at_a_former_end_does_not_count(tmp_path):
    """A run of 5 steps with an evaluation every second one, made longer: a run that never stopped has no score at 5."""
    rows = ({"step": step, "split": "val", "iou_pooled/mean": score} for step, score in ((2, 0.5), (4, 0.6), (5, 0.4)))
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not out_of_patience(tmp_path / "rows", 1, step=5, every=2)
    assert out_of_patience(tmp_path / "rows", 1, step=5, every=1)


def test_another_config_is_refused_with_the_difference(trained, config):
    config.optim.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optim\.learning_rate: 0\.002.* 0\.5.*--workdir"):
        loop.train_and_evaluate(config, trained[0])


def test_nan_stops_with_the_step_and_keeps_the_checkpoint(config, monkeypatch, tmp_path):
    config.train.eval_every = 1
    train_batches = train_pipeline.train_batches

    def spoilt(*args, **kwargs):
        for step, batch in enumerate(train_batches(*args, **kwargs), 1):
            yield batch if step < 3 else batch | {"image": np.full_like(batch["image"], np.nan)}

    monkeypatch.setattr(train_pipeline, "train_batches", spoilt)
    with pytest.raises(UserError, match=r"step 3: loss nan.*step 2\b.*optim\.learning_rate"):
        loop.train_and_evaluate(config, tmp_path / "run")
    masks, _ = unet_jax.load(tmp_path / "run").predict(np.zeros((20, 20), np.uint8))
    assert masks.shape == (20, 20, 2)


def test_another_kind_of_network_trains_and_scores(config, tmp_path):
    """FC-DenseNet, with dropout, one head and bfloat16. test_warm_start.py trains FCN."""
    config.model = default.fc_densenet()
    config.model.update({"stem_features": 4, "growth_rate": 2, "layers_per_block": (1, 1, 1), "dtype": "bfloat16"})
    config.train.update({"num_steps": 2, "eval_every": 2})
    config.optim.warmup_steps = 0
    summary = loop.train_and_evaluate(config, tmp_path)
    (train, val) = (
        next(row for row in read_metrics(tmp_path / "metrics.jsonl") if row["split"] == s) for s in ("train", "val")
    )
    assert 0 < train["loss"] < 10
    assert 0 <= val["iou_pooled/mean"] <= 1
    assert json.loads((tmp_path / "eval/test.json").read_text())["summary"] == summary
    predictor = unet_jax.load(tmp_path, mode="fast")
    assert predictor.predict(np.zeros((45, 30), np.uint8))[0].shape == (45, 30, 2)
    with pytest.raises(UserError, match=r"level 1: .* 0"):
        unet_jax.load(tmp_path, level=1)


def test_a_run_without_a_step_leaves_the_workdir_free(trained, config, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run", ignore=shutil.ignore_patterns("[0-9]*"))
    config.optim.learning_rate = 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "create_state", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.train_and_evaluate(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text())["optim"]["learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.batch_size", 6, r"train\.batch_size.* 6 .* 4 devices"),
        ("train.num_steps", 0, r"train\.num_steps 0"),
        ("data.patch", (32,), r"data\.patch.*\(32,\)"),
        ("data.name", "cats", r"'cats'.*dsb2018"),
        ("model.name", "vnet", "'vnet'.*unet_pp"),
        ("model.activation", "relu", r"activation.*'relu'.*softmax, sigmoid"),
        ("model.norm", "layer", r"norm.*'layer'"),
        ("eval.classes", ("anodes",), r"eval\.classes.*'anodes'.*anode, cathode"),
        ("eval.mode", "best", r"mode.*'best'.*accurate, fast"),
        ("eval.batch_size", 0, r"eval\.batch_size 0"),
        ("eval.pad_multiple", 0, r"eval\.pad_multiple 0"),
        ("checkpoint.latest", 0, r"checkpoint\.latest 0"),
        ("augment.contrast", 2.0, r"augment\.contrast.*2\.0"),
        ("augment.scale", (2.0, 1.0), r"augment\.scale.*\(2\.0, 1\.0\)"),
        ("seed", -1, r"seed -1\b"),
        ("loss.head_weights", (1.0,), r"head_weights.* 1 .* 2 heads"),
        ("loss.class_weights", (1.0, "a", 1.0), r"class_weights.*'a'"),
        ("optim.learning_rate", float("nan"), r"optim\.learning_rate nan"),
        ("optim.b1", 1.5, r"optim\.b1.*1\.5"),
        ("data.patch", (96, "a"), r"data\.patch.*'a'"),
        ("data.normalize", "none", r"data\.normalize.*'none'.*image, range"),
        ("loss.weights.dice", float("nan"), r"loss\.weights\.dice nan"),
        ("optim.weight_decay", float("inf"), r"optim\.weight_decay inf"),
        ("optim.eps", -1.0, r"optim\.eps -1\.0.* 0\b"),
        ("seed", 2**32, r"seed 4294967296.*4294967295"),
    ],
)
def test_bad_values_are_refused_before_the_workdir_is_made(config, tmp_path, key, value, message):
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        loop.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_workdir_that_cannot_be_made(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--workdir=.*/file/run"):
        loop.train_and_evaluate(config, tmp_path / "file" / "run")
