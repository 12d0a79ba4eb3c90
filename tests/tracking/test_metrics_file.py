"""The record of a run: which rows are kept, the meter's sums and clock, the text of the bar."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.tracking import metrics_file, progress
from unet_jax.tracking.meter import Meter


def step_metrics(loss, tp):
    counts = {"tp": np.array([0, tp]), "fp": np.array([0, 10 - tp]), "fn": np.array([0, 0])}
    return {"loss": np.float32(loss), "learning_rate": np.float32(0.1), "grad_norm": np.float32(1), **counts}


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock by one that the test moves."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def meter(clock):
    return Meter(("background", "plate"), ("plate",), batch_size=8)


def test_later_rows_and_bad_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 2, "split": "train"}\n{"step": 3, "spl\n{"step": 4, "split": "val"}\n{"step": 6, "split": "train"}'
    )
    assert [row["step"] for row in metrics_file.read_metrics(path)] == [2, 4, 6]
    log = metrics_file.MetricWriter(path, start_step=4)
    log.write(5, "train", {"loss": float("nan"), "iou": 0.5})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4, 5]
    assert metrics_file.read_metrics(path)[-1] == {"step": 5, "split": "train", "loss": None, "iou": 0.5}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_row_on_a_full_disk_is_a_user_error(tmp_path):
    log = metrics_file.MetricWriter(tmp_path / "metrics.jsonl")
    log.path = Path("/dev/full")
    with pytest.raises(UserError, match=r"\(No space left on device\)"):
        log.write(1, "train", {"loss": 0.5})


def test_a_row_after_a_line_cut_off_is_not_lost(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "split": "train"}\n{"step": 3, "spl')
    metrics_file.MetricWriter(path, start_step=2).write(3, "val", {"iou": 0.5})
    assert [(row["step"], row["split"]) for row in metrics_file.read_metrics(path)] == [(2, "train"), (3, "val")]


def test_what_a_crash_left_is_dropped_and_said(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    whole = b'{"step": 1, "split": "train", "loss": 0.5}\n'
    path.write_bytes(whole + b'{"step": 2, "split": "val", "iou_poo' + bytes(500))
    assert len(metrics_file.read_metrics(path)) == 1
    metrics_file.MetricWriter(path, start_step=2)
    assert path.read_bytes() == whole
    assert f"{path}: dropped 1 of its lines" in (printed := capsys.readouterr().out)
    assert "(line 2)" in printed
    metrics_file.MetricWriter(path, start_step=2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"3",
        b"null",
        b'"step"',
        b"{}",
        b'{"step": 1}',
        b'{"step": "1", "split": "val"}',
        b'{"step": true, "split": "val"}',
        b'{"step": 1.5, "split": "val"}',
        b'{"step": 1, "split": ["val"]}',
        b'{"step": 1, "split": "val", "iou_pooled/mean": "0.5"}',
        b'{"step": 1, "split": "val", "iou_pooled/mean": {}}',
        b'{"step": 1, "split": "val", "iou_pooled/mean": true}',
        b'{"step": 1, "split": "val", "iou_pooled/mean": NaN}',
        b'{"step": 1, "split": "val", "iou_pooled/mean": 1e999}',
        b'{"step": 1, "split": "val", "loss": 1' + b"0" * 400 + b"}",
        b"\xff\xfe\x00",
        b'{"step": 1, "split": "v\xff\xfeal"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_row_is_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b'\n{"step": 1, "split": "val", "iou_pooled/mean": null}\n')
    assert metrics_file.read_metrics(path) == [{"step": 1, "split": "val", "iou_pooled/mean": None}]


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")], ids=["a folder", "a pipe", "a lost link"]
)
def test_what_is_no_file_is_named(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    for read in (metrics_file.read_metrics, metrics_file.MetricWriter):
        with pytest.raises(UserError, match=rf"{tmp_path}/metrics\.jsonl cannot be read"):
            read(tmp_path / "metrics.jsonl")


def test_meter_pools_over_a_window_and_times_steps_alone(meter, clock):
    with meter.compiling():
        clock[0] += 20.0
    for loss, tp in ((4.0, 2), (2.0, 6)):
        with meter.waiting_for_data():
            clock[0] += 0.5
        clock[0] += 1.5
        meter.add(step_metrics(loss, tp))
    with meter.paused():
        clock[0] += 100.0
    assert meter.loss == 3.0
    assert meter.mean_iou == 8 / 20
    row = meter.read_window()
    assert row["step_s"] == 2.0
    assert row["images_per_s"] == 4.0
    assert row["data_wait"] == 0.25
    clock[0] += 4.0
    meter.add(step_metrics(1.0, 10))
    assert meter.read_window()["iou_pooled/mean"] == 1.0
    totals = meter.totals()
    assert totals["compile_s"] == 20.0
    assert totals["step_s"] == pytest.approx(8 / 3)
    assert "12.5% waiting for data" in meter.describe()
    # Its two numbers are not set yet.
    assert "matmul_utilization" not in totals
    meter.add_peak(step_flops=8.0, peak_flops=3.0)
    assert meter.totals()["matmul_utilization"] == pytest.approx(8 / (8 / 3) / 3)
    # The fastest product counts, whether it was measured later or before.
    for peak in (6.0, 5.0):
        meter.add_peak(step_flops=8.0, peak_flops=peak)
        assert meter.totals()["matmul_utilization"] == pytest.approx(8 / (8 / 3) / 6)
    assert "50% matmul utilization" in meter.describe()


def test_progress_shows_step_loss_iou_speed_and_time_left(meter, clock, capsys):
    bar = progress.Progress(start_step=2, num_steps=12)
    clock[0] += 6.0
    meter.add(step_metrics(0.25, 5))
    bar.update(meter)
    # The first step is shown at once, also without a terminal.
    assert "step 3/12" in capsys.readouterr().err
    bar.print("a line")
    bar.close()
    shown = capsys.readouterr()
    text = shown.err + shown.out
    assert "step 3/12" in text
    assert "loss 0.2500, mean IoU 0.500, 6000 ms a step, 1.3 images/s, 0.0% waiting for data, 00:54 left" in text
    assert "a line" in text
