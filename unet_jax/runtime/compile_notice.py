"""Prints that XLA compiles a program. Without this line the user would wait for a minute and see nothing."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from unet_jax.runtime import processes


@contextlib.contextmanager
def compile_notice(what: str, after_s: float = 0.0) -> Iterator[None]:
    """Prints that a program is being compiled, and at the end how long it took. Only process 0 prints.

    Both lines go to stderr, above a progress bar if there is one.

    Args:
      what: the program, such as "the training step".
      after_s: print only if the context lasts longer than this many seconds.
    """
    if processes.process_index():
        yield
        return
    begin, announced = time.perf_counter(), threading.Event()

    def announce() -> None:
        announced.set()
        print_above_bar(f"Compiling {what} (the first time about a minute for a large network{_where_kept()}) ...")

    if after_s:
        timer = threading.Timer(after_s, announce)
        # A program that is interrupted meanwhile does not wait for it.
        timer.daemon = True
        timer.start()
    else:
        announce()
    try:
        yield
    finally:
        if after_s:
            timer.cancel()
            timer.join()
    if announced.is_set():
        print_above_bar(f"Compiled {what} in {time.perf_counter() - begin:.1f} s.")


def _where_kept() -> str:
    """Returns where later runs find the compiled program, as a part of the message; "" if it is not kept."""
    # Before jax 0.12 its attributes have no types.
    config: Any = jax.config
    folder = config.jax_compilation_cache_dir
    if not folder or not config.jax_enable_compilation_cache:
        return ""
    home = os.path.expanduser("~")
    shown = f"~{folder[len(home) :]}" if folder.startswith(home + os.sep) else folder
    return f"; later runs read it from {shown}"


def print_above_bar(line: str) -> None:
    """Prints a line to stderr, above a progress bar if there is one."""
    # Imported only here: a program without a bar need not load it.
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
