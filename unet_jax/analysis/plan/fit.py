"""The largest batch that a device holds."""

import math
from collections.abc import Callable

from unet_jax.analysis.plan.compile import Program
from unet_jax.errors import UserError

ATTEMPTS = 12  # at a larger batch; one is enough where memory grows evenly
LEAP = 64  # at most so many times the batch that fits is tried: a line through few images may hardly rise
NEAR = 1.05  # a batch is the largest if no more than this factor of it is hoped for, or known not to fit


def largest(
    compile_batch: Callable[[int], Program], batch: int, capacity: float, unit: int, say: Callable[[str], None]
) -> Program:
    """The program of the largest batch a device holds, by a line through two batches, verified by compiling it.

    Where the compiled batch leaves room for more by over 5 %, the line is drawn anew through it, as what a few images take
    says little of many: a TPU fills its tiles with zeros. Where it does not fit after all, the next one lies between it and
    the largest that does, until these two are within 5 %.

    Args:
      compile_batch: from examples a device to its program.
      batch: to begin with: it and its half, or one unit and two where it does not fit.
      capacity: bytes of a device.
      unit: what every batch must be a multiple of.
      say: is told if the attempts end before it is sure that no more than 5 % more would fit.

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
        needs = f"{low.peak / 1e9:.3g} GB" if low.cost else "more than the compiler may use"
        raise UserError(
            f"nothing fits: {unit} image{'s' * (unit > 1)} on a device need{'s' * (unit == 1)} {needs} of {capacity / 1e9:.3g} GB; "
            "use a smaller data.patch, smaller model.widths, or bfloat16"
        )
    if high.peak > capacity:
        return low  # one unit: two do not fit
    guess, too_many = _on_line(low, high, capacity), math.inf
    for attempt in range(ATTEMPTS + 1):
        guess = _whole(min(guess, LEAP * high.batch, beyond - unit), unit)
        most = guess if too_many == math.inf else too_many - unit  # that is hoped for, or not known to be too much
        if most <= NEAR * high.batch:
            return high
        if attempt == ATTEMPTS:
            break
        found, none_failed = compile_batch(guess), too_many == math.inf
        if found.peak <= capacity:
            low, high = high, found
        else:
            too_many = guess
        if too_many == math.inf:
            guess = _on_line(low, high, capacity)
        elif none_failed and found.cost:
            guess = min(max(_on_line(high, found, capacity), high.batch + unit), too_many - unit)
        else:
            guess = (high.batch + too_many) // 2
    say(f"... {ATTEMPTS} larger batches compiled, which is enough; more than {high.batch} images may fit")
    return high


def _whole(batch: int, unit: int) -> int:
    return max(batch // unit, 1) * unit


def _on_line(low: Program, high: Program, capacity: float) -> int:
    """The largest batch below `capacity` on the line through both peaks; where it does not rise, through 0 and `high`."""
    slope = (high.peak - low.peak) / (high.batch - low.batch)
    if slope <= 0:  # both fill the same tiles, or the compiler plans the larger one better
        return math.floor(high.batch * capacity / high.peak)
    return math.floor(low.batch + (capacity - low.peak) / slope)
