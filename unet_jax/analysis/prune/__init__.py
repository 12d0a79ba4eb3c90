"""Prunes a trained U-Net++: scores and times every level, and writes one of them as a workdir."""
