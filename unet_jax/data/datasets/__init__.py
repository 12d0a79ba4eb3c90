"""Reads data sets: turns image files and their annotations into examples."""
