"""What a document says, done: its commands in their order, made small, and its Python, on a folder of tiny images."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

from unet_jax.data.datasets.electrodes.render import render

ROOT = Path(__file__).parents[2]
SMALL = [  # of every training, whatever the document sets
    "--config.model.widths=(4, 8)",
    "--config.data.patch=(32, 32)",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.optim.warmup_steps=1",
    "--config.eval.num_pictures=1",
]


def blocks(text, language):
    """The fenced blocks of one language in a document, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def links(text):
    """The files that a document links to."""
    return re.findall(r"\]\(([^):#]+)[)#]", text)


def write_folder(root):
    """FOLDER of the documents: X-rays of three sizes and their masks."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    for index in range(24):
        example = render(1, index, size=(40 + 8 * (index % 3), 64))
        Image.fromarray(example["image"][..., 0]).save(root / "images" / f"cell {index}.png")
        Image.fromarray(example["mask"]).save(root / "masks" / f"cell {index}.png")
    return root


def commands(text):
    """Every line of the document's `sh` blocks that begins with python, as lists of words."""
    lines = [shlex.split(line, comments=True) for block in blocks(text, "sh") for line in block.splitlines()]
    return [words for words in lines if words and words[0] == "python"]


def run_commands(commands, folder, runs, cache_dir):
    """Runs the commands in turn.

    FOLDER is `folder`, runs/ is `runs`; a command that fails raises CalledProcessError.
    """
    quick = {  # most compile the same programs, and compile far longer than they train
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    for _, *arguments in commands:
        arguments = [a.replace("FOLDER", str(folder)).replace("runs/", f"{runs}/") for a in arguments]
        if arguments[0] == "run_train.py":
            arguments += [*SMALL, f"--config.data.cache_dir={cache_dir}"]
        subprocess.run([sys.executable, *arguments], cwd=ROOT, env=os.environ | quick, check=True, timeout=300)


def run_python(text, run, image):
    """Runs the document's one `python` block with that run and image; returns its names."""
    (python,) = blocks(text, "python")
    names = {}
    exec(python.replace("runs/mine", str(run)).replace("image.png", str(image)), names)
    return names
