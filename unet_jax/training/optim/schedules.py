"""Learning rates by step: one optax schedule from a few config keys, behind a linear warm-up."""

import itertools
from collections.abc import Callable, Sequence

import jax
import optax

from unet_jax.checks import check_all
from unet_jax.errors import UserError
from unet_jax.training.optim.options import OF_THE_SCHEDULE

# The fraction of the run that "one_cycle" rises for where no warm-up says how long.
RISE = 0.3
# "one_cycle" begins at peak / LOW and ends at that / LAST, as optax and PyTorch have it.
LOW, LAST = 25.0, 1e4


def create_schedule(
    *,
    name: str,
    learning_rate: float,
    num_steps: int,
    warmup_steps: int = 0,
    power: float = 0.9,
    boundaries: Sequence[int] = (),
    lr_drop_factor: float = 0.1,
) -> Callable[[jax.Array], jax.Array]:
    """Builds the learning rate by step: a linear warm-up to `learning_rate`, then what `name` says.

    With t the fraction of the steps after the warm-up that are done:

        cosine     (1 + cos πt) / 2 of the peak
        poly       (1 − t)^power of the peak
        one_cycle  half a cosine up from peak / 25 over the warm-up (0.3 of the run without one), half a cosine down to
                   peak / 250,000 (Smith and Topin 2017; momentum stays as it is)
        step       times `lr_drop_factor` at each of `boundaries`
        constant   the peak
        plateau    the peak, times what `training/optim/plateau.py` keeps

    >>> rate = create_schedule(name="poly", learning_rate=0.8, num_steps=4, power=1.0)
    >>> [round(float(rate(step)), 3) for step in range(5)]
    [0.8, 0.6, 0.4, 0.2, 0.0]

    Args:
      name: one of `options.SCHEDULES`.
      learning_rate: the peak.
      num_steps: steps of the whole run; later steps keep the last value.
      warmup_steps: steps of the warm-up, fewer than `num_steps`.
      power: the exponent of "poly" (DeepLab and nnU-Net: 0.9).
      boundaries: steps of the whole run, ascending and after the warm-up, from which on "step" multiplies by one more
        `lr_drop_factor`.
      lr_drop_factor: of "step" and "plateau".

    Returns:
      `rate(step) -> learning rate`, of a step number from 0.

    Raises:
      UserError: a value is outside its domain, or `boundaries` are there without "step", or are not with it.
    """
    values = {"schedule": name, "learning_rate": learning_rate, "power": power, "lr_drop_factor": lr_drop_factor}
    check_all(OF_THE_SCHEDULE, values, "optim.")
    if not 0 <= warmup_steps < num_steps:
        raise UserError(
            f"optim.warmup_steps: a warm-up of {warmup_steps} steps must be at least 0 and below the run's {num_steps}"
        )
    boundaries = _check_boundaries(name, boundaries, warmup_steps)
    rest = num_steps - warmup_steps
    if name == "one_cycle":
        peak_at = warmup_steps or min(max(round(RISE * num_steps), 1), num_steps - 1)
        if peak_at < 1:
            raise UserError("optim.schedule 'one_cycle' rises and falls: give a run of at least 2 steps")
        return optax.piecewise_interpolate_schedule(
            "cosine", learning_rate / LOW, {peak_at: LOW, num_steps: 1 / (LOW * LAST)}
        )
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(learning_rate, rest),
        "poly": lambda: optax.polynomial_schedule(learning_rate, 0.0, power, rest),
        "step": lambda: optax.piecewise_constant_schedule(
            learning_rate, dict.fromkeys((b - warmup_steps for b in boundaries), lr_drop_factor)
        ),
        "constant": lambda: optax.constant_schedule(learning_rate),
        "plateau": lambda: optax.constant_schedule(learning_rate),
    }[name]()
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(learning_rate / (warmup_steps + 1), learning_rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def _check_boundaries(name: str, boundaries: Sequence[int], warmup_steps: int) -> tuple[int, ...]:
    boundaries = tuple(boundaries)
    if (name == "step") != bool(boundaries):
        raise UserError(
            f"optim.boundaries {boundaries} with optim.schedule {name!r}: 'step' needs some, every other has none"
        )
    if any(a >= b for a, b in itertools.pairwise((warmup_steps, *boundaries))):
        raise UserError(
            f"optim.boundaries: steps {boundaries} must ascend, from above the {warmup_steps} steps of the warm-up"
        )
    return boundaries
