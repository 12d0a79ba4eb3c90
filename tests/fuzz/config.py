"""Wrong values of every key of a config, given in Python and on the command line; wrong config files and sweeps.

A config that is accepted is used: its network, optimiser, schedule, losses, augmentation, windows and data set are built and
run on a few pixels, and its `config.json` is read again. A result that is not finite is wrong.
"""

import contextlib
import functools
import io
import itertools
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tests.fuzz.outcomes import Outcome, attempt
from tests.fuzz.values import VALUES, in_short, never_fits
from unet_jax.configs import default
from unet_jax.data.augment.augment import augment
from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import listing
from unet_jax.data.datasets.registry import load_dataset
from unet_jax.data.loading import train_pipeline
from unet_jax.errors import UserError
from unet_jax.experiment import sweep
from unet_jax.experiment.build import build_experiment
from unet_jax.experiment.durations import WARMUP
from unet_jax.experiment.sections import Sections, read_sections
from unet_jax.runtime import cli, compilation_cache
from unet_jax.runtime.config_file import ConfigFile, load_config
from unet_jax.segmentation import resolve_report_classes
from unet_jax.storage import json_file
from unet_jax.training.losses.registry import create_loss
from unet_jax.training.optim.optimizer import create_optimizer
from unet_jax.training.optim.plateau import create_plateau_rule

CLASS_NAMES = ("background", "anode", "cathode")


# The keys that only one optimiser, or one schedule, reads.
OF_THE_OPTIMIZER = {
    "adam": ("b1", "b2", "eps", "weight_decay"),
    "sgd": ("momentum", "nesterov", "weight_decay", "lr_multipliers", "freeze"),
    "rmsprop": ("momentum", "nesterov", "rmsprop_decay", "eps"),
    "lion": ("b1", "b2", "weight_decay"),
}
OF_THE_SCHEDULE: dict[str, tuple[str, ...]] = {
    "poly": ("power",),
    "one_cycle": (),
    "step": ("boundaries", "lr_drop_factor"),
    "constant": (),
    "plateau": ("plateau_patience", "plateau_gain", "lr_drop_factor"),
}
# The changes that a recipe of augmentation has on, and that are off by default.
OF_THE_RECIPE = {
    "": (),
    "nnunet": ("scale", "blur", "low_resolution", "multiply", "inverted_gamma", "probability.blur"),
    "unet": ("elastic", "elastic_grid", "shift", "fill_mode", "interpolation"),
}


class Base(NamedTuple):
    """A config that is right, and what of it gets wrong values.

    Attributes:
      section: the section; "" for the top of the config.
      config: the config.
      keys: the keys of the section; () for all.
    """

    section: str
    config: ConfigDict
    keys: tuple[str, ...] = ()


def outcomes(seed: int, count: int) -> Iterator[Outcome]:
    """Yields what became of each input.

    Args:
      seed: of the random draws.
      count: number of configs of which two random keys are changed, and of random command lines.
    """
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"UNET_JAX_CACHE": f"{folder}/cache"}):
        bases = list(all_bases(Path(folder)))
        for base in bases:
            for key, value in itertools.product(keys_of(base), VALUES):
                yield in_python(base, {key: value})
        draw = random.Random(seed)
        for _ in range(count):
            base = draw.choice(bases)
            keys = draw.choices(keys_of(base), k=2)
            yield in_python(base, {key: draw.choice(VALUES) for key in keys})
        yield from on_the_command_line(draw, count)
        yield from whole_configs()
        yield from config_files(Path(folder))


def all_bases(folder: Path) -> Iterator[Base]:
    """Yields right configs in which every key of every section stands."""
    yield Base("", small())
    for make in default.NETWORKS.values():
        yield Base("model", small(model=make()))
    encoder = default.unet()
    encoder.update({"encoder": "resnet34", "widths": (4, 8, 64)})
    yield Base("model", small(model=encoder), ("encoder", "encoder_weights", "widths", "padding", "variant"))
    for name in small().loss.weights:
        config = small()
        config.loss.weights = dict.fromkeys(config.loss.weights, 0.0) | {name: 1.0}
        config.data.weight_map = name == "weighted_cross_entropy"
        if name in ("binary_cross_entropy", "bce_dice"):
            config.model.activation = "sigmoid"
        options = tuple(f"options.{name}.{option}" for option in config.loss.options.get(name, ()))
        yield Base("loss", config, (*options, "class_weights", f"weights.{name}") if name != "cross_entropy" else ())
    yield Base("optim", small())
    for name, keys in OF_THE_OPTIMIZER.items():
        config = small()
        config.optim.update({"name": name, "weight_decay": 0.1, "ema_decay": 0.9})
        yield Base("optim", config, keys)
    for schedule, keys in OF_THE_SCHEDULE.items():
        config = small()
        config.optim.update({"schedule": schedule, "boundaries": (3, 4) if schedule == "step" else ()})
        yield Base("optim", config, (*keys, *WARMUP, "learning_rate"))
    for recipe, changes in OF_THE_RECIPE.items():
        yield Base("augment", small(augment=default.RECIPES[recipe]()), changes)
    for section in ("train", "eval", "checkpoint"):
        yield Base(section, small())
    for data in data_sections(folder):
        yield Base("data", small(data=data))


