"""Writes the two pages of the reference that come from the code: config.md and commands.md.

    python docs/generate.py

A test holds the committed pages equal to what this gives (tests/documents/test_generated_pages.py).
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from unet_jax.checks import Domain
from unet_jax.configs import default
from unet_jax.data.augment import options as augment_options
from unet_jax.data.datasets import options as dataset_options
from unet_jax.experiment import sections
from unet_jax.programs import commands
from unet_jax.runtime import cli

DOCS = Path(__file__).parent
NOTE = "<!-- Written by `python docs/generate.py`; do not edit. -->"

CONFIG_INTRO = """# Config keys

Every key of a config, with its type, its default and its meaning. A flag sets any of them: `--config.SECTION.KEY=VALUE`, a
nested key as `--config.SECTION.KEY.KEY=VALUE`. The type and the limits are checked; no number may be infinite or NaN. Give a tuple in quotes: `--config.data.patch="(160, 160)"`.

The sections: SECTIONS.

This page is written from `configs/default.py`. The defaults are those of the config `default`;
[another config](../how-to/configs.md) changes some of them.
"""
COMMANDS_INTRO = """# Commands

`unet-jax COMMAND ...` runs a command. `unet-jax COMMAND --help` prints what stands here. Bad input gives one line, `error: ...`,
and status 2.

