"""Decodes image and mask files, one module per format; what it cannot decode rightly is refused."""
