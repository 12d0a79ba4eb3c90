"""Measures how much of the loss's gradient reaches each convolution of a network."""
