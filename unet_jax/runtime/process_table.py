"""Looks up processes of this machine, to tell whether a process that wrote a file is still running."""

import contextlib
import os
import platform
import subprocess
import sys
import uuid
from pathlib import Path

PROC = Path("/proc")


def machine() -> str:
    """Returns the name of the table of processes that this process sees; "" where none can be named.

    Two processes with the same name see each other by their numbers. On Linux it is the boot and the namespace of process
    numbers: containers may share a host name and yet not see each other. Elsewhere it is the network address and the host.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
            return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
        return ""
    address = uuid.getnode()
    # With this bit the address is made up, and another one in each process.
    return "" if address >> 40 & 1 else f"{address:x} {platform.node()}"


def start_time(pid: int) -> str | None:
    """Returns when a process of this machine started: "" if there is no such process, None if that cannot be known.

    Numbers of processes are used again, in a restarted container at once; the time tells them apart. A process that has
    ended and was not yet waited for counts as none.

    Args:
      pid: the number of the process.
    """
    if sys.platform == "linux":
        return _read_start_time(pid)
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None


def _read_start_time(pid: int) -> str | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        # A cluster may hide the processes of other users there.
        return None if _exists(pid) else ""
    except OSError:
        return None
    # The second field is the name in brackets, which may hold anything. The third is the state, the 22nd the start.
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    return "" if fields[0] in "ZXx" else fields[19]


def _exists(pid: int) -> bool:
    """Returns True if there is a process of this number, whoever owns it. It gets no signal."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
