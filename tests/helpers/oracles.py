"""Libraries that tests compare our scores with. The extra `dev` and requirements.txt have them."""

import importlib
import os
from types import ModuleType

import pytest


def oracle(module: str) -> ModuleType:
    """Returns a library. Where it is not installed the test is skipped, except on CI, where it must be.

    Args:
      module: name of its module.
    """
    if "CI" in os.environ:
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"{module} is not installed; pip install -c requirements.txt -e '.[dev]'")
