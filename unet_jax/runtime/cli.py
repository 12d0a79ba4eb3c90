"""The command line that every program shares: reads the flags, prints the help, reports bad input in one line.

Bad input is a `UserError`, an unknown flag or config key, a value of the wrong type, or a bucket that refuses: one line on
stderr, status 2. Everything else is a fault of the program and keeps its traceback. `--traceback` also shows it for bad
input.

A program defines its flags in a `FlagValues`, so that any number of programs can be imported into one process.
"""

import contextlib
import difflib
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from unet_jax.errors import UserError
from unet_jax.runtime import compilation_cache, distributed, standard_streams
from unet_jax.runtime.memory import to_bytes
from unet_jax.storage.write_errors import translate_bucket_error

if TYPE_CHECKING:
    from ml_collections import ConfigDict

CONFIG_HELP = (
    "A shipped config by its name, or the path of a file with get_config(); NAME:ARG passes it an argument. "
    "--config.KEY=VALUE sets one of its keys; --config.model=NAME takes another network with its default options."
)

# The longest name of a file or folder in bytes, on every file system in common use.
LONGEST_NAME = 255
# Flags that take paths; some take several.
PATH_FLAGS = ("workdir", "model", "images", "truth", "root", "out")

# The flags of `define_results`.
RESULT_FLAGS = ("recursive", "save", "mask_format", "probability_format", "overwrite", "shard")

# The flags of `define_plate_classes`.
PLATE_CLASS_FLAGS = ("anode", "cathode", "stack")

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
    loaded: Any = values["config"].parser
    return loaded.path


def config_keys(values: flags.FlagValues) -> dict[str, str]:
    """Returns the flags that set keys of the config, such as "--config.seed", by the dotted key that each sets."""
    from ml_collections import config_flags

    loaded = values["config"].parser
    exchanged = {"model.name": "--config.model"} if isinstance(loaded, _Loaded) and loaded.exchanged else {}
    keys = config_flags.get_override_values(values["config"])
    return {key: f"--config.{key}" for key in keys} | exchanged


def define_network(values: flags.FlagValues) -> None:
    """Defines the flags that choose the network of a run, checkpoint, mode, level and weights, and the memory that it takes."""
    flags.DEFINE_string(
        "checkpoint", "best", "best (on val), latest, or a step. A shipped network has one checkpoint.", values
    )
    flags.DEFINE_enum(
        "mode",
        None,
        ["accurate", "fast"],
        "accurate: mean over the heads; fast: one head. Default: eval.mode of the run.",
        values,
    )
    flags.DEFINE_integer(
        "level", 0, "U-Net++'s pruning level: runs only the nodes it needs. 0: as trained.", flag_values=values
    )
    flags.DEFINE_enum(
        "weights",
        None,
        ["raw", "ema"],
        "raw: as trained; ema: their moving average, where the run kept one. Default: eval.weights of the run.",
        values,
    )

    flags.DEFINE_string(
        "memory",
        None,
        "What a prediction may add to the memory of the process, such as 300MiB or 2GiB. A larger image is predicted in parts, "
        "with the result of the whole. Default: eval.memory of the run, or else a quarter of the memory.",
        values,
    )


