"""Images and results in folders of any name, and images of any name."""

from pathlib import Path

import numpy as np
import pytest
from helpers.known_network import predictor
from PIL import Image

from unet_jax.data.datasets.image_files import read_image
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.inputs import find_inputs
from unet_jax.inference.outputs import MaskFolder

NAMES = [f"a{c}b" for c in map(chr, range(32, 127)) if not c.isalnum() and c != "/"]
NAMES += ["-a", "a.", " a", "a ", "**", "x[0:1]", "x@5", "{a,b}", "~", "~x", "gs:", "file:x", "%20", "é"]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Makes, for each name, a folder of that name with an image of that name, which has a grey level of its own."""
    monkeypatch.chdir(tmp_path)
    for level, name in enumerate(NAMES):
        folder = tmp_path / name
        folder.mkdir()
        Image.fromarray(np.full((8, 8), 2 * level, np.uint8)).save(folder / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("relative", [True, False])
def test_images_of_any_name_are_found_and_read(images, relative):
    for level, name in enumerate(NAMES):
        # A lone ~ is the home folder, as in a shell.
        folder = images / name if not relative else Path(name) if name != "~" else f"./{name}/../{name}"
        for given in (folder, f"{folder}/{name}.png"):
            (image,) = find_inputs([given]).images
            assert image.path.name == f"{name}.png"
            assert (read_image(image.path) == 2 * level).all()


def test_results_of_any_name(images):
    masks = MaskFolder(predictor(), images / "out")
    for name in NAMES:
        masks.write(name, np.zeros((8, 8, 3), bool), np.zeros((8, 8), np.uint8))
    for folder in masks.folders:
        assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in NAMES}


@pytest.mark.parametrize("name", ["o*[0]", "o\\b", "-o", "~o", "o?#%20;$"])
def test_the_folder_of_results_may_have_any_name(images, name):
    predict_folder(predictor(), images / "a b", name, batch_size=1)
    assert (images / name / "ids" / "a b.png").exists()
    # The page of an earlier call is found there, and the overlays of both calls are in it.
    predict_folder(predictor(), images / "-a", name, batch_size=1)
    assert (images / name / "index.html").read_text().count("<img") == 2
