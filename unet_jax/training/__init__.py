"""The training step, its state, losses and optimiser: pure, without configs and files."""
