"""A batch in micro-batches, for a step whose activations do not fit into memory at once: `optim.accumulate`.

What is added up over the micro-batches are the sums that a loss is made of (`Loss.sums`), not losses and not gradients of
them: the loss is `value` of the sums of the whole batch, and so is its gradient. A Dice of the batch, a ratio of such sums,
is therefore exact, as are means over unequal numbers of valid pixels. The gradient needs the sums of the whole batch before
it can be taken of any part, so each micro-batch goes forward twice: about a third more work than at once.

BatchNorm sees one micro-batch of all devices at a time: it normalises by its statistics, and the running ones move once for
each, in order. Only with other normalisations, or none, is the step that of the whole batch at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def over_micro_batches(part: Callable, number: int) -> Callable:
    """`part(params, stats, batch, key) -> (sums, (stats, *outputs))` over `number` micro-batches, one after the other.

    Row r of the batch is in micro-batch r mod `number`: the same rows are together on any number of devices, as long as
    a device's rows are a multiple of `number`. `key` is folded with the number of the micro-batch.

    Returns:
      A function like `part`: its sums are those of all rows, its outputs `[number * b, ...]` stand in the order of the
      micro-batches. Of the activations, only one micro-batch's are held at a time, in the backward pass too.
    """
    part = jax.checkpoint(part, prevent_cse=False)  # the scan keeps the two passes apart already

    def total(params, stats, batch, key):
        micro = jax.tree.map(lambda x: x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1), batch)

        def one(stats, numbered):
            index, rows = numbered
            sums, (stats, *outputs) = part(params, stats, rows, jax.random.fold_in(key, index))
            return jax.lax.stop_gradient(stats), (sums, outputs)

        stats, (sums, outputs) = jax.lax.scan(one, stats, (jnp.arange(number), micro))
        outputs = (x.reshape(-1, *x.shape[2:]) for x in outputs)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), (stats, *outputs)

    return total
