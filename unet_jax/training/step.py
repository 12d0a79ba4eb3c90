"""The training step: a pure function `(state, batch) -> (state, metrics)` of one device's part of the batch.

No random state is carried from step to step. The keys of an example's augmentation and dropout are folded from the seed, the
step and the example's position in the global batch, so they are the same on any number of devices. Sums over devices differ
by rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from unet_jax import segmentation
from unet_jax.data.augment.augment import augment_batch
from unet_jax.evaluation import metrics
from unet_jax.runtime.parallel import AXIS
from unet_jax.segmentation import to_masks, to_probabilities
from unet_jax.training.losses.loss import Loss
from unet_jax.training.micro_batches import over_micro_batches
from unet_jax.training.optim import ema, param_groups
from unet_jax.training.state import TrainState


def step_keys(seed: int, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """Returns the keys of augmentation and dropout of one step.

    Args:
      seed: the seed of the run.
      step: the number of steps done before it, int32 scalar.
    """
    key_augment, key_dropout = jax.random.split(jax.random.fold_in(jax.random.key(seed), step))
    return key_augment, key_dropout


def create_gradient_fn(
    module: nn.Module,
    loss: Loss,
    *,
    seed: int,
    augmentation: Mapping[str, Any],
    accumulate: int = 1,
    freeze: Sequence[str] = (),
) -> Callable:
    """Builds the function that computes the gradient of a step. Its arguments are explained in `create_train_step`.

    Returns:
      `gradient(state, batch) -> (grads, (loss, (batch_stats, logits, mask, valid)))`, to be mapped over the devices like the
      step. `grads` is the gradient of the loss of the global batch for every parameter, before clipping, and 0 for frozen
      parameters. `batch_stats` are the new statistics of BatchNorm. `logits` (of the deepest head), `mask` and `valid` are
      those of this device's rows.
    """
    truth_names = ("mask", "valid", "weight") if loss.needs_weight_map else ("mask", "valid")

    def part(params, batch_stats, batch, key):
        """Returns the loss's sums of some rows, and the statistics, deepest logits and truth that a step needs."""
        heads, updates = module.apply(
            {"params": params, "batch_stats": batch_stats},
            batch["image"],
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        truth = [segmentation.center_crop(batch[name], heads[-1].shape[1:3]) for name in truth_names]
        return loss.sums(heads, *truth), (updates.get("batch_stats", batch_stats), heads[-1], *truth[:2])

    whole_batch = over_micro_batches(part, accumulate) if accumulate > 1 else part

    def gradient(state: TrainState, batch):
        first = jax.lax.axis_index(AXIS) * batch["image"].shape[0]
        key_augment, key_dropout = step_keys(seed, state.step)
        batch = augment_batch(key_augment, batch, first, **augmentation)

        def objective(params):
            sums, outputs = whole_batch(
                param_groups.stop_frozen_gradients(params, freeze), state.batch_stats, batch, key_dropout
            )
            # The sum over devices is inside the differentiated function, so that a loss that is not a mean over pixels
            # (Dice) is that of the global batch. Then the gradients of n devices add up to n times the gradient, and their
            # mean is the gradient.
            return loss.from_sums(jax.lax.psum(sums, AXIS)), outputs

        (value, outputs), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        return jax.lax.pmean(grads, AXIS), (value, outputs)

    return gradient


def create_train_step(
    module: nn.Module,
    loss: Loss,
    tx: optax.GradientTransformation,
    schedule: Callable[[jax.Array], jax.Array],
    *,
    seed: int,
    augmentation: Mapping[str, Any],
    accumulate: int = 1,
    ema_decay: float = 0.0,
    freeze: Sequence[str] = (),
) -> Callable:
    """Builds the body of a step, which `parallel.pmap_step` maps over the devices.

    Args:
      module: the network.
      loss: the loss of the network's tuple of heads (`create_loss`).
      tx: the optimiser.
      schedule: the learning rate of the optimiser by step, for the metrics.
      seed: the seed of augmentation and dropout.
      augmentation: keyword arguments of `data.augment.augment`.
      accumulate: the number of micro-batches (`micro_batches.py`). The rows of a device must be a multiple of it.
      ema_decay: the decay of the moving average, if the state has one (`ema.py`).
      freeze: patterns of the names of frozen parameters. Their gradients are not computed.

    Returns:
      `step(state, batch) -> (state, metrics)`. The batch is the rows of this device: `image [b, h, w, C]`,
      `mask [b, h, w(, K)]`, `valid [b, h, w]` and, if the loss needs the weight map, `weight [b, h, w]`. The metrics are those
      of the global batch: loss, grad_norm (without frozen parameters), learning_rate, tp, fp, fn `[K]` (of the deepest head)
      and finite (False if loss, gradient or weights are NaN or infinite).
    """
    take_gradient = create_gradient_fn(
        module, loss, seed=seed, augmentation=augmentation, accumulate=accumulate, freeze=freeze
    )

    def step(state: TrainState, batch):
        grads, (value, (batch_stats, logits, mask, valid)) = take_gradient(state, batch)
        grad_norm = optax.tree.norm(grads)
        changes, opt_state = tx.update(grads, state.opt_state, state.params)
        learning_rate = schedule(state.step)
        if state.plateau is not None:
            changes = optax.tree.scale(state.plateau.scale, changes)
            learning_rate = learning_rate * state.plateau.scale

        masks, _ = to_masks(to_probabilities(logits, module.activation), module.activation)
        counts = metrics.counts(masks, mask, valid)
        overlap = {name: jax.lax.psum(jnp.sum(counts[name], axis=0), AXIS) for name in ("tp", "fp", "fn")}
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, changes),
            batch_stats=batch_stats,
            opt_state=opt_state,
            plateau=state.plateau,
        )
        if state.ema is not None:
            new_state = new_state.replace(ema=ema.update_ema(state.ema, new_state.variables, new_state.step, ema_decay))
        # The weights are checked too: a finite gradient can make them overflow, and such a state must not be saved.
        weights_norm = optax.tree.norm((new_state.params, new_state.batch_stats))
        return new_state, {
            "loss": value,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            "finite": jnp.isfinite(value) & jnp.isfinite(grad_norm) & jnp.isfinite(weights_norm),
            **overlap,
        }

    return step
