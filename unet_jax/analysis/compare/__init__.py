"""Compares runs: which of several configs is better, by how much, and how certain that is."""
