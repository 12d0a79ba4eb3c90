"""A look at a folder of images and masks before a training."""
