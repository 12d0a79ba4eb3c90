"""The runs behind the README's results: which they are, that they resume, and how they become tables."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import evidence, rows, step_seconds, tables
from configs import default
from unet_jax.errors import UserError

SCORES = {"iou_pooled/background": 0.99, "iou_pooled/anode": 0.9, "iou_pooled/cathode": 0.92}
SCORES |= {"iou_pooled/mean": 0.91, "iou_image/mean": 0.88}


class FakePrograms:
    """In place of the programs: writes what they would write, and remembers the commands. `fails` names a row."""

    stopping = False

    def __init__(self, fails="", split="test"):
        self.commands, self.fails, self.split = [], fails, split

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, program, *arguments):
        self.commands.append([program, *map(str, arguments)])
        values = dict(argument.removeprefix("--").split("=", 1) for argument in self.commands[-1][1:])
        if program.endswith("step_seconds.py"):
            seconds = {"unet": 0.25, "unet_pp_one_head": 0.4, "unet_pp": 0.5}
            found = {
                name: {"seconds_per_step": seconds[name], "parameters": 1000}
                for name in rows.EXPERIMENTS[values["data"]]
            }
            Path(values["out"]).write_text(json.dumps(found))
            return 0
        run = Path(values["workdir"])
        if run.name == self.fails:
            return 2
        split = values.get("split", self.split)
        (run / "eval").mkdir(parents=True, exist_ok=True)
        shift = 0.01 * int(values.get("config.seed", 0))
        summary = {name: value + shift for name, value in SCORES.items()}
        (run / "eval" / f"{split}.json").write_text(json.dumps({"step": 7, "summary": summary}))
        (run / "versions.json").write_text(json.dumps({"starts": [{"device_kind": "cpu"}]}))
        lines = [{"step": step, "split": "train", "step_s": 0.5} for step in (20, 120, 240)] + [
            {"step": 240, "split": "val"}
        ]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return 0


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Runs the electrodes rows that match a pattern with fake programs; returns those left, the results, the commands."""

    def run(pattern="electrodes-*", **fake):
        programs = FakePrograms(**fake)
        monkeypatch.setattr(evidence, "Programs", lambda: programs)
        results = tables.Results(tmp_path / "results.csv")
        left = evidence.run_all(rows.select(pattern), rows.select(), results, tmp_path / "runs", {"em": "DATA"})
        return left, tables.Results(tmp_path / "results.csv"), programs.commands

    return run


# The rows


def test_compared_experiments_differ_in_the_network_alone():
    for data, experiments in rows.EXPERIMENTS.items():
        configs = [rows.create_config(data, variant).to_dict() for variant in experiments]
        models = [config.pop("model") for config in configs]
        assert all(config == configs[0] for config in configs)
        assert all(model["widths"] == models[0]["widths"] for model in models)
        networks = {(model["name"], model.get("deep_supervision"), model.get("level")) for model in models}
        assert len(networks) == len(experiments)
        shared = [
            {k: v for k, v in model.items() if k not in ("name", "deep_supervision", "level")} for model in models
        ]
        assert all(model == shared[0] for model in shared)


def test_rows_have_names_of_their_own_and_networks_take_turns():
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)
    for data, minutes in (("electrodes", 2), ("battery_xray", 3)):
        order = [(row.seed, row.variant) for row in rows.ROWS if row.data == data and row.minutes == minutes]
        assert order == [(seed, variant) for seed in range(3) for variant in rows.EXPERIMENTS[data]]


def test_flags_are_those_of_the_run():
    row = rows.Row("battery_xray", "unet_pp_one_head", 3, seed=2)
    assert rows.train_flags(row, 300) == [
        "--config=configs/battery_xray.py:FOLDER",
        "--config.model.deep_supervision=False",
        "--config.seed=2",
        "--config.train.num_steps=300",
        "--config.train.eval_every=100",
    ]
    assert "--config.optim.warmup_steps=3" in rows.train_flags(row, 10)  # a trial
    assert rows.steps_in(2, 0.35) == 342  # floor, not round: 342.86
    assert rows.steps_in(0.001, 0.7) == rows.LEAST_STEPS


def test_rows_that_do_not_exist():
    with pytest.raises(UserError, match=r"--only=unet: no such row; there are: electrodes-unet-2min-seed0"):
        rows.select("unet")
    assert [row.name for row in rows.select("battery*seed0", minutes=0.1)] == [
        "battery_xray-unet-0.1min-seed0",
        "battery_xray-unet_pp_one_head-0.1min-seed0",
        "battery_xray-unet_pp-0.1min-seed0",
    ]


