"""docs/gpu.md: its programs, flags, configs and keys exist, and its Python does what it says. (A whole run resumed and
compared, as its part 3 does it: runs/test_loop.py.)"""

import json
import re
import shlex
import subprocess
import sys

import pytest
from helpers import documents
from helpers.documents import ROOT

from unet_jax.configs import smoke

TEXT = (ROOT / "docs" / "gpu.md").read_text()
LINES = [line for block in documents.blocks(TEXT, "sh") for line in block.splitlines()]
PYTHON = [shlex.split(line)[2] for line in LINES if line.startswith("python -c")]
PROGRAMS = [shlex.split(line.partition("python ")[2]) for line in LINES if re.search(r"python \w+[/\w]*\.py", line)]


@pytest.fixture(scope="module")
def flags_of():
    """The flags that a program defines, read from its text."""

    def read(program):
        found = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / program).read_text())
        return {*found, "traceback"}

    return read


def test_it_has_commands():
    assert len(PYTHON) == 3
    assert len(PROGRAMS) == 6


def test_programs_flags_and_configs_exist(flags_of):
    for program, *arguments in PROGRAMS:
        for argument in arguments:
            name, _, value = argument.removeprefix("--").partition("=")
            assert name in flags_of(program), argument
            assert name != "config" or (ROOT / value).is_file(), argument


def test_config_keys_exist():
    config = smoke.get_config()
    keys = re.findall(r"`(?:--config\.)?((?:train|data|eval|model|optim)\.\w+)", TEXT)
    assert {"train.batch_size", "data.num_threads", "model.dtype"} <= set(keys)
    for key in keys:
        section, name = key.split(".")
        assert name in config[section], key


def test_python_prints_what_it_says(tmp_path):
    """On the CPU of this test; the last one on two runs that differ in one leaf."""
    for run, digest in (("whole", "b"), ("resumed", "c")):
        folder = tmp_path / "runs/gpu" / run / "checkpoints/20/digests"
        folder.mkdir(parents=True)
        (folder / "metadata").write_text(json.dumps({"params/x": "a", "params/y": digest}))
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True
        ).stdout
        for code in PYTHON
    ]
    assert re.match(r"\d+\.\d+\S* cpu \[CpuDevice\(id=0\)", printed[0])
    assert re.fullmatch(r"\[None(, None)*\]\n", printed[2])
    assert printed[1] == "['params/y']\n"
