"""Searches for the largest batch that fits a device."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

# How many larger batches are compiled at most; one is enough where memory grows linearly.
ATTEMPTS = 12
# The next batch is at most this many times the largest that fits: a line through few images may hardly rise.
LEAP = 64
# The search ends when the largest batch that could still fit is at most this factor larger than one that does.
NEAR = 1.05


def find_largest_batch(
    compile_batch: Callable[[int], Program], batch: int, capacity: float, unit: int, say: Callable[[str], None]
) -> Program:
    """Searches for the largest batch that fits, to within 5 %.

    The memory of two batches gives a line, the line gives the next batch, and that is compiled. Where it leaves room for
    over 5 % more, the line is drawn again through it, as few images predict many badly: a TPU fills its tiles with zeros.
    Where it does not fit, the next one lies between it and the largest that does, until these two are within 5 %.

    Args:
      compile_batch: from examples a device to its program.
      batch: the first to compile, with its half, or with one unit and two units where it does not fit.
      capacity: bytes of a device.
      unit: every batch must be a multiple of it.
      say: called with a message if the attempts end before the search does.

    Returns:
      The program of that batch.

    Raises:
      UserError: not even one unit fits.
    """
    high = compile_batch(batch)
    beyond = batch if high.peak > capacity else math.inf
    if high.peak > capacity or batch == unit:
        low, high = compile_batch(unit), compile_batch(2 * unit)
    else:
        low = compile_batch(_whole(batch // 2, unit))
    if min(low.peak, high.peak) > capacity:
        needed = f"{low.peak / 1e9:.3g} GB" if low.cost else "more than the compiler may use"
        images = "1 image on a device needs" if unit == 1 else f"{unit} images on a device need"
        raise UserError(
            f"nothing fits: {images} {needed} of {capacity / 1e9:.3g} GB; "
            "use a smaller data.patch, smaller model.widths, or bfloat16"
        )
    if high.peak > capacity:
        # One unit fits, two do not.
        return low
    guess, too_many = _on_line(low, high, capacity), math.inf
    for attempt in range(ATTEMPTS + 1):
        guess = _whole(min(guess, LEAP * high.batch, beyond - unit), unit)
        # The largest batch that could still fit.
        most = guess if too_many == math.inf else too_many - unit
        if most <= NEAR * high.batch:
            return high
        if attempt == ATTEMPTS:
            break
        program, none_failed = compile_batch(guess), too_many == math.inf
        if program.peak <= capacity:
            low, high = high, program
        else:
            too_many = guess
        if too_many == math.inf:
            guess = _on_line(low, high, capacity)
        elif none_failed and program.cost:
            guess = min(max(_on_line(high, program, capacity), high.batch + unit), too_many - unit)
        else:
            guess = (high.batch + too_many) // 2
    say(f"... stopped after {ATTEMPTS} larger batches; more than {high.batch} images may fit")
    return high


def _whole(batch: int, unit: int) -> int:
    return max(batch // unit, 1) * unit


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """Returns the largest batch within `capacity` on the line through both peaks; where it does not rise, through 0 and `high`."""
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:
        # Both fill the same tiles, or the compiler plans the larger one better.
        return math.floor(high.batch * capacity / high.peak)
    return math.floor(low.batch + (capacity - low.peak) / slope)
