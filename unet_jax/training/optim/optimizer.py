"""The optimiser: a chain of optax's transformations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import check_all
from unet_jax.training.optim import param_groups
from unet_jax.training.optim.options import OF_THE_OPTIMIZER, check_multipliers, check_patterns
from unet_jax.training.optim.schedules import create_schedule

# The weight decay of these does not enter the moments.
DECOUPLED = ("adamw", "lion")


def decay_mask(params: Any) -> Any:
    """Returns a tree like `params`: True for kernels, on which weight decay acts, and False for biases and scales.

    >>> decay_mask({"conv": {"kernel": 0.5, "bias": 0.1}})
    {'conv': {'bias': False, 'kernel': True}}
    """
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
) -> tuple[optax.GradientTransformation, Callable[[jax.Array], jax.Array]]:
    """Builds the optimiser and its learning rate schedule.

    `weight_decay` acts on kernels only. For "adamw" (Loshchilov and Hutter 2019) and "lion" (Chen et al. 2023) it is decoupled
    from the gradient. For "adam", "sgd" and "rmsprop" it is the gradient of an L2 penalty and is added before the moments, as
    in the U-Net++ authors' code; their l2(1e-4) is a `weight_decay` of 2e-4 here.

    `grad_clip` limits the global norm of the gradient. It is applied before everything else.

    "rmsprop" divides by sqrt(v) + eps, as in PyTorch. v starts at 0 and decays by `rmsprop_decay`. Its `momentum` averages the
    steps.

    One step of gradient descent, w − 0.1 · 2:

    >>> tx, rate = create_optimizer(name="sgd", learning_rate=0.1, num_steps=10, schedule="constant", momentum=0.0)
    >>> params, gradient = {"kernel": jnp.array([1.0])}, {"kernel": jnp.array([2.0])}
    >>> changes, _ = tx.update(gradient, tx.init(params), params)
    >>> round(float(optax.apply_updates(params, changes)["kernel"][0]), 3), round(float(rate(0)), 3)
    (0.8, 0.1)

    Args:
      name: one of `options.OPTIMIZERS`.
      learning_rate: the peak of the schedule.
      num_steps: steps of the whole run.
      schedule: the name of the schedule; this argument and the next four are explained in `create_schedule`.
      warmup_steps: steps of the warm-up.
      power: for the schedule "poly".
      boundaries: for the schedule "step".
      lr_drop_factor: for the schedules "step" and "plateau".
      weight_decay: see above; 0 for none.
      momentum: for "sgd" and "rmsprop"; 0 for none.
      nesterov: for "sgd" and "rmsprop": use Nesterov's momentum.
      b1: for "adam", "adamw" and "lion".
      b2: for "adam", "adamw" and "lion".
      rmsprop_decay: for "rmsprop".
      eps: for "adam", "adamw" and "rmsprop".
      grad_clip: the largest global norm of the gradient; 0 for no limit.
      freeze: patterns of names (`param_groups.py`) of parameters that no step changes. These parameters have no moments, and
        their gradients do not count in `grad_clip`.
      lr_multipliers: pairs of such a pattern and a factor. The factor multiplies the learning rate of these parameters, and
        with it their decoupled weight decay. If several patterns match, the last one counts.

    Returns:
      The optimiser, and `rate(step) -> float32`, its learning rate by step.

    Raises:
      UserError: a value is not allowed; or, from the optimiser's `init`, a pattern matches no parameter.
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
