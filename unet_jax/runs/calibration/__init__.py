"""The temperature of a run: how it is fitted, and the file that keeps it."""