def test_folders_are_looked_at_before_any_run(tmp_path, capsys):
    every, none = rows.select(), dict.fromkeys(evidence.FOLDERS, "")
    with pytest.raises(UserError, match=r"--em=.*nowhere: no such folder"):
        evidence.check_folders(every, none | {"em": str(tmp_path / "nowhere")}, explicit=False)
    with pytest.raises(UserError, match=r"give --nuclei=FOLDER"):
        evidence.check_folders(rows.select("nuclei*"), none, explicit=True)
    there = evidence.check_folders(every, none | {"em": str(tmp_path)}, explicit=False)
    assert {row.data for row in there} == {"electrodes", "em"}
    assert "--nuclei=FOLDER is not given: 1 row(s)" in capsys.readouterr().out


# Running


def test_what_is_done_is_not_run_again_and_speed_is_measured_once(work):
    left, results, commands = work("electrodes-*-seed0")
    assert left == []
    assert [command[0] for command in commands] == ["benchmarks/step_seconds.py", *["run_train.py"] * 3]
    assert results["electrodes-unet-2min-seed2"]["num_steps"] == "480"  # measured with the others, not run yet
    assert not results.done("electrodes-unet-2min-seed2")
    left, results, commands = work()
    assert left == []
    assert [command[0] for command in commands] == ["run_train.py"] * 6
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


def test_a_row_that_fails_stops_no_other_and_goes_on_with_the_same_steps(work):
    failing = "electrodes-unet_pp_one_head-2min-seed0"
    left, results, commands = work("electrodes-*-seed0", fails=failing)
    assert left == [failing]
    assert results.done("electrodes-unet_pp-2min-seed0")
    (first,) = (command for command in commands if any(argument.endswith(failing) for argument in command))
    left, results, commands = work("electrodes-*-seed0")
    assert (left, commands) == ([], [first])
    assert float(results[failing]["wall_minutes"]) >= 0


def test_the_commit_is_that_of_the_starts(work, monkeypatch):
    name = "electrodes-unet-2min-seed0"
    marks = iter(["one", "two+", "two+", "three"])
    monkeypatch.setattr(evidence, "code_mark", lambda: next(marks))
    assert work(name, fails=name)[1][name]["commit"] == "one"  # on file though nothing is finished
    assert work(name, fails=name)[1][name]["commit"] == "one two+"
    assert work(name)[1][name]["commit"] == "one two+"


def test_code_that_is_not_committed_is_marked_new_files_included(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))  # were there a repository above

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert evidence.code_mark(tmp_path) == "unknown"
    git("init")
    (tmp_path / "unet_jax").mkdir()
    (tmp_path / "run_train.py").write_text("")
    git("add", ".")
    git("-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-m", "x")
    commit = git("rev-parse", "HEAD")[:12]
    (tmp_path / "results.csv").write_text("")  # every run changes it
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
    left, results, commands = work("em*", split="test")
    assert left == []
    assert [command[0] for command in commands[1:]] == ["run_train.py", "run_eval.py"]
    assert "--split=val" in commands[-1]
    assert results["em-unet_pp-25min-seed0"]["split"] == "val"
    assert commands[1][2] == "--config=configs/em.py:DATA"
    assert "configs/em.py:FOLDER" in results["em-unet_pp-25min-seed0"]["command"]  # no one's own folder on file


