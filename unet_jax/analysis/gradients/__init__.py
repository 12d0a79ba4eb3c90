"""Measures how much of the loss's gradient reaches each convolution, from the image to the output."""
