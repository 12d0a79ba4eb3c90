"""Readers of data sets: image files and their annotations to examples."""
