"""The documentation site is built without a warning, and loads nothing from another place."""

import os
import re
import subprocess
import sys

import pytest
from helpers.documents import ROOT


@pytest.mark.slow
def test_site_is_built(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={tmp_path}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in tmp_path.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="?https?:', text), path.name
        assert not re.findall(r'<link[^>]* rel="?(?:stylesheet|preconnect)"?[^>]* href="?https?:', text), path.name
    api = (tmp_path / "reference" / "api" / "losses.html").read_text()
    assert "unet_jax.training.losses.registry.create_loss" in api
    assert not list(tmp_path.rglob("*.py*"))
