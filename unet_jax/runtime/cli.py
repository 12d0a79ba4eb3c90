"""The command line that every program shares: reads the flags, prints the help, reports bad input in one line.

Bad input is a `UserError`, an unknown flag or config key, a value of the wrong type, or a bucket that refuses: one line on
stderr, status 2. Everything else is a fault of the program and keeps its traceback. `--traceback` also shows it for bad
input.

A program defines its flags in a `FlagValues`, so that any number of programs can be imported into one process.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import compilation_cache, distributed
from unet_jax.storage.write_errors import translate_bucket_error

if TYPE_CHECKING:
    from ml_collections import ConfigDict

CONFIG_HELP = (
    "A shipped config by its name, or the path of a file with get_config(); NAME:ARG passes it an argument. "
    "--config.KEY=VALUE sets one of its keys; --config.model=NAME takes another network with its default options."
)

# Flags that take paths; some take several.
PATH_FLAGS = ("workdir", "model", "images", "root", "out")

# The flags of every program.
COMMON = flags.FlagValues()
flags.DEFINE_bool("traceback", False, "Show where an error came from.", COMMON)
flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs for the next run, in ~/.cache/unet_jax/compiled. --nocompilation_cache turns it off.",
    COMMON,
)


def define_config(values: flags.FlagValues, required: bool = True) -> None:
    """Defines `--config`; once the flags are parsed, `values.config` is the `ConfigDict`, or None where it is not given."""
    flags.DEFINE_string("config", None, CONFIG_HELP, values, required=required)


def config_file(values: flags.FlagValues) -> str:
    """Returns the path of the file that `--config` has loaded."""
    from ml_collections import config_flags

    return config_flags.get_config_filename(values["config"]).partition(":")[0]


def config_keys(values: flags.FlagValues) -> list[str]:
    """Returns the dotted keys of the config that flags `--config.KEY=VALUE` set."""
    from ml_collections import config_flags

    return list(config_flags.get_override_values(values["config"]))


def define_job(values: flags.FlagValues) -> None:
    """Defines the flags of a program that several processes can run together (`distributed.py`)."""
    flags.DEFINE_bool(
        "multiprocess",
        None,
        "Work together with the other processes of this job (Slurm, Open MPI, Kubernetes, Cloud TPU). Default: on where "
        "Slurm or Open MPI started more than one. --nomultiprocess: each process by itself.",
        values,
    )
    flags.DEFINE_string(
        "coordinator", "", "HOST:PORT of process 0, where it cannot be detected; needs the next two.", values
    )
    flags.DEFINE_integer(
        "num_processes", None, "The number of processes of the job.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("process_id", None, "The number of this process, from 0.", lower_bound=0, flag_values=values)


def run(
    main: Callable[..., None],
    doc: str | None,
    values: flags.FlagValues,
    arguments: Sequence[str] = (),
    before: Callable[[], None] = lambda: None,
) -> None:
    """Reads the command line, runs `main`, and ends the process with its status.

    Args:
      main: the program; called with the values of `arguments`.
      doc: the program's docstring, which --help prints above the flags.
      values: the program's flags, `define_config` and `define_job` included; those of `COMMON` are added.
      arguments: the names of the positional arguments, all required. One value each; one or more for the last if its name
        ends in "...".
      before: called after the flags are parsed, before processes join and devices start.
    """
    if {"--help", "-h", "--helpshort", "--helpfull"} & set(sys.argv[1:]):
        print(help_text(doc, values))
        sys.exit(0)
    try:
        positional = _parse(sys.argv, values, arguments)
        _check_paths(values)
        # Libraries define flags in absl's global ones, and read their defaults; absl's logging warns until they are parsed.
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable(values.compilation_cache)
        before()
        with _join_job(values):
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


def help_text(doc: str | None, values: flags.FlagValues) -> str:
    """Returns the help of a program: its docstring, then its flags in the order in which they are defined."""
    of_program = [values[name] for name in values if name not in COMMON]
    texts = map(_flag_text, [*of_program, *(COMMON[name] for name in COMMON)])
    return "\n".join([(doc or "").strip(), "\nFlags:", *texts])


def _flag_text(flag: flags.Flag) -> str:
    """Returns a line with the name, the kind of value and the default, if there are any, and below it the flag's help."""
    notes = [flag.parser.syntactic_help] if flag.parser.syntactic_help else []
    if flag.default not in (None, False, "", (), []) or type(flag.default) in (int, float):
        notes.append(f"default: {flag.default_as_str}")
    heading = f"  --{'[no]' if flag.boolean else ''}{flag.name}" + (f"   ({'; '.join(notes)})" if notes else "")
    return f"{heading}\n" + flags.text_wrap(flag.help, indent="      ", length=100)


