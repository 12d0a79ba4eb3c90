"""The optimiser: one optax chain from a few config keys."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import check_all
from unet_jax.training.optim import param_groups
from unet_jax.training.optim.options import OF_THE_OPTIMIZER, check_multipliers, check_patterns
from unet_jax.training.optim.schedules import create_schedule

# Their weight decay does not go through the moments.
DECOUPLED = ("adamw", "lion")


def decay_mask(params):
    """Returns True for the leaves that weight decay acts on: kernels; not biases, not the scales of a normalisation."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def create_optimizer(
    *,
    name: str,
    learning_rate: float,
    num_steps: int,
    schedule: str = "cosine",
    warmup_steps: int = 0,
    power: float = 0.9,
    boundaries: Sequence[int] = (),
    lr_drop_factor: float = 0.1,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    rmsprop_decay: float = 0.9,
    eps: float = 1e-8,
    grad_clip: float = 0.0,
    freeze: Sequence[str] = (),
    lr_multipliers: Sequence[tuple[str, float]] = (),
) -> tuple[optax.GradientTransformation, Callable]:
    """Builds the optimiser and its learning rate schedule.

    `weight_decay` acts on kernels alone. For "adamw" (Loshchilov and Hutter) and "lion" (Chen et al. 2023) it is
    decoupled; for "adam", "sgd" and "rmsprop" it is the gradient of an L2 penalty, added before the moments, as in the
    U-Net++ authors' code (their l2(1e-4) is a decay of 2e-4 here). `grad_clip` bounds the global norm of the gradient
    before all else; 0 leaves it alone.

    "rmsprop" divides by sqrt(v) + eps, as PyTorch does; v starts at 0 and decays by `rmsprop_decay`. Its `momentum` is that
    of the steps, 0 for none.

    Args:
      name: one of `options.OPTIMIZERS`.
      learning_rate: the peak of the schedule; it and the five options of the schedule are those of `create_schedule`.
      num_steps: steps of the whole run.
      schedule: the name of the schedule.
      warmup_steps: steps of the warm-up.
      power: of the schedule "poly".
      boundaries: of the schedule "step".
      lr_drop_factor: of the schedules "step" and "plateau".
      weight_decay: see above; 0 for none.
      momentum: of "sgd" and "rmsprop".
      nesterov: of "sgd" and "rmsprop".
      b1: of "adam", "adamw" and "lion".
      b2: of "adam", "adamw" and "lion".
      rmsprop_decay: of "rmsprop".
      eps: of "adam", "adamw" and "rmsprop".
      grad_clip: the largest global norm of a gradient; 0 for any.
      freeze: patterns of parameters' names (`param_groups.py`) that no step changes. These parameters have no moments, and
        their gradient counts for nothing in `grad_clip`.
      lr_multipliers: pairs of such a pattern and the factor that multiplies the learning rate of these parameters, and
        their decoupled weight decay with it; where several patterns match, the last counts.

    Returns:
      The optimiser, and `rate(step) -> float32`, its learning rate by step.

    Raises:
      UserError: a value is outside its domain; or, from the optimiser's `init`, a pattern matches no parameter's name.
    """
    values = {"name": name, "weight_decay": weight_decay, "grad_clip": grad_clip, "momentum": momentum}
    values |= {"b1": b1, "b2": b2, "rmsprop_decay": rmsprop_decay, "eps": eps}
    check_all(OF_THE_OPTIMIZER, values, "optim.")
    freeze = check_patterns(freeze)
    lr_multipliers = check_multipliers(lr_multipliers)
    rate = create_schedule(
        name=schedule,
        learning_rate=learning_rate,
        num_steps=num_steps,
        warmup_steps=warmup_steps,
        power=power,
        boundaries=boundaries,
        lr_drop_factor=lr_drop_factor,
    )
    chain = [optax.clip_by_global_norm(grad_clip)] if grad_clip else []
    if weight_decay and name not in DECOUPLED:
        chain.append(optax.add_decayed_weights(weight_decay, decay_mask))
    chain.append(
        {
            "adamw": lambda: optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay, mask=decay_mask),
            "adam": lambda: optax.adam(rate, b1, b2, eps),
            "sgd": lambda: optax.sgd(rate, momentum, nesterov),
            "rmsprop": lambda: optax.rmsprop(
                rate, rmsprop_decay, eps, eps_in_sqrt=False, momentum=momentum or None, nesterov=nesterov
            ),
            "lion": lambda: optax.lion(rate, b1, b2, weight_decay=weight_decay, mask=decay_mask),
        }[name]()
    )
    if lr_multipliers:
        chain.append(param_groups.scale_learning_rates(lr_multipliers))
    tx = optax.chain(*chain)
    return param_groups.freeze_matching(tx, freeze) if freeze else tx, lambda step: jnp.asarray(rate(step), jnp.float32)
