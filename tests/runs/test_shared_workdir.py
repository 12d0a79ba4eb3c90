"""Two processes of two devices each, over gloo, compared with one process of four devices.

One pair of child processes serves all tests.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.one_of_two import LAST, STOPPED_AT, small_run

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.runs import loop, score, shared_workdir
from unet_jax.runtime import parallel, processes
from unet_jax.tracking.metrics_file import read_metrics

TESTS = Path(__file__).parents[1]
# Two runs may differ in these.
SPEED = ("seconds", "images_per_s", "num_compiles")


@pytest.fixture(scope="module")
def pair(cache_dir, tmp_path_factory):
    """Trains with two processes that are stopped, killed in a step, and started again.

    Returns the workdir, what each process saw, stdout, stderr and status of each by part, and the seconds that process 0
    lived on after process 1 was killed.
    """
    workdir = tmp_path_factory.mktemp("together") / "run"
    ended_as, alone = {}, 0.0
    for part in ("first", "again"):
        started = start_two(workdir, cache_dir, part)
        try:
            second = started[1].communicate(timeout=400)
            ended = time.perf_counter()
            both = [started[0].communicate(timeout=120), second]
            alone = max(alone, time.perf_counter() - ended)
        finally:
            for child in started:
                child.kill()
        ended_as[part] = [(*streams, child.returncode) for streams, child in zip(both, started, strict=True)]
        assert (workdir.parent / f"run.{part}.1.json").exists(), ended_as[part]
    seen = [
        {
            k: v
            for part in ended_as
            for k, v in json.loads((workdir.parent / f"run.{part}.{i}.json").read_text()).items()
        }
        for i in range(2)
    ]
    return workdir, seen, ended_as, alone


def start_two(workdir, cache_dir, part):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent))),
        "PYTHONWARNINGS": "",
        # Only the first training compiles.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    job = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    command = [sys.executable, TESTS / "helpers" / "one_of_two.py", workdir, cache_dir, part, *job]
    return [
        subprocess.Popen(
            [*command, f"--process_id={i}"], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for i in range(2)
    ]


@pytest.fixture
def whole(cache_dir, tmp_path, shared_steps):
    """Returns the workdir and the summary of the same run by one process that was never stopped."""
    return tmp_path / "whole", loop.train_and_evaluate(small_run(cache_dir), tmp_path / "whole")


def scores(row):
    return {name: value for name, value in row.items() if name not in SPEED}


def test_processes_exchange_values_bit_by_bit(pair):
    for seen in pair[1]:
        assert seen["gathered"] == [[0, 2**40, "é"], [1, 2**40 + 1, "é"]]
        assert seen["broadcast"] == [np.float32([-0.0, 1]).tobytes().hex(), 0]
        assert seen["order"] == [[0, 1, 2, 3], [0, 1, 2, 3]]  # process p's rows are the p-th part of the batch


def test_all_stop_at_one_step_and_refuse_together(pair):
    for seen in pair[1]:
        assert seen["stopped"].startswith(f"stopped at step {STOPPED_AT} of {LAST}")
        assert "seed: 0 there, 1 now" in seen["refused"]


def test_process_0_speaks_for_all(pair):
    workdir, _, ended_as, _ = pair
    for part, of_start in (("first", f"into {workdir}"), ("again", f"going on from step {STOPPED_AT}")):
        (first, _, _), (second, _, _) = ended_as[part]
        assert "4 device(s)" in first
        assert of_start in first
        # Two threads of Gloo write at once, so parts of its lines, also empty ones, stand alone.
        assert [line for line in second.splitlines() if line and "Gloo" not in line and "peer ranks" not in line] == []
    assert len(json.loads((workdir / "versions.json").read_text())["starts"]) == 3
    assert len(list((workdir / "eval/test/ids").iterdir())) == 3  # by both
    assert (workdir / "curves.png").exists()


def test_a_killed_process_ends_the_other_and_the_job_resumes(pair):
    """The broken connection ends it, or JAX's coordinator aborts it where that is first."""
    _, seen, ended_as, alone = pair
    (_, error, status), (_, _, killed) = ended_as["first"]
    assert killed == -signal.SIGKILL
    assert status in (1, -signal.SIGABRT)
    if status == 1:
        assert "process 0 of 2: error: another process of this job has ended" in error
        assert "goes on from its latest checkpoint" in error
    else:
        assert "Terminating process because the JAX distributed service detected fatal errors" in error
    assert "Traceback" not in error
    assert alone < 60
    assert [status for *_, status in ended_as["again"]] == [0, 0]
    assert all("iou_pooled/mean" in one["summary"] for one in seen)


