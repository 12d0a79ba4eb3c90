"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import unet_jax

PACKAGE = Path(unet_jax.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "    >>> " in path.read_text() or "\n>>> " in path.read_text()
)


def test_there_are_examples():
    assert "unet_jax.training.losses.registry" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, cache_dir, monkeypatch):
    monkeypatch.setenv("UNET_JAX_CACHE", cache_dir)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
