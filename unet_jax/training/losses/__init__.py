"""Losses. Each adds up sums over the batch and computes its value from them, so it is exact on any number of devices."""
