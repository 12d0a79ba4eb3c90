"""A run with every kind of record: matmul utilization, curves, TensorBoard events, a trace."""

import importlib.util
import re

import pytest
from etils.epath import Path
from PIL import Image

from unet_jax.errors import UserError
from unet_jax.runs import loop, training_run
from unet_jax.tracking import curves, tensorboard
from unet_jax.tracking.metrics_file import read_metrics
from unet_jax.tracking.profiler import Profile
from unet_jax.tracking.tensorboard import check_tensorboard


def test_a_watched_run(config, monkeypatch, tmp_path, capsys):
    events, drawn, draw = [], [], curves.draw_curves

    class Writer(tensorboard.TensorBoardWriter):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            scalar, image = self._writer.add_scalar, self._writer.add_image
            self._writer.add_scalar = lambda *a: (events.append(a), scalar(*a))
            self._writer.add_image = lambda tag, *a, **k: (drawn.append((tag, a[1], a[0].shape)), image(tag, *a, **k))

    steps = []
    monkeypatch.setattr(training_run, "TensorBoardWriter", Writer)
    monkeypatch.setattr(curves, "draw_curves", lambda rows, path: (steps.append(rows[-1]["step"]), draw(rows, path)))
    monkeypatch.setattr(curves, "EVERY_S", 0)
    config.train.tensorboard = True
    workdir = tmp_path / "run"
    loop.train_and_evaluate(config, workdir, profile_steps="3:4")
    shown = capsys.readouterr().err
    notice = re.search(
        r"Compiling the training step .*\n.*Compiled the training step in \d+\.\d s.*step 1/6", shown, re.DOTALL
    )
    assert notice
    assert shown.count("Compiling the training step") == 1
    rows = read_metrics(workdir / "metrics.jsonl")
    assert all(0 < row["matmul_utilization"] < 10 for row in rows if row["split"] == "train")
    numbers = [(f"{r['split']}/{k}", v, r["step"]) for r in rows for k, v in r.items() if type(v) in (int, float)]
    assert sorted(events) == sorted(e for e in numbers if not e[0].endswith("/step"))
    assert sorted({step for _, step, _ in drawn}) == [3, 6]
    # val has three images.
    assert len({tag for tag, _, _ in drawn}) == 3
    # Curves are drawn at every row and evaluation, not only at the end.
    assert sorted(set(steps)) == [2, 3, 4, 6]
    with Image.open(workdir / "curves.png") as picture:
        assert picture.size[0] > 100
    (trace,) = workdir.glob("profile/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    # The run is finished, so the same command only scores it.
    loop.train_and_evaluate(config, workdir, profile_steps="3:4")
    assert len(list(workdir.glob("profile/plugins/profile/*"))) == 1
    assert "the training step" not in capsys.readouterr().err


def test_curves_between_evaluations_wait_for_their_time(monkeypatch, tmp_path):
    drawn, clock = [], [0.0]
    monkeypatch.setattr(curves.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(curves, "draw_curves", lambda rows, path: drawn.append(clock[0]))
    metrics = tmp_path / "metrics.jsonl"
    picture = curves.Curves(Path(tmp_path))
    for clock[0] in (30.0, 61.0, 90.0, 122.0):
        with metrics.open("a") as file:
            file.write('{"step": 1, "split": "train"}\n')
        picture.draw_if_due()
    # No row is new.
    picture.draw()
    assert drawn == [61.0, 122.0]
    metrics.write_text(metrics.read_text() * 2)
    picture.draw()
    assert drawn == [61.0, 122.0, 122.0]


@pytest.mark.parametrize("steps", ["5", "0:3", "4:3", "a:b", "1:2:3"])
def test_bad_steps_are_refused(steps):
    with pytest.raises(UserError, match=f"--profile_steps={steps}: .*FIRST:LAST"):
        Profile(steps)


@pytest.mark.parametrize("steps", ["5:11", "20:30"])
def test_steps_beyond_the_end_are_refused(steps, tmp_path):
    with pytest.raises(UserError, match=f"--profile_steps={steps}: .*10 steps"):
        Profile(steps).prepare(tmp_path, 0, 10, print)
    Profile("6:10").prepare(tmp_path, 5, 10, print)
    Profile().prepare(tmp_path, 10, 10, print)


def test_a_run_after_the_steps_resumes_without_a_trace(tmp_path):
    lines = []
    profile = Profile("5:6")
    profile.prepare(tmp_path, 5, 10, lines.append)
    assert re.search("5:6: .*step 5", lines[0])
    with profile.around(5):
        pass
    assert not (tmp_path / "profile").exists()


def test_a_file_in_the_place_of_a_folder_is_named_before_the_first_step(tmp_path):
    (tmp_path / "profile").write_text("")
    with pytest.raises(UserError, match=r"profile: cannot be written \(.*exists\)"):
        Profile("5:6").prepare(Path(tmp_path), 0, 10, print)
    pytest.importorskip("tensorboardX")
    with pytest.raises(UserError, match=r"profile: cannot be written \(.*exists\)"):
        tensorboard.TensorBoardWriter(tmp_path / "profile", 0, (), class_names=(), report_classes=())


def test_a_missing_package_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_tensorboard(False)
    with pytest.raises(UserError, match=r"train\.tensorboard.*unet-jax\[tensorboard\]"):
        check_tensorboard(True)
