"""U-Net and U-Net++ in JAX: trains, evaluates and examines networks that segment images.

unet-jax COMMAND --help     what a command does, with examples, and its flags
unet-jax --version          the version of the package
"""

import difflib
import importlib
import keyword
import sys
from typing import NamedTuple

from unet_jax.runtime import standard_streams
from unet_jax.version import __version__


class Command(NamedTuple):
    """Describes a command by one line, and by the arguments of an example."""

    line: str
    example: str


# By group; a command "a-b" is the module a_b of this room, and `import` is import_.
COMMANDS = {
    "Train and use": {
        "train": Command("trains and scores a network, or resumes its run", "--config=smoke --workdir=runs/smoke"),
        "eval": Command("scores a trained run, or predicts a folder of images", "--workdir=runs/smoke"),
        "calibrate": Command("makes probabilities frequencies, by a temperature", "--workdir=runs/smoke"),
        "predict": Command("turns images into masks", "--model=electrodes IMAGE... --out=FOLDER"),
        "measure": Command(
            "counts and measures the objects of images", "--model=electrodes --images=FOLDER --out=FOLDER"
        ),
    },
    "Data": {
        "check": Command("checks a folder of images and masks before a training", "FOLDER"),
        "import": Command(
            "turns annotations (COCO, LabelMe, YOLO) into a folder that trains", "annotations.json --out=FOLDER"
        ),
        "preview": Command("draws the augmented windows that a network will see", "--config=default --out=sheet.png"),
        "from-torch": Command(
            "converts torchvision's weights of an encoder",
            "resnet34.safetensors --encoder=resnet34 --out=resnet34.npz",
        ),
    },
    "Look inside": {
        "compare": Command("compares runs, with intervals over seeds", "runs/a-seed0 runs/a-seed1 --out=OUT"),
        "prune": Command("finds how far a U-Net++ can be pruned", "--workdir=runs/electrodes"),
        "skips": Command("measures what skip connections contribute", "--workdir=runs/unet --workdir=runs/unet_pp"),
        "gradients": Command("measures the gradient that reaches each layer", "--workdir=runs/unet --steps=0,latest"),
        "reuse": Command("measures which maps each convolution reads", "--workdir=runs/electrodes"),
    },
    "Cost and proof": {
        "plan": Command("plans memory and time of a training step", "--config=default --topology=v5e:2x2"),
        "certify": Command("checks that the networks are the published ones", "--config=default"),
        "verify-resume": Command("kills and resumes a run, compares every bit", "--config=smoke --workdir=runs/proof"),
    },
}


def help_text() -> str:
    """Returns the help of `unet-jax`: every command by group, each with a line and an example."""
    lines = [(__doc__ or "").strip()]
    for group, commands in COMMANDS.items():
        lines.append(f"\n{group}:")
        for name, command in commands.items():
            lines += [f"  {name:<15}{command.line}", f"  {'':<15}  unet-jax {name} {command.example}"]
    return "\n".join(lines)


def names() -> list[str]:
    """Returns the names of all commands, in the order of the table."""
    return [name for commands in COMMANDS.values() for name in commands]


def module_name(command: str) -> str:
    """Returns the dotted name of the module of a command, such as "unet_jax.programs.from_torch"."""
    module = command.replace("-", "_")
    # `import` is no name in Python.
    return f"unet_jax.programs.{module}_" if keyword.iskeyword(module) else f"unet_jax.programs.{module}"


@standard_streams.guard()
def run() -> None:
    """Runs the command that the command line names; ends the process with its status, 2 where there is no such command."""
    # "help COMMAND" is "COMMAND --help".
    if sys.argv[1:2] == ["help"] and len(sys.argv) > 2:
        sys.argv[1:] = [sys.argv[2], "--help"]
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(help_text())
    elif name == "--version":
        print(f"unet-jax {__version__}")
    elif name.replace("_", "-") in names():
        # The command sees its own arguments alone.
        sys.argv[:2] = [f"unet-jax {name}"]
        importlib.import_module(module_name(name)).run()
    else:
        print(f"error: {_describe_unknown(name)}; commands: {', '.join(names())}", file=sys.stderr)
        sys.exit(2)


def _describe_unknown(name: str) -> str:
    """Returns what is wrong with a first word that is not a command."""
    if not name or name.startswith("-"):
        problem = f"the command is missing before {name}" if name else "the command is empty"
        return f"{problem}; write it first, for example: unet-jax train {_example('train')}"
    similar = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    return f"{name} is no command" + (f"; did you mean {similar[0]}?" if similar else "")


def _example(name: str) -> str:
    return next(commands[name].example for commands in COMMANDS.values() if name in commands)


if __name__ == "__main__":
    run()
