"""Reads annotations, one module per format: `recognise` tells by content, `read` gives images with their objects."""
