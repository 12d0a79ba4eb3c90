"""The folder that the tests of `image_folder` fill."""

import pytest
from folders import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture(autouse=True)
def _quick_compile(quick_compile):
    """The compiler does not optimise: each program here is run a few times."""