def test_as_one_process(pair, whole, cache_dir, tmp_path):
    """Sums of four devices in another order: losses agree, and every leaf after 20 steps; of one state scores do exactly.

    2e-3 leaves room for a ReLU that rounding switches (test_step.py); of itself a leaf differs by some 1e-6.
    """
    workdir, seen, _, _ = pair
    rows, expected = (
        {(row["step"], row["split"]): row for row in read_metrics(folder / "metrics.jsonl")}
        for folder in (workdir, whole[0])
    )
    assert expected.keys() - rows.keys() == set()
    for key in expected.keys() - {(LAST, "run")}:
        for name in {"loss", "grad_norm", "learning_rate", "pixel_accuracy"} & expected[key].keys():
            exact = name == "learning_rate" or (key[0] < STOPPED_AT and key[1] == "train")
            close = 1e-5 if exact else 1e-2
            assert rows[key][name] == pytest.approx(expected[key][name], rel=close), (key, name)
    assert_same_state(workdir, whole[0])
    assert scores(seen[0]["summary"]) == scores(seen[1]["summary"])
    exactly = score.score_run(workdir, split="test")
    written = json.loads((workdir / "eval/test.json").read_text())
    np.testing.assert_equal(scores(exactly), scores(seen[0]["summary"]))
    assert len(written["images"]) == 3

    resumed = tmp_path / "resumed"
    shutil.copytree(workdir, resumed)
    shutil.rmtree(resumed / f"checkpoints/{LAST}")
    loop.train_and_evaluate(small_run(cache_dir), resumed)
    starts = json.loads((resumed / "versions.json").read_text())["starts"]
    assert [(start["start_step"], start["process_count"]) for start in starts] == [
        (0, 2), (STOPPED_AT, 2), (STOPPED_AT, 2), (STOPPED_AT, 1),
    ]  # fmt: skip
    assert_same_state(resumed, workdir)


def assert_same_state(one, other):
    """Parameters, statistics and moments at the end."""
    leaves = []
    for folder in (one, other):
        with Checkpointer(folder / "checkpoints", read_only=True) as checkpointer:
            leaves.append(checkpointer.read_leaves(LAST))
    assert leaves[0].keys() == leaves[1].keys()
    assert {name.split("/")[0] for name in leaves[0]} >= {"params", "batch_stats", "opt_state"}
    for name, leaf in leaves[0].items():
        np.testing.assert_allclose(leaf, leaves[1][name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_a_folder_that_not_all_see_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_workdir, "open_workdir", lambda workdir, *_: tmp_path)
    monkeypatch.setattr(shared_workdir, "data_facts", lambda dataset: {})
    monkeypatch.setattr(processes, "check_same", lambda *_: None)
    monkeypatch.setattr(processes, "on_process_0", lambda action: action())
    monkeypatch.setattr(processes, "gather", lambda mine: [True, mine, False])
    with pytest.raises(UserError, match=r"--workdir=.*process 1, 2;"):
        shared_workdir.open_shared_workdir(tmp_path, None, None, 6)
    monkeypatch.setattr(processes, "gather", lambda mine: [mine, mine, 3])
    with pytest.raises(UserError, match=r"--workdir=.*step 6, process 2\b.*--checkpoint"):
        shared_workdir.check_same_step(6, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "devices", "message"),
    [
        ("seed", 1, 1, r"config\.seed is 1 in process 0 and 0 in process 1; start every process"),
        ("data.patch", (8, 8), 1, r"config\.data\.patch is \[8, 8\] in process 0"),
        ("data.cache_dir", "/elsewhere", 1, ""),
        ("seed", 0, 2, "the number of devices is 2 in process 0 and 1 in process 1"),
    ],
)
def test_a_process_with_another_config_or_other_devices_is_refused(
    cache_dir, monkeypatch, key, value, devices, message
):
    config = small_run(cache_dir)
    seen = []
    monkeypatch.setattr(processes, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "check_same", seen.append)
    shared_workdir.check_same_job(config, jax.local_devices()[:1])
    config.update_from_flattened_dict({key: value})
    shared_workdir.check_same_job(config, jax.local_devices()[:devices])
    monkeypatch.undo()
    monkeypatch.setattr(processes, "gather", lambda *_: seen[::-1])
    if not message:
        processes.check_same({})
        return
    with pytest.raises(UserError, match=message):
        processes.check_same({})


def test_one_process_asks_nobody():
    assert processes.gather("x") == ["x"]
    assert parallel.broadcast({"a": 3}) == {"a": 3}
    assert processes.on_process_0(lambda: 3) == 3
    assert [parallel.AnyProcessFlag()(flag) for flag in (False, True)] == [False, True]
    assert jax.process_count() == processes.process_count() == 1
    with pytest.raises(UserError, match="no room"):
        processes.on_process_0(lambda: (_ for _ in ()).throw(UserError("no room")))
