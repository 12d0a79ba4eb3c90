"""What `run_train.py` and `run_eval.py` share: flags read, help printed, and bad input told in one line.

Bad input is a `UserError`, an unknown flag or config key, or a value of the wrong type: one line on stderr, status 2.
Everything else is a fault of the program and keeps its traceback. `--traceback` shows it for bad input, too.
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from unet_jax.errors import UserError

flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def run(main: Callable[[], None], doc: str) -> None:
    """Reads the command line, runs `main`, and ends the process with its status.

    Args:
      main: the program.
      doc: the program's docstring, printed by --help above the flags.
    """
    if {"--help", "-h", "--helpshort"} & set(sys.argv[1:]):
        print(
            f"{doc.strip()}\n\nFlags:\n{flags.FLAGS.main_module_help()}\n\n  --traceback: Show where an error came from."
        )
        sys.exit(0)
    try:
        _parse(sys.argv)
        main()
    except UserError as error:
        if "--traceback" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _parse(argv: list[str]) -> None:
    paths = [value.partition(":")[0] for value in _values(argv, "--config")]
    for path in paths:
        if not Path(path).is_file():
            there = ", ".join(sorted(str(p) for p in Path(path).parent.glob("*.py"))) or "no .py file"
            raise UserError(f"--config={path}: no such file; in that folder: {there}")
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:  # its last line says what; the ones before are a traceback of the config file
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(lines[-1]) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_bad_key(argv) or str(error)) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; flags begin with --, see --help")


def _values(argv: list[str], name: str) -> list[str]:
    joined = [arg.removeprefix(f"{name}=") for arg in argv if arg.startswith(f"{name}=")]
    return joined + [argv[i + 1] for i, arg in enumerate(argv[:-1]) if arg == name]


def _bad_key(argv: list[str]) -> str:
    """Which of the overrides on the command line names no key, and what keys there are."""
    path, _, arg = _values(argv, "--config")[-1].partition(":")
    config = runpy.run_path(path)["get_config"](*[arg] if arg else [])
    for arg in argv[1:]:
        if not arg.startswith("--config."):
            continue
        node, path = config, "config"
        for key in arg.removeprefix("--config.").partition("=")[0].split("."):
            if not isinstance(node, ConfigDict) or key not in node:
                known = ", ".join(node) if isinstance(node, ConfigDict) else "no keys, it is a value"
                return f"--{path}.{key}: no such key; {path} has: {known}"
            node, path = node[key], f"{path}.{key}"
    return ""
