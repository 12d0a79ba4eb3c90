"""Keeps compiled programs on the disk, so that a later run of the same experiment does not compile again."""

import hashlib
import os
import platform
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Returns `~/.cache/unet_jax/compiled/KIND` (or below $XDG_CACHE_HOME), where KIND is a hash of the processor's kind.

    XLA compiles for the instructions of one kind of processor. Another machine with the same home folder may lack some of
    these instructions, so each kind of processor has a folder.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        instructions = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        # Only Linux has this file.
        instructions = ""
    kind = hashlib.sha256(f"{platform.machine()} {platform.processor()} {instructions}".encode()).hexdigest()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unet_jax" / "compiled" / kind[:12]


def enable(on: bool = True) -> None:
    """Makes JAX keep compiled programs on the disk. Call it before JAX compiles anything.

    $JAX_COMPILATION_CACHE_DIR and JAX's other variables take precedence. The name of each file is a hash of the program,
    its options and the versions of the libraries, so JAX never reads a program that does not fit. Deleting the folder is
    always safe.

    Args:
      on: False: JAX keeps no compiled program.
    """
    if not on:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    else:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir()))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    # JAX reads the variables when it is imported, which a config file may have done.
    jax = sys.modules.get("jax")
    if jax is None:
        return
    if not on:
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
