"""The largest batch that a device holds."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

ATTEMPTS = 5  # at a batch that fits; one is enough where memory grows evenly


def largest(compile_batch: Callable[[int], Program], batch: int, capacity: float) -> Program:
    """The program of the largest batch a device holds, by a line through two batches, verified by compiling it.

    Where the compiled batch does not fit after all, it is one of the line's two points for the next attempt.

    Args:
      compile_batch: from examples a device to its program.
      batch: to begin with: it and its half, or 1 and 2 where it does not fit.
      capacity: bytes of a device.

    Raises:
      UserError: not even one example fits.
    """
    high = compile_batch(batch)
    if high.peak > capacity or batch == 1:
        low, high = compile_batch(1), compile_batch(2)
    else:
        low = compile_batch(batch // 2)
    if low.peak > capacity:
        needs = f"{low.peak / 1e9:.3g} GB" if low.cost else "more than the compiler may use"
        raise UserError(
            f"nothing fits: one image on a device needs {needs} of {capacity / 1e9:.3g} GB; "
            "use a smaller data.patch, smaller model.widths, or bfloat16"
        )
    if high.peak > capacity:
        return low  # 1: 2 do not fit
    guess = _on_line(low, high, capacity)
    for _ in range(ATTEMPTS):
        if guess <= high.batch:
            break
        found = compile_batch(guess)
        if found.peak <= capacity:
            return found
        guess = min(_on_line(high, found, capacity), guess - 1) if found.cost else (high.batch + guess) // 2
    return high


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """The largest batch below `capacity` on the line through both peaks."""
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:  # a compiler may plan the larger one better
        return 2 * high.batch
    return math.floor(low.batch + (capacity - low.peak) / slope)
