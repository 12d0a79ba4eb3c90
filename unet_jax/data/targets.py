"""The options `data.targets` and `data.border_width`, and the classes of masks with borders.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

from unet_jax.checks import choice, number

# "masks": the masks of the data. "borders": with a third class between objects that touch; see `store.borders`.
TARGETS = ("masks", "borders")
TARGET = choice(TARGETS)
# The largest distance of a border pixel to another object.
BORDER_WIDTH = number(least=1, most=100, why="it is in pixels")
# The class ids of masks with borders, and the name of the third class.
OBJECT_ID, BORDER_ID = 1, 2
BORDER = "border"
