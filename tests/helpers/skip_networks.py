"""Small networks with random weights, their graphs, and images for them; each is made once."""

import functools

import jax
import numpy as np

from unet_jax import models
from unet_jax.analysis.certify.check import random_variables
from unet_jax.analysis.skips import graph as graphs
from unet_jax.inference.predictor import Predictor

NAMES = ("background", "anode", "cathode")


@functools.cache
def trained(name, **options):
    module = models.build(name, num_classes=3, **options)
    variables = random_variables(module, 1, module.input_size(32))
    for part, head in variables["params"].items():
        if part.startswith("head"):
            # With random biases, one class would be predicted everywhere.
            head["bias"] = np.zeros_like(head["bias"])
    return module, variables


def predictor(name="unet_pp", mode="accurate", devices=1, **options):
    module, variables = trained(name, **(options or {"widths": (2, 3, 4), "deep_supervision": True}))
    return Predictor(module, variables, NAMES, mode=mode, pad_multiple=32, devices=jax.local_devices()[:devices])


FIND = graphs.find


@functools.cache
def graph_of(module):
    return FIND(module, random_variables(module, 1, module.input_size(32)), 1)


def graph(name="unet_pp", **options):
    return graph_of(trained(name, **(options or {"widths": (2, 3, 4), "deep_supervision": True}))[0])


def examples(sizes=((32, 32), (20, 30), (32, 25))):
    rng = np.random.default_rng(3)
    made = []
    for k, size in enumerate(sizes):
        mask = np.repeat(np.repeat(rng.integers(0, 3, (8, 8)), 4, 0), 4, 1)[: size[0], : size[1]].astype(np.uint8)
        mask[:3, :5] = 255
        # Images of different brightness, so that the means of features differ.
        image = (255 * rng.random((*size, 1)) ** (0.2, 1, 5)[k % 3]).astype(np.uint8)
        made.append({"image": image, "mask": mask, "id": f"x{k}", "group": ""})
    return made
