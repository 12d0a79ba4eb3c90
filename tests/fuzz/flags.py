"""Wrong flags of every command: each must end with status 2 and one line on stderr.

The other arguments name folders that do not exist, so that no command begins its work.
"""

import contextlib
import importlib
import io
import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from unittest import mock

from tests.fuzz.outcomes import Outcome, attempt
from unet_jax.errors import UserError
from unet_jax.programs import commands
from unet_jax.runtime import compilation_cache

TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "1e12",
    "1e400",
    "9223372036854775808",
    "1" * 5000,
    "nan",
    "text",
    "None",
    "True",
    "(1,",
    "((1,),)",
)
TEXTS += ("'a'", "{}", "a\nb", "\udc80", "/nothing/here", "x" * 300, "1:0", ":", ",", "=", "--out=x")
NOTHING = "/nothing/here"
CONFIG = (f"--config=image_folder:{NOTHING}",)
# The arguments that a command needs.
NEEDED: dict[str, tuple[str, ...]] = {
    "train": (*CONFIG, f"--workdir={NOTHING}"),
    "eval": (f"--workdir={NOTHING}",),
    "predict": (f"--model={NOTHING}", f"--out={NOTHING}", NOTHING),
    "check": (NOTHING,),
    "preview": (*CONFIG, f"--out={NOTHING}.png"),
    "from-torch": (f"{NOTHING}.safetensors", "--encoder=resnet34", f"--out={NOTHING}.npz"),
    "compare": (NOTHING, f"{NOTHING}2"),
    "prune": (f"--workdir={NOTHING}",),
    "skips": (f"--workdir={NOTHING}", f"--workdir={NOTHING}2"),
    "gradients": (f"--workdir={NOTHING}",),
    "reuse": (f"--workdir={NOTHING}",),
    "plan": CONFIG,
    "certify": (f"--config={NOTHING}.py",),
    "verify-resume": (*CONFIG, f"--workdir={NOTHING}"),
}
# These change the whole process, or wait for other processes.
LEFT_OUT = {
    "multiprocess",
    "coordinator",
    "num_processes",
    "process_id",
    "deterministic",
    "compilation_cache",
    "traceback",
}


def outcomes(seed: int, count: int) -> Iterator[Outcome]:
    """Yields what became of each input.

    Args:
      seed: of the random draws.
      count: number of command lines with two wrong flags.
    """
    for name in commands.names():
        needed = NEEDED[name]
        # Without a config `certify` looks at every network.
        if name != "certify":
            yield run(name, ())
        for i in range(len(needed)):
            if name != "certify":
                yield run(name, needed[:i] + needed[i + 1 :])
        yield run(name, (*needed, "--nothing=1"))
        yield run(name, (*needed, "one", "too many"))
        for flag, text in itertools.product(flags_of(name), TEXTS):
            yield run(name, (*needed, f"--{flag}={text}"))
        for flag in flags_of(name):
            yield run(name, (*needed, f"--{flag}"))
    draw = random.Random(seed)
    for _ in range(count):
        name = draw.choice(list(NEEDED))
        yield run(name, (*NEEDED[name], *(f"--{draw.choice(flags_of(name))}={draw.choice(TEXTS)}" for _ in range(2))))


def flags_of(name: str) -> list[str]:
    """Returns the flags of a command."""
    # With a folder that can be written, verify-resume begins.
    begins = {"workdir"} if name == "verify-resume" else set()
    return sorted(set(importlib.import_module(commands.module_name(name)).FLAGS) - LEFT_OUT - begins)


def run(name: str, arguments: Sequence[str]) -> Outcome:
    """Returns what became of a command line."""
    return attempt("flags", f"{name} {ascii(' '.join(arguments))[:200]}", lambda: call(name, arguments))


def call(name: str, arguments: Sequence[str]) -> None:
    """Runs a command in this process.

    Raises:
      UserError: the command ended with status 2 and one line.
    """
    # The flags of a module hold what the last command line gave.
    module = importlib.reload(importlib.import_module(commands.module_name(name)))
    printed = io.StringIO()
    status: int | str | None = 0
    with (
        mock.patch.object(sys, "argv", ["unet-jax", *arguments]),
        mock.patch.object(compilation_cache, "enable"),
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            module.run()
        except SystemExit as end:
            status = end.code
    # `check` lists everything that is wrong with a folder.
    if status == 2 and (printed.getvalue().count("\n") == 1 or name == "check"):
        raise UserError(printed.getvalue().strip())
    if status:
        raise AssertionError(f"status {status}: {printed.getvalue()}")
