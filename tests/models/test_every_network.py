"""Every network of the table returns any size in float32 and trains each of its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import full, images, random_variables

from unet_jax.models.registry import MODELS
from unet_jax.runtime.unoptimized_jit import jit_without_optimization


@pytest.mark.parametrize("name", list(MODELS))
def test_any_size_comes_back_in_float32(name):
    """Parameters and logits are float32 when the computation is not, and the logits are those of float32 to its rounding."""
    module, image = full(name, dtype="bfloat16"), images(2, 37, 21, 3)
    initial = jax.eval_shape(module.init, jax.random.key(0), image)
    assert {leaf.dtype for leaf in jax.tree.leaves(initial)} == {jnp.dtype(jnp.float32)}
    variables = random_variables(module, image)
    heads = jit_without_optimization(lambda v, i: (module.apply(v, i), module.clone(dtype="float32").apply(v, i)))(
        variables, image
    )
    for logits, exact in zip(*heads, strict=True):
        assert logits.shape == (2, 37, 21, 2)
        assert logits.dtype == jnp.float32
        off = float(jnp.abs(logits - exact).max() / jnp.abs(exact).max())
        assert 1e-5 < off < 0.05


@pytest.mark.parametrize("name", list(MODELS))
def test_the_gradient_reaches_every_parameter(name):
    module, image = full(name, activation="sigmoid"), images(1, 24, 40, 2)
    variables = random_variables(module, image)

    def total(params):
        return sum(jnp.square(logits).sum() for logits in module.apply({**variables, "params": params}, image))

    gradients = jit_without_optimization(jax.grad(total))(variables["params"])
    for path, gradient in jax.tree_util.tree_flatten_with_path(gradients)[0]:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).sum() > 0, jax.tree_util.keystr(path)
