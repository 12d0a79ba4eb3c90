"""Finds how far a trained U-Net++ can be pruned: scores and times every level, and writes one of them as a workdir."""