def small(**sections: ConfigDict) -> ConfigDict:
    """Returns a small config with some sections exchanged."""
    config = default.get_config()
    config.model = default.unet()
    config.model.widths = (2, 4)
    config.data.update({"patch": (16, 16), "size": (32, 32), "num_train": 2, "num_val": 1, "num_test": 1})
    # A multiple of the devices, of which the tests have four.
    config.train.update({"batch_size": 4, "num_steps": 6})
    config.optim.warmup_steps = 2
    for name, section in sections.items():
        config[name] = section
    return config


def data_sections(folder: Path) -> Iterator[ConfigDict]:
    """Yields a section of each data set, with files in `folder` where it reads a folder."""
    import cv2

    def write(path: Path, image: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)

    image, mask = np.arange(256, dtype=np.uint8).reshape(16, 16), np.eye(16, dtype=np.uint8)
    for number in range(4):
        write(folder / "folder" / "images" / f"{number}.png", image + number)
        write(folder / "folder" / "masks" / f"{number}.png", mask)
        write(folder / "bowl" / "stage1_train" / f"n{number}" / "images" / f"n{number}.png", image + number)
        write(folder / "bowl" / "stage1_train" / f"n{number}" / "masks" / "1.png", 255 * mask)
    for data in (
        small().data,
        default.image_folder(str(folder / "folder")),
        default.dsb2018(str(folder / "bowl")),
        default.isbi2012(str(folder / "nothing")),
        default.tfds("nothing"),
    ):
        data.update({"patch": (16, 16), "cache_dir": str(folder / "cache")})
        yield data


def keys_of(base: Base) -> list[str]:
    """Returns the dotted keys of a section, the section's own and an unknown one among them."""
    if not base.section:
        return [*base.config, "unknown"]
    keys = base.keys or (*inner_keys(base.config[base.section]), "unknown")
    return [f"{base.section}.{key}" for key in keys]


