"""A batch in micro-batches against the whole batch at once."""

import jax
import numpy as np
import optax
import pytest
from helpers.training_steps import AUGMENT, OFF, make_batch, make_step, run

from unet_jax import models
from unet_jax.runtime import parallel


@pytest.mark.parametrize("norm", ["group", "none"])
def test_accumulated_equals_at_once(norm):
    """Cross entropy plus Dice with unequal numbers of valid pixels; a mean over micro-batches would differ."""
    batch, at_once, largest = make_batch(rows=8), None, 0.0
    for accumulate in (1, 2):
        step, state = make_step("weighted sum", AUGMENT, norm=norm, learning_rate=1.0, accumulate=accumulate)
        after, metrics = parallel.to_host(run(step, state, batch, 4))
        result = (optax.tree.sub(state.params, after.params), metrics)
        at_once, largest = at_once or result, max(float(abs(leaf).max()) for leaf in jax.tree.leaves(result[0]))
    assert largest > 1e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * largest), result, at_once)


def test_statistics_are_those_of_the_micro_batches_in_turn():
    """On any number of devices the rows 0, 2, 4, 6 are together, then 1, 3, 5, 7."""
    batch = make_batch(rows=8)
    module = models.build("unet_pp", num_classes=3, widths=(4, 8), norm="batch", deep_supervision=True)
    step, state = make_step("dice", OFF, accumulate=2)
    expected = state.batch_stats
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        variables = {"params": state.params, "batch_stats": expected}
        expected = module.apply(variables, batch["image"][rows], train=True, mutable=["batch_stats"])[1]["batch_stats"]
    results = [parallel.to_host(run(step, state, batch, n)) for n in (1, 4)]
    for after, _ in results:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after.batch_stats, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), results[0][1], results[1][1])
