"""Where compiled programs are kept, so that the second run of an experiment starts at once."""

import hashlib
import os
import platform
from pathlib import Path


def cache_dir() -> Path:
    """`~/.cache/unet_jax/compiled/KIND` (or under $XDG_CACHE_HOME), KIND a hash of this machine's processor.

    XLA compiles for the instructions that a processor has; another one that shares the home folder may lack some.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        instructions = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:  # not a Linux
        instructions = ""
    kind = hashlib.sha256(f"{platform.machine()} {platform.processor()} {instructions}".encode()).hexdigest()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unet_jax" / "compiled" / kind[:12]


def enable(on: bool = True) -> None:
    """Lets JAX keep what it compiles, and read it again; to be called before JAX is imported.

    $JAX_COMPILATION_CACHE_DIR and JAX's other variables come first where they are set. Programs are filed by a hash of
    their code, options and versions, so a wrong one is never read; deleting the folder is always safe.
    """
    if not on:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
