"""The options of loading and their allowed values.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

from unet_jax.checks import MOST_SIDE, number

# `data.foreground_fraction`: the fraction of windows that show foreground.
FOREGROUND_FRACTION = number(least=0, most=1)
# `data.weight_map_sigma`: the width of the weight map in pixels.
SIGMA = number(least=1e-3, most=MOST_SIDE, why="it is in pixels")
# `loss.class_weighting`: the rules that compute class weights from the training pixels.
CLASS_WEIGHTINGS = ("inverse", "median")
