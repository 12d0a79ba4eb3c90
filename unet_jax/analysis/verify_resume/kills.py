"""Kills a run with SIGKILL at moments drawn beforehand, and starts it again each time."""

import contextlib
import dataclasses
import functools
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from unet_jax.errors import UserError
from unet_jax.tracking.metrics_file import read_metrics

# Seconds between two looks at the files; a save of a small network takes about ten times as long.
POLL_S = 0.001
# The name that Orbax gives a checkpoint while it writes it.
UNFINISHED = "*.orbax-checkpoint-tmp*"


@dataclasses.dataclass(frozen=True)
class Moment:
    """Describes when to kill a run.

    Attributes:
      step: the step after whose row in metrics.jsonl the run is killed.
      in_save: True to kill in the next save, False to kill at once.
    """

    step: int
    in_save: bool


@dataclasses.dataclass(frozen=True)
class Kill:
    """Describes a kill that was done.

    Attributes:
      step: the step of the last row of metrics.jsonl.
      save: name of the checkpoint that was being written; "" for none.
    """

    step: int
    save: str


def draw_moments(number: int, num_steps: int, seed: int) -> list[Moment]:
    """Draws moments in the first three quarters of the steps.

    Args:
      number: number of moments; a third of them, rounded up, are in a save.
      num_steps: steps of the run.
      seed: seed of the draws.

    Returns:
      The moments, in the order of their steps.

    >>> [moment.in_save for moment in draw_moments(3, 60, seed=1)].count(True)
    1
    """
    draw = random.Random(seed)
    steps = sorted(draw.randint(1, max(1, num_steps * 3 // 4)) for _ in range(number))
    in_saves = set(draw.sample(range(number), -(-number // 3)))
    return [Moment(step, index in in_saves) for index, step in enumerate(steps)]


class Child:
    """Runs a command in a new process group, which is killed at the end of the `with` block.

    A SIGTERM to this process also ends the block.

    Args:
      command: the program and its arguments.
      log: file to which the output is appended.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self._command, self._log = list(command), log

    def __enter__(self) -> Self:
        with self._log.open("ab") as file:
            self._process = subprocess.Popen(self._command, stdout=file, stderr=subprocess.STDOUT, process_group=0)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, _end)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def running(self) -> bool:
        """Returns True until the program ends."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group."""
        # After the end, the number may belong to another process.
        if self.running():
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kills the whole group, and waits for its end."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def finish(self) -> None:
        """Waits for the end of the program.

        Raises:
          UserError: the program ended with an error; the message has the last line of its output.
        """
        if self._process.wait() != 0:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise UserError(f"the run ended with status {self._process.returncode} ({last[0]}); see {self._log}")


def _end(number: int, _) -> None:
    raise SystemExit(128 + number)


def run_killed(
    command: Sequence[str],
    workdir: Path,
    log: Path,
    moments: Sequence[Moment],
    *,
    seed: int,
    report: Callable[[str], None],
) -> list[Kill]:
    """Starts a training, kills it at each moment, and lets the last start end.

    Args:
      command: the program, which trains into `workdir` and writes a row of metrics.jsonl at each step.
      workdir: the workdir of the run.
      log: file to which the output of all starts is appended.
      moments: when to kill; the program is started once more than that.
      seed: seed of the random delays.
      report: called with a line about each kill.

    Returns:
      The kills that were done.

    Raises:
      UserError: the run failed, or ended before it could be killed.
    """
    draw = random.Random(seed)
    kills: list[Kill] = []
    for number, moment in enumerate(moments, 1):
        with Child(command, log) as child:
            kill = _kill(child, workdir, moment, draw)
            if kill is None:
                child.finish()
                raise UserError(
                    f"the run ended after {len(kills)} of {len(moments)} kills; give more --steps, or fewer --kills"
                )
        kills.append(kill)
        save = f", in the save {kill.save}" if kill.save else ""
        report(f"kill {number} of {len(moments)}: at step {kill.step}{save}")
    with Child(command, log) as child:
        child.finish()
    return kills


def _kill(child: Child, workdir: Path, moment: Moment, draw: random.Random) -> Kill | None:
    """Kills the child at its moment, or at its first step if that is past; returns None if it ended before."""
    metrics, checkpoints = workdir / "metrics.jsonl", workdir / "checkpoints"
    steps = [int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit()]
    target = max(moment.step, max(steps, default=0) + 1)
    # Rows of the last start do not count.
    before, row = _identity(metrics), None
    while row is None or row["step"] < target:
        if not _wait(child, functools.partial(_has_changed, metrics, before)):
            return None
        before = _identity(metrics)
        row = next(iter(read_metrics(metrics)[-1:]), None)
    if not moment.in_save:
        time.sleep(draw.uniform(0, row["step_s"] or POLL_S) if "step_s" in row else 0)
        if not child.running():
            return None
        child.kill()
        return Kill(read_metrics(metrics)[-1]["step"], "")
    old, span = _unfinished(checkpoints), 0.02
    while _wait(child, lambda: _unfinished(checkpoints) - old):
        time.sleep(draw.uniform(0, span))
        child.send(signal.SIGSTOP)
        # By then every thread has stopped.
        time.sleep(POLL_S)
        in_progress = _unfinished(checkpoints) - old
        if in_progress:
            child.kill()
            return Kill(read_metrics(metrics)[-1]["step"], next(iter(in_progress))[0])
        # The save had ended; the next delay is shorter.
        child.send(signal.SIGCONT)
        span /= 2
    return None


def _wait(child: Child, happened: Callable[[], object]) -> bool:
    """Waits until `happened()` is true; returns False if the child ended before."""
    while not happened():
        if not child.running():
            return False
        time.sleep(POLL_S)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns inode and size of a file, which change with every row; None if there is no file."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino, path.stat().st_size
    return None


def _has_changed(path: Path, identity: tuple[int, int] | None) -> bool:
    return _identity(path) != identity


def _unfinished(folder: Path) -> set[tuple[str, int, int]]:
    """Returns the unfinished checkpoints: each name with an inode and a time, as a name may come again."""
    unfinished = set()
    for path in folder.glob(UNFINISHED):
        with contextlib.suppress(FileNotFoundError):
            unfinished.add((path.name, path.stat().st_ino, path.stat().st_ctime_ns))
    return unfinished
