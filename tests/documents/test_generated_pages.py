"""The pages of the reference that are written from the code are those that the code gives now."""

import importlib.util

import pytest
from helpers.documents import DOCS

from unet_jax.configs import default


def load_generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


@pytest.mark.parametrize("page", generate.PAGES)
def test_pages_are_up_to_date(page):
    """Otherwise: python docs/generate.py"""
    assert (DOCS / page).read_text() == generate.PAGES[page]()


def test_every_key_has_a_row():
    page = (DOCS / "reference" / "config.md").read_text()
    config = default.get_config()
    for section in ("loss", "optim", "train", "eval", "checkpoint"):
        rows = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
        assert all(f"\n| `{key}" in rows for key in config[section]), section
    for name in ("unet", "fcn", "fc_densenet"):
        rows = page.split(f"\n### {name}\n")[1].split("\n##")[0]
        assert all(f"\n| `{key}` |" in rows for key in getattr(default, name)()), name


def test_a_key_without_a_comment_is_an_error():
    comments = generate.comments_of(
        'def section():\n    return {\n        # First.\n        "a": 1,\n        "b": 2,\n    }'
    )
    assert comments == {("a",): "First.", ("b",): ""}
    with pytest.raises(KeyError, match=r"b has no comment"):
        generate.rows_of({"a": 1, "b": 2}, comments)
