"""Writes folders of images and masks for tests."""

import cv2
import numpy as np
import pytest
from PIL import Image

from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 10)).astype(np.uint8)
IDS = RNG.integers(0, 3, (12, 10)).astype(np.uint8)
TRAIN = {"split_fractions": (1, 0, 0)}


def scene(seed, size=(90, 120)):
    """Returns blobs of several sizes on a slope of brightness that all scenes share, uint8 `[h, w, 1]`."""
    rng = np.random.default_rng(seed)
    noise = sum(cv2.GaussianBlur(rng.normal(size=size), (0, 0), s) * s for s in (2, 5))
    return np.clip(90 + np.linspace(0, 80, size[1]) + 25 * noise, 0, 255).astype(np.uint8)[..., None]


class Folder:
    """Writes files below `root` and loads them as a data set. Arrays of colours are in RGB order."""

    def __init__(self, tmp_path):
        self.root, self.cache = tmp_path / "root", str(tmp_path / "cache")

    def write(self, name, content):
        """Writes text, bytes, a Pillow image or an array to a file of this name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str | bytes):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        elif isinstance(content, Image.Image):
            content.save(path)
        else:
            order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(content.shape[-1] if content.ndim == 3 else 0)
            assert cv2.imwrite(str(path), content[..., order] if order else content)

    def pair(self, id_, image=GREY, mask=IDS, image_suffix=".png", mask_suffix=".png"):
        """Writes an image and its mask."""
        self.write(f"images/{id_}{image_suffix}", image)
        self.write(f"masks/{id_}{mask_suffix}", mask)

    def create(self, **options):
        """Returns the data set of the folder; all images are train unless `options` say otherwise."""
        return load_image_folder(str(self.root), cache_dir=self.cache, **(TRAIN | options))

    def examples(self, **options):
        """Returns the training examples by id."""
        source = self.create(**options).source("train")
        return {example["id"]: example for example in (source[i] for i in range(len(source)))}

    def raises(self, match, **options):
        """Checks that loading ends with an error of one line that matches."""
        with pytest.raises(UserError, match=match) as error:
            self.create(**options)
        assert "\n" not in str(error.value)
