"""What the programs share: flags read, help printed, and bad input told in one line.

Bad input is a `UserError`, an unknown flag or config key, or a value of the wrong type: one line on stderr, status 2. So is
a bucket that refuses.
Everything else is a fault of the program and keeps its traceback. `--traceback` shows it for bad input, too.
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
    "Work together with the other processes of this job (Slurm, Open MPI, Kubernetes, Cloud TPU). Default: where Slurm or "
    "Open MPI started more than one. --nomultiprocess: each for itself.",
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, where nothing tells it; with the next two."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes do the job.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This one's number among them, from 0.", lower_bound=0)


def run(
    main: Callable[..., None],
    doc: str,
    arguments: Sequence[str] = (),
    processes: bool = False,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Reads the command line, runs `main`, and ends the process with its status.

    Args:
      main: the program.
      doc: the program's docstring, printed by --help above the flags.
      arguments: the names of what stands on the command line without a flag, each wanted once, the last one once or more
        if it ends in "..."; `main` is given them.
      processes: whether several processes can run it together (`cluster.py`).
      before: is called when the flags are read, and no process has joined and no device started.
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
        given = _parse(sys.argv, arguments)
        compilation_cache.enable(COMPILATION_CACHE.value)
        before()
        with _processes() if processes else contextlib.nullcontext():
            main(*given)
    except Exception as error:
        told = error if isinstance(error, UserError) else translate_bucket_error(error)
        if told is None or any(arg.lstrip("-").startswith("traceback") for arg in sys.argv[1:]):
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def given(besides: Sequence[str]) -> list[str]:
    """The flags on the command line, as arguments for the same program, without those named and the keys of `--config`."""
    names = (name for name in flags.FLAGS if name not in besides and not name.startswith("config."))
    return [flag.serialize() for flag in map(flags.FLAGS.__getitem__, names) if flag.present]


def _processes():
    return distributed.member(MULTIPROCESS.value, COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)


def _parse(argv: list[str], arguments: Sequence[str]) -> list[str]:
    for value in _values(argv, "config"):
        path, _, argument = value.partition(":")
        if not Path(path).is_file():
            there = ", ".join(sorted(str(p) for p in Path(path).parent.glob("*.py"))) or "no .py file"
            raise UserError(f"--config={path}: no such file; in that folder: {there}")
        try:
            config = runpy.run_path(path)["get_config"](*[argument] if argument else [])
        except Exception as error:
            raise UserError(f"--config={value}: {type(error).__name__}: {error}") from error
        _check_keys(argv, config)
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(str(error).strip().splitlines()[-1].strip()) from error
    given = rest[1:]
    if len(given) > len(arguments) and not (arguments and arguments[-1].endswith("...")):
        raise UserError(f"{given[len(arguments)]!r} is not a flag; flags begin with --, see --help")
    if len(given) < len(arguments):
        raise UserError(f"{arguments[len(given)].removesuffix('...')} is missing; give it without a flag, see --help")
    return given


def _values(argv: list[str], name: str) -> list[str]:
    """The values of a flag, given as --name=value or --name value, with one dash or two."""
    forms = (f"--{name}", f"-{name}")
    joined = [arg.partition("=")[2] for arg in argv if arg.partition("=")[0] in forms and "=" in arg]
    return joined + [argv[i + 1] for i, arg in enumerate(argv[:-1]) if arg in forms]


def _check_keys(argv: list[str], config: ConfigDict) -> None:
    """Raises UserError for an override that names no key, with the keys there are."""
    for arg in argv[1:]:
        if not arg.startswith(("--config.", "-config.")):
            continue
        node, path = config, "config"
        for key in arg.lstrip("-").removeprefix("config.").partition("=")[0].split("."):
            if not isinstance(node, ConfigDict) or key not in node:
                known = ", ".join(node) if isinstance(node, ConfigDict) else "no keys, it is a value"
                raise UserError(f"--{path}.{key}: no such key; {path} has: {known}")
            node, path = node[key], f"{path}.{key}"
