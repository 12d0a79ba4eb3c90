"""The processor that XLA compiles for on a CPU, and the number of threads that it computes with there.

Both decide the bits of results on a CPU: XLA splits a long sum into as many parts as it has threads. It takes a thread for
each core that the process may use ($NPROC replaces that number), and at least one for each device. A container's share of CPU
time does not count, and `--xla_cpu_multi_thread_eigen=false` does not help (both with jax 0.10.2 and 0.12.0).
"""

import os
import platform
import re
from pathlib import Path
from typing import Any

# The beginnings of the names of instructions that compute with numbers; the others are for the operating system.
VECTOR_INSTRUCTIONS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "neon", "sve", "bf16", "i8mm")


def usable_cores() -> int:
    """Returns the number of cores that this process may use (those that `taskset` leaves)."""
    # macOS has no such limit.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def xla_threads(num_devices: int) -> int:
    """Returns the number of threads that XLA computes with on the CPU.

    Args:
      num_devices: the number of CPU devices of this process.
    """
    nproc = os.environ.get("NPROC", "")
    cores = int(nproc) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", nproc) else usable_cores()
    return max(cores, num_devices)


def describe(num_devices: int) -> dict[str, Any]:
    """Returns model and vector instructions of the processor, and the numbers of cores and of threads, for JSON.

    Args:
      num_devices: the number of CPU devices of this process.
    """
    instructions = cpuinfo_line("flags", "features").partition(":")[2].split()
    return {
        "model": cpuinfo_line("model name").partition(":")[2].strip() or platform.processor() or platform.machine(),
        "instructions": sorted(name for name in instructions if name.startswith(VECTOR_INSTRUCTIONS)),
        "cores": usable_cores(),
        "threads": xla_threads(num_devices),
    }


def cpuinfo_line(*starts: str) -> str:
    """Returns the first line of /proc/cpuinfo that has one of these starts, in any case; "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        # Only Linux has this file.
        return ""
    return next((line for line in lines if line.lower().startswith(starts)), "")
