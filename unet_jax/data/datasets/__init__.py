"""Readers of data sets: they turn image files and their annotations into examples."""
