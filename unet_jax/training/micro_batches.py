"""A batch in micro-batches, for a step whose activations do not fit into memory at once: `optim.accumulate`.

What is added up over the micro-batches are the sums that a loss is made of (`Loss.sums`), not losses and not their
gradients: the loss is `from_sums` of the sums of the whole batch, and so is its gradient. A Dice of the batch, a ratio of
such sums, is therefore exact, and so is a mean over unequal numbers of valid pixels. The gradient needs the sums of the
whole batch before it can be taken of any part, so each micro-batch goes forward twice: about a third more work.

BatchNorm sees one micro-batch of all devices at a time: it normalises by its statistics, and the running ones move once for
each, in order. Only with other normalisations, or none, is the step that of the whole batch at once.

`optax.microbatching.microbatch` is not used: it passes neither a state (the running statistics) nor the number of the
micro-batch (for dropout) from one to the next.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from optax.microbatching import reshape_batch_axis


def over_micro_batches(part: Callable, number: int) -> Callable:
    """Builds `part` over `number` micro-batches, one after the other.

    Row r of the batch is in micro-batch r mod `number`: the same rows are together on any number of devices, as long as
    a device's rows are a multiple of `number`. Of the activations, only one micro-batch's are held at a time, in the
    backward pass too.

    Args:
      part: `part(params, stats, batch, key) -> (sums, (stats, *outputs))`; each micro-batch is given the `stats` of the one
        before it, and `key` folded with its number.
      number: of micro-batches.

    Returns:
      A function like `part`: its sums are those of all rows, its outputs `[number * b, ...]` stand in the order of the
      micro-batches.
    """
    # The scan keeps the two passes apart already.
    part = jax.checkpoint(part, prevent_cse=False)

    def whole_batch(params, stats, batch, key):
        rows = jax.tree.leaves(batch)[0].shape[0]
        # `[rows, ...]` to `[number, rows / number, ...]`.
        micro_batches = reshape_batch_axis(batch, rows // number)

        def one(stats, numbered):
            index, micro_batch = numbered
            sums, (stats, *outputs) = part(params, stats, micro_batch, jax.random.fold_in(key, index))
            return jax.lax.stop_gradient(stats), (sums, outputs)

        stats, (sums, outputs) = jax.lax.scan(one, stats, (jnp.arange(number), micro_batches))
        outputs = (x.reshape(-1, *x.shape[2:]) for x in outputs)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums), (stats, *outputs)

    return whole_batch
