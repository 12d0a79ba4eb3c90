"""The optimiser: optax chains, schedules, groups of parameters, the moving average."""
