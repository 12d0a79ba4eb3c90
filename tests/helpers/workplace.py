"""A folder in which the blocks of the documents are done, as a reader does them: commands in a shell, and Python.

It has what the documents speak of: FOLDER with images and masks, image.png, and runs/, which the blocks fill.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from helpers import command_server
from helpers.documents import ROOT, Block
from unet_jax.data.datasets.electrodes.render import render

# What a document may call, and what it does here. Anything else that is not part of the system is not found.
PROGRAMS = {
    "unet-jax": f'exec "{sys.executable}" -S -E "{command_server.__file__}" "$COMMANDS" "$@"',
    "python": f'exec "{sys.executable}" "$@"',
    # Says what it would do, and fails for a target that is not in the Makefile.
    "make": f'exec /usr/bin/env -i PATH=/usr/bin:/bin make -n -C "{ROOT}" "$@"',
    "pip": "echo 'installs packages: mark the block as not run' >&2; exit 1",
}
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    # One CPU device, as a reader has; the flag of docs/how-to/gpu.md, so that all programs are compiled once.
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
    # Threads that a fork would not have.
    "OPENBLAS_NUM_THREADS": "1",
}


class Workplace:
    """Does blocks in a folder.

    Attributes:
      folder: the folder.
    """

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self._environment = folder, environment

    def do(self, block: Block) -> str:
        """Does a block; returns what it printed.

        Raises:
          AssertionError: a command ended with a status that is not 0.
        """
        if block.language == "python":
            with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(block.text, str(block), "exec"), {"__name__": "block"})
            return printed.getvalue()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@contextlib.contextmanager
def workplace(folder: Path, cache_dir: str) -> Iterator[Workplace]:
    """Makes `folder` a workplace, and serves its commands."""
    write_images(folder / "FOLDER")
    shutil.copy(folder / "FOLDER" / "images" / "cell 0.png", folder / "image.png")
    (folder / "bin").mkdir()
    for name, script in PROGRAMS.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="unet") as short:
        # The path of a socket must be short.
        address = f"{short}/commands"
        environment = os.environ | ENVIRONMENT | {"UNET_JAX_CACHE": cache_dir, "COMMANDS": address, "HOME": str(folder)}
        environment["PATH"] = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        server = subprocess.Popen(
            [sys.executable, command_server.__file__, address],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with server:
            assert server.stdout.readline() == b"ready\n"
            yield Workplace(folder, environment)
            server.stdin.close()


def write_images(root: Path) -> None:
    """Writes FOLDER of the documents: X-rays of three sizes and their masks."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(24):
        example = render(1, index, size=(40 + 8 * (index % 3), 64))
        Image.fromarray(example["image"][..., 0]).save(root / "images" / f"cell {index}.png")
        Image.fromarray(example["mask"]).save(root / "masks" / f"cell {index}.png")
