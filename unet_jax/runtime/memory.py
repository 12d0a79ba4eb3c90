"""Reads how much memory is free, that of this machine and its limits and that of an accelerator, and how much may be taken.

This file imports no JAX, so that a wrong size is reported before JAX is loaded.
"""

import ctypes
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unet_jax.errors import UserError

if TYPE_CHECKING:
    import jax

# The kernels of XLA's CPU reserve up to this many times the bytes that the compiler plans as address space. Most of it is
# never used, so it counts only against a limit of the address space (`ulimit -v`).
ADDRESS_SPACE = 3.5

CGROUPS = Path("/sys/fs/cgroup")
# glibc's malloc_trim.
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
# The part of the memory that a prediction may take, unless its user gives another.
PREDICTION_SHARE = 0.25
# "300MiB", "2 GB", "1.5GiB", "500000".
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(|B|[KMGT]i?B?)", re.IGNORECASE)
HOW_TO_GIVE = "give a size, such as 300MiB or 2GiB"


def to_bytes(text: str | int, name: str = "memory ") -> int:
    """Returns the bytes that a text such as "300MiB" names; KB, MB, GB and TB are powers of 1000.

    >>> to_bytes("300MiB"), to_bytes("1.5 GB"), to_bytes("4096")
    (314572800, 1500000000, 4096)

    Args:
      text: the size; a whole number is a number of bytes.
      name: the beginning of the message, e.g. "--memory=".

    Raises:
      UserError: the text names no size, or 0 bytes.
    """
    found = _SIZE.fullmatch(str(text).strip())
    size = 0
    if found:
        unit = found[2].upper()
        base = 1024 if "I" in unit else 1000
        size = int(float(found[1]) * base ** " KMGT".index(unit[0] if unit not in ("", "B") else " "))
    if size < 1:
        raise UserError(f"{name}{text}: {HOW_TO_GIVE}")
    return size


def is_size(text: str) -> bool:
    """Returns True for a text that `to_bytes` takes."""
    try:
        return to_bytes(text) > 0
    except UserError:
        return False


def to_text(size: float, *, up: bool = False) -> str:
    """Returns a number of bytes in KiB, MiB or GiB.

    >>> to_text(314572801), to_text(314572801, up=True), to_text(2**31), to_text(5000)
    ('300MiB', '301MiB', '2GiB', '5KiB')

    Args:
      size: the bytes.
      up: rounds up, not to the nearest.
    """
    unit, name = (2**20, "MiB") if size >= 2**20 else (2**10, "KiB")
    if size >= 4 * 2**30 or (size and size % 2**30 == 0):
        unit, name = 2**30, "GiB"
    return f"{math.ceil(size / unit) if up else round(size / unit):d}{name}"


def prediction_budget(devices: "Sequence[jax.Device]") -> int:
    """Returns the bytes that a prediction may take by default: about a quarter of the memory, whatever is free now.

    The memory is that of all devices or, on a CPU, of this machine, below the limits of its container and its process. The result
    is rounded down to four binary digits, because machines of one kind differ by some megabytes.

    Args:
      devices: that the prediction runs on.
    """
    statistics = (devices[0].memory_stats() or {}) if devices[0].platform != "cpu" else {}
    on_devices = float(statistics.get("bytes_limit", 0)) * len(devices)
    total = on_devices or min(memory_limit(), _address_space_limit())
    size = int(PREDICTION_SHARE * total)
    step = 2 ** max(size.bit_length() - 4, 0)
    return size // step * step


def resident_memory() -> int:
    """Returns the bytes of this process that are in memory; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, LookupError):
        # Not on a Mac.
        return 0


def return_freed_memory(above: float) -> None:
    """Gives memory that this process has freed back to the system, where the process holds too much.

    Blocks of several sizes that are freed again and again leave gaps, which add up. To give them back each time would take a
    tenth of the time of a small network. Does nothing where the C library is not glibc.

    Args:
      above: the bytes that the process may hold.
    """
    if _TRIM is not None and resident_memory() > above:
        _TRIM(0)


def free_device_memory(device: "jax.Device") -> float | None:
    """Returns the free memory of an accelerator, in bytes; None if it is unknown.

    Args:
      device: of this process.
    """
    statistics = device.memory_stats() or {}
    if "bytes_limit" not in statistics:
        return None
    return float(statistics["bytes_limit"] - statistics.get("bytes_in_use", 0))


def free_host_memory() -> float | None:
    """Returns the bytes that a CPU program may plan: free on this machine and below each limit; None if unknown.

    The limits are those of the container or the batch job (cgroup), and that of the address space (`ulimit -v`).
    """
    known = [bytes_ for bytes_ in (_machine(), *_cgroups(), _address_space()) if bytes_ is not None]
    return max(min(known), 0.0) if known else None


def memory_limit() -> float:
    """Returns the memory of this machine, or of the container around this process, in bytes."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min([total, *(limit for limit, _ in _cgroup_files())])


def _machine() -> float | None:
    """Returns the memory that Linux counts as available, with free swap."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in lines}
        return 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))
    except (OSError, ValueError, LookupError):
        # Not on a Mac.
        return None


def _cgroups() -> list[float]:
    """Returns what each limit of a cgroup leaves free."""
    free = []
    for limit, folder in _cgroup_files():
        try:
            used = float((folder / "memory.current").read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Pages of files that Linux drops when the memory is needed.
            free.append(limit - used + float(statistics.get("inactive_file", 0)))
        except (OSError, ValueError):
            continue
    return free


def _cgroup_files() -> Iterator[tuple[float, Path]]:
    """Yields each limit of the memory, in bytes, and the folder of its cgroup (version 2), from this process outwards."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    below = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/").lstrip("/")
    # In a container the path may not be there: its own cgroup is then the root.
    start = CGROUPS / below if (CGROUPS / below).is_dir() else CGROUPS
    for folder in (start, *start.parents):
        if CGROUPS in (folder, *folder.parents):
            try:
                # "max" means that there is no limit.
                yield float((folder / "memory.max").read_text()), folder
            except (OSError, ValueError):
                continue


def _address_space() -> float | None:
    """Returns the bytes that a program may plan under the limit of the address space; None without a limit."""
    limit = _address_space_limit()
    if limit == math.inf:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return None
    return limit - pages * os.sysconf("SC_PAGE_SIZE") / ADDRESS_SPACE


def _address_space_limit() -> float:
    """Returns the bytes that all programs of this process may plan under the limit of the address space (`ulimit -v`)."""
    try:
        # Not on Windows.
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError):
        return math.inf
    return math.inf if limit == resource.RLIM_INFINITY else limit / ADDRESS_SPACE
