"""A network whose result is known for every image, and images for it."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax.inference.predictor import Predictor
from unet_jax.models.network import Network

NAMES = ("background", "anode", "cathode")
SIZES = ((20, 30), (16, 16), (20, 31), (33, 20), (9, 40), (18, 32), (32, 30))


class GreyLevels(Network):
    """Finds class 0, 1 or 2 where the grey level is 0, 100 or 200; loses `lost` pixels at each border.

    With one class alone, the level 100 is that class.
    """

    num_classes: int = 3
    lost: int = 0

    @nn.nowrap
    def check(self):
        """Accepts everything, so that the predictor's own checks can be tested."""

    def output_size(self, size):
        return size - 2 * self.lost

    def input_size(self, size):
        return size + 2 * self.lost

    @nn.compact
    def __call__(self, images, train=False):
        height, width = images.shape[1:3]
        level = 255 * images[:, self.lost : height - self.lost, self.lost : width - self.lost, :1]
        classes = 100 * (jnp.arange(self.num_classes) + (self.num_classes == 1))
        return (40.0 - abs(level - classes.reshape(1, 1, 1, -1)),)


def predictor(lost=0, activation="softmax", **fields):
    fields = {"normalize": "range", "pad_multiple": 16} | fields
    return Predictor(GreyLevels(lost=lost, activation=activation), {}, NAMES, **fields)


def examples(num=7):
    """Draws images of known ids (`seen`), and masks that differ from them in 2 of 10 pixels and have void pixels."""
    rng = np.random.default_rng(0)
    made = []
    for i, size in enumerate(SIZES[:num]):
        seen, mask = rng.integers(0, 3, size), rng.integers(0, 3, size)
        mask = np.where(rng.random(size) < 0.7, seen, mask).astype(np.uint8)
        mask[0, :5] = 255
        image = (100 * seen + rng.integers(0, 30, size)).astype(np.uint8)[..., None]
        made.append({"image": image, "mask": mask, "id": f"x{i}", "group": "", "seen": seen})
    return made
