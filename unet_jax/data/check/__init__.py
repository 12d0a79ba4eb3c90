"""Checks a folder of images and masks before training."""