def _join_job(values: flags.FlagValues) -> contextlib.AbstractContextManager[None]:
    if "multiprocess" not in values:
        return contextlib.nullcontext()
    return distributed.join_job(values.multiprocess, values.coordinator, values.num_processes, values.process_id)


def _parse(argv: Sequence[str], values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Parses the flags; returns the positional arguments."""
    if "traceback" not in values:
        values.append_flag_values(COMMON)
    if "config" in values:
        argv = _load_config(argv, values)
    try:
        positional = values(argv)[1:]
    except (flags.Error, TypeError, ValueError) as error:
        line = str(error).strip().splitlines()[-1].strip()
        if missing := re.match(r"flag --(\w+)=None: ", line):
            line = f"--{missing[1]} is missing; give it a value, see --help"
        raise UserError(line) from error
    if len(positional) > len(arguments) and not (arguments and arguments[-1].endswith("...")):
        raise UserError(f"{positional[len(arguments)]!r} is not a flag; flags begin with --, see --help")
    if len(positional) < len(arguments):
        name = arguments[len(positional)].removesuffix("...")
        raise UserError(f"{name} is missing; give it without a flag, see --help")
    return positional


def _check_paths(values: flags.FlagValues) -> None:
    """Raises UserError if a flag gives an empty path, which a program could take for "not given"."""
    given = {name: values[name].value for name in PATH_FLAGS if name in values and values[name].present}
    empty = [f"--{name}" for name, value in given.items() if "" in (value if isinstance(value, list) else [value])]
    if empty:
        raise UserError(f"{' and '.join(empty)}: the value is empty; give a path")


def _load_config(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Loads the config and replaces the flag `config` by one that holds it; returns the arguments that are left to parse."""
    given, rest = _take(argv, "config")
    if not given:
        return rest
    # After the flags: --help needs neither.
    from ml_collections import config_flags

    from unet_jax.runtime import config_file

    file = config_file.find_config(given[-1])
    config = config_file.load_config(file)
    models, without_models = _take(rest, "config.model")
    # A value in braces is a section, which ml_collections reads.
    if models and not models[-1].startswith("{"):
        config_file.exchange_model(config, models[-1], file.shown)
        rest = [without_models[0], f"--config.model.name={models[-1]}", *without_models[1:]]
    _check_keys(rest, config)
    config.lock()
    argv = [rest[0], f"--config={file}", *rest[1:]]
    delattr(values, "config")
    config_flags.DEFINE_config_file("config", None, CONFIG_HELP, values, sys_argv=argv)
    values["config"].parser = _Loaded(config)
    return argv


class _Loaded(flags.ArgumentParser):
    """Returns the config that is loaded already, whatever the text: a config file runs once."""

    def __init__(self, config: "ConfigDict"):
        self.config = config

    def parse(self, argument: str) -> "ConfigDict":
        return self.config


def _take(argv: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    """Returns the values of a flag, given as --name=value or --name value, with one dash or two, and all other words."""
    taken, rest = [], []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in (f"--{name}", f"-{name}"):
            rest.append(word)
            continue
        if not equals:
            value = next(words, "")
        if not value:
            raise UserError(f"--{name} has no value; give it one, see --help")
        taken.append(value)
    return taken, rest


def _check_keys(argv: Sequence[str], config: "ConfigDict") -> None:
    """Raises UserError for an override that names no key; the message lists the known keys."""
    for arg in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]*)", arg)
        node, path = config, "config"
        for key in override[1].split(".") if override else ():
            if not hasattr(node, "keys") or key not in node:
                known = ", ".join(node) if hasattr(node, "keys") else "no keys, it is a value"
                raise UserError(f"--{path}.{key}: no such key; {path} has: {known}")
            node, path = node[key], f"{path}.{key}"
