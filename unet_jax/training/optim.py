"""Optimisers and learning rate schedules: one optax chain from a few config keys."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from unet_jax.errors import UserError

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "poly", "constant")


def create_schedule(
    *, name: str, learning_rate: float, num_steps: int, warmup_steps: int = 0, power: float = 0.9
) -> Callable[[jax.Array], jax.Array]:
    """Learning rate by step: a linear warm-up to `learning_rate`, then `name` down to 0 at `num_steps`.

    Args:
      name: "cosine" (half a cosine), "poly" ((1 − t)^power, t the share of the steps after warm-up) or "constant".
      learning_rate: the peak.
      num_steps: steps of the whole run; later steps keep the last value.
      warmup_steps: steps of the warm-up, fewer than `num_steps`.
      power: the exponent of "poly" (DeepLab and nnU-Net: 0.9).
    """
    if name not in SCHEDULES:
        raise UserError(f"optim.schedule {name!r} is unknown; known: {', '.join(SCHEDULES)}")
    if not 0 < learning_rate < float("inf"):
        raise UserError(f"optim.learning_rate {learning_rate} must be above 0 and finite")
    if not 0 <= warmup_steps < num_steps:
        raise UserError(f"optim.warmup_steps {warmup_steps} must be at least 0 and below train.num_steps {num_steps}")
    rest = num_steps - warmup_steps
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, rest),
        "poly": lambda: optax.polynomial_schedule(learning_rate, 0.0, power, rest),
        "constant": lambda: optax.constant_schedule(learning_rate),
    }[name]()
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(learning_rate / (warmup_steps + 1), learning_rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def decayed(params):
    """True for the leaves that weight decay acts on: kernels; not biases, not the scales of a normalisation."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def create(
    *,
    name: str,
    learning_rate: float,
    num_steps: int,
    schedule: str = "cosine",
    warmup_steps: int = 0,
    power: float = 0.9,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    grad_clip: float = 0.0,
) -> tuple[optax.GradientTransformation, Callable]:
    """The optimiser and its learning rate schedule.

    `weight_decay` acts on kernels alone. For "adamw" it is decoupled (Loshchilov and Hutter); for "adam" and "sgd" it is
    the gradient of an L2 penalty, added before the moments, as in the U-Net++ authors' code (their l2(1e-4) is a decay
    of 2e-4 here). `grad_clip` bounds the global norm of the gradient before all else; 0 leaves it alone.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"optim.name {name!r} is unknown; known: {', '.join(OPTIMIZERS)}")
    for key, value in (("weight_decay", weight_decay), ("grad_clip", grad_clip)):
        if not value >= 0:
            raise UserError(f"optim.{key} {value} must not be negative; 0 switches it off")
    for key, value in (("b1", b1), ("b2", b2), ("momentum", momentum)):
        if not 0 <= value < 1:
            raise UserError(f"optim.{key} {value} must be at least 0 and below 1")
    rate = create_schedule(
        name=schedule, learning_rate=learning_rate, num_steps=num_steps, warmup_steps=warmup_steps, power=power
    )
    chain = [optax.clip_by_global_norm(grad_clip)] if grad_clip else []
    if weight_decay and name != "adamw":
        chain.append(optax.add_decayed_weights(weight_decay, decayed))
    chain.append(
        {
            "adamw": lambda: optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay, mask=decayed),
            "adam": lambda: optax.adam(rate, b1, b2, eps),
            "sgd": lambda: optax.sgd(rate, momentum, nesterov),
        }[name]()
    )
    return optax.chain(*chain), lambda step: jnp.asarray(rate(step), jnp.float32)
