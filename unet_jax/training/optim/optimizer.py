"""The optimiser: one optax chain from a few config keys."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from unet_jax.errors import UserError
from unet_jax.training.optim import param_groups
from unet_jax.training.optim.schedules import create_schedule

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "lion")
DECOUPLED = ("adamw", "lion")  # weight decay past the moments


def decay_mask(params):
    """True for the leaves that weight decay acts on: kernels; not biases, not the scales of a normalisation."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def check(optim: Mapping) -> None:
    """Raises UserError for a value of the optimiser that is outside its domain, whatever the network."""
    if optim["name"] not in OPTIMIZERS:
        raise UserError(f"optim.name {optim['name']!r} is unknown; known: {', '.join(OPTIMIZERS)}")
    for key in ("weight_decay", "grad_clip"):
        if not 0 <= optim[key] < math.inf:
            raise UserError(f"optim.{key} {optim[key]} must be finite and not negative; 0 switches it off")
    for key in ("b1", "b2", "momentum", "rmsprop_decay"):
        if not 0 <= optim[key] < 1:
            raise UserError(f"optim.{key} {optim[key]} must be at least 0 and below 1")
    if not 0 < optim["eps"] < math.inf:
        raise UserError(f"optim.eps {optim['eps']} must be above 0 and finite: it keeps a step from a division by 0")
    param_groups.check_patterns(optim["freeze"])
    param_groups.check_multipliers(optim["lr_multipliers"])


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
    """The optimiser and its learning rate schedule.

    `weight_decay` acts on kernels alone. For "adamw" (Loshchilov and Hutter) and "lion" (Chen et al. 2023) it is
    decoupled; for "adam", "sgd" and "rmsprop" it is the gradient of an L2 penalty, added before the moments, as in the
    U-Net++ authors' code (their l2(1e-4) is a decay of 2e-4 here). `grad_clip` bounds the global norm of the gradient
    before all else; 0 leaves it alone.

    "rmsprop" divides by sqrt(v) + eps, as PyTorch does, v starting at 0 and decaying by `rmsprop_decay`; its `momentum` is that of
    the steps, 0 for none.

    Args:
      freeze: patterns of parameters' names (`parts.py`) that no step changes. They have no moments, and their gradient
        counts for nothing in `grad_clip`.
      lr_multipliers: pairs of such a pattern and the factor by which the learning rate of these parameters is multiplied, and the
        decoupled weight decay with it; where several patterns match, the last counts.

    Raises:
      UserError: a value is outside its domain; or, from the optimiser's `init`, a pattern matches no parameter's name.
    """
    numbers = {
        "weight_decay": weight_decay,
        "grad_clip": grad_clip,
        "momentum": momentum,
        "rmsprop_decay": rmsprop_decay,
    }
    check({"name": name, **numbers, "b1": b1, "b2": b2, "eps": eps, "freeze": freeze, "lr_multipliers": lr_multipliers})
    freeze = param_groups.check_patterns(freeze)
    lr_multipliers = param_groups.check_multipliers(lr_multipliers)
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
