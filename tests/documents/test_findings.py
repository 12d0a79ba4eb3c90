"""findings/: each script can be read by bash, stops at an error, says guess and seen, and stands in the table."""

import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def test_the_table_lists_every_script():
    listed = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \|", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)
    assert [name for name, _ in listed] == [script.name for script in SCRIPTS]
    assert all(name == link for name, link in listed)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_whole(script):
    text = script.read_text()
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert re.match(r"#!/usr/bin/env bash\n# .+\.\nset -euo pipefail\n", text)
    assert all(word in text for word in ("version:", "guess:", "seen:", "changed:"))
    # Without this project, and with pinned packages.
    assert "unet_jax" not in text
    (install,) = re.findall(r"pip install --quiet --disable-pip-version-check (.+)", text)
    assert all("==" in package for package in install.split())
    (python,) = re.findall(r"<<'PY'\n(.*?)\nPY", text, flags=re.DOTALL)
    compile(python, script.name, "exec")
