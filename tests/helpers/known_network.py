"""A network whose answer is known, and images for it."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax.inference.predictor import Predictor
from unet_jax.models.network import Network

NAMES = ("background", "anode", "cathode")
SIZES = ((20, 30), (16, 16), (20, 31), (33, 20), (9, 40), (18, 32), (32, 30))


class GreyLevels(Network):
    """Grey levels 0, 100, 200 are classes 0, 1, 2 (100 is class 1 where it is the only one); `lost` pixels are lost at each border."""

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
    """Images of known ids, and masks that disagree with them here and there, with void."""
    rng = np.random.default_rng(0)
    made = []
    for i, size in enumerate(SIZES[:num]):
        seen, mask = rng.integers(0, 3, size), rng.integers(0, 3, size)
        mask = np.where(rng.random(size) < 0.7, seen, mask).astype(np.uint8)
        mask[0, :5] = 255
        image = (100 * seen + rng.integers(0, 30, size)).astype(np.uint8)[..., None]
        made.append({"image": image, "mask": mask, "id": f"x{i}", "group": "", "seen": seen})
    return made
