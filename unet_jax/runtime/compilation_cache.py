"""Keeps compiled programs on the disk, so that a later run of the same experiment does not compile again."""

import hashlib
import os
import platform
import sys
from pathlib import Path

from unet_jax.errors import UserError
from unet_jax.runtime.processor import cpuinfo_line


def processor_kind() -> str:
    """Returns a hash of the kind of the processor, 12 hex digits.

    XLA compiles for the instructions of one kind of processor. Another machine with the same home folder may lack some of
    these instructions.
    """
    instructions = cpuinfo_line("flags", "features")
    kind = hashlib.sha256(f"{platform.machine()} {platform.processor()} {instructions}".encode()).hexdigest()
    return kind[:12]


def cache_dir() -> Path:
    """Returns `~/.cache/unet_jax/compiled/KIND` (or below $XDG_CACHE_HOME), where KIND is `processor_kind`.

    Raises:
      UserError: there is no home folder.
    """
    # Only where it is needed: --help loads no library of paths.
    from unet_jax.storage.paths import absolute

    return Path(absolute(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "unet_jax" / "compiled" / processor_kind()


def enable(on: bool = True) -> None:
    """Makes JAX keep compiled programs on the disk. Call it before JAX compiles anything.

    $JAX_COMPILATION_CACHE_DIR and JAX's other variables take precedence. The name of each file is a hash of the program,
    its options and the versions of the libraries, so JAX never reads a program that does not fit. Deleting the folder is
    always safe. Without a home folder, or where it cannot be written, JAX keeps nothing.

    Args:
      on: False: JAX keeps no compiled program.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None and on:
        folder = _writable_cache_dir()
    if not on or not folder:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    else:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    # JAX reads the variables when it is imported, which a config file may have done.
    jax = sys.modules.get("jax")
    if jax is None:
        return
    if not on or not folder:
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        jax.config.update("jax_compilation_cache_dir", folder)
        seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


def _writable_cache_dir() -> str:
    """Makes the folder of compiled programs; returns "" where there is no home folder or nothing can be written."""
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError):
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""