def network_options(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags of `define_network`, as `runs.load.load_predictor` takes them.

    Raises:
      UserError: --memory is no size.
    """
    if values.memory is not None:
        to_bytes(values.memory, "--memory=")
    return {
        "checkpoint": values.checkpoint,
        "mode": values.mode or "",
        "level": values.level,
        "weights": values.weights or "",
        "memory": values.memory or "",
    }


def define_view_choice(values: flags.FlagValues) -> None:
    """Defines the flags that choose the views of an image."""
    flags.DEFINE_enum(
        "views",
        None,
        ["flips", "turns", "all"],
        "Test-time augmentation: the mean over flips (4 views), quarter turns (4) or all (8), at so many times the cost. Only "
        "those that the network was trained on. Default: the image alone.",
        values,
    )
    flags.DEFINE_bool("force_views", False, "Allow views that the network was not trained on.", values)


def define_views(values: flags.FlagValues) -> None:
    """Defines the flags of a program that predicts: the views of an image, how far the members agree, and the temperature."""
    define_view_choice(values)
    flags.DEFINE_bool(
        "calibrated",
        False,
        "Apply the temperature of WORKDIR/calibration.json, which `unet-jax calibrate` writes, to the probabilities. Masks do not "
        "change.",
        values,
    )
    flags.DEFINE_bool(
        "uncertainty",
        False,
        "Also write how uncertain each pixel and each image is, from heads, views and networks: uncertainty/, and "
        "uncertainty.csv with the least certain image first.",
        values,
    )


def view_options(values: flags.FlagValues) -> dict[str, Any]:
    """Returns what the flags of `define_views` or `define_view_choice` choose, as `runs.load.load_predictor` takes it.

    Raises:
      UserError: views are forced, and none are named.
    """
    if values.force_views and not values.views:
        raise UserError("--force_views: no views are chosen; add --views=flips, turns or all, or leave it out")
    options = {"views": values.views or "", "force_views": values.force_views}
    if "calibrated" in values and values.calibrated:
        options["calibrated"] = True
    return options


def define_plate_classes(values: flags.FlagValues, when: str) -> None:
    """Defines the flags that name the classes of an electrode stack.

    Args:
      values: where they are defined.
      when: says in their help when they count, such as "With --plates".
    """
    flags.DEFINE_string(
        "anode",
        "",
        f"{when}: the class of the negative plates, whose overhang is measured. Default: the one with anode, negative or plate in "
        "its name.",
        values,
    )
    flags.DEFINE_string(
        "cathode",
        "",
        f"{when}: the class of the positive plates. Default: the one with cathode or positive in its name, if there is one.",
        values,
    )
    flags.DEFINE_string(
        "stack",
        "",
        f"{when}: the class from which the plates come out. Default: the one with stack in its name; without one, plates come from "
        "the border of the image.",
        values,
    )


def plate_classes(values: flags.FlagValues) -> dict[str, str]:
    """Returns the arguments of `measurement.plates.roles.find_roles` that the flags of `define_plate_classes` give."""
    return {name: str(values[name].value) for name in PLATE_CLASS_FLAGS if values[name].value}


def define_files(values: flags.FlagValues) -> None:
    """Defines the flags that say which image files are taken, and in which parts."""
    flags.DEFINE_bool(
        "recursive", False, "Take the images of all subfolders, too; --out gets the same subfolders.", values
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Replace results that are in --out already, instead of going on with the images that are missing.",
        values,
    )
    flags.DEFINE_string(
        "shard",
        "1/1",
        "I/N predicts the I-th of N parts of the images, I from 1 to N, e.g. 3/8. All parts may write to one --out, at the "
        "same time, on any machines. In a Slurm array of 8: --array=1-8 and --shard=$SLURM_ARRAY_TASK_ID/8.",
        values,
    )


def file_options(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags of `define_files`.

    Raises:
      UserError: --shard is not two numbers.
    """
    numbers = re.fullmatch(r"(\d+)/(\d+)", values.shard)
    if not numbers:
        raise UserError(
            f"--shard={values.shard}: give the number of the part and the number of parts, such as 3/8; in a Slurm array of 8 "
            "(--array=1-8): $SLURM_ARRAY_TASK_ID/8"
        )
    return {
        "recursive": values.recursive,
        "overwrite": values.overwrite,
        "shard": (int(numbers[1]), int(numbers[2])),
    }


def define_results(values: flags.FlagValues) -> None:
    """Defines the flags of the prediction of image files: which are taken, and what is written."""
    define_files(values)
    flags.DEFINE_list(
        "save",
        ["ids", "masks", "overlays"],
        "What is written, with commas between: ids (class numbers), masks (0 and 255 for each class), probabilities (of all "
        "classes), overlays (pictures, at most 4096 pixels wide and high).",
        values,
    )
    flags.DEFINE_enum(
        "mask_format",
        None,
        ["png", "tiff", "zarr"],
        "File format of ids and masks: png, tiff (tiled) or zarr. The last two are written in bands and take any size. "
        "Default: png, and tiff for an image of more than 67 million pixels.",
        values,
    )
    flags.DEFINE_enum(
        "probability_format",
        "npz",
        ["npz", "zarr", "tiff"],
        "File format of probabilities, [height, width, class]: npz and zarr hold float16 from 0 to 1; tiff holds 16 bits, "
        "where 65535 is 1.",
        values,
    )


def result_options(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags of `define_results`, and the uncertainty of `define_views`, as `runs.predict.predict_images` takes them.

    Raises:
      UserError: --shard is not two numbers.
    """
    return file_options(values) | {
        "save": [*values.save, "uncertainty"] if values.uncertainty else values.save,
        "mask_format": values.mask_format or "",
        "probability_format": values.probability_format,
    }


def define_fresh_data(values: flags.FlagValues) -> None:
    """Defines the flag of a program that reads data sets; see `store.cache.forget_digests`."""
    flags.DEFINE_bool(
        "fresh_data",
        False,
        "Read the data files in full, also those that look unchanged by size, times, inode and three pieces of content.",
        values,
    )


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


@standard_streams.guard()
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
      values: the program's flags, `define_config`, `define_network` and `define_job` included; those of `COMMON` are added.
      arguments: the names of the positional arguments, all required. One value each; one or more for the last if its name
        ends in "...".
      before: called after the flags are parsed, before processes join and devices start.
    """
    if {"--help", "-h", "--helpshort", "--helpfull"} & set(sys.argv[1:]):
        print(help_text(doc, values))
        sys.exit(0)
    # A name that the terminal cannot show must not end the program. stderr is like this already.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        positional = _parse(sys.argv, values, arguments, doc)
        _check_paths(values)
        # Libraries define flags in absl's global ones, and read their defaults; absl's logging warns until they are parsed.
        flags.FLAGS.mark_as_parsed()
        compilation_cache.enable(values.compilation_cache)
        before()
        with _join_job(values):
            main(*positional)
    except Exception as error:
        user_error = error if isinstance(error, UserError) else translate_bucket_error(error) or _out_of_memory(error)
        if user_error is None or any(arg.lstrip("-").startswith("traceback") for arg in sys.argv[1:]):
            raise
        print(f"error: {user_error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _out_of_memory(error: Exception) -> UserError | None:
    """Returns the error for the user if the memory is full, and None for any other error."""
    # Only where it is needed: importing JAX takes long.
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
        return None
    from unet_jax.runtime.out_of_memory import translate_memory_error

    return translate_memory_error(error)


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


def _parse(argv: Sequence[str], values: flags.FlagValues, arguments: Sequence[str], doc: str | None) -> list[str]:
    """Parses the flags; returns the positional arguments."""
    if "traceback" not in values:
        values.append_flag_values(COMMON)
    if "config" in values:
        argv = _load_config(argv, values)
    # absl would name one missing flag at a time. This program names all, and the arguments too.
    required = [name for name in values if any(not check.checker(None) for check in values[name].validators)]
    for name in required:
        values[name].validators.clear()
    try:
        positional = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(_describe_unknown(error.flagname, values)) from error
    except flags.IllegalFlagValueError as error:
        raise UserError(_describe_illegal(error, argv, values)) from error
    except (flags.Error, TypeError, ValueError) as error:
        line = str(error).strip().splitlines()[-1].strip()
        if without := re.match(r"Missing value for flag --(.+)", line):
            line = f"--{without[1]} has no value; {_remedy(values[without[1]].parser)}"
        elif order := re.match(r"Flag --(\S+) is provided after --(\S+) and it will overwrite", line):
            line = f"--{order[1]} would replace --{order[2]}; give --{order[1]} first"
        raise UserError(line) from error
    if len(positional) > len(arguments) and not (arguments and arguments[-1].endswith("...")):
        raise UserError(f"{positional[len(arguments)]!r} is not a flag; flags begin with --, see --help")
    missing = [f"--{name}" for name in required if values[name].value is None]
    missing += [name.removesuffix("...") for name in arguments[len(positional) :]]
    if missing:
        listed = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        example = re.search(r"^    (\S.*?)(  +#.*)?$", doc or "", re.MULTILINE)
        remedy = f"for example: {example[1]}" if example else "see --help"
        raise UserError(f"{listed} {'is' if len(missing) == 1 else 'are'} missing; {remedy}")
    return positional


def _check_paths(values: flags.FlagValues) -> None:
    """Raises UserError if a flag gives an empty path, which a program could take for "not given"."""
    given = {name: values[name].value for name in PATH_FLAGS if name in values and values[name].present}
    for name, value in given.items():
        for path in value if isinstance(value, list) else [value]:
            if any(len(os.fsencode(part)) > LONGEST_NAME for part in (path or "").split("/")):
                raise UserError(
                    f"--{name}={path}: a name in the path has more than {LONGEST_NAME} bytes; give a shorter one"
                )
    empty = [f"--{name}" for name, value in given.items() if "" in (value if isinstance(value, list) else [value])]
    if empty:
        raise UserError(f"{' and '.join(empty)}: the value is empty; give a path")


def _describe_unknown(name: str, values: flags.FlagValues) -> str:
    """Returns the error for a flag that the program does not have."""
    for path in (f"-{name}", f"--{name}"):
        if os.path.lexists(path):
            return f"{path}: no such flag; for the file or folder of that name write ./{path}"
    similar = difflib.get_close_matches(name, [flag for flag in values if "." not in flag], n=1)
    hint = f"did you mean --{similar[0]}? " if similar else ""
    return f"--{name}: no such flag; {hint}--help lists the flags"


def _describe_illegal(error: flags.IllegalFlagValueError, argv: Sequence[str], values: flags.FlagValues) -> str:
    """Returns the error for a value that a flag does not take, with the value as it was given."""
    name = re.match(r"flag --([\w.]+)=", str(error))
    if not name or name[1] not in values:
        return str(error).strip().splitlines()[-1].strip()
    parser = values[name[1]].parser
    for value in _take(argv, name[1])[0]:
        try:
            parser.parse(value)
        except (TypeError, ValueError):
            return f"--{name[1]}{f'={value}:' if value else ' has no value;'} {_remedy(parser)}"
    return f"--{name[1]}: {_remedy(parser)}"


def _remedy(parser: Any) -> str:
    """Returns what to give for a flag, e.g. "give a whole number of at least 1"."""
    if isinstance(parser, flags.IntegerParser | flags.FloatParser):
        limits = {"at least": parser.lower_bound, "at most": parser.upper_bound}
        listed = " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)
        kind = "give a whole number" if isinstance(parser, flags.IntegerParser) else "give a number"
        return f"{kind} of {listed}" if listed else kind
    if isinstance(parser, flags.BooleanParser):
        return "give True or False"
    if isinstance(parser, flags.EnumParser):
        return f"give one of {', '.join(parser.enum_values)}"
    # ml_collections has more parsers; --help needs none of them.
    if parser.flag_type() == "tuple":
        return "give a tuple in quotes, e.g. \"(1, 2)\" or \"('a', 'b')\""
    if type(parser).__name__ == "_ConfigDictParser":
        return "give keys and values in braces and quotes, e.g. \"{'a': 1, 'b': 2}\""
    return "give it one, see --help"


def _load_config(argv: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Loads the config and replaces the flag `config` by one that holds it; returns the arguments that are left to parse."""
    given, rest = _take(argv, "config")
    if not given:
        return rest
    # After the flags: --help needs none of them.
    from ml_collections import config_flags

    from unet_jax.configs import default
    from unet_jax.runtime import config_file

    if not given[-1]:
        raise UserError(f"--config has no value; give one of {', '.join(config_file.shipped_names())}, or a path")

    file = config_file.find_config(given[-1])
    config = config_file.load_config(file)
    models, without_models = _take(rest, "config.model")
    if models and not models[-1]:
        raise UserError(f"--config.model has no value; give one of {', '.join(default.NETWORKS)}")
    # A value in braces is a section, which ml_collections reads.
    exchanged = bool(models) and not models[-1].startswith("{")
    if exchanged:
        config_file.exchange_model(config, models[-1], file.shown)
        rest = without_models
    _check_keys(rest, config)
    if exchanged:
        rest = [rest[0], f"--config.model.name={models[-1]}", *rest[1:]]
    config.lock()
    argv = [rest[0], f"--config={file}", *rest[1:]]
    delattr(values, "config")
    config_flags.DEFINE_config_file("config", None, CONFIG_HELP, values, sys_argv=argv)
    values["config"].parser = _Loaded(config, exchanged, str(file.path))
    return argv


class _Loaded(flags.ArgumentParser):
    """Returns the config that is loaded already, whatever the text: a config file runs once."""

    def __init__(self, config: "ConfigDict", exchanged: bool, path: str):
        self.config, self.path = config, path
        # Whether --config.model has exchanged the network.
        self.exchanged = exchanged

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
        taken.append(value)
    return taken, rest


def _check_keys(argv: Sequence[str], config: "ConfigDict") -> None:
    """Raises UserError for an override that names no key, and for a section that gets one value."""
    for arg, following in itertools.pairwise([*argv[1:], ""]):
        override = re.match(r"--?(?:no)?config\.([^=]*)(=?)(.*)", arg, re.DOTALL)
        if not override:
            continue
        node, path = config, "config"
        for key in override[1].split("."):
            if not hasattr(node, "keys"):
                raise UserError(f"--{path}.{key}: no such key; {path} has no keys, it is a value")
            if key not in node:
                listed = ", ".join(node) or "no keys"
                raise UserError(
                    f"--{path}.{key}: no such key; {_similar_flag(override[1], path, config)}{path} has: {listed}"
                )
            node, path = node[key], f"{path}.{key}"
        value = override[3] if override[2] else following
        if hasattr(node, "keys") and node and not value.startswith("{"):
            raise UserError(
                f"{arg}: {path} is a section; set one of its keys, e.g. --{path}.{next(iter(node))}=VALUE; it has: "
                f"{', '.join(node)}"
            )
        if path == "config.model.name" and value != node:
            _check_network(value, config.model)


def _similar_flag(key: str, known: str, config: "ConfigDict") -> str:
    """Returns a question that names the flag most similar to `--config.KEY`; "" where none is similar.

    Args:
      key: the dotted key; it does not exist.
      known: "config" with the part of the key that exists.
      config: the config.
    """
    keys = _dotted_keys(config)
    section = f"{known}.".removeprefix("config.")
    inside = [name.removeprefix(section) for name in keys if name.startswith(section)]
    similar = [section + name for name in difflib.get_close_matches(key.removeprefix(section), inside, n=1, cutoff=0.7)]
    # The same name may stand in another section.
    similar += [name for name in keys if name.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean --config.{similar[0]}? " if similar else ""


def _dotted_keys(section: "ConfigDict", prefix: str = "") -> list[str]:
    """Returns the dotted keys of all values."""
    keys = []
    for name, value in section.items():
        keys += _dotted_keys(value, f"{prefix}{name}.") if hasattr(value, "keys") else [f"{prefix}{name}"]
    return keys


def _check_network(name: str, section: "ConfigDict") -> None:
    """Raises UserError where the section "model" has options that the network `name` does not have by default."""
    from unet_jax.configs import default

    if name in default.NETWORKS and (beyond := set(section) - set(default.NETWORKS[name]())):
        raise UserError(
            f"--config.model.name={name}: config.model has options of {section.name} that {name} does not have: "
            f"{', '.join(sorted(beyond))}; give --config.model={name}, which takes {name} with its default options"
        )
