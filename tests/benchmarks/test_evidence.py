"""The runs behind the results: they resume, one that fails stops no other, and the file says what was run."""

import subprocess
import sys

import pytest

from benchmarks import evidence, rows
from unet_jax.configs import default
from unet_jax.errors import UserError


def test_folders_are_looked_at_before_any_run(tmp_path, capsys):
    every, none = rows.select(), dict.fromkeys(evidence.FOLDERS, "")
    with pytest.raises(UserError, match=r"--em=.*nowhere"):
        evidence.check_folders(every, none | {"em": str(tmp_path / "nowhere")}, explicit=False)
    with pytest.raises(UserError, match=r"--nuclei=FOLDER"):
        evidence.check_folders(rows.select("nuclei*"), none, explicit=True)
    kept = evidence.check_folders(every, none | {"em": str(tmp_path)}, explicit=False)
    assert {row.data for row in kept} == {"electrodes", "em"}
    assert "--nuclei=FOLDER is not given: 20 row(s) of nuclei" in capsys.readouterr().out


def test_done_runs_are_kept_and_speed_is_measured_once(work):
    not_done, results, commands = work("electrodes-*-seed0")
    assert not_done == []
    assert [command[0] for command in commands] == ["benchmarks/step_seconds.py", *["run_train.py"] * 7]
    # Measured with the others, but not run yet.
    assert results["electrodes-unet-2min-seed2"]["num_steps"] == "480"
    assert not results.done("electrodes-unet-2min-seed2")
    not_done, results, commands = work("electrodes-*-seed[12]")
    assert not_done == []
    assert [command[0] for command in commands] == ["run_train.py"] * 14
    assert {argument for command in commands for argument in command if "seed=" in argument} == {
        "--config.seed=1",
        "--config.seed=2",
    }
    known = results["electrodes-unet_pp-2min-seed1"]
    assert (known["num_steps"], known["seconds_per_step"], known["trained_minutes"]) == ("240", "0.5000", "2.00")
    assert (known["iou_pooled/anode"], known["iou_pooled/mean"], known["checkpoint"]) == ("0.9100", "0.9200", "7")
    assert "iou_pooled/background" not in known
    assert known["command"] == (
        "python run_train.py --config=configs/default.py --config.seed=1 --config.train.num_steps=240 "
        "--config.train.eval_every=80 --workdir=runs/electrodes-unet_pp-2min-seed1"
    )


def test_a_later_network_is_timed_in_turn_with_the_others(work, monkeypatch):
    later = {name: rows.EXPERIMENTS["electrodes"][name] for name in ("unet", "unet_pp")}
    monkeypatch.setitem(rows.EXPERIMENTS, "electrodes", later)
    monkeypatch.setattr(rows, "ROWS", [rows.Row("electrodes", name, 2) for name in later])
    work()
    later["fcn"] = rows.Experiment("FCN-8s", "electrodes_fcn")
    monkeypatch.setattr(rows, "ROWS", [rows.Row("electrodes", name, 2) for name in later])
    _, results, commands = work(slower=2.0)
    assert [command[0] for command in commands] == ["benchmarks/step_seconds.py", "run_train.py"]
    # It takes 2 s a step, when the others take twice what is on file: it counts as 1 s.
    assert results["electrodes-fcn-2min-seed0"]["num_steps"] == "120"
    assert results["electrodes-unet-2min-seed0"]["num_steps"] == "480"


def test_a_run_on_a_share_takes_the_steps_of_the_whole(work):
    work("electrodes-unet-2min-seed0")
    _, results, commands = work("electrodes-unet-2min-seed0-share*")
    assert [command[0] for command in commands] == ["run_train.py"] * 2
    assert results["electrodes-unet-2min-seed0-share0.25"]["num_steps"] == "480"
    assert "--config.data.train_fraction=0.25" in commands[0]


def test_a_failed_row_stops_no_other_and_keeps_its_steps(work):
    failing = "electrodes-unet_pp_one_head-2min-seed0"
    not_done, results, commands = work("electrodes-*-seed0", fails=failing)
    assert not_done == [failing]
    assert results.done("electrodes-unet_pp-2min-seed0")
    (first,) = (command for command in commands if any(argument.endswith(failing) for argument in command))
    not_done, results, commands = work("electrodes-*-seed0")
    assert (not_done, commands) == ([], [first])
    assert float(results[failing]["wall_minutes"]) >= 0


def test_the_commit_is_that_of_the_starts(work, monkeypatch):
    name = "electrodes-unet-2min-seed0"
    marks = iter(["one", "two+", "two+", "three"])
    monkeypatch.setattr(evidence, "code_mark", lambda: next(marks))
    # On file although nothing is finished.
    assert work(name, fails=name)[1][name]["commit"] == "one"
    assert work(name, fails=name)[1][name]["commit"] == "one two+"
    assert work(name)[1][name]["commit"] == "one two+"


def test_uncommitted_code_is_marked_new_files_included(tmp_path, monkeypatch):
    # Hides a repository above the folder.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert evidence.code_mark(tmp_path) == "unknown"
    git("init")
    (tmp_path / "unet_jax").mkdir()
    (tmp_path / "run_train.py").write_text("")
    git("add", ".")
    git("-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-m", "x")
    commit = git("rev-parse", "HEAD")[:12]
    # Every run changes this file.
    (tmp_path / "results.csv").write_text("")
    assert evidence.code_mark(tmp_path) == commit
    (tmp_path / "unet_jax" / "new.py").write_text("")
    assert evidence.code_mark(tmp_path) == commit + "+"
    git("add", ".")
    assert evidence.code_mark(tmp_path) == commit + "+"


def test_a_run_without_what_it_promises_stops_no_other(work, monkeypatch, capsys):
    describe = evidence.describe
    broken = lambda row, *rest: 1 / 0 if row.variant == "unet" else describe(row, *rest)  # noqa: E731
    monkeypatch.setattr(evidence, "describe", broken)
    assert work("electrodes-*-seed0")[0] == ["electrodes-unet-2min-seed0"]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_val_is_scored_where_the_training_scored_test(work, monkeypatch):
    monkeypatch.setattr(rows, "create_config", lambda *_: default.get_config())
    not_done, results, commands = work("em*", split="test")
    assert not_done == []
    assert [command[0] for command in commands[1:]] == ["run_train.py", "run_eval.py"]
    assert "--split=val" in commands[-1]
    assert results["em-unet_pp-25min-seed0"]["split"] == "val"
    assert commands[1][2] == "--config=configs/em.py:DATA"
    # The folder of the user is not on file.
    assert "configs/em.py:FOLDER" in results["em-unet_pp-25min-seed0"]["command"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes=0.1"], "--results=FILE.csv"),
        (["--only=cats*"], "--only=cats*"),
        (["--only=em*"], "--em=FOLDER"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    command = [sys.executable, "benchmarks/evidence.py", *arguments]
    done = subprocess.run(command, cwd=rows.ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
