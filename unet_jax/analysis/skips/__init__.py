"""Measures the contribution of skip connections in trained networks: localisation, boundaries, similar maps."""
