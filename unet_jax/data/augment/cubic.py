"""Gives the weights of bicubic interpolation."""


def cubic_weights(t):
    """Returns the weights of the pixels -1, 0, 1, 2 for the position t between pixels 0 and 1; t is a NumPy or JAX array.

    R. G. Keys, "Cubic Convolution Interpolation for Digital Image Processing" (IEEE Trans. ASSP, 1981), equation 15,
    which is a = -1/2. They add up to 1 and pass through the pixels: those of t = 0 are 0, 1, 0, 0.
    """
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
