"""From prepared examples to batches, on the host."""
