"""The predictor runs with BatchNorm folded, and keeps network and variables as given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.known_network import NAMES

from unet_jax import models
from unet_jax.analysis.certify.check import random_variables
from unet_jax.inference.forward import mean_probabilities
from unet_jax.inference.predictor import Predictor


@pytest.mark.parametrize("level", [0, 1])
def test_batch_norm_is_folded_and_the_probabilities_stay(level):
    network = models.build("unet_pp", num_classes=3, widths=(4, 6, 8), deep_supervision=True, norm="batch")
    variables = random_variables(network, 1, 16)
    pixels = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    predictor = Predictor(
        network, variables, NAMES, normalize="range", level=level, pad_multiple=16, devices=jax.local_devices()[:1]
    )
    ran = []

    def probabilities(module, mode, variables, batch):
        ran.append((module.norm, module.levels, set(variables)))
        return mean_probabilities(module.apply(variables, batch["image"]), module.activation, mode)

    image = predictor.prepare(np.abs(pixels) / 8)[None]
    got = predictor.run(probabilities, {"image": image})
    assert ran == [("none", predictor.network.levels, {"params"})]
    heads = jax.jit(predictor.network.apply)(predictor.variables, image)
    np.testing.assert_allclose(got, mean_probabilities(heads, "softmax"), atol=1e-5)
    assert float(jnp.ptp(got)) > 0.1
    assert predictor.variables is variables
    assert predictor.network == network.at_level(level)
