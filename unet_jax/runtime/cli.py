"""The command line that every program shares: reads the flags, prints the help, reports bad input in one line.

Bad input is a `UserError`, an unknown flag or config key, a value of the wrong type, or a bucket that refuses: one line on
stderr, status 2. Everything else is a fault of the program and keeps its traceback. `--traceback` shows it for bad input,
too.
"""

import contextlib
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from unet_jax.errors import UserError
from unet_jax.runtime import compilation_cache, distributed
from unet_jax.storage.write_errors import translate_bucket_error

flags.DEFINE_bool("traceback", False, "Show where an error came from.")
COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache", True, "Keep compiled programs for the next run, in ~/.cache/unet_jax/compiled."
)
MULTIPROCESS = flags.DEFINE_bool(
    "multiprocess",
    None,
    "Work together with the other processes of this job (Slurm, Open MPI, Kubernetes, Cloud TPU). Default: on where Slurm "
    "or Open MPI started more than one. --nomultiprocess: each process by itself.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, where it cannot be detected; needs the next two."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "The number of processes of the job.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.", lower_bound=0)


def run(
    main: Callable[..., None],
    doc: str,
    arguments: Sequence[str] = (),
    processes: bool = False,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Reads the command line, runs `main`, and ends the process with its status.

    Args:
      main: the program; called with the values of `arguments`.
      doc: the program's docstring, which --help prints above the flags.
      arguments: the names of the positional arguments, all required. One value each; one or more for the last if its name
        ends in "...".
      processes: whether several processes can run the program together (`distributed.py`).
      before: called after the flags are parsed, before processes join and devices start.
    """
    if {"--help", "-h", "--helpshort"} & set(sys.argv[1:]):
        print(
            f"{doc.strip()}\n\nFlags:\n{flags.FLAGS.main_module_help()}\n\n  --traceback: {flags.FLAGS['traceback'].help}\n"
            f"  --nocompilation_cache: {flags.FLAGS['compilation_cache'].help} This turns it off."
        )
        for flag in (MULTIPROCESS, COORDINATOR, NUM_PROCESSES, PROCESS_ID) if processes else ():
            print(f"  --{flag.name}: {flags.FLAGS[flag.name].help}")
        sys.exit(0)
    try:
        positional = _parse(sys.argv, arguments)
        compilation_cache.enable(COMPILATION_CACHE.value)
        before()
        with _join_job() if processes else contextlib.nullcontext():
            main(*positional)
    except Exception as error:
        user_error = error if isinstance(error, UserError) else translate_bucket_error(error)
        if user_error is None or any(arg.lstrip("-").startswith("traceback") for arg in sys.argv[1:]):
            raise
        print(f"error: {user_error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _join_job():
    return distributed.join_job(MULTIPROCESS.value, COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)


def _parse(argv: list[str], arguments: Sequence[str]) -> list[str]:
    """Parses the flags; returns what stands on the command line without a flag."""
    configs = _flag_values(argv, "config")
    for value in configs:
        path = Path(value.partition(":")[0])
        if not path.is_file():
            known = ", ".join(sorted(map(str, path.parent.glob("*.py")))) or "no .py file"
            raise UserError(f"--config={path}: no such file; in that folder: {known}")
    try:
        rest = flags.FLAGS(argv)
    except Exception as error:
        _raise_config_error(argv, configs)
        if not isinstance(error, flags.Error | TypeError | ValueError):
            raise
        raise UserError(str(error).strip().splitlines()[-1].strip()) from error
    if configs and not isinstance(flags.FLAGS["config"].value, ConfigDict):
        # config_flags keeps some errors of a config file to raise them at the first access.
        _raise_config_error(argv, configs)
    positional = rest[1:]
    if len(positional) > len(arguments) and not (arguments and arguments[-1].endswith("...")):
        raise UserError(f"{positional[len(arguments)]!r} is not a flag; flags begin with --, see --help")
    if len(positional) < len(arguments):
        missing = arguments[len(positional)].removesuffix("...")
        raise UserError(f"{missing} is missing; give it without a flag, see --help")
    return positional


def _raise_config_error(argv: list[str], configs: Sequence[str]) -> None:
    """Raises UserError where a config file fails or an override names no key of it; runs the file a second time."""
    for value in configs:
        path, _, argument = value.partition(":")
        try:
            config = runpy.run_path(path)["get_config"](*[argument] if argument else [])
        except Exception as error:
            raise UserError(f"--config={value}: {type(error).__name__}: {error}") from error
        _check_keys(argv, config)


def _flag_values(argv: list[str], name: str) -> list[str]:
    """Returns the values of a flag, given as --name=value or --name value, with one dash or two."""
    forms = (f"--{name}", f"-{name}")
    joined = [arg.partition("=")[2] for arg in argv if arg.partition("=")[0] in forms and "=" in arg]
    return joined + [argv[i + 1] for i, arg in enumerate(argv[:-1]) if arg in forms]


def _check_keys(argv: list[str], config: ConfigDict) -> None:
    """Raises UserError for an override that names no key; the message lists the known keys."""
    for arg in argv[1:]:
        if not arg.startswith(("--config.", "-config.")):
            continue
        node, path = config, "config"
        for key in arg.lstrip("-").removeprefix("config.").partition("=")[0].split("."):
            if not isinstance(node, ConfigDict) or key not in node:
                known = ", ".join(node) if isinstance(node, ConfigDict) else "no keys, it is a value"
                raise UserError(f"--{path}.{key}: no such key; {path} has: {known}")
            node, path = node[key], f"{path}.{key}"
