"""Learning rates by step: a linear warm-up, then one of optax's schedules."""

import itertools
from collections.abc import Callable, Sequence

import jax
import optax

from unet_jax.checks import check_all
from unet_jax.errors import UserError
from unet_jax.training.optim.options import OF_THE_SCHEDULE

# The fraction of the run in which "one_cycle" rises if there is no warm-up.
RISE = 0.3
# "one_cycle" begins at peak / LOW and ends at peak / (LOW · LAST), as in optax and PyTorch.
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
    """Builds the learning rate by step: a linear warm-up to the peak `learning_rate`, then one of these schedules.

    t is the fraction of the steps after the warm-up that are done:

        cosine     peak · (1 + cos πt) / 2 (Loshchilov and Hutter 2017, without restarts)
        poly       peak · (1 − t)^power
        one_cycle  half a cosine up from peak / 25 during the warm-up (without a warm-up: during 0.3 of the run), then half a
                   cosine down to peak / 250,000 (Smith and Topin 2017, but the momentum does not change)
        step       peak, multiplied by `lr_drop_factor` at each of `boundaries`
        constant   peak
        plateau    peak; `training/optim/plateau.py` lowers it

    >>> rate = create_schedule(name="poly", learning_rate=0.8, num_steps=4, power=1.0)
    >>> [round(float(rate(step)), 3) for step in range(5)]
    [0.8, 0.6, 0.4, 0.2, 0.0]

    With three steps of warm-up the peak comes at step 3:

    >>> rate = create_schedule(name="step", learning_rate=0.8, num_steps=8, warmup_steps=3, boundaries=(5, 6))
    >>> [round(float(rate(step)), 3) for step in range(8)]
    [0.2, 0.4, 0.6, 0.8, 0.8, 0.08, 0.008, 0.008]

    Args:
      name: one of `options.SCHEDULES`.
      learning_rate: the peak.
      num_steps: steps of the whole run; later steps keep the last value.
      warmup_steps: steps of the warm-up, fewer than `num_steps`.
      power: the exponent of "poly" (0.9 in DeepLab and nnU-Net).
      boundaries: for "step" only: the steps at which the rate falls, counted from the start of the run. They ascend and come
        after the warm-up.
      lr_drop_factor: for "step" and "plateau": the factor of each fall.

    Returns:
      `rate(step) -> learning rate`, where steps count from 0.

    Raises:
      UserError: a value is not allowed; `boundaries` are given without "step", or "step" without `boundaries`.
    """
    values = {"schedule": name, "learning_rate": learning_rate, "power": power, "lr_drop_factor": lr_drop_factor}
    check_all(OF_THE_SCHEDULE, values, "optim.")
    if not 0 <= warmup_steps < num_steps:
        raise UserError(f"optim.warmup_steps {warmup_steps}: give at least 0 and less than the run's {num_steps} steps")
    boundaries = _check_boundaries(name, boundaries, warmup_steps)
    rest = num_steps - warmup_steps
    if name == "one_cycle":
        peak_at = warmup_steps or min(max(round(RISE * num_steps), 1), num_steps - 1)
        if peak_at < 1:
            raise UserError("optim.schedule 'one_cycle' rises and falls, so it needs a run of at least 2 steps")
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
            f"optim.boundaries {boundaries} with optim.schedule {name!r}: give boundaries for the schedule 'step', and () "
            "for every other schedule"
        )
    if any(a >= b for a, b in itertools.pairwise((warmup_steps, *boundaries))):
        raise UserError(
            f"optim.boundaries {boundaries}: give ascending steps that come after the {warmup_steps} steps of the warm-up"
        )
    return boundaries
