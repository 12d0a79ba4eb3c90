"""The training step, its state, the losses and the optimiser: pure functions that know neither configs nor files."""
