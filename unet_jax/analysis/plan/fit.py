"""The largest batch that a device holds."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

ATTEMPTS = 5  # at a batch that fits; one is enough where memory grows evenly


def largest(compile_batch: Callable[[int], Program], batch: int, capacity: float, unit: int = 1) -> Program:
    """The program of the largest batch a device holds, by a line through two batches, verified by compiling it.

    Where the compiled batch does not fit after all, it is one of the line's two points for the next attempt.

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
    guess = _whole(_on_line(low, high, capacity), unit)
    for _ in range(ATTEMPTS):
        if guess <= high.batch:
            break
        found = compile_batch(guess)
        if found.peak <= capacity:
            return found
        lower = min(_on_line(high, found, capacity), guess - 1) if found.cost else (high.batch + guess) // 2
        guess = _whole(lower, unit)
    return high


def _whole(batch: int, unit: int) -> int:
    return max(batch // unit, 1) * unit


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """The largest batch below `capacity` on the line through both peaks."""
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:  # a compiler may plan the larger one better
        return 2 * high.batch
    return math.floor(low.batch + (capacity - low.peak) / slope)
