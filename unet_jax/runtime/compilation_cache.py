"""Keeps compiled programs on the disk, so that a later run of the same experiment does not compile again."""

import contextlib
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unet_jax.errors import UserError
from unet_jax.runtime.processor import cpuinfo_line

# A program that compiles faster than this many seconds is not kept.
MIN_COMPILE_SECS = 0.5
# The threshold of JAX where the caller has set none.
JAX_MIN_COMPILE_SECS = 1.0
# The variables of the environment that JAX takes its folder and this threshold from.
FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

# Counts the uses of `shared` that are under way in all threads.
_lock = threading.Lock()
_uses = 0
_before: dict[str, Any] = {}


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
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None and on:
        folder = _writable_cache_dir()
    if not on or not folder:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    else:
        os.environ[FOLDER_VARIABLE] = folder
        os.environ.setdefault(SECONDS_VARIABLE, str(MIN_COMPILE_SECS))
    # JAX reads the variables when it is imported, which a config file may have done.
    jax = sys.modules.get("jax")
    if jax is None:
        return
    if not on or not folder:
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float(os.environ[SECONDS_VARIABLE]))


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Compiles within this context read and write the folder of `enable`, for programs that did not call `enable`.

    Where the caller has given JAX a folder, or has turned its cache off, nothing is changed. Otherwise JAX's settings are
    those of `enable` until the last thread leaves the context. They are the settings of all threads, so what another
    thread compiles meanwhile is kept too.

    Without a home folder, or where it cannot be written, nothing is kept.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    """Gives JAX the folder, unless the caller, or another use of `shared`, has done so."""
    global _uses
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    config: Any = jax.config
    with _lock:
        _uses += 1
        if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
            return
        folder = _writable_cache_dir()
        if not folder:
            return
        settings: dict[str, Any] = {"jax_compilation_cache_dir": folder}
        seconds = config.jax_persistent_cache_min_compile_time_secs
        if SECONDS_VARIABLE not in os.environ and seconds == JAX_MIN_COMPILE_SECS:
            settings["jax_persistent_cache_min_compile_time_secs"] = MIN_COMPILE_SECS
        for name, value in settings.items():
            _before[name] = value, getattr(config, name)
            config.update(name, value)
        # JAX opens a folder once and goes on using it, whatever its settings are.
        reset_cache()


def _leave() -> None:
    """Gives JAX its settings back after the last use of `shared`, but keeps what the caller has changed meanwhile."""
    global _uses
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    config: Any = jax.config
    with _lock:
        _uses -= 1
        if _uses or not _before:
            return
        for name, (value, before) in _before.items():
            if getattr(config, name) == value:
                config.update(name, before)
        _before.clear()
        reset_cache()


def _writable_cache_dir() -> str:
    """Makes the folder of compiled programs; returns "" where there is no home folder or nothing can be written."""
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError):
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""
