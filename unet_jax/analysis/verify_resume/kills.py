"""A run that is killed, in earnest (SIGKILL), at moments drawn beforehand, and started again each time."""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.tracking.metrics_file import read_metrics

POLL_S = 0.001  # a save of a small network takes some ten of these
UNFINISHED = "*.orbax-checkpoint-tmp*"  # what Orbax calls a checkpoint that it is writing


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill: once a row of this step is written, at once or in the next save."""

    step: int
    in_save: bool


@dataclasses.dataclass(frozen=True)
class Kill:
    """What was done: the step of the last row written, and the checkpoint that was being written, "" for none."""

    step: int
    save: str


def draw_moments(number: int, num_steps: int, seed: int) -> list[Moment]:
    """As many moments in the first three quarters of the steps, in order; every third one, rounded up, is in a save."""
    draw = random.Random(seed)
    steps = sorted(draw.randint(1, max(1, num_steps * 3 // 4)) for _ in range(number))
    in_saves = set(draw.sample(range(number), -(-number // 3)))
    return [Moment(step, index in in_saves) for index, step in enumerate(steps)]


class Child:
    """A command as a process group of its own, of which nothing is left behind the `with`, whose end a SIGTERM is, too.

    Args:
      command: the program and its arguments.
      log: file that what it prints is added to.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self._command, self._log = list(command), log

    def __enter__(self):
        with self._log.open("ab") as file:
            self._process = subprocess.Popen(self._command, stdout=file, stderr=subprocess.STDOUT, process_group=0)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, _end)
        return self

    def __exit__(self, *_):
        self.kill()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group."""
        if self.running():  # else its number may be another's by now
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()

    def finish(self) -> None:
        """Waits for its end; UserError, with the last line that it printed, where that is not a good one."""
        if self._process.wait() != 0:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["without a word"]
            raise UserError(f"the run ended with status {self._process.returncode} ({last[0]}); see {self._log}")


def _end(number: int, _) -> None:
    raise SystemExit(128 + number)


def run_killed(
    command: Sequence[str], workdir: Path, log: Path, moments: Sequence[Moment], *, seed: int, tell: Callable
) -> list[Kill]:
    """Starts `command`, which trains into `workdir` and writes a row each step, once more than there are moments.

    Args:
      tell: is called with a line about each kill.

    Raises:
      UserError: the run failed, or came to its end before it could be killed.
    """
    draw, kills = random.Random(seed), []
    for number, moment in enumerate(moments, 1):
        with Child(command, log) as child:
            kill = _kill(child, workdir, moment, draw)
            if kill is None:
                child.finish()
                raise UserError(
                    f"the run came to its end after {len(kills)} of {len(moments)} kills; give more --steps, or fewer --kills"
                )
        kills.append(kill)
        tell(
            f"kill {number} of {len(moments)}: at step {kill.step}"
            + (f", in the save {kill.save}" if kill.save else "")
        )
    with Child(command, log) as child:
        child.finish()
    return kills


def _kill(child: Child, workdir: Path, moment: Moment, draw: random.Random) -> Kill | None:
    """Kills it at its moment, or at its first step where that is past; None where it ended by itself before."""
    metrics, checkpoints = workdir / "metrics.jsonl", workdir / "checkpoints"
    steps = [int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit()]
    target = max(moment.step, max(steps, default=0) + 1)
    before, row = _identity(metrics), None  # rows that the last start left are none of this one
    while row is None or row["step"] < target:
        if not _wait(child, lambda known=before: _identity(metrics) != known):
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
        time.sleep(POLL_S)  # until every thread has stopped
        left = _unfinished(checkpoints) - old
        if left:
            child.kill()
            return Kill(read_metrics(metrics)[-1]["step"], next(iter(left))[0])
        child.send(signal.SIGCONT)  # the save was over: strike sooner in the next
        span /= 2
    return None


def _wait(child: Child, happened: Callable) -> bool:
    """Until something has happened, or (False) the child has ended without it."""
    while not happened():
        if not child.running():
            return False
        time.sleep(POLL_S)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino, path.stat().st_size
    return None


def _unfinished(folder: Path) -> set[tuple[str, int, int]]:
    """Checkpoints that are being written, or were when their process ended: names, with what tells one from the other."""
    found = set()
    for path in folder.glob(UNFINISHED):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.stat().st_ino, path.stat().st_ctime_ns))
    return found
