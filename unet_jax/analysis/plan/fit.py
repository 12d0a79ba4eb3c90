"""The largest batch that a device holds."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

ATTEMPTS = 5  # at a larger batch; one is enough where memory grows evenly
NEAR = 1.05  # a batch is the largest if no more than this factor of it is hoped for


def largest(compile_batch: Callable[[int], Program], batch: int, capacity: float, unit: int = 1) -> Program:
    """The program of the largest batch a device holds, by a line through two batches, verified by compiling it.

    The compiled batch is one of the line's two points for the next attempt, where it does not fit after all or leaves room
    for more by over 5 %: what a few images take says little of many, as a TPU fills its tiles with zeros.

    Args:
      compile_batch: from examples a device to its program.
      batch: to begin with: it and its half, or one unit and two where it does not fit.
      capacity: bytes of a device.
      unit: what every batch must be a multiple of.

    Raises:
      UserError: not even one unit fits.
    """
    high = compile_batch(batch)
    if high.peak > capacity or batch == unit:
        low, high = compile_batch(unit), compile_batch(2 * unit)
    else:
        low = compile_batch(_whole(batch // 2, unit))
    if low.peak > capacity:
        needs = f"{low.peak / 1e9:.3g} GB" if low.cost else "more than the compiler may use"
        raise UserError(
            f"nothing fits: {unit} image{'s' * (unit > 1)} on a device need{'s' * (unit == 1)} {needs} of {capacity / 1e9:.3g} GB; "
            "use a smaller data.patch, smaller model.widths, or bfloat16"
        )
    if high.peak > capacity:
        return low  # one unit: two do not fit
    guess, too_many, least = _whole(_on_line(low, high, capacity), unit), math.inf, high.batch + unit
    for _ in range(ATTEMPTS):
        if guess < least:
            break
        found = compile_batch(guess)
        if found.peak <= capacity:
            low, high = high, found
            least = max(NEAR * high.batch, high.batch + unit)
            more = min(_on_line(low, high, capacity), too_many - 1)
        else:
            too_many = guess
            more = min(_on_line(high, found, capacity), guess - 1) if found.cost else (high.batch + guess) // 2
        guess = _whole(more, unit)
    return high


def _whole(batch: int, unit: int) -> int:
    return max(batch // unit, 1) * unit


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """The largest batch below `capacity` on the line through both peaks."""
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:  # a compiler may plan the larger one better
        return 2 * high.batch
    return math.floor(low.batch + (capacity - low.peak) / slope)
