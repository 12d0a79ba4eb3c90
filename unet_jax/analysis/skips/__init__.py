"""Measures what the skip connections of trained networks contribute: localisation, boundaries, similar maps."""
