"""The options of prediction and their allowed values.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

# "accurate": the mean over the heads' probabilities. "fast": one head.
MODES = ("accurate", "fast")
# Test-time augmentation: left-right and up-down, the four quarter turns, or the eight views that the two give.
VIEW_SETS = ("flips", "turns", "all")
