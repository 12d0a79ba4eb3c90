"""The options of prediction and their allowed values.

This file imports no JAX, so that a wrong value is reported before JAX is loaded.
"""

# "accurate": the mean over the heads' probabilities. "fast": one head.
MODES = ("accurate", "fast")
