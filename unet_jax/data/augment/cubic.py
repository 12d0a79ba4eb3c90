"""Computes the weights of bicubic interpolation."""

from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", float, np.ndarray, jax.Array)


def cubic_weights(t: Array) -> tuple[Array, Array, Array, Array]:
    """Returns the weights of the pixels -1, 0, 1 and 2 at the position t between the pixels 0 and 1.

    The formula is equation 15 of R. G. Keys, "Cubic Convolution Interpolation for Digital Image Processing" (IEEE Trans.
    ASSP, 1981), with a = -1/2. The weights add up to 1; at t = 0 only pixel 0 has a weight.

    >>> cubic_weights(0.5)
    (-0.0625, 0.5625, 0.5625, -0.0625)

    Args:
      t: position in 0..1.
    """
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
