"""Splits a batch into micro-batches, for a step whose activations do not fit into memory at once (`optim.accumulate`).

The sums of a loss (`Loss.sums`) are added over the micro-batches, and `from_sums` turns the sums of the whole batch into the
loss. Losses or gradients of micro-batches are never averaged. So Dice, a ratio of such sums, is exact, and so is a mean over
unequal numbers of valid pixels. The gradient of any part needs the sums of the whole batch first, so each micro-batch runs
forward twice. That is about a third more work.

BatchNorm sees one micro-batch of all devices at a time. It normalises with the statistics of that micro-batch, and updates
the running statistics once per micro-batch, in order. So with BatchNorm the step differs from that of the whole batch at
once; with other normalisations, or none, it is the same.

`optax.microbatching.microbatch` is not used, because it passes neither a state (the running statistics) nor the number of the
micro-batch (for dropout) from one micro-batch to the next.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from optax.microbatching import reshape_batch_axis


def over_micro_batches(part: Callable, number: int) -> Callable:
    """Builds a function that applies `part` to `number` micro-batches, one after the other.

    Row r of the batch is in micro-batch r mod `number`. So the same rows are together on any number of devices, if the rows
    of a device are a multiple of `number`. The activations of only one micro-batch are held at a time, also in the backward
    pass.

    Args:
      part: `part(params, stats, batch, key) -> (sums, (stats, *outputs))`. Each micro-batch gets the `stats` that the previous
        one returned, and `key` folded with its number.
      number: the number of micro-batches.

    Returns:
      A function like `part`. Its sums are those of all rows; its outputs `[number * b, ...]` are in the order of the
      micro-batches.
    """
    # `prevent_cse` is not needed: the scan keeps the two forward passes apart.
    part = jax.checkpoint(part, prevent_cse=False)

    def whole_batch(params, stats, batch, key):
        rows = jax.tree.leaves(batch)[0].shape[0]
        # `[rows, ...]` -> `[number, rows / number, ...]`.
        micro_batches = reshape_batch_axis(batch, rows // number)

        def one(stats, numbered):
            index, micro_batch = numbered
            sums, (stats, *outputs) = part(params, stats, micro_batch, jax.random.fold_in(key, index))
            return jax.lax.stop_gradient(stats), (sums, outputs)

        stats, (sums, outputs) = jax.lax.scan(one, stats, (jnp.arange(number), micro_batches))
        outputs = (x.reshape(-1, *x.shape[2:]) for x in outputs)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), (stats, *outputs)

    return whole_batch
