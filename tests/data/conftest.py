"""The folder that the tests of `image_folder` fill."""

import pytest
from helpers.image_folders import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
