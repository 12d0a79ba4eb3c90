"""Every network here is compiled for a call or two."""

import pytest


@pytest.fixture(autouse=True)
def _quick_compile(quick_compile):
    """The compiler does not optimise."""