`python -m unet_jax.programs.NAME` does the same; a hyphen of the command is an underscore there, and `import` is `import_`. In a checkout,
`run_train.py` is `unet-jax train`, and `run_eval.py` is `unet-jax eval`.
"""

# The allowed values of the keys, by section or by the function of configs/default.py.
DOMAINS: dict[str, dict[str, Domain]] = {
    "seed": {"seed": sections.SEED},
    "augment": augment_options.DOMAINS,
    **{name.removesuffix(":NAME"): domains for name, domains in dataset_options.DOMAINS.items()},
}
for section, classes in {
    "pipeline": (sections.DataSection, sections.LoadingSection),
    "optim": (sections.OptimSection,),
    "train": (sections.TrainSection,),
    "eval": (sections.EvalSection,),
    "checkpoint": (sections.CheckpointSection,),
}.items():
    DOMAINS[section] = {
        field.name: field.metadata["domain"]
        for cls in classes
        for field in dataclasses.fields(cls)
        if field.metadata["domain"]
    }

# The functions of configs/default.py that make a section.
ALTERNATIVES = {
    "model": ("unet_pp", "unet", "fcn", "fc_densenet"),
    "data": ("pipeline", "electrodes", "image_folder", "isbi2012", "dsb2018", "tfds"),
    "augment": ("augment",),
}
SECTION_INTROS = {
    "model": (
        "One of these networks, with its options. By a flag: `--config.model=unet`. "
        "In a config file: `config.model = default.unet()`. A map has 1 to 65536 channels, and is halved at most 10 times."
    ),
    "data": "One of these data sets. In a config file: `config.data = default.image_folder(FOLDER)`.",
    "augment": (
        "Two recipes set these options at once: `nnunet` and `unet`, after a colon in `--config`. "
        "See [Augment](../how-to/augment.md)."
    ),
    "loss": "A weighted sum of losses, averaged over the heads of the network. A weight is a number from 0 to 1e6.",
    "optim": "The optimiser, its learning rate and which parameters it trains.",
    "train": "How long a run is, and what it writes on the way.",
    "eval": "How a network is scored and used.",
    "checkpoint": "Which checkpoints are kept.",
}


def comments_of(source: str) -> dict[tuple[str, ...], str]:
    """Returns the comment on the lines above each key of a function of configs/default.py.

    Keys are paths, such as `("loss", "weights", "dice")` for one of `config.loss = ConfigDict({"weights": {"dice": ...}})`
    and `("patch",)` for one of a returned dict.
    """
    lines = source.splitlines()
    comments = {}

    def above(line: int) -> str:
        words = []
        while (text := lines[line - 2].strip()).startswith("#"):
            words.insert(0, text.lstrip("# "))
            line -= 1
        return " ".join(words)

    def visit(node: ast.AST, path: tuple[str, ...]) -> None:
        if isinstance(node, ast.Call):
            for argument in node.args:
                visit(argument, path)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    # A dict on one line has the comment of the key that it belongs to.
                    comments[(*path, key.value)] = "" if key.lineno == node.lineno else above(key.lineno)
                    visit(value, (*path, key.value))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Return) and node.value is not None:
            visit(node.value, ())
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            section = node.targets[0].attr
            comments[(section,)] = above(node.lineno)
            visit(node.value, (section,))
    return comments


def type_name(value: object) -> str:
    """Returns what a reader calls the type of a value: that of its items, too, where it is a tuple that has some."""
    if isinstance(value, tuple) and value:
        kinds = sorted({type(item).__name__ for item in value})
        return f"tuple of {' or '.join(kinds)}"
    return "dict" if isinstance(value, dict | ConfigDict) else type(value).__name__


def cell(text: str) -> str:
    """Escapes what would end a cell of a table."""
    return text.replace("|", "\\|")


def shown(value: object) -> str:
    """Returns a default as it is written in Python."""
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f'"{value}"' if isinstance(value, str) else repr(value).replace("'", '"')


def limits(domain: Domain | None) -> str:
    """Returns the limits of a key as a sentence; "" for a key without limits."""
    if domain is None or not re.search(r"\d", domain.remedy):
        return ""
    return f" Allowed: {re.sub('give |finite | in float32', '', domain.remedy)}."


def rows_of(
    values: dict,
    comments: dict[tuple[str, ...], str],
    path: tuple[str, ...] = (),
    domains: Mapping[str, Domain] | None = None,
) -> list[str]:
    """Returns a row for each key below `path`, in the order of the source.

    Args:
      values: what that path holds.
      comments: as from `comments_of`.
      path: of the keys; () for all.
      domains: the allowed values by the name of the key.

    Raises:
      KeyError: a key has no comment above it.
    """
    rows = []
    for key, meaning in comments.items():
        if len(key) <= len(path) or key[: len(path)] != path:
            continue
        # Where no key below has a comment, one row shows the whole dict.
        below = [other for other in comments if len(other) > len(key) and other[: len(key)] == key and comments[other]]
        if not meaning and not below and not comments.get(key[:-1]):
            raise KeyError(f"configs/default.py: {'.'.join(key)} has no comment above it")
        value = functools.reduce(lambda node, name: node[name], key[len(path) :], values)
        default_value = "" if below else f"`{cell(shown(value))}`"
        if meaning:
            name = ".".join(key[len(path) :])
            meaning += limits((domains or {}).get(name))
            rows.append(f"| `{name}` | {type_name(value)} | {default_value} | {cell(meaning)} |")
    return rows


def table(rows: list[str]) -> str:
    """Returns a Markdown table of keys."""
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def summary(function: object) -> str:
    """Returns the first sentence of a docstring of configs/default.py, without its verb."""
    first = (inspect.getdoc(function) or "").split("\n")[0].removeprefix("Returns ")
    return first[0].upper() + first[1:]


def call(name: str) -> dict:
    """Returns the section that a function of configs/default.py makes; a folder or name that it takes is ""."""
    function = getattr(default, name)
    return dict(function(*[""] * len(inspect.signature(function).parameters)))


def config_page() -> str:
    """Returns docs/reference/config.md."""
    config = default.get_config()
    comments = comments_of(inspect.getsource(default.get_config))
    sections = [key[0] for key in comments if len(key) == 1]
    links = [f"[{section}](#{section})" for section in sections]
    parts = [NOTE, CONFIG_INTRO.replace("SECTIONS", f"{', '.join(links[:-1])} and {links[-1]}")]
    for section in sections:
        value = config[section]
        parts.append(f"## {section}\n")
        if section in SECTION_INTROS:
            parts.append(SECTION_INTROS[section] + "\n")
        if section in ALTERNATIVES:
            for name in ALTERNATIVES[section]:
                function = getattr(default, name)
                if len(ALTERNATIVES[section]) > 1:
                    parts.append(f"### {name}\n")
                parts.append(summary(function) + "\n")
                own = comments_of(inspect.getsource(function))
                parts.append(table(rows_of(call(name), own, domains=DOMAINS.get(name))) + "\n")
        elif isinstance(value, ConfigDict):
            parts.append(table(rows_of(value, comments, (section,), DOMAINS.get(section))) + "\n")
        else:
            own = {(section,): comments[(section,)]}
            parts.append(table(rows_of({section: value}, own, domains=DOMAINS.get(section))) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def commands_page() -> str:
    """Returns docs/reference/commands.md."""
    parts = [NOTE, COMMANDS_INTRO]
    for group, listed in commands.COMMANDS.items():
        parts.append(f"## {group}\n")
        for name, command in listed.items():
            program = importlib.import_module(commands.module_name(name))
            line = command.line[0].upper() + command.line[1:]
            parts.append(f"### {name}\n\n{line}.\n")
            parts.append(f"```text\n{cli.help_text(program.__doc__, program.FLAGS)}\n```\n")
    return "\n".join(parts).rstrip() + "\n"


PAGES = {"reference/config.md": config_page, "reference/commands.md": commands_page}


def main() -> None:
    """Writes the pages into docs/."""
    for path, page in PAGES.items():
        (DOCS / path).write_text(page())
        print(f"docs/{path}", file=sys.stderr)


if __name__ == "__main__":
    main()
