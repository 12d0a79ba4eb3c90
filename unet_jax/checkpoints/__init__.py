"""Checkpoints of a run, by Orbax: written, read, checked for damage, and recovered from."""
