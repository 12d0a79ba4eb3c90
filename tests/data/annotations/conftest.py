"""Gives each test a place for annotations."""

import pytest
from helpers.annotations import Sources


@pytest.fixture
def sources(tmp_path):
    return Sources(tmp_path)
