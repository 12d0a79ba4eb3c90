"""Reads images in bands of rows, so that they need not fit into memory; one module per format that is read in parts."""
