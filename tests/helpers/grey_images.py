"""Folders of small grey images, and the content of folders."""

import numpy as np
from PIL import Image


def write_grey(path, size=(8, 8), level=0):
    """Writes an image of one grey level; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, level, np.uint8)).save(path)


def contents(folder):
    """Returns the bytes of every file below a folder by its path, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
