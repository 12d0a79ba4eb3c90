"""Searches for the largest batch that fits a device."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

# Largest number of larger batches to compile; one is enough if memory grows linearly.
ATTEMPTS = 12
# The next batch is at most this many times the largest that fits, because a line through small batches may hardly rise.
LEAP = 64
# The search ends when the largest batch that could still fit is at most this many times one that fits.
NEAR = 1.05


def find_largest_batch(
    compile_batch: Callable[[int], Program], batch: int, capacity: float, unit: int, say: Callable[[str], None]
) -> Program:
    """Searches for the largest batch that fits, to within 5 %.

    The memory of two batches gives a line, and the line gives the next batch to compile. If that batch leaves room for
    over 5 % more, the next line goes through it: small batches predict large ones badly, because a TPU fills its tiles
    with zeros. If it does not fit, the next batch lies between it and the largest that fits, until the two are within 5 %.

    Args:
      compile_batch: returns the program for a number of examples on each device.
      batch: the first batch to compile. The second is its half; if it does not fit, one unit and two units follow.
      capacity: memory of a device, in bytes.
      unit: every batch is a multiple of it.
      say: called with a message if the search is stopped early.

    Returns:
      The program of that batch.

    Raises:
      UserError: not even one unit fits.
    """
    high = compile_batch(batch)
    beyond = batch if high.peak > capacity else None
    if high.peak > capacity or batch == unit:
        low, high = compile_batch(unit), compile_batch(2 * unit)
    else:
        low = compile_batch(_whole(batch // 2, unit))
    if min(low.peak, high.peak) > capacity:
        needed = f"{low.peak / 1e9:.3g} GB" if low.cost else "more than the compiler may use"
        images = "1 image" if unit == 1 else f"{unit} images"
        raise UserError(
            f"no batch fits: {images} on a device would take {needed} of {capacity / 1e9:.3g} GB; "
            "use a smaller data.patch, smaller model.widths, or model.dtype=bfloat16"
        )
    if high.peak > capacity:
        # One unit fits, and two do not.
        return low
    guess = _on_line(low, high, capacity)
    # The smallest batch that is known not to fit.
    too_many: int | None = None
    for attempt in range(ATTEMPTS + 1):
        guess = min(guess, LEAP * high.batch)
        guess = _whole(guess if beyond is None else min(guess, beyond - unit), unit)
        # The largest batch that could still fit.
        most = guess if too_many is None else too_many - unit
        if most <= NEAR * high.batch:
            return high
        if attempt == ATTEMPTS:
            break
        program, none_failed = compile_batch(guess), too_many is None
        if program.peak <= capacity:
            low, high = high, program
        else:
            too_many = guess
        if too_many is None:
            guess = _on_line(low, high, capacity)
        elif none_failed and program.cost:
            guess = min(max(_on_line(high, program, capacity), high.batch + unit), too_many - unit)
        else:
            guess = (high.batch + too_many) // 2
    say(f"... stopped after {ATTEMPTS} larger batches; more than {high.batch} images per device may fit")
    return high


def _whole(batch: int, unit: int) -> int:
    """Rounds down to a multiple of `unit`, and to one unit at least."""
    return max(batch // unit, 1) * unit


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """Returns the largest batch within `capacity` on the line through both peaks.

    If that line does not rise, the line goes through 0 and `high`.
    """
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:
        # Both batches fill the same tiles, or the compiler plans the larger one better.
        return math.floor(high.batch * capacity / high.peak)
    return math.floor(low.batch + (capacity - low.peak) / slope)
