"""What the README says, done: its commands in their order, made small, and its Python, on a folder of tiny images."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from unet_jax.data import electrodes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = [
    "--config.model.widths=(4, 8)",
    "--config.data.patch=(32, 32)",
    "--config.train.batch_size=4",
    "--config.train.num_steps=2",
    "--config.optim.warmup_steps=1",
    "--config.eval.num_pictures=1",
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FOLDER of the README: X-rays of three sizes and their masks."""
    root = tmp_path_factory.mktemp("own")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for index in range(24):
        example = electrodes.render(1, index, size=(40 + 8 * (index % 3), 64))
        Image.fromarray(example["image"][..., 0]).save(root / "images" / f"cell {index}.png")
        Image.fromarray(example["mask"]).save(root / "masks" / f"cell {index}.png")
    return root


def test_commands_and_python(folder, cache_dir, tmp_path):
    commands = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    commands = [command for command in commands if command[0] == "python"]
    assert len(commands) >= 5
    runs = tmp_path / "runs"
    for _, program, *arguments in commands:
        arguments = [a.replace("FOLDER", str(folder)).replace("runs/", f"{runs}/") for a in arguments]
        small = [*SMALL, f"--config.data.cache_dir={cache_dir}"] if program == "run_train.py" else []
        subprocess.run([sys.executable, ROOT / program, *arguments, *small], cwd=ROOT, check=True, timeout=300)
    assert len(list((runs / "mine/masks/masks/class_1").iterdir())) == 24

    (python,) = blocks("python")
    image = folder / "images" / "cell 0.png"
    names = {}
    exec(python.replace("runs/mine", str(runs / "mine")).replace("image.png", str(image)), names)
    assert names["masks"].shape == (40, 64, 2)
    assert names["probabilities"].shape == (40, 64, 3)


def test_every_config_stands_in_the_table():
    experiments = README.split("\n## Experiments\n")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)[:`]", experiments, flags=re.MULTILINE))
    assert rows == {path.stem for path in (ROOT / "configs").glob("*.py")}


def test_pictures_and_links_are_there():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        targets = re.findall(r"\]\(([^)#]+)[)#]", path.read_text())
        for target in (target for target in targets if not target.startswith("https://")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_makefile_has_the_commands():
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{name}:" in makefile for name in ("train", "test"))
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
