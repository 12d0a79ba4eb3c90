"""Lets one run at a time hold a workdir: WORKDIR/running.json names the process that trains in it.

The file is made by an operation of which only one of several at once succeeds, on a disk, over NFS and in a bucket. A thread
writes the time into it every `BEAT_S` seconds. A process that has died is recognised at once where it can be looked up: on
the same machine, in the same container. Elsewhere its holder counts as dead when the file has not changed for `STALE_S`
seconds of this machine's clock; the clocks of two machines are never compared.

A process that did not run for long (a laptop that slept) may find its workdir taken over. It then stops, and writes nothing
more.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import platform
import signal
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator
from typing import Any

from etils.epath import Path

from unet_jax.checkpoints import disk_space
from unet_jax.errors import UserError
from unet_jax.runtime import process_table, processes
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors, translate_bucket_error

NAME = "running.json"
# Exists for an instant, while a start replaces the file of a dead holder.
TAKEOVER = ".running.json.takeover"
# Seconds from one sign of life to the next.
BEAT_S = 15
# Seconds without a sign of life after which a holder that cannot be looked up counts as dead.
STALE_S = 60
# Seconds from one look at another holder's file to the next.
POLL_S = 2
REMEDY = "wait until it ends, stop it, or give another --workdir; in a copy of its folder, remove running.json"


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a workdir, as running.json has it.

    Attributes:
      token: a random text, another one for each start.
      host: the name of its machine.
      pid: the number of the process.
      machine: see `process_table.machine`.
      started: see `process_table.start_time`.
      since: when it took the workdir, in UTC.
      heartbeat: its last sign of life, in UTC.
    """

    token: str
    host: str
    pid: int
    machine: str
    started: str
    since: str
    heartbeat: str

    @classmethod
    def of_this_process(cls) -> "Holder":
        """Returns this process, with a new token."""
        pid, now = os.getpid(), _now()
        return cls(
            token=uuid.uuid4().hex,
            host=platform.node(),
            pid=pid,
            machine=process_table.machine(),
            started=process_table.start_time(pid) or "",
            since=now,
            heartbeat=now,
        )

    @classmethod
    def read(cls, content: bytes) -> "Holder | None":
        """Returns the holder that a file names, or None for a file that names none (empty, cut off, or of another kind)."""
        try:
            value: Any = json.loads(content)
            holder = cls(**value)
        except (ValueError, TypeError, RecursionError):
            return None
        right = all(type(value[field.name]) is field.type for field in dataclasses.fields(cls))
        # A message with them must stay one line.
        right = right and all(text.isprintable() for text in value.values() if isinstance(text, str))
        return holder if right and holder.token else None

    def content(self) -> bytes:
        """Returns the content of the file, whose length does not depend on the time of the heartbeat."""
        return (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode()

    def describe(self) -> str:
        """Returns who it is, for a message."""
        return f"process {self.pid} on {self.host} (since {self.since}, last sign of life {self.heartbeat})"

    def is_running(self) -> bool | None:
        """Returns True for a process that runs, False for one that has ended, None where that cannot be looked up."""
        if not (self.machine and self.started) or self.machine != process_table.machine():
            return None
        started = process_table.start_time(self.pid)
        return None if started is None else started == self.started


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator["Hold"]:
    """Holds a workdir for this process, or for process 0 of a job, until the context ends.

    Args:
      workdir: the run's folder; made if it does not exist, and removed again if nothing else was written into it.

    Raises:
      UserError: another process holds it; or it cannot be written.
    """
    held = Hold(workdir)
    try:
        processes.on_process_0(held.take)
        yield held
    finally:
        held.release()


def note_running(workdir: Path) -> None:
    """Prints a note if another process trains in a workdir that is read.

    Args:
      workdir: the run's folder.
    """
    try:
        holder = Holder.read(_read(workdir / NAME) or b"")
    except OSError:
        return
    running = holder.is_running() if holder else False
    own = running and holder and holder.pid == os.getpid()
    if holder and running is not False and not own:
        trains = "trains" if running else "trained, and may still train,"
        print(
            f"note: {holder.describe()} {trains} in {workdir}; what follows is of the checkpoint that it has saved so far"
        )


class Hold:
    """Holds a workdir; see `hold`.

    Args:
      workdir: the run's folder.

    Attributes:
      taken_by: who has taken the workdir over, for a message; "" if nobody has.
    """

    def __init__(self, workdir: Path):
        self._workdir, self._path = workdir, workdir / NAME
        self._mine: Holder | None = None
        self.taken_by = ""
        self._made = False
        self._handler: Any = None
        # One sign of life at a time, and none after the release.
        self._lock, self._released = threading.RLock(), threading.Event()
        self._warned = False
        # By this machine's calendar, which goes on while the machine sleeps.
        self._tried = self._renewed = 0.0

    def take(self) -> None:
        """Takes the workdir, after waiting for a holder that may be dead, and gives signs of life from now on.

        Raises:
          UserError: another process holds it; or it cannot be written.
        """
        # Set first: an interrupt right after the file is made must not leave it behind.
        mine = self._mine = Holder.of_this_process()
        with report_write_errors():
            disk_space.check_writable(self._workdir)
            if not paths.in_bucket(self._workdir):
                self._made = not self._workdir.exists()
                self._workdir.mkdir(parents=True, exist_ok=True)
            _take(self._path, mine)
        self._tried = self._renewed = time.time()
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._handler = signal.signal(signal.SIGTERM, self._end)
        threading.Thread(target=self._beat_until_released, daemon=True, name="holds the workdir").start()

    def check(self) -> None:
        """Raises UserError if another process has taken the workdir over. It is called before anything is written.

        After a pause without a sign of life, as after a laptop has slept, it looks at the file itself.
        """
        if self._mine and abs(time.time() - self._tried) > 2 * BEAT_S:
            self._beat()
        if self.taken_by:
            raise UserError(
                f"--workdir={self._workdir}: {self.taken_by} has taken this run over, as this process had given "
                f"no sign of life for {STALE_S} s; this process stops here and writes nothing more"
            )

    def release(self) -> None:
        """Gives the workdir free. Does nothing if it is not held, and in a process that was forked from the holder."""
        mine, self._mine = self._mine, None
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None
        if mine is None or mine.pid != os.getpid():
            return
        self._released.set()
        # A disk that hangs must not hold up the end for long.
        locked = self._lock.acquire(timeout=10)
        try:
            holder = Holder.read(_read(self._path) or b"")
            if holder and holder.token == mine.token:
                self._path.unlink(missing_ok=True)
        except Exception as error:
            # What stays behind is recognised as dead. Libraries of buckets raise errors of many kinds.
            print(f"warning: {self._path} could not be removed ({error}); delete it, or let it be", file=sys.stderr)
        finally:
            if locked:
                self._lock.release()
        if self._made:
            # It is empty where the run has written nothing.
            with contextlib.suppress(OSError):
                os.rmdir(self._workdir)

    def _beat_until_released(self) -> None:
        while not self._released.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        """Gives a sign of life, or notices that the workdir was taken over. Waits for another thread that does so."""
        # But not for ever: a disk that hangs must not stop the training.
        if self._lock.acquire(timeout=5):
            try:
                self._give_sign()
            finally:
                self._lock.release()
        # Set last, so that `check` does not go on before the result is there.
        self._tried = time.time()

    def _give_sign(self) -> None:
        """Writes a sign of life, or sets `taken_by`. An error is printed once; the next call tries again."""
        mine = self._mine
        try:
            if mine and not self._released.is_set() and not self.taken_by:
                # After so long a pause another process may have taken the workdir, and ended.
                late = abs(time.time() - self._renewed) >= STALE_S
                self.taken_by = _renew(self._path, mine, make=not late)
                self._renewed = time.time()
        except Exception as error:
            # A full disk, a network that is away. Libraries of buckets raise errors of many kinds.
            if not self._warned:
                self._warned = True
                print(
                    f"warning: {self._path}: no sign of life could be written ({error}); tried again every {BEAT_S} s. A "
                    f"start on another machine takes the workdir over after {STALE_S} s without one",
                    file=sys.stderr,
                )

    def _end(self, number: int, frame: types.FrameType | None) -> None:
        """Ends the process as SIGTERM does without a handler, but gives the workdir free first."""
        self.release()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Linux does not end the first process of a container so.
        sys.exit(128 + number)


def _take(path: Path, mine: Holder) -> None:
    """Makes the file, or replaces that of a dead holder."""
    watch, takeover = _Watch(path), _Watch(path.with_name(TAKEOVER))
    for _ in range(1000):
        if paths.create_whole(path, mine.content()):
            return
        dead = watch.dead_content()
        # The last look and the replacement are one operation: of two starts that see a dead holder one goes on.
        if dead is not None and _replace(path, dead, mine, takeover):
            return
    raise UserError(f"{path} can neither be made nor read; remove it, or give another --workdir")


def _replace(path: Path, dead: bytes, mine: Holder, takeover: "_Watch") -> bool:
    """Replaces the file of a dead holder; returns False if another start is doing so, or has done it."""
    if not paths.create_whole(takeover.path, mine.content()):
        if takeover.dead_content(held=False) is not None:
            takeover.path.unlink(missing_ok=True)
        return False
    try:
        # Another start was faster, or the holder has given a sign of life in the last moment.
        if _read(path) != dead:
            return False
        paths.write_whole(path, mine.content())
        return _read(path) == mine.content()
    finally:
        takeover.path.unlink(missing_ok=True)


class _Watch:
    """Watches the file of another holder, by this machine's clock.

    Args:
      path: the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._content: bytes | None = None
        self._since = 0.0

    def dead_content(self, held: bool = True) -> bytes | None:
        """Looks at the file; returns its content if its holder is dead, and None after a pause if that is not known yet.

        Args:
          held: True raises an error if the holder is alive; False waits for its end.

        Raises:
          UserError: the holder is alive.
        """
        content = _read(self.path)
        holder = Holder.read(content or b"")
        running = holder.is_running() if holder else None
        if content is None or (running and not held):
            time.sleep(0.1)
            return None
        if running is False:
            return content
        changed = self._content is not None and content != self._content
        if holder and (running or (changed and held and _same_holder(content, self._content))):
            raise UserError(
                f"--workdir={self.path.parent} is held by {holder.describe()}, which trains in it; {REMEDY}"
            )
        if self._content is None or changed:
            self._content, self._since = content, time.monotonic()
            who = f"was held by {holder.describe()}" if holder else f"has a {self.path.name} that names no process"
            print(
                f"--workdir={self.path.parent} {who}; whether that still runs cannot be looked up from here: waiting "
                f"{STALE_S} s for a sign of life",
                flush=True,
            )
        if time.monotonic() - self._since >= STALE_S:
            return content
        time.sleep(POLL_S)
        return None


def _same_holder(one: bytes | None, other: bytes | None) -> bool:
    """Returns True for two contents of one holder's file; the time of the last sign of life may differ."""
    holders = [Holder.read(content or b"") for content in (one, other)]
    return one == other or bool(holders[0] and holders[1] and holders[0].token == holders[1].token)


def _renew(path: Path, mine: Holder, *, make: bool) -> str:
    """Writes a sign of life into the holder's own file; returns who has taken it over, "" for nobody.

    A missing file is made again if `make` is True, as somebody may have removed it. Else it counts as taken over.

    On a disk the file is changed through the same opened file that was read. So the file of another start, which replaces
    it in one move, is never changed, and a full disk has room for it.
    """
    alive = dataclasses.replace(mine, heartbeat=_now()).content()
    try:
        with contextlib.ExitStack() as stack:
            file = None if paths.in_bucket(path) else stack.enter_context(open(path, "r+b"))
            holder = Holder.read(file.read() if file else path.read_bytes())
            if holder and holder.token != mine.token:
                return holder.describe()
            if file and holder:
                file.seek(0)
                file.write(alive)
                file.truncate()
            else:
                paths.write_whole(path, alive)
    except FileNotFoundError:
        if not make:
            return "another process, which has ended since,"
        if not paths.create_whole(path, alive):
            return _renew(path, mine, make=False)
    return ""


def _read(path: Path) -> bytes | None:
    """Returns the content of a file, None if there is none. To open a file shows its newest content, over NFS too."""
    try:
        return paths.read_file(path)
    except FileNotFoundError as error:
        if bucket_error := translate_bucket_error(error):
            raise bucket_error from error
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
