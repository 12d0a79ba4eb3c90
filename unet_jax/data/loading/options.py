"""The options of loading and their allowed values.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

from unet_jax.checks import number

# `data.foreground_fraction`: the fraction of windows that show foreground.
FOREGROUND_FRACTION = number(least=0, most=1)
# `loss.class_weighting`: the rules that compute class weights from the training pixels.
CLASS_WEIGHTINGS = ("inverse", "median")