def test_a_request_to_stop_reaches_the_program_once_and_starts_no_other(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(
        "import pathlib, signal, time\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "def stop(*_):\n    log.open('a').write('stop ')\n"
        "signal.signal(signal.SIGTERM, stop)\nsignal.signal(signal.SIGINT, stop)\n"
        "log.write_text('ready ')\n"
        "end = time.time() + 20\n"
        "while 'stop' not in log.read_text() and time.time() < end:\n    time.sleep(0.02)\n"
        "time.sleep(0.5)\nraise SystemExit(130)\n"
    )

    def interrupt():
        for written in ("ready", "stop"):  # twice, as somebody does who is impatient
            while not (tmp_path / "log").exists() or written not in (tmp_path / "log").read_text():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with evidence.Programs() as programs:
        threading.Thread(target=interrupt).start()
        assert programs.run(script) == 130
        assert programs.stopping
        assert programs.run(script) == 1  # not started
    assert (tmp_path / "log").read_text() == "ready stop "
    assert signal.getsignal(signal.SIGINT) is before


# Tables


def test_tables_show_mean_spread_and_what_was_not_run(work):
    work("electrodes-unet-*")
    _, results, _ = work("electrodes-unet_pp-2min-seed0")
    lines = tables.summary(rows.ROWS, results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    unet, one_head, deep = cells[2:5]
    assert unet[:3] == ["`electrodes`, test", "U-Net", "1,000"]
    assert unet[4:] == ["480", "anode .910 ± .010, cathode .930 ± .010", ".920 ± .010", ".890 ± .010", "3"]
    assert one_head[5:] == ["not run", "not run", "not run", "0 of 3"]
    assert deep[5:] == ["anode .900, cathode .920", ".910", ".880", "1 of 3"]
    given = [line for line in lines if "given, not run" in line]
    assert len(given) == len(rows.REFERENCES)
    assert "| stack .806, plate .761 | .784 | - |" in given[0]
    per_run = tables.runs(rows.ROWS, results).splitlines()
    assert per_run[2].startswith("| `electrodes-unet-2min-seed0` | 480 | 0.2500 | 2.00 |")
    assert sum("not run" in line for line in per_run) == len(rows.ROWS) - 4


def test_a_score_that_one_seed_lacks_is_left_out_of_the_table(work):
    _, results, _ = work("electrodes-unet-*")
    results.update("electrodes-unet-2min-seed1", **{"iou_pooled/anode": "nan"})
    line = tables.summary(rows.ROWS, results).splitlines()[2]
    assert "anode -, cathode .930 ± .010" in line


def test_rewrite_changes_what_is_between_the_marks_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results -->\nold\n<!-- /results -->\nb <!-- runs -->\n")
    tables.rewrite(path, "results", "new\nlines")
    assert path.read_text() == "a\n<!-- results -->\nnew\nlines\n<!-- /results -->\nb <!-- runs -->\n"
    tables.rewrite(path, "results", "newer")
    assert path.read_text().count("new") == 1
    with pytest.raises(UserError, match="has no lines <!-- other -->"):
        tables.rewrite(path, "other", "x")


def test_the_docs_hold_the_tables_of_the_results_on_file():
    assert evidence.RESULTS.exists()  # the docs name it
    results = tables.Results(evidence.RESULTS)
    for name, mark, table in (("README.md", "results", tables.summary), ("docs/results.md", "runs", tables.runs)):
        assert f"<!-- {mark} -->\n{table(rows.ROWS, results)}\n<!-- /{mark} -->" in (rows.ROOT / name).read_text()


def test_a_file_of_results_is_made_before_there_are_any(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    monkeypatch.setattr(evidence, "RESULTS", path)
    monkeypatch.setattr(tables, "rewrite", lambda *_: None)
    evidence.write_tables(rows.select(), tables.Results(path))
    assert path.read_text() == ",".join(tables.COLUMNS) + "\n"
    results = tables.Results(path)
    assert not any(results.done(row.name) or results[row.name] for row in rows.ROWS)
    assert "0 of 3" in tables.summary(rows.ROWS, results)
    results.update("electrodes-unet-2min-seed0", num_steps=3)
    evidence.write_tables(rows.select(), tables.Results(path))
    assert tables.Results(path)["electrodes-unet-2min-seed0"]["num_steps"] == "3"


def test_pictures_of_the_synthetic_set_alone_go_to_the_docs(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rows, "create_config", lambda *_: default.get_config())
    for pattern in ("electrodes-unet_pp-2min-seed0", "em*"):
        _, results, _ = work(pattern)
        run = tmp_path / "runs" / rows.select(pattern)[0].name / "eval" / ("val" if "em" in pattern else "test")
        run.mkdir()
        for name in evidence.SHOWN:
            (run / f"{name}.png").write_text(f"{name} of {pattern}")
    copied = tmp_path / "docs"
    copied.mkdir()
    monkeypatch.setattr(evidence, "RESULTS", results.path)
    monkeypatch.setattr(evidence, "_picture", lambda name: copied / f"electrodes_{name}.png")
    evidence.copy_pictures(rows.select(), results, tmp_path / "runs")
    there = {path.name: path.read_text() for path in copied.iterdir()}
    assert there == {f"electrodes_{name}.png": f"{name} of electrodes-unet_pp-2min-seed0" for name in evidence.SHOWN}
    printed = capsys.readouterr().out
    assert "em-unet_pp-25min-seed0/eval/val/worst.png" in printed
    assert "nuclei-unet_pp-25min-seed0 is not done" in printed


# The program, and the seconds a step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes=0.1"], "give --results=FILE.csv, too"),
        (["--only=cats*"], "--only=cats*: no such row"),
        (["--only=em*"], "give --em=FOLDER"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    command = [sys.executable, "benchmarks/evidence.py", *arguments]
    done = subprocess.run(command, cwd=rows.ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


def test_step_seconds_of_two_networks(cache_dir, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(step_seconds.time, "perf_counter", lambda: next(seconds) ** 2)  # each step longer than the last
    configs = {"one": default.get_config(), "two": default.get_config()}
    for config, widths in zip(configs.values(), ((4, 8, 8), (4, 8)), strict=True):
        config.model.widths = widths
        config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
        config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    found = step_seconds.measure(configs)
    assert found["one"]["parameters"] > found["two"]["parameters"] > 0
    assert 0 < found["one"]["seconds_per_step"] < found["two"]["seconds_per_step"]  # in turn: "two" comes just after
