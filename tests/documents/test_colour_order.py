"""The documented Python lines give a network the colours in the order in which it was trained: red, green, blue."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import documents
from PIL import Image

import unet_jax

BLOCKS = [
    block
    for page in documents.pages()
    for block in documents.blocks(page)
    if block.language == "python" and '"runs/mine"' in block.text and '"image.png"' in block.text
]


def test_the_lines_are_there():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_documented_lines_keep_the_order_of_colours(block, tmp_path, monkeypatch):
    colours = np.zeros((8, 9, 3), np.uint8)
    colours[:, :4], colours[:, 4:] = (230, 20, 10), (5, 30, 220)
    Image.fromarray(colours).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)

    def predict(image):
        np.testing.assert_array_equal(image, colours)
        # The network's object is red.
        masks = np.asarray(image)[..., :1] > 100
        return masks, masks.astype(np.float32)

    monkeypatch.setattr(unet_jax, "load", lambda path: SimpleNamespace(predict=predict), raising=False)
    names: dict = {}
    exec(block.text, names)
    np.testing.assert_array_equal(names["masks"][..., 0], colours[..., 0] > 100)
