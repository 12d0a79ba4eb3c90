"""Runs beside each other: which of several configs is better, by how much, and how sure that is."""
