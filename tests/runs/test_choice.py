"""Val images that show no class that is scored: the last network counts, and nothing follows the score."""

import math
import types

import numpy as np
import pytest

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.runs.choice import describe_no_choice, val_can_choose
from unet_jax.runs.evaluate_and_save import evaluate_and_save
from unet_jax.runs.training_run import open_training_run
from unet_jax.runtime import parallel
from unet_jax.segmentation import VOID_ID

NAN = float("nan")


def parts(num_classes, report_classes, class_names=("background", "anode", "cathode")):
    return types.SimpleNamespace(
        module=types.SimpleNamespace(num_classes=num_classes),
        dataset=types.SimpleNamespace(class_names=class_names),
        report_classes=report_classes,
    )


def examples(*masks):
    return [{"mask": np.asarray(mask, np.uint8)} for mask in masks]


@pytest.mark.parametrize(
    ("num_classes", "report_classes", "masks", "can"),
    [
        (3, ("anode", "cathode"), ([[0, 0]], [[0, 2]]), True),
        (3, ("anode", "cathode"), ([[0, 0]], [[0, VOID_ID]]), False),
        (3, ("anode",), ([[0, 2]],), False),
        (3, ("background", "anode"), ([[0, 0]],), True),
        # Of two classes with one channel: id 1.
        (1, ("cathode",), ([[0, 1]],), True),
        (1, ("cathode",), ([[0, 0]],), False),
        # Overlapping classes.
        (2, ("anode", "cathode"), ([[[0, 0], [0, 1]]],), True),
        (2, ("anode", "cathode"), ([[[0, 0], [VOID_ID, VOID_ID]]],), False),
    ],
)
def test_val_chooses_if_it_shows_a_class_that_is_scored(num_classes, report_classes, masks, can):
    described = parts(num_classes, report_classes)
    assert val_can_choose(described, examples(*masks)) == can
    assert all(name in describe_no_choice(described) for name in report_classes)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((0.0, NAN, NAN), 3),
        ((NAN, 0.0, NAN), 3),
        ((NAN, NAN, 0.0), 3),
        ((0.0, None), 2),
        ((0.2, NAN, 0.1), 1),
        ((NAN, 0.3, 0.0), 2),
    ],
)
def test_scores_of_0_and_nan_do_not_choose(tmp_path, scores, best):
    with Checkpointer(tmp_path, latest=1) as checkpointer:
        for step, score in enumerate(scores, 1):
            checkpointer.save(step, {"w": np.float32([step])}, score)
            checkpointer.wait()
    # As other commands open it, also those of runs of earlier versions.
    with Checkpointer(tmp_path, read_only=True) as checkpointer:
        assert checkpointer.step_of("best") == checkpointer.best_step() == best


def test_neither_patience_nor_plateau_follows_such_scores(config, monkeypatch, tmp_path, capsys):
    config.train.update({"eval_every": 1, "patience": 1})
    config.optim.update({"schedule": "plateau", "plateau_patience": 1})
    monkeypatch.setattr("unet_jax.runs.training_run.val_can_choose", lambda *_: False)
    scores = iter((NAN, 0.0, 0.0))
    monkeypatch.setattr(
        "unet_jax.runs.evaluate_and_save.evaluate", lambda *_, **__: ({"iou_pooled/mean": next(scores)}, [])
    )
    with open_training_run(config, tmp_path / "run") as run:
        assert (run.patience, run.finished) == (0, False)
        observed = []
        for step in (1, 2, 3):
            run.val_can_choose = step == 3
            evaluate_and_save(run, step, scored=True)
            observed.append(float(parallel.to_host(run.state.plateau.best_value)))
    # Only the third evaluation counts; the rule keeps 1 - the best score.
    assert observed == [math.inf, math.inf, 1]
    assert capsys.readouterr().out.count("val has no pixel of the classes that are scored (anode, cathode)") == 1
    # The run is not taken for one that has ended, though its last score is no better.
    with open_training_run(config, tmp_path / "run") as run:
        assert (run.start_step, run.finished) == (3, False)
    with Checkpointer(tmp_path / "run/checkpoints", read_only=True) as checkpointer:
        assert checkpointer.step_of("best") == 3