def inner_keys(section: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of a section and of the sections in it."""
    for key, value in section.items():
        yield f"{prefix}{key}"
        if isinstance(value, ConfigDict):
            yield from inner_keys(value, f"{prefix}{key}.")


def in_python(base: Base, changes: Mapping[str, Any]) -> Outcome:
    """Returns what became of a config with other values by dotted key."""
    tree = base.config.to_dict()
    given = ", ".join(f"{key}={in_short(value)}" for key, value in changes.items())
    refusals = []
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = functools.reduce(lambda node, name: node.get(name) if isinstance(node, dict) else None, parents, tree)
        if not isinstance(section, dict):
            continue
        if key.endswith("unknown"):
            refusals.append("the key is unknown")
        else:
            refusals.append(never_fits(section[last], value) if last in section else "")
        section[last] = value
    kind = f"config: {base.section or 'sections'}"

    def is_wrong(problem: str) -> str:
        return problem or next((f"accepted, but {reason}" for reason in refusals if reason), "")

    names = [name for key, value in changes.items() for name in names_of(key, value)]
    return attempt(kind, given, lambda: use(as_config(tree), base.section), names=names, is_wrong=is_wrong)


def names_of(key: str, value: Any) -> list[str]:
    """Returns what an error must name: the last part of a dotted key, or its value where that is a text or a path."""
    names = [key.rstrip(".").rpartition(".")[2]]
    if isinstance(value, str):
        shown = value if value.strip() else repr(value)
        names += [str(UserError(shown)), listing.printable(shown), os.path.abspath(shown)]
    return names


def as_config(tree: dict[str, Any]) -> ConfigDict | dict[str, Any]:
    """Returns a ConfigDict; the plain dict where it has keys that a ConfigDict cannot have."""
    try:
        return ConfigDict(tree)
    except (TypeError, ValueError):
        return tree


def use(config: ConfigDict, section: str) -> str:
    """Reads a config and uses the parts that a section describes; returns what is wrong with them."""
    sections = read_sections(config)
    again = ConfigDict({"imports": (), **json_file.tuples(json.loads(json.dumps(json_file.plain(config.to_dict()))))})
    if read_sections(again) != sections:
        return "config.json gives another config"
    parts = {"": (), "train": ("optim", "build"), "model": ("model", "build")}.get(section, (section,))
    for part in parts:
        if problem := USES[part](sections, config):
            return problem
    return ""


def use_model(sections: Sections, config: ConfigDict) -> str:
    module = sections.model.build(num_classes=2)
    image = jax.ShapeDtypeStruct((1, 32, 32, 1), "float32")
    heads, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), image)
    return "" if len(heads) == module.num_heads else f"{len(heads)} heads"


def use_optim(sections: Sections, config: ConfigDict) -> str:
    durations = sections.resolve_durations(num_examples=160)
    optim = sections.optim
    tx, rate = create_optimizer(
        **optim.optimizer_options,
        num_steps=durations.num_steps,
        warmup_steps=durations.warmup_steps,
        boundaries=durations.boundaries,
    )
    create_plateau_rule(lr_drop_factor=optim.lr_drop_factor, patience=optim.plateau_patience, gain=optim.plateau_gain)
    params = {"x_0_0": {"kernel": jnp.array([0.5, -0.5]), "bias": jnp.array([0.1])}, "a": {"kernel": jnp.ones(1)}}
    state = tx.init(params)
    for size in (0.0, 0.5):
        change, state = tx.update(jax.tree.map(lambda x, size=size: jnp.full_like(x, size), params), state, params)
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((change, state))):
            return f"a step with the gradient {size} is not finite"
    steps = (0, 1, durations.num_steps // 2, durations.num_steps - 1)
    rates = [float(rate(jnp.int32(step))) for step in steps]
    return "" if np.isfinite(rates).all() and min(rates) >= 0 else f"the rates are {rates}"


def use_loss(sections: Sections, config: ConfigDict) -> str:
    loss, num_classes = sections.loss, 3
    num_heads = len(loss.head_weights) or 1
    if num_heads > 9:
        # No network has so many.
        return use_build(sections, config)
    total = create_loss(
        weights=loss.weights,
        activation=sections.model.activation,
        num_classes=num_classes,
        class_weights=loss.class_weights,
        head_weights=loss.head_weights,
        options=loss.options,
    )
    mask = jnp.arange(64).reshape(1, 8, 8) % num_classes
    truth = [mask, jnp.ones(mask.shape, bool)] + [jnp.full(mask.shape, 0.5)] * total.needs_weight_map

    def value(logits):
        return total.from_sums(total.sums([logits] * num_heads, *truth))

    logits = jnp.sin(jnp.arange(64.0 * num_classes)).reshape(1, 8, 8, num_classes)
    result, gradient = jax.value_and_grad(value)(logits)
    return "" if jnp.isfinite(result) and jnp.isfinite(gradient).all() else f"the loss is {result}"


def use_augment(sections: Sections, config: ConfigDict) -> str:
    image = jnp.sin(jnp.arange(256.0)).reshape(16, 16, 1)
    window = {"image": image, "mask": jnp.zeros((16, 16), int), "valid": jnp.ones((16, 16), bool)}
    options = config.augment.to_dict()
    changed = augment(jax.random.key(0), window, **options)
    return "" if jnp.isfinite(changed["image"]).all() else "the image is not finite"


def use_eval(sections: Sections, config: ConfigDict) -> str:
    resolve_report_classes(CLASS_NAMES, sections.eval.classes)
    return use_build(sections, config)


def use_data(sections: Sections, config: ConfigDict) -> str:
    data = sections.data
    # Preparing many large images is what was asked for; it is not tried.
    small_enough = (
        max(data.options.get("size", (0,))) < 100
        and sum(data.options.get(key, 0) for key in ("num_train", "num_val")) < 9
    )
    if data.name in ("electrodes", "image_folder", "dsb2018") and small_enough:
        options = {**data.values(), **data.options}
        del options["options"]
        load_dataset(**options)
    source = [{"image": np.ones((20, 20, 1), np.uint8), "mask": np.ones((20, 20), np.uint8)}] * 2
    if problem := use_build(sections, config):
        return problem
    if np.prod([float(n) for n in sections.loading.patch]) < 1e7:
        options = {key: value for key, value in sections.loading.values().items() if key != "num_threads"}
        batch = train_pipeline.train_dataset(source, batch_size=2, seed=0, **options)[0]
        return "" if np.isfinite(batch["image"]).all() else "a window is not finite"
    return ""


def use_build(sections: Sections, config: ConfigDict) -> str:
    dataset = Dataset("fuzz", CLASS_NAMES, 1, False, "0", "uint8", sources={})
    build_experiment(config, dataset=dataset)
    return ""


USES: dict[str, Callable[[Sections, ConfigDict], str]] = {
    "model": use_model,
    "optim": use_optim,
    "loss": use_loss,
    "augment": use_augment,
    "eval": use_eval,
    "data": use_data,
    "build": use_build,
    "checkpoint": use_build,
}


def whole_configs() -> Iterator[Outcome]:
    """Yields what became of values in place of a whole config, and of configs without one of their keys."""
    for value in VALUES:
        yield attempt(
            "config: whole", in_short(value), lambda value=value: use(value, "build"), is_wrong=lambda _: "accepted"
        )
    for key in inner_keys(small()):
        tree = small().to_dict()
        *parents, last = key.split(".")
        section = functools.reduce(lambda node, name: node[name], parents, tree)
        del section[last]
        yield attempt(
            "config: whole", f"without {key}", lambda tree=tree: use(ConfigDict(tree), "build"), names=(last,)
        )


# Texts that --config.KEY= may be given.
TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "1",
    "1e12",
    "1e400",
    "9223372036854775808",
    "1" * 5000,
    "nan",
    "inf",
    "text",
    "None",
    "True",
)
TEXTS += (
    "(1, 2)",
    "(1,",
    "()",
    "((1, 2), (3,))",
    "('a', 'b')",
    "(1e12, 1e12)",
    "[1, 2]",
    "{}",
    "{'a': 1}",
    "{'a': 1",
    "'x'",
)
TEXTS += (
    "0x10",
    "1_000",
    "١٢",
    "3.0",
    ".5",
    "--config.seed=1",
    "a=b",
    "a\nb",
    "\x1b[31m",
    "lambda: 1",
    "__import__('os')",
    "1, 2",
)


def on_the_command_line(draw: random.Random, count: int) -> Iterator[Outcome]:
    """Yields what became of flags that set keys of a config."""
    keys = [*inner_keys(small()), "unknown", "train.unknown", "seed.unknown", "", ".", "train.", "model"]
    keys += [f"model.{key}" for key in default.fcn()]
    # A flag is parsed by the type of its key, so a part of the texts is enough for each key.
    each = [(key, text) for key in keys for text in draw.sample(TEXTS, 12)]
    for key, text in (*each, *((draw.choice(keys), draw.choice(TEXTS)) for _ in range(count))):
        given = f"--config.{key}={in_short(text)}"
        yield attempt(
            "config: flags",
            given,
            lambda key=key, text=text: read_flags(f"--config.{key}={text}"),
            names=names_of(key, text),
        )
    for name in (
        "",
        " ",
        "default:",
        "default:x",
        ":",
        "::",
        "nothing",
        "/",
        ".",
        "~",
        "default.py",
        "a\0b",
        "\udc80",
        "é",
        "x" * 5000,
    ):
        yield attempt("config: flags", f"--config={in_short(name)}", lambda name=name: read_flags(config=name))


def read_flags(*arguments: str, config: str = "smoke") -> None:
    """Reads a command line as the programs do.

    Raises:
      UserError: the program ends with status 2; the message is what it prints.
    """
    values = flags.FlagValues()
    cli.define_config(values)
    printed = io.StringIO()
    argv = ["program", f"--config={config}", *arguments]
    try:
        with (
            mock.patch.object(sys, "argv", argv),
            mock.patch.object(compilation_cache, "enable"),
            contextlib.redirect_stderr(printed),
        ):
            cli.run(lambda: check_read(values.config), "Reads a config.", values)
    except SystemExit as end:
        if end.code != 2:
            raise AssertionError(f"status {end.code}") from end
        text = printed.getvalue().removesuffix("\n")
        raise UserError(text.removeprefix("error: ")) from end


def check_read(config: ConfigDict) -> None:
    """Reads the sections of a config that stands in its flags."""
    read_sections(config)


CONFIG = "from unet_jax.configs import default\n\n\ndef get_config(arg=''):\n    {}\n"
FILES = {
    "empty": "",
    "not Python": "def get_config(:\n",
    "an indent": "  x = 1\n y = 2\n",
    "a NUL": "x = '\0'\n",
    "not UTF-8": b"# \xff\xfe\nx = 1\n",
    "a UTF-16 text": "x = 1\n".encode("utf-16"),
    "raises": CONFIG.format("raise RuntimeError('two\\nlines')"),
    "raises nothing known": CONFIG.format("raise BaseException"),
    "raises an odd error": CONFIG.format("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})"),
    "exits": CONFIG.format("raise SystemExit(3)"),
    "exits at once": "import sys\nsys.exit()\n",
    "None": CONFIG.format("return None"),
    "a dict": CONFIG.format("return default.get_config().to_dict()"),
    "a class": "class get_config: pass\n",
    "no function": "get_config = 5\n",
    "an argument": "def get_config(a, b): return None\n",
    "no argument": "from unet_jax.configs import default\ndef get_config(): return default.get_config()\n",
    "a generator": CONFIG.format("yield default.get_config()"),
    "a missing module": "import no_such_module\n",
    "an odd import": "from unet_jax.configs import nothing\n",
    "a key of no text": CONFIG.format("c = default.get_config(); c.train[5] = 1; return c"),
    "a section less": CONFIG.format("c = default.get_config(); del c.train; return c"),
    "itself": CONFIG.format("c = default.get_config(); c.train.batch_size = c.get_ref('seed'); return c"),
    "a placeholder": CONFIG.format(
        "from ml_collections import config_dict; c = default.get_config(); "
        "c.train.batch_size = config_dict.required_placeholder(int); return c"
    ),
    "an empty placeholder": CONFIG.format(
        "from ml_collections import config_dict; c = default.get_config(); "
        "c.train.log_every = config_dict.placeholder(int); return c"
    ),
    "frozen": CONFIG.format("from ml_collections import FrozenConfigDict as F; return F(default.get_config())"),
    "an odd string": CONFIG.format(
        "c = default.get_config(); c.train.init_from = type('S', (str,), {})('x'); return c"
    ),
}
SWEEPS = {
    "None": "None",
    "a number": "5",
    "text": "'ab'",
    "no point": "[]",
    "a dict": "{'seed': 1}",
    "points of text": "['seed']",
    "an endless generator": "iter(int, 1)",
    "a key of no text": "[{1: 2}]",
    "an unknown key": "[{'nothing': 1}]",
    "an empty key": "[{'': 1}]",
    "a dot": "[{'.': 1}]",
    "a key in a value": "[{'seed.x': 1}]",
    "None for a number": "[{'seed': None}]",
    "text for a number": "[{'seed': 'a'}]",
    "NaN": "[{'optim.learning_rate': float('nan')}]",
    "a huge number": "[{'seed': 10 ** 5000}]",
    "a section of None": "[{'model': None}]",
    "a section of text": "[{'model': 'unet'}]",
    "an empty section": "[{'model': {}}]",
    "a section without name": "[{'model': {'widths': (1, 2)}}]",
    "a name of no text": "[{'model': {**default.unet().to_dict(), 'name': 5}}]",
    "a name of a folder": "[{'train.init_from': '../../x'}]",
    "a value for a section": "[{'train': {'batch_size': 1}}]",
    "a section for a value": "[{'seed': {}}]",
    "an array": "[{'model.widths': __import__('numpy').ones(3)}]",
    "a set": "[{'model.widths': {1, 2}}]",
    "an error": "1 / 0",
    "a point with sections of both": "[{'optim': default.get_config().optim, 'optim.name': 'sgd'}]",
    "a tuple": "({'seed': 1},)",
    "a long value": "[{'train.init_from': 'x' * 5000}]",
    "lines": "[{'train.init_from': 'a\\nb'}]",
    "a surrogate": "[{'train.init_from': '\\udc80'}]",
}


def config_files(folder: Path) -> Iterator[Outcome]:
    """Yields what became of config files that are wrong, and of sweeps."""
    for name, text in FILES.items():
        file = folder / "wrong.py"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

        def read(file=file) -> None:
            use(load_config(ConfigFile(file, None)), "build")

        yield attempt("config: files", name, read)
        yield attempt("config: files", f"{name}, as a flag", lambda file=file: read_flags(config=str(file)))
    for name, text in SWEEPS.items():
        file = folder / "sweep.py"
        file.write_text(CONFIG.format("return default.get_config()") + f"\n\ndef get_sweep():\n    return {text}\n")

        def run(file=file) -> None:
            config = load_config(ConfigFile(file, None))
            with contextlib.redirect_stdout(io.StringIO()):
                workdir = sweep.apply_sweep_index(config, str(folder / "runs"), 0, config_file=str(file))
            if Path(workdir).parent != folder / "runs":
                raise AssertionError(f"the folder of the run is {workdir}")
            Path(workdir).mkdir(parents=True, exist_ok=True)
            use(config, "build")

        yield attempt("config: sweeps", name, run)
