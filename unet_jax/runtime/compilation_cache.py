"""Keeps compiled programs on the disk, so that the second run of an experiment starts at once."""

import hashlib
import os
import platform
from pathlib import Path


def cache_dir() -> Path:
    """Returns `~/.cache/unet_jax/compiled/KIND` (or under $XDG_CACHE_HOME); KIND is a hash of the machine's processor.

    XLA compiles for the instructions of one processor. Machines that share a home folder may have others, which lack some.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        instructions = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        # Not on Linux.
        instructions = ""
    kind = hashlib.sha256(f"{platform.machine()} {platform.processor()} {instructions}".encode()).hexdigest()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unet_jax" / "compiled" / kind[:12]


def enable(on: bool = True) -> None:
    """Makes JAX keep what it compiles and read it again; must be called before JAX is imported.

    $JAX_COMPILATION_CACHE_DIR and JAX's other variables take precedence. The name of a file is a hash of the program, its
    options and the versions, so a wrong one is never read; deleting the folder is always safe.

    Args:
      on: False turns JAX's cache off.
    """
    if not on:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
