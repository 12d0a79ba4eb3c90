"""Learning rates by step: one optax schedule from a few config keys, behind a linear warm-up."""

import itertools
from collections.abc import Callable, Sequence

import jax
import optax

from unet_jax.errors import UserError

SCHEDULES = ("cosine", "poly", "one_cycle", "step", "constant", "plateau")
LENGTHLESS = ("step", "constant", "plateau")  # the same whatever the run's length: a finished run can be made longer
RISE = 0.3  # the share of the run that "one_cycle" rises for where no warm-up says how long
LOW, LAST = 25.0, 1e4  # "one_cycle" begins at peak / LOW and ends at that / LAST, as optax and PyTorch have it


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
    """Learning rate by step: a linear warm-up to `learning_rate`, then what `name` says.

    With t the share of the steps after the warm-up that are done:

        cosine     (1 + cos πt) / 2 of the peak
        poly       (1 − t)^power of the peak
        one_cycle  half a cosine up from peak / 25 over the warm-up (0.3 of the run without one), half a cosine down to
                   peak / 250,000 (Smith and Topin 2017; momentum stays as it is)
        step       times `lr_drop_factor` at each of `boundaries`
        constant   the peak
        plateau    the peak, times what `training/optim/plateau.py` keeps

    Args:
      name: one of `SCHEDULES`.
      learning_rate: the peak.
      num_steps: steps of the whole run; later steps keep the last value.
      warmup_steps: steps of the warm-up, fewer than `num_steps`.
      power: the exponent of "poly" (DeepLab and nnU-Net: 0.9).
      boundaries: steps of the whole run from which on "step" is another `lr_drop_factor` lower; ascending, after the warm-up.
      lr_drop_factor: of "step" and "plateau".

    Raises:
      UserError: a value is outside its domain, or `boundaries` are there without "step", or are not with it.
    """
    check(name=name, learning_rate=learning_rate, power=power, lr_drop_factor=lr_drop_factor)
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


def check(*, name: str, learning_rate: float, power: float, lr_drop_factor: float) -> None:
    """Raises UserError for a value that no length of the run makes right."""
    if name not in SCHEDULES:
        raise UserError(f"optim.schedule {name!r} is unknown; known: {', '.join(SCHEDULES)}")
    if not 0 < learning_rate < float("inf"):
        raise UserError(f"optim.learning_rate {learning_rate} must be above 0 and finite")
    if not 0 < power < float("inf"):
        raise UserError(f"optim.power {power} must be above 0 and finite")
    if not 0 < lr_drop_factor < 1:
        raise UserError(
            f"optim.lr_drop_factor {lr_drop_factor} must be above 0 and below 1: the rate is multiplied by it"
        )


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
