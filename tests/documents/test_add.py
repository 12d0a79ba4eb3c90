"""docs/how-to/add.md: a network, an encoder and a loss are added by exactly what the page says, and tested.

The page is followed in a copy of the project. Nothing else is changed there.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import edits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "add.md").read_text()
# By heading: the tests that run over the tables, and the choice of those that meet the new row.
TESTS = {
    "A network": (
        "tests/models/test_every_network.py",
        "tests/models/test_build.py",
        "tests/models/test_layers.py",
        "tests/documents/test_configs.py",
        "-k",
        "tiny or (bad_options and unet3) or dropout or levels_of or no_batch or every_option or no_key",
    ),
    "An encoder": ("tests/models/test_encoders.py", "-k", "plain"),
    "A loss": (
        "tests/training/losses/test_losses.py",
        "tests/experiment/test_sections.py",
        "-k",
        "brier or hold_every_value or contradicts",
    ),
}
# Part of the id of a test that meets the new row.
NAMES = {"A network": "[tiny] PASSED", "An encoder": "[plain] PASSED", "A loss": "brier-softmax] PASSED"}

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A copy of the project, without what it does not need."""
    for name in ("unet_jax", "configs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def python(folder: Path, *arguments: str, project: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.parametrize("heading", TESTS)
def test_what_the_page_adds_passes_the_tests_of_its_table(heading, project):
    blocks = edits.file_blocks(edits.section(PAGE, heading))
    assert len(blocks) >= 2
    for file, block in blocks:
        edits.apply(project, file, block)
    done = python(project, "-m", "pytest", "-n", "0", "-vv", "-p", "no:cacheprovider", *TESTS[heading], project=project)
    assert NAMES[heading] in done.stdout
    if heading == "A network":
        train = ("-m", "unet_jax.programs.train", "--config=smoke", "--config.model=tiny", "--workdir=run")
        python(project, *train, "--config.train.num_steps=2", "--config.train.eval_every=2", project=project)


def test_a_network_of_a_config_file_is_trained_and_opened_by_other_programs(tmp_path):
    ((file, block),) = edits.file_blocks(edits.section(PAGE, "In your own config file"))
    (tmp_path / file).write_text(block)
    flags = ("--config.train.num_steps=2", "--config.train.eval_every=2")
    python(tmp_path, "-m", "unet_jax.programs.train", f"--config={file}", "--workdir=run", *flags)
    code = "import unet_jax; module = unet_jax.load('run').module; print(type(module).__name__, module.kernel)"
    assert python(tmp_path, "-c", code).stdout.splitlines()[-1] == "OneConv 5"
