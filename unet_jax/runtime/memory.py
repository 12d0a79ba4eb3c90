"""Reads how much memory is free: that of this machine and its limits, and that of an accelerator."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax

# The kernels of XLA's CPU reserve up to this many times the bytes that the compiler plans as address space. Most of it is
# never used, so it counts only against a limit of the address space (`ulimit -v`).
ADDRESS_SPACE = 3.5

CGROUPS = Path("/sys/fs/cgroup")


def free_device_memory(device: jax.Device) -> float | None:
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
    try:
        # Not on Windows.
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return (limit - pages * resource.getpagesize()) / ADDRESS_SPACE
