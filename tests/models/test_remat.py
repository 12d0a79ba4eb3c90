"""`remat`: the same parameters, values and gradients, less kept for the backward pass, and a program that holds less."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_nets import images, random_variables

from unet_jax.models import build
from unet_jax.runtime.program_cost import Cost

# The programs run once, so they need no optimisation. Their memory is planned before it.
QUICK = {"xla_backend_optimization_level": 0}


def program(remat, batch):
    """Builds a U-Net++ with dropout.

    Returns:
      Its compiled loss, statistics and gradient; its variables; the bytes that are kept for the gradient.
    """
    module = build("unet_pp", num_classes=2, widths=(4, 6), norm="batch", dropout=0.3, remat=remat)
    variables = random_variables(module, batch[:1])
    params = variables["params"]

    def objective(params):
        given = {**variables, "params": params}
        heads, updates = module.apply(
            given, batch, train=True, rngs={"dropout": jax.random.key(1)}, mutable="batch_stats"
        )
        return sum(jnp.sum(jnp.sin(head)) for head in heads), updates

    kept = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(objective, params, has_aux=True)[1], params))
    compiled = jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(params).compile(QUICK)
    return compiled, variables, sum(leaf.size * leaf.dtype.itemsize for leaf in kept)


@pytest.mark.slow
def test_same_results_in_less_memory():
    batch = images(4, 32, 32, 1)
    (plain, variables, all_kept), (remat, others, kept) = (program(levels, batch) for levels in ((), (0, 1)))
    assert jax.tree.structure(variables) == jax.tree.structure(others)
    result, expected = remat(variables["params"]), plain(variables["params"])
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected[1])) > 1e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), result, expected)
    assert kept < 0.25 * all_kept
    # JAX 0.10 recomputes all of such a small network at once on a CPU.
    if jax.__version_info__ >= (0, 12):
        assert Cost.of(remat).temporary < 0.8 * Cost.of(plain).temporary


@pytest.mark.parametrize("levels", [(2,), (-1,), (0.5,), (True,)])
def test_bad_levels_are_named(levels):
    with pytest.raises(ValueError, match=rf"remat {re.escape(str(levels))}: .*at least 0 and at most 1"):
        build("unet_pp", num_classes=2, widths=(4, 6), remat=levels)
