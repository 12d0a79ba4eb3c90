"""Writes results of an image to files: in bands of rows, or once the image is whole."""
