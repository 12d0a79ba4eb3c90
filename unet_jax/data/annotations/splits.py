"""Tells the split of an image from the names of folders and files, where a source has no other way."""

from collections.abc import Iterable

WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_of(names: Iterable[str]) -> str:
    """Returns the split that the last of these names gives, or "".

    >>> split_of(["data", "valid", "images"])
    'val'
    """
    return next((WORDS[name.lower()] for name in reversed([*names]) if name.lower() in WORDS), "")
